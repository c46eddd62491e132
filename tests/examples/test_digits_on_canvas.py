"""Digits on a canvas: the data are right, and a small study compares together and apart."""

import runpy
from pathlib import Path

import pytest
import torch

from jointrain import Trainer

SCRIPT = Path(__file__).parents[2] / "examples" / "digits_on_canvas.py"
EXAMPLE = runpy.run_path(str(SCRIPT))


def trained(tasks, data, epochs):
    torch.manual_seed(0)
    settings = EXAMPLE["base_recipe"](epochs).settings(len(data), validates=False)
    trainer = Trainer(EXAMPLE["make_network"](tasks), tasks, settings=settings)
    trainer.fit(data)
    return trainer


def test_the_network_finds_the_digit_and_its_box(tmp_path):
    digit, box = EXAMPLE["DIGIT"], EXAMPLE["BOX"]
    training, test = EXAMPLE["make_data"](0)
    test = test.take(torch.arange(0, 2091, 3))
    with_class = trained([digit], training.take(torch.arange(660)), epochs=15)
    assert with_class.evaluate(test)["digit"]["accuracy"] > 0.2  # ten classes
    both = trained([digit, box], training, epochs=2)
    mean = training.targets["box"].mean(0).expand(len(test), 4)
    baseline = float(EXAMPLE["overlap"](mean, test.targets["box"]).mean())
    assert both.evaluate(test)["box"]["IoU"] > baseline + 0.2
    EXAMPLE["draw"](both, test, str(tmp_path / "boxes.png"))
    assert (tmp_path / "boxes.png").stat().st_size > 10_000


def test_a_small_study_has_verdicts_on_both_tasks():
    training, test = (one.take(torch.arange(0, len(one), 30)) for one in EXAMPLE["make_data"](0))
    names = ("separate", "joint", "merge-mean")
    result = EXAMPLE["make_study"](training, test, names, epochs=1, seeds=3).run(workers=1)
    assert result.recipe_names == list(names)
    for name in names[1:]:
        assert set(result.verdict(name)) == {"digit", "box", "Delta-m"}
    for name in names:
        overlaps = result.values(name, "box", "IoU")
        assert len(overlaps) == 3
        assert bool(((overlaps > 0) & (overlaps < 1)).all())


def test_overlap_is_intersection_over_union():
    boxes = torch.tensor([[0.0, 0.0, 0.4, 0.2], [0.5, 0.5, 0.1, 0.1], [0.2, 0.2, 0.1, 0.3]])
    others = torch.tensor([[0.2, 0.0, 0.4, 0.2], [0.0, 0.0, 0.1, 0.1], [0.2, 0.2, 0.1, 0.3]])
    assert EXAMPLE["overlap"](boxes, others).tolist() == pytest.approx([1 / 3, 0.0, 1.0])


def test_canvases_have_their_digit_in_the_box_and_one_class_in_five():
    training, test = EXAMPLE["make_data"](1)
    assert [len(training), len(test)] == [3300, 2091]
    assert int((training.targets["digit"] >= 0).sum()) == 660
    assert bool((test.targets["digit"] >= 0).all())
    boxes = torch.cat([data.targets["box"] for data in (training, test)])
    assert bool((boxes[:, :2] >= 0).all())
    assert bool((boxes[:, :2] + boxes[:, 2:] <= 1).all())
    assert bool((24 * boxes[:, 2:] > torch.tensor([1.5, 6.5])).all())  # a one is narrow
    left, top, width, height = (24 * test.targets["box"][0]).round().int().tolist()
    assert test.inputs[0, 0, top : top + height, left : left + width].max() > 0.8
