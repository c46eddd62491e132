"""What a constant predicts, of rows that had no part in it: what every model must beat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jointrain.experiments import Fold
from jointrain.task import Task, labels_of


def held_out_constants(
    tasks: Sequence[Task],
    labels: np.ndarray,
    folds: Sequence[Fold],
    weights: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Return the constants of the training parts for the test rows, the mean over folds.

    Shape:
        labels: [n, w], NaN where one is missing. weights: [n, t]. returns: by task, as
            `TableModel.predict`; NaN for rows that no fold tests.
    """
    found = {}
    for index, (task, own) in enumerate(zip(tasks, labels_of(labels, tasks), strict=True)):
        total: np.ndarray | float = 0.0
        times = np.zeros((len(labels), 1))
        known_rows = task.in_table.known(own)
        for fold in folds:
            known = fold.train[known_rows[fold.train]]
            of_rows = None if weights is None else weights[known, index]
            constant = task.in_table.constant(own[known], of_rows)
            tested = np.isin(np.arange(len(labels)), fold.test)[:, None]
            total = total + tested * constant
            times += tested
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
        labels: [n, w]. weights: [n, t]. rows: [m]. returns: by task, as `TableModel.predict`.
    """
    found = {}
    for index, (task, own) in enumerate(zip(tasks, labels_of(labels, tasks), strict=True)):
        target = own.astype(np.float64)
        of_rows = None if weights is None else weights[:, index]
        constants = task.in_table.constants_without(target, rows, of_rows)
        found[task.name] = task.in_table.from_columns(constants)
    return found
