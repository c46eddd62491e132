"""Targets that are given another one: their labels over all rows, and where one should be."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from jointrain.task import Task, labels_of

FEWEST = 20
"""So many labels are needed before it is said where they are."""

CHANCE = 1e-6
"""Labels are where another target has a value by more than chance below this probability."""


def with_joint_labels(
    frame: pl.DataFrame, tasks: Sequence[Task], labels: np.ndarray
) -> pl.DataFrame:
    """Return the table with the labels of chains written where they were missing.

    So a table with some of its tasks still has them.

    Shape:
        labels: [n, w], those of `encode_targets`.
    """
    for task, own in zip(tasks, labels_of(labels, tasks), strict=True):
        if task.given is None:
            continue
        column = frame[task.name]
        missing = column.is_null()
        if column.dtype.is_float():
            missing = missing | column.is_nan().fill_null(value=False)
        no = missing & pl.Series(own == 0)
        if no.any():
            label = pl.Series([task.classes[0]]).cast(column.dtype)[0]
            filled = pl.select(pl.when(no).then(pl.lit(label, column.dtype)).otherwise(column))
            frame = frame.with_columns(filled.to_series().alias(task.name))
    return frame


def selection_notes(tasks: Sequence[Task], labels: np.ndarray) -> tuple[str, ...]:
    """Return a note for each target that is labelled only where a binary one has one value.

    Shape:
        labels: [n, w], those of `encode_targets`.
    """
    own = dict(zip((task.name for task in tasks), labels_of(labels, tasks), strict=True))
    known = {task.name: task.in_table.known(own[task.name]) for task in tasks}
    notes = []
    for task in tasks:
        if task.given is not None or known[task.name].sum() < FEWEST:
            continue
        found: list[tuple[int, Task, int]] = []
        for other in tasks:
            if other is task or other.kind != "binary":
                continue
            for value in (0, 1):
                there = own[other.name] == value
                both = known[other.name]
                if (known[task.name] & ~there).any():
                    continue
                share = there.sum() / both.sum()
                if share ** int(known[task.name].sum()) < CHANCE:
                    found.append((int(there.sum()), other, value))
        if not found:
            continue
        # the last link of a chain says most
        _, other, value = min(found, key=lambda one: one[0])
        advice = "; model where it is missing, too"
        if value == 1 and task.kind == "binary":
            advice = f"; use --given {task.name}={other.name}"
        notes.append(
            f"target {task.name} is labelled only where {other.name} is {other.classes[value]}, so "
            "labels are not missing at random: the estimate for all rows is biased" + advice
        )
    return tuple(notes)
