"""Digits on a canvas: both heads learn, and the boxes hold the ink."""

import runpy
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "examples" / "digits_on_canvas.py"
EXAMPLE = runpy.run_path(str(SCRIPT))


def test_one_network_finds_the_digit_and_its_box(tmp_path):
    data = EXAMPLE["make_data"](0)
    test = data[2].take(torch.arange(0, 2091, 3))
    mean = data[0].targets["box"].mean(0).expand(len(test), 4)
    baseline = float(EXAMPLE["overlap"](mean, test.targets["box"]).mean())
    both = [EXAMPLE["DIGIT"], EXAMPLE["BOX"]]
    trainer = EXAMPLE["train"](both, data, seed=0, steps=220, box=0.3)
    accuracy, overlap = EXAMPLE["quality"]([trainer], test)
    assert accuracy > 0.17  # ten classes
    assert overlap > baseline + 0.2
    EXAMPLE["draw"](trainer, test, str(tmp_path / "boxes.png"))
    assert (tmp_path / "boxes.png").stat().st_size > 10_000


def test_overlap_is_intersection_over_union():
    boxes = torch.tensor([[0.0, 0.0, 0.4, 0.2], [0.5, 0.5, 0.1, 0.1], [0.2, 0.2, 0.1, 0.3]])
    others = torch.tensor([[0.2, 0.0, 0.4, 0.2], [0.0, 0.0, 0.1, 0.1], [0.2, 0.2, 0.1, 0.3]])
    assert EXAMPLE["overlap"](boxes, others).tolist() == pytest.approx([1 / 3, 0.0, 1.0])


def test_canvases_have_their_digit_in_the_box_and_one_class_in_five():
    train, validation, test = EXAMPLE["make_data"](1)
    assert [len(data) for data in (train, validation, test)] == [3000, 300, 2091]
    assert int((train.targets["digit"] >= 0).sum()) == 600
    assert bool((test.targets["digit"] >= 0).all())
    boxes = torch.cat([data.targets["box"] for data in (train, validation, test)])
    assert bool((boxes[:, :2] >= 0).all())
    assert bool((boxes[:, :2] + boxes[:, 2:] <= 1).all())
    assert bool((24 * boxes[:, 2:] > torch.tensor([1.5, 6.5])).all())  # a one is narrow
    left, top, width, height = (24 * test.targets["box"][0]).round().int().tolist()
    assert test.inputs[0, 0, top : top + height, left : left + width].max() > 0.8
