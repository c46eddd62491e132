"""What a constant predicts, of rows that had no part in it: what every model must beat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jointrain.experiments import Fold
from jointrain.task import Task


def held_out_constants(
    tasks: Sequence[Task],
    labels: np.ndarray,
    folds: Sequence[Fold],
    weights: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Return the constants of the training parts for the test rows, the mean over folds.

    Shape:
        labels, weights: [n, t], labels NaN where one is missing. returns: by task, [n] or [n, c] as
            `TableModel.predict`; NaN for rows that no fold tests.
    """
    found = {}
    for index, task in enumerate(tasks):
        total, times = np.zeros((len(labels), len(task.classes) or 1)), np.zeros((len(labels), 1))
        for fold in folds:
            known = fold.train[np.isfinite(labels[fold.train, index])]
            of_rows = None if weights is None else weights[known, index]
            total[fold.test] += task.in_table.constant(labels[known, index], of_rows)
            times[fold.test] += 1
        with np.errstate(invalid="ignore"):
            found[task.name] = task.in_table.from_columns(total / times)
    return found


def left_out_constants(
    tasks: Sequence[Task],
    labels: np.ndarray,
    rows: np.ndarray,
    weights: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Return what a constant predicts of each row by the labels of all the others.

    Args:
        tasks: The tasks.
        labels: NaN where one is missing.
        rows: The rows to predict.
        weights: How much each label counts; default all the same.

    Shape:
        labels, weights: [n, t]. rows: [m]. returns: by task, [m] or [m, c] as `TableModel.predict`.
    """
    found = {}
    for index, task in enumerate(tasks):
        target = labels[:, index].astype(np.float64)
        of_rows = None if weights is None else weights[:, index]
        constants = task.in_table.constants_without(target, rows, of_rows)
        found[task.name] = task.in_table.from_columns(constants)
    return found
