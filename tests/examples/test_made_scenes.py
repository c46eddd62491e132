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


@pytest.mark.integration
def test_the_table_beats_constants_everywhere(tmp_path):
    picture = tmp_path / "scenes.png"
    results = EXAMPLE["main"](["--scenes", "80", "--epochs", "4", "--picture", str(picture)])
    assert len(results) == 9
    for figures in results.values():
        assert figures["class"]["mIoU"] > 0.2
        assert figures["depth"]["abs-rel"] < 0.6
        assert figures["normals"]["mean angle"] < 50
        assert all(math.isfinite(v) for of_task in figures.values() for v in of_task.values())
    assert picture.stat().st_size > 10_000
