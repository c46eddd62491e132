"""Made scenes: the geometry is right, every network trains, and the table beats a constant."""

import math
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from jointrain.task import unlabelled_pictures

SCRIPT = Path(__file__).parents[2] / "examples" / "made_scenes.py"
EXAMPLE = runpy.run_path(str(SCRIPT))


def test_depths_classes_and_normals_belong_together():
    scene = EXAMPLE["render"](np.random.default_rng(0))
    np.testing.assert_allclose(np.linalg.norm(scene["normals"], axis=0), 1, atol=1e-9)
    height, width = scene["depth"].shape
    y, x = np.mgrid[0:height, 0:width]
    across, up = (x - width / 2 + 0.5) / width / 0.9, (height / 2 - 0.5 - y) / width / 0.9
    floor = scene["class"] == 0
    # one unit below the camera, looking up
    np.testing.assert_allclose((scene["depth"] * up)[floor], -1, atol=1e-9)
    np.testing.assert_allclose(scene["normals"][:, floor], [[0], [1], [0]] * np.ones(floor.sum()))
    # what is seen faces the camera
    rays = np.stack([across, up, np.ones_like(up)])
    assert ((rays * scene["normals"]).sum(0) < 0).all()


def test_pixels_are_missing_and_pictures_too():
    data = EXAMPLE["make_data"](8, seed=0)
    for task in EXAMPLE["TASKS"]:
        task.check_target(data.targets[task.name])
    assert unlabelled_pictures(EXAMPLE["TASKS"], data.targets) == {
        "class": 0,
        "depth": 2,
        "normals": 0,
    }
    known = ~data.targets["depth"][1].isnan()
    assert 0.3 < known.float().mean() < 0.95
    assert bool((data.targets["class"] == 255).any())


@pytest.mark.parametrize("name", ["hard", "cross-stitch", "mtan"])
def test_every_network_gives_pictures_of_every_task(name):
    network = EXAMPLE["make_network"](name).eval()
    outputs = network(torch.randn(2, 3, 32, 40))
    shapes = {task: tuple(output.shape) for task, output in outputs.items()}
    assert shapes == {"class": (2, 4, 32, 40), "depth": (2, 1, 32, 40), "normals": (2, 3, 32, 40)}


def constants(train, test):
    """Return mIoU of the most frequent class, abs-rel of the median and the mean normal's angle."""
    code = train.targets["class"].flatten().mode().values
    known = test.targets["class"] != 255
    depth = test.targets["depth"]
    off = (train.targets["depth"].nanmedian() - depth).abs() / depth
    normal = torch.nn.functional.normalize(train.targets["normals"].nanmean((0, 2, 3)), dim=0)
    cosine = (test.targets["normals"] * normal[:, None, None]).sum(1)
    # found nowhere, the other three classes have an IoU of zero
    share = float((test.targets["class"][known] == code).float().mean())
    return share / 4, float(off.nanmean()), float(cosine.clamp(-1, 1).arccos().rad2deg().nanmean())


@pytest.mark.integration
def test_networks_and_balancers_beat_constants():
    train, test = EXAMPLE["make_data"](80, seed=0), EXAMPLE["make_data"](40, seed=1)
    same_class, same_depth, same_normal = constants(train, test)
    for pair in (("hard", "sum"), ("cross-stitch", "UPGrad"), ("mtan", "FAMO")):
        figures = EXAMPLE["fit"](*pair, train, epochs=8).evaluate(test)
        assert figures["class"]["mIoU"] > 2 * same_class
        assert figures["depth"]["abs-rel"] < 0.8 * same_depth
        assert figures["normals"]["mean angle"] < 0.8 * same_normal


@pytest.mark.integration
def test_the_table_has_all_nine_and_a_picture(tmp_path, capsys):
    picture = tmp_path / "scenes.png"
    results = EXAMPLE["main"](["--scenes", "16", "--epochs", "1", "--picture", str(picture)])
    assert len(results) == 9
    assert len(capsys.readouterr().out.splitlines()) == 11
    for figures in results.values():
        assert all(math.isfinite(v) for of_task in figures.values() for v in of_task.values())
    assert picture.stat().st_size > 10_000
