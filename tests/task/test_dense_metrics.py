"""Dense metrics: worked by hand, and beside scikit-learn."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, jaccard_score, precision_score, recall_score

from jointrain.task import Task

NAN = math.nan


def figures(task, prediction, target, weights=None):
    return task.evaluate(prediction, target, weights)


def test_classes_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    target, found = rng.integers(-1, 4, (3, 5, 6)), rng.integers(0, 4, (3, 5, 6))
    task = Task.dense("class", classes=5, ignored=(-1,))  # the fifth does not occur
    values = figures(task, torch.tensor(found), torch.tensor(target))
    valid = target >= 0
    wanted = jaccard_score(target[valid], found[valid], average="macro")
    assert values["mIoU"] == pytest.approx(wanted)
    assert values["pixel accuracy"] == pytest.approx((target == found)[valid].mean())
    # a picture of weight 2 is two pictures
    weighed = figures(task, torch.tensor(found), torch.tensor(target), torch.tensor([2.0, 1, 1]))
    twice = [np.concatenate([part[:1], part]) for part in (found, target)]
    again = figures(task, *map(torch.tensor, twice))
    assert weighed == pytest.approx(again)


def test_depths_are_worked_by_hand():
    target = torch.tensor([[[2.0, 4.0, 0.0, NAN]], [[0.0, 0, 0, 0]]])
    found = torch.tensor([[[3.0, 4.0, 9.0, 9.0]], [[1.0, 1, 1, 1]]])
    values = figures(Task.dense("depth"), found, target)
    assert values == pytest.approx(
        {"abs-rel": 0.25, "RMSE": math.sqrt(0.5), "MAE": 0.5, "within 1.25": 0.5}
    )


def turned(degrees):
    return [math.sin(math.radians(degrees)), 0.0, math.cos(math.radians(degrees))]


def test_normals_are_worked_by_hand():
    off = [0.0, 10, 20, 25, 60]
    found = 3 * torch.tensor([[turned(d) for d in (*off, 90)]]).movedim(-1, 1)[:, :, None]
    target = torch.tensor([[[0.0, 0, 2]] * 5 + [[0.0, 0, 0]]]).movedim(-1, 1)[:, :, None]
    task = Task.dense("normals")
    values = figures(task, task.predict(found), target)
    assert values == pytest.approx(
        {
            "mean angle": 23,
            "median angle": 20,
            "within 11.25": 0.4,
            "within 22.5": 0.6,
            "within 30": 0.8,
        },
        abs=1e-4,
    )
    even = figures(task, task.predict(found[..., 1:5]), target[..., 1:5])
    assert even["median angle"] == pytest.approx(22.5, abs=1e-4)
    weighed = figures(task, task.predict(found), target, torch.tensor([3.0]))
    assert weighed == pytest.approx(values)


def test_edges_are_those_of_scikit_learn():
    rng = np.random.default_rng(1)
    target, found = (rng.random((2, 4, 5)) > 0.7).astype(float), rng.random((2, 4, 5))
    valid = rng.random((2, 4, 5)) > 0.2
    task = Task.dense("edges")
    values = figures(task, torch.tensor(found), torch.tensor(np.where(valid, target, np.nan)))
    sides = target[valid], found[valid] > 0.5
    assert values["F1"] == pytest.approx(f1_score(*sides))
    assert values["precision"] == pytest.approx(precision_score(*sides))
    assert values["recall"] == pytest.approx(recall_score(*sides))


@pytest.mark.parametrize("name", ["numbers", "depth", "normals", "edges"])
def test_without_a_label_nothing_is_known(name):
    task = Task.dense("x", name)
    shape = (2, 3, 2, 2) if name == "normals" else (2, 2, 2)
    values = task.evaluate(torch.ones(shape), torch.full(shape, NAN))
    assert all(math.isnan(value) for value in values.values())
