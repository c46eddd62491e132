"""How much the test rows of folds are the same."""

import math

import numpy as np
import pytest

from jointrain.experiments import Fold, fold_overlaps
from jointrain.task import Task


def folds_of(*tests):
    return [Fold(number, 0, np.empty(0, int), np.array(test)) for number, test in enumerate(tests)]


def test_overlaps_of_hand_made_folds():
    labels = np.array([[1.0, 0], [2, 0], [3, 1], [math.nan, 1], [5, 0], [6, 0]])
    tasks = [Task.regression("y"), Task.binary("c", ("no", "yes"))]
    folds = folds_of([0, 1, 2], [3, 4, 5], [2, 3, 4], [0, 1, 5])
    found = fold_overlaps(tasks, labels, folds)
    # of y: {0, 1, 2}, {4, 5}, {2, 4}, {0, 1, 5}
    half, third, sixth = 1 / 2, 1 / 3, 1 / math.sqrt(6)
    expected = [[1, 0, sixth, 2 * third], [0, 1, half, sixth], [sixth, half, 1, 0]]
    np.testing.assert_allclose(found["y"][:3], expected)
    # of c, the rarer class: {2}, {3}, {2, 3}, none
    root = math.sqrt(half)
    np.testing.assert_allclose(
        found["c"], [[1, 0, root, 0], [0, 1, root, 0], [root, root, 1, 0], [0, 0, 0, 1]]
    )


def test_rows_of_a_group_are_one_unit():
    labels = np.arange(6.0)[:, None]
    groups = np.array(["a", "a", "a", "b", "c", "c"], dtype=object)
    folds = folds_of([0, 1, 2], [3, 4, 5], [0, 1, 2, 3], [4, 5])
    found = fold_overlaps([Task.regression("y")], labels, folds, groups)["y"]
    # rows of a, b and c: (3, 0, 0), (0, 1, 2), (3, 1, 0), (0, 0, 2)
    assert found[0, 2] == pytest.approx(3 / math.sqrt(10))
    assert found[1, 3] == pytest.approx(2 / math.sqrt(5))
    assert found[1, 2] == pytest.approx(1 / math.sqrt(50))
