"""Pictures with a label at every pixel, from folders of .npy files in LibMTL's layout."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from jointrain.errors import InvalidInputError
from jointrain.task import Task

IMAGES = "image"


class PictureFolder(Dataset[tuple[Tensor, dict[str, Tensor]]]):
    """Pictures and their targets: ``FOLDER/image/0.npy``, ``FOLDER/label/0.npy``, ...

    Files hold [h, w, c], or [h, w]; they are read as [c, h, w]. The layout is that of the
    pre-processed NYUv2 and Cityscapes of LibMTL and MTAN.

    Args:
        folder: Such as ``nyuv2/train``.
        targets: The folder of each task's targets, by task name.

    Raises:
        InvalidInputError: A folder is missing, or the folders hold different pictures.
    """

    def __init__(self, folder: str | Path, targets: Mapping[str, str]) -> None:
        self.folder = Path(folder)
        self.targets = dict(targets)
        found = {part: self._names(part) for part in (IMAGES, *self.targets.values())}
        self.names = sorted(found[IMAGES], key=lambda name: (len(name), name))
        if not self.names:
            raise InvalidInputError(f"{self.folder / IMAGES} has no .npy file")
        for part, names in found.items():
            if names != found[IMAGES]:
                name = min(names ^ found[IMAGES])
                where = part if name in found[IMAGES] else IMAGES
                raise InvalidInputError(f"{self.folder / where} has no {name}.npy, as others have")

    def _names(self, part: str) -> set[str]:
        folder = self.folder / part
        if not folder.is_dir():
            raise InvalidInputError(
                f"there is no folder {folder}; the layout is FOLDER/image/0.npy and so on"
            )
        return {file.stem for file in folder.glob("*.npy")}

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return a picture, [c, h, w], and its targets."""
        name = self.names[index]
        return self._read(IMAGES, name), {
            task: self._read(part, name) for task, part in self.targets.items()
        }

    def _read(self, part: str, name: str) -> Tensor:
        path = self.folder / part / f"{name}.npy"
        try:
            values = np.load(path, allow_pickle=False)
        except ValueError as error:
            raise InvalidInputError(f"{path} is no array of numbers: {error}") from None
        if values.ndim == 3:
            values = np.moveaxis(values, -1, 0)
        return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def nyuv2(root: str | Path, split: str = "train") -> tuple[list[Task], PictureFolder]:
    """Return the tasks and the pictures of NYUv2 as LibMTL has it: ``ROOT/train``, ``ROOT/val``.

    13 classes (-1: none), depth in metres (0: none) and normals (0, 0, 0: none), of 288 x 384
    pixels: 795 pictures to train on and 654 to test.

    Args:
        root: The folder.
        split: ``train`` (default) or ``val``.

    Raises:
        InvalidInputError: The folder is none of that layout.

    Source: Silberman et al., "Indoor Segmentation and Support Inference from RGBD Images", ECCV
        2012; prepared by Liu, Johns & Davison, CVPR 2019.
    """
    tasks = [
        Task.dense("segmentation", classes=13, ignored=(-1,)),
        Task.dense("depth", "depth"),
        Task.dense("normal", "normals"),
    ]
    parts = {"segmentation": "label", "depth": "depth", "normal": "normal"}
    return tasks, PictureFolder(Path(root) / split, parts)


def cityscapes(root: str | Path, split: str = "train") -> tuple[list[Task], PictureFolder]:
    """Return the tasks and the pictures of Cityscapes as LibMTL has it.

    7 classes (-1: none) and inverse depth (0: none), of 128 x 256 pixels.

    Args:
        root: The folder.
        split: ``train`` (default) or ``val``.

    Raises:
        InvalidInputError: The folder is none of that layout.

    Source: Cordts et al., "The Cityscapes Dataset for Semantic Urban Scene Understanding", CVPR
        2016; prepared by Liu, Johns & Davison, CVPR 2019.
    """
    tasks = [
        Task.dense("segmentation", classes=7, ignored=(-1,)),
        Task.dense("depth", "depth"),
    ]
    parts = {"segmentation": "label", "depth": "depth"}
    return tasks, PictureFolder(Path(root) / split, parts)
