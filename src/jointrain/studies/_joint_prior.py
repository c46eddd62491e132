"""What is known of joint training before any training: how it did on other tables like this one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np

from jointrain.data import SupervisedTable
from jointrain.task import labels_of

CORRELATED = 0.3
"""From this mean correlation of the targets on, they are called alike."""

SIZES = (300, 2000)
"""Labelled rows up to which a table is small, and of middle size."""


@dataclass(frozen=True)
class TableFacts:
    """What can be known of a table before training.

    Args:
        rows: Rows with a label.
        targets: Number of targets.
        label_share: Share of the labels that are there.
        correlation: Mean over pairs of targets of their correlation, see `facts_of`.
    """

    rows: int
    targets: int
    label_share: float
    correlation: float

    @property
    def kind(self) -> tuple[int, bool]:
        """Which of three sizes it has, and whether its targets are alike."""
        return sum(self.rows > size for size in SIZES), self.correlation >= CORRELATED

    def in_words(self) -> str:
        """Return the kind in words."""
        size, alike = self.kind
        low, high = (f"{one:,}" for one in SIZES)
        rows = (f"up to {low} rows", f"{SIZES[0] + 1:,} to {high} rows", f"more than {high} rows")
        side = f"{CORRELATED} or more" if alike else f"less than {CORRELATED}"
        return f"{rows[size]}, targets correlated by {side}"


class _Other(NamedTuple):
    """A table that joint and separate networks were compared on: facts, and percent gained."""

    rows: int
    targets: int
    label_share: float
    correlation: float
    gain: float


OTHERS: tuple[_Other, ...] = ()
"""The development tables of `benchmarks/arena.py`, by `benchmarks/together_or_apart.py`."""


def facts_of(table: SupervisedTable) -> TableFacts:
    """Return what is known of a table before training.

    The correlation of two targets is the largest absolute one between their columns over the rows
    that have both labels: ranks of numbers, 0/1 of each class. Pairs with fewer than ten such rows,
    and targets with several numbers a row, are left out; without any pair it is 0.
    """
    labels = table.labels()
    known = [
        task.in_table.known(own)
        for task, own in zip(table.tasks, labels_of(labels, table.tasks), strict=True)
    ]
    columns = []
    for task, own, rows in zip(table.tasks, labels_of(labels, table.tasks), known, strict=True):
        if own.ndim > 1 or not rows.any():
            continue
        columns.append((rows, _columns(own, rows, task.has_classes)))
    found = [
        value
        for one, other in combinations(columns, 2)
        if (value := _alike(*one, *other)) is not None
    ]
    shares = np.stack(known, axis=1)
    labelled = shares.any(1)
    return TableFacts(
        int(labelled.sum()),
        len(table.tasks),
        float(shares[labelled].mean()) if labelled.any() else 0.0,
        float(np.mean(found)) if found else 0.0,
    )


def _columns(own: np.ndarray, rows: np.ndarray, classes: bool) -> np.ndarray:
    from scipy.stats import rankdata

    values = own.astype(np.float64)
    if classes:
        return np.asarray(values[:, None] == np.unique(values[rows]), dtype=np.float64)
    ranks = np.zeros(len(values))
    ranks[rows] = rankdata(values[rows])
    return ranks[:, None]


def _alike(
    one_rows: np.ndarray, one: np.ndarray, other_rows: np.ndarray, other: np.ndarray
) -> float | None:
    rows = one_rows & other_rows
    if rows.sum() < 10:
        return None
    centred = [values[rows] - values[rows].mean(0) for values in (one, other)]
    lengths = [np.sqrt((values**2).sum(0)) for values in centred]
    kept = [length > 0 for length in lengths]
    if not (kept[0].any() and kept[1].any()):
        return None
    products = centred[0][:, kept[0]].T @ centred[1][:, kept[1]]
    return float(np.abs(products / np.outer(lengths[0][kept[0]], lengths[1][kept[1]])).max())


def joint_prior(table: SupervisedTable, others: Sequence[_Other] = OTHERS) -> str | None:
    """Return a sentence on how joint training did on other tables like this one.

    It is a prior: it says nothing of this table's data, and no answer rests on it.

    Args:
        table: The table, with two targets or more.
        others: Tables with their gains.

    Returns:
        None where fewer than five tables are like it, or it has one target.
    """
    if len(table.tasks) < 2:
        return None
    facts = facts_of(table)
    gains = [other.gain for other in others if TableFacts(*other[:4]).kind == facts.kind]
    if len(gains) < 5:
        return None
    return (
        f"prior, from {len(others)} other tables before any training on this one: on those like it "
        f"({facts.in_words()}) joint networks had a lower error than separate ones in "
        f"{sum(gain > 0 for gain in gains)} of {len(gains)}, by {np.median(gains):.1f} % in the "
        "median; the answer does not rest on it"
    )
