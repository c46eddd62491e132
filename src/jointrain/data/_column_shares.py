"""How the values of columns are spread, and how far another table is from that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import polars as pl

from jointrain.data._columns import Column, most_frequent

_PARTS = 10
"""Parts of a column of numbers, each with as many values as can be."""

_CATEGORIES = 20
"""Categories that are counted by name; the others together."""

_NUMBERS = ("numeric", "boolean", "datetime", "time", "calendar")


@dataclass(frozen=True)
class ColumnShares:
    """How many rows of a table have which values of a column.

    Args:
        cuts: Of numbers and dates, what lies between the parts, in order; a part reaches to its cut
            and includes it. None of categories.
        categories: Of categories, those that are counted by name. None of numbers.
        counts: Rows of each part and of those above the last cut, or of each category and of the
            others; last those without a value.
    """

    cuts: tuple[float, ...] | None
    categories: tuple[str, ...] | None
    counts: tuple[int, ...]

    @classmethod
    def of(cls, values: pl.Series, column: Column) -> Self | None:
        """Return the shares of a column's values; None where its kind has too many values."""
        if column.kind == "category":
            chosen = tuple(most_frequent(values.cast(pl.String))["value"].head(_CATEGORIES))
            return cls(None, chosen, _counts_of_names(values, chosen))
        if column.kind not in _NUMBERS:
            return None
        numbers = _numbers(values)
        known = numbers[np.isfinite(numbers)]
        if not len(known):
            return None
        places = np.arange(1, _PARTS) / _PARTS
        cuts = np.unique(np.quantile(known, places, method="inverted_cdf"))
        return cls(tuple(map(float, cuts)), None, _counts_of_parts(numbers, cuts))

    def counts_in(self, values: pl.Series) -> tuple[int, ...]:
        """Return the counts of other values in the same parts."""
        if self.categories is not None:
            return _counts_of_names(values, self.categories)
        return _counts_of_parts(_numbers(values), np.array(self.cuts))

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        which = {"cuts": self.cuts} if self.categories is None else {"categories": self.categories}
        return {name: list(values or ()) for name, values in which.items()} | {
            "counts": list(self.counts)
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """Return what `to_json` returned."""
        cuts, categories = stored.get("cuts"), stored.get("categories")
        return cls(
            None if cuts is None else tuple(cuts),
            None if categories is None else tuple(categories),
            tuple(stored["counts"]),
        )


@dataclass(frozen=True)
class Drift:
    """How far a column of a table is from that of another.

    Args:
        column: Its name.
        stability: The population stability index; 0 if all shares are the same.
        by_chance: What it stays below in 95 of 100 pairs of tables without any drift, over all the
            columns that were looked at.
    """

    column: str
    stability: float
    by_chance: float

    @property
    def drifted(self) -> bool:
        """Whether the index is 0.1 or more, and more than chance gives."""
        return self.stability >= 0.1 and self.stability > self.by_chance


def column_shares(frame: pl.DataFrame, columns: Sequence[Column]) -> dict[str, ColumnShares]:
    """Return how the values of columns are spread: numbers, dates and categories.

    Args:
        frame: The table.
        columns: Its columns; of language, ids and bags there is nothing.
    """
    found = {c.name: ColumnShares.of(frame[c.name], c) for c in columns if c.name in frame.columns}
    return {name: shares for name, shares in found.items() if shares is not None}


def column_drift(shares: Mapping[str, ColumnShares], frame: pl.DataFrame) -> list[Drift]:
    """Return how far the columns of a table are from what was counted, the farthest first.

    The population stability index is the sum of (a - b) log(a / b) over the shares a and b of each
    part. Half a row is added to each part, so that an empty one does not make it infinite.

    Args:
        shares: By column.
        frame: A table whose columns have the types of those that were counted; what it lacks is
            left out.

    Source: Siddiqi, "Credit Risk Scorecards", 2006 (the index, and 0.1 and 0.25 as a small and a
        large shift); Yurdakul and Naranjo, "Statistical properties of the population stability
        index", Journal of Risk Model Validation 14(3), 2020 (without drift it is about 1/n + 1/m
        times a chi-squared number of one degree less than there are parts).
    """
    from scipy.stats import chi2

    looked_at = [name for name in shares if name in frame.columns]
    found = []
    for name in looked_at:
        before = np.array(shares[name].counts, dtype=np.float64)
        after = np.array(shares[name].counts_in(frame[name]), dtype=np.float64)
        used = before + after > 0
        before, after = before[used], after[used]
        if not before.sum() or not after.sum():
            continue
        a = (after + 0.5) / (after + 0.5).sum()
        b = (before + 0.5) / (before + 0.5).sum()
        index = float(((a - b) * np.log(a / b)).sum())
        error = 1 / after.sum() + 1 / before.sum()
        bound = error * chi2.ppf(1 - 0.05 / len(looked_at), max(len(a) - 1, 1))
        found.append(Drift(name, index, float(bound)))
    return sorted(found, key=lambda drift: -drift.stability)


def _numbers(values: pl.Series) -> np.ndarray:
    """Return values as numbers, [n], NaN for none; dates and durations in microseconds."""
    if values.dtype in (pl.Date, pl.Datetime):
        values = values.cast(pl.Datetime("us"))
    elif values.dtype == pl.Duration:
        values = values.dt.total_microseconds()
    physical = values.to_physical().cast(pl.Float64, strict=False)
    return physical.fill_null(float("nan")).to_numpy()


def _counts_of_parts(numbers: np.ndarray, cuts: np.ndarray) -> tuple[int, ...]:
    known = numbers[~np.isnan(numbers)]
    counts = np.bincount(np.searchsorted(cuts, known, side="left"), minlength=len(cuts) + 1)
    return (*map(int, counts), len(numbers) - len(known))


def _counts_of_names(values: pl.Series, names: Sequence[str]) -> tuple[int, ...]:
    known = values.cast(pl.String).drop_nulls()
    counted = dict(most_frequent(known).iter_rows())
    counts = [counted.get(name, 0) for name in names]
    return (*counts, len(known) - sum(counts), len(values) - len(known))
