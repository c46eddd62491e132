"""Folders of .npy files in LibMTL's layout, written here as it has them."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from jointrain.data import PictureFolder, cityscapes, nyuv2
from jointrain.errors import InvalidInputError


def write(folder, parts, count=3):
    rng = np.random.default_rng(0)
    made = {}
    for part in parts:
        (folder / part).mkdir(parents=True)
        shape = {"label": (4, 6), "depth": (4, 6, 1)}.get(part, (4, 6, 3))
        for index in range(count):
            values = rng.random(shape)
            if part == "label":
                values = rng.integers(-1, 7, shape)
            np.save(folder / part / f"{index}.npy", values)
            made[part, index] = values
    return made


def test_nyuv2_and_cityscapes_are_read_channels_first(tmp_path):
    made = write(tmp_path / "val", ("image", "label", "depth", "normal"), count=11)
    tasks, pictures = nyuv2(tmp_path, "val")
    assert [task.kind for task in tasks] == ["segmentation", "depth", "normals"]
    assert len(pictures) == 11
    picture, targets = pictures[10]
    np.testing.assert_allclose(picture, np.moveaxis(made["image", 10], -1, 0), rtol=1e-6)
    np.testing.assert_allclose(targets["segmentation"], made["label", 10])
    assert targets["depth"].shape == (1, 4, 6)
    np.testing.assert_allclose(targets["normal"][2], made["normal", 10][..., 2], rtol=1e-6)
    batch, of_batch = next(iter(DataLoader(pictures, batch_size=4)))
    assert batch.shape == (4, 3, 4, 6)
    for task in tasks:
        task.check_target(of_batch[task.name])
    tasks, pictures = cityscapes(tmp_path, "val")
    assert [task.output_size for task in tasks] == [7, 1]
    assert torch.equal(pictures[1][1]["depth"], nyuv2(tmp_path, "val")[1][1][1]["depth"])


def test_folders_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(InvalidInputError, match=r"there is no folder .*image; the layout is"):
        nyuv2(tmp_path)
    write(tmp_path / "train", ("image", "label", "depth"))
    with pytest.raises(InvalidInputError, match=r"there is no folder .*normal"):
        nyuv2(tmp_path)
    (tmp_path / "train" / "depth" / "1.npy").unlink()
    with pytest.raises(InvalidInputError, match=r"depth has no 1.npy, as others have"):
        cityscapes(tmp_path)
    (tmp_path / "train" / "label" / "0.npy").write_text("no array")
    with pytest.raises(InvalidInputError, match=r"0.npy is no array of numbers"):
        PictureFolder(tmp_path / "train", {"a": "label"})[0]
    (tmp_path / "empty" / "image").mkdir(parents=True)
    with pytest.raises(InvalidInputError, match=r"has no .npy file"):
        PictureFolder(tmp_path / "empty", {})
