"""Labels of a table's targets side by side: one number a row of most, several of some."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from math import prod

import numpy as np

from jointrain.task._task import Task


def label_columns(tasks: Sequence[Task]) -> list[slice]:
    """Return where the numbers of each task lie among those of a row."""
    ends = list(accumulate(prod(task.in_table.label_shape()) for task in tasks))
    return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]


def labels_of(labels: np.ndarray, tasks: Sequence[Task]) -> list[np.ndarray]:
    """Return the labels of each task, as views.

    Shape:
        labels: [n, w], the numbers of all tasks. returns: [n], or [n, m] of kinds with several
        numbers a row.
    """
    return [
        labels[:, columns] if task.in_table.label_shape() else labels[:, columns.start]
        for task, columns in zip(tasks, label_columns(tasks), strict=True)
    ]


def known_labels(labels: np.ndarray, tasks: Sequence[Task]) -> np.ndarray:
    """Return which rows have which task's label, [n, w] -> [n, t] of bool."""
    if labels.shape[1] == len(tasks):
        return np.asarray(~np.isnan(labels))
    own = labels_of(labels, tasks)
    known = [task.in_table.known(of_task) for task, of_task in zip(tasks, own, strict=True)]
    return np.stack(known, axis=1)


def only_labels(labels: np.ndarray, tasks: Sequence[Task], kept: Sequence[str]) -> np.ndarray:
    """Return the labels of some of the tasks, by name, in the order of `tasks`."""
    columns = label_columns(tasks)
    parts = [
        labels[:, place] for task, place in zip(tasks, columns, strict=True) if task.name in kept
    ]
    return np.concatenate(parts, axis=1)


def without_labels(labels: np.ndarray, tasks: Sequence[Task], hidden: np.ndarray) -> np.ndarray:
    """Return the labels, NaN where `hidden`, [n, t] of bool, is true."""
    widths = [columns.stop - columns.start for columns in label_columns(tasks)]
    return np.where(np.repeat(hidden, widths, axis=1), np.nan, labels)
