"""What is known of joint training before any training: how it did on other tables like this one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
import polars as pl

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


OTHERS: tuple[_Other, ...] = (
    _Other(49, 6, 1.00, 0.36, 0.6),  # andro
    _Other(50, 2, 0.98, 0.54, 7.0),  # mammal_sleep
    _Other(62, 4, 1.00, 0.95, 1.9),  # pulp_and_paper
    _Other(86, 5, 1.00, 0.21, -1.8),  # moral_statistics
    _Other(103, 3, 1.00, 0.36, -2.6),  # slump
    _Other(104, 5, 1.00, 0.39, -0.2),  # possums
    _Other(117, 2, 1.00, 0.00, -3.4),  # energy_bills
    _Other(200, 2, 1.00, 0.00, -22.3),  # crabs
    _Other(204, 5, 0.92, 0.83, 1.0),  # countries_1998
    _Other(233, 10, 1.00, 0.37, -0.8),  # sore_throats
    _Other(332, 7, 1.00, 0.47, 0.0),  # oslo_plants
    _Other(437, 5, 1.00, 0.54, -0.2),  # midwest_counties
    _Other(695, 5, 1.00, 0.21, 0.2),  # frying_oil
    _Other(1000, 3, 0.99, 0.23, 0.2),  # births
    _Other(131, 6, 1.00, 0.18, 7.3),  # plant_dispersal
    _Other(158, 3, 1.00, 0.13, -1.1),  # electricity_costs
    _Other(200, 5, 1.00, 0.60, 2.0),  # high_school_beyond
    _Other(242, 6, 1.00, 0.58, 0.5),  # neurocognition
    _Other(243, 2, 1.00, 0.56, 1.0),  # children_of_the_survey
    _Other(269, 3, 1.00, 0.48, 0.8),  # basketball
    _Other(301, 6, 1.00, 0.30, 1.0),  # memory_tests
    _Other(323, 3, 1.00, 0.21, 0.8),  # sf1
    _Other(331, 2, 1.00, 0.65, 0.4),  # coma_recovery
    _Other(336, 4, 1.00, 0.95, 2.9),  # road_deaths
    _Other(337, 6, 1.00, 0.65, 0.6),  # atp1d
    _Other(366, 6, 0.96, 0.65, -3.5),  # swiss_air
    _Other(944, 4, 1.00, 0.29, 0.4),  # american_election
    _Other(1060, 14, 1.00, 0.10, -0.1),  # wq
    _Other(1137, 3, 1.00, 0.50, -0.8),  # scpf
    _Other(1066, 3, 1.00, 0.15, 1.4),  # sf2
    _Other(1173, 3, 1.00, 0.78, 6.0),  # guns
    _Other(908, 3, 0.79, 0.09, -1.7),  # hawks
    _Other(1411, 4, 0.99, 0.34, -0.4),  # norway_and_europe
    _Other(1629, 4, 0.97, 0.21, -0.6),  # quitting_smokers
    _Other(1827, 8, 1.00, 0.24, 0.4),  # kakadu_opinions
    _Other(1832, 3, 1.00, 0.18, -0.1),  # newborns
    _Other(507, 12, 1.00, 0.66, 1.9),  # body_girths
    _Other(2725, 2, 1.00, 0.52, 0.2),  # arrests
    _Other(2982, 2, 1.00, 0.53, 0.1),  # hormone_receptors
    _Other(4361, 4, 0.99, 0.15, 0.3),  # botswana_women
    _Other(768, 2, 1.00, 0.97, 12.9),  # enb
    _Other(700, 3, 0.99, 0.60, 0.5),  # ability_tests
    _Other(616, 4, 1.00, 0.66, -0.5),  # fringe_benefits
    _Other(418, 10, 0.85, 0.25, 0.2),  # liver_cirrhosis
    _Other(5190, 6, 1.00, 0.17, 0.3),  # doctor_visits
)
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
    values = own.astype(np.float64)
    if classes:
        return np.asarray(values[:, None] == np.unique(values[rows]), dtype=np.float64)
    ranks = np.zeros(len(values))
    ranks[rows] = pl.Series(values[rows]).rank()
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

    It is a prior: it says nothing of this table's data, and no answer rests on it. A table that is
    itself one of the others is left out of them.

    Args:
        table: The table, with two targets or more.
        others: Tables with their gains.

    Returns:
        None where fewer than five tables are like it, or it has one target.
    """
    if len(table.tasks) < 2:
        return None
    facts = facts_of(table)
    others = [other for other in others if TableFacts(*other[:4]) != _rounded(facts)]
    gains = [other.gain for other in others if TableFacts(*other[:4]).kind == facts.kind]
    if len(gains) < 5:
        return None
    middle = float(np.median(gains))
    # "lower by -1.8 %" would be the contrary of what is meant
    median = f"by {middle:.1f} % in the median" if middle > 0 else f"median gain {middle:z.1f} %"
    return (
        f"prior, from {len(others)} public tables before any training on this one: on those like "
        f"it ({facts.in_words()}) joint networks had a lower error than separate ones in "
        f"{sum(gain > 0 for gain in gains)} of {len(gains)}, {median}; the answer does not rest on "
        "it"
    )


def _rounded(facts: TableFacts) -> TableFacts:
    """Return facts with the digits that are kept of the other tables."""
    share, correlation = round(facts.label_share, 2), round(facts.correlation, 2)
    return TableFacts(facts.rows, facts.targets, share, correlation)
