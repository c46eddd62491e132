"""Constants by hand: of the training rows for test rows, and of all other rows for each row."""

import numpy as np

from jointrain.experiments import Fold
from jointrain.tables._constants import held_out_constants, left_out_constants
from jointrain.task import Task

TASKS = (
    Task.regression("a"),
    Task.binary("b", ("n", "y")),
    Task.multiclass("c", ("u", "v", "w")),
)
LABELS = np.array([[1.0, 0, 0], [np.nan, 1, 0], [5.0, 1, 2], [9.0, np.nan, 1]])


def test_each_row_by_the_labels_of_the_others():
    found = left_out_constants(TASKS, LABELS, np.array([0, 1, 3]))
    np.testing.assert_allclose(found["a"], [7, 5, 3])
    np.testing.assert_allclose(found["b"], [3 / 4, 2 / 4, 3 / 5])
    np.testing.assert_allclose(
        found["c"], [[2 / 6, 2 / 6, 2 / 6], [2 / 6, 2 / 6, 2 / 6], [3 / 6, 1 / 6, 2 / 6]]
    )


def test_test_rows_by_the_training_rows_and_the_mean_over_seeds():
    folds = [
        Fold(0, 0, np.array([0, 1]), np.array([2, 3])),
        Fold(0, 1, np.array([0, 2]), np.array([3])),
    ]
    found = held_out_constants(TASKS, LABELS, folds)
    np.testing.assert_allclose(found["a"][2:], [1, 2])
    np.testing.assert_allclose(found["b"][2:], [1 / 2, 1 / 2])
    np.testing.assert_allclose(found["c"][2], [3 / 5, 1 / 5, 1 / 5])
    assert np.isnan(found["a"][:2]).all()
    assert np.isnan(found["c"][:2]).all()
