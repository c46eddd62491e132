"""A sample of the rows of a table, with labels of every target and every class."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from jointrain.data import SupervisedTable
from jointrain.task import labels_of

LABELS_KEPT = 20
"""Labels of each class, and twice as many of each target, that a sample holds if there are any."""


def sample_rows(table: SupervisedTable, count: int, seed: int) -> SupervisedTable:
    """Return a table of about so many of the rows, in their order; all if it has no more.

    Args:
        table: All rows.
        count: How many are wanted; more are taken where labels are rare. Of groups, whole ones are
            taken first.
        seed: Decides which rows.
    """
    rows = len(table.frame)
    if rows <= count:
        return table
    generator = np.random.default_rng([seed, rows])
    order = generator.permutation(rows)
    if table.groups is not None:
        rank = generator.permutation(int(table.groups.max()) + 1)
        order = order[np.argsort(rank[table.groups[order]], kind="stable")]
    chosen = np.zeros(rows, dtype=bool)
    chosen[order[:count]] = True
    labels = table.labels()[order]
    for task, own in zip(table.tasks, labels_of(labels, table.tasks), strict=True):
        chosen[order[np.flatnonzero(task.in_table.known(own))[: 2 * LABELS_KEPT]]] = True
        for rows in task.in_table.spread_evenly(own).T:
            chosen[order[np.flatnonzero(rows)[:LABELS_KEPT]]] = True
    return replace(
        table,
        frame=table.frame.filter(pl.Series(chosen)),
        groups=None if table.groups is None else table.groups[chosen],
        time=None if table.time is None else table.time[chosen],
        weights=None if table.weights is None else table.weights[chosen],
    )
