"""Intervals for numbers from errors on held-out rows (split conformal prediction)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from jointrain.data import effective_rows
from jointrain.system.stored_files import DamagedError

LARGEST_SAMPLE = 1000
"""Residuals that are kept of a task at most: all, or as many of their quantiles."""

_MOST_ROWS = 1 << 40
"""Rows at most of which only the sizes of errors are known."""

LOG_FROM = 10.0
"""From which ratio of the 95 % to the 5 % quantile positive labels are looked at in logarithms."""


@dataclass(frozen=True)
class Residuals:
    """A task's errors on held-out rows, and the scale that they are taken on.

    Labels that are all positive and spread over `LOG_FROM` or more have errors in proportion to
    their size, so theirs are differences of logarithms. All others are plain differences.

    Args:
        rows: How many rows there were; where rows weigh, how many of equal weight tell as much.
        errors: Label minus prediction on the scale, ascending; of more than `LARGEST_SAMPLE` only
            those of equally spaced ranks, the first and the last among them.
        scale: ``linear`` (default) or ``log``.
        lowest: The smallest label where no label is negative, else None.

    Source: Lei et al., "Distribution-Free Predictive Inference for Regression", JASA 113, 2018,
        section 2.2 (split conformal); Romano, Patterson & Candes, "Conformalized Quantile
        Regression", NeurIPS 2019, theorem 2 (each tail by itself).
    """

    rows: int
    errors: np.ndarray
    scale: Literal["linear", "log"] = "linear"
    lowest: float | None = None

    @classmethod
    def of(
        cls, predicted: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None
    ) -> Residuals:
        """Return the residuals of predictions on held-out rows.

        Args:
            predicted: Predictions; NaN in rows that no network left out.
            labels: NaN where one is missing. Those without a prediction still tell the scale.
            weights: How much each row counts; default all the same. Errors are then those at
                equally spaced weighted quantiles, as many as there are effective rows.

        Shape:
            predicted, labels, weights: [n].
        """
        known = labels[np.isfinite(labels)].astype(np.float64)
        lowest = float(known.min()) if len(known) and known.min() >= 0 else None
        scale: Literal["linear", "log"] = "linear"
        if lowest:
            low, high = np.quantile(known, (0.05, 0.95))
            scale = "log" if high >= LOG_FROM * low else "linear"
        both = np.isfinite(predicted) & np.isfinite(labels)
        empty = cls(0, np.zeros(0), scale, lowest)
        errors = empty._scaled(labels[both].astype(np.float64)) - empty._scaled(
            predicted[both].astype(np.float64)
        )
        order = np.argsort(errors, kind="stable")
        errors = errors[order]
        if weights is not None and len(errors):
            errors = _equally_weighted(errors, weights[both][order])
        return cls(len(errors), errors[_kept_ranks(len(errors)) - 1], scale, lowest)

    @classmethod
    def symmetric(cls, rows: int, sizes: np.ndarray) -> Residuals:
        """Return residuals of which only the sizes are known: each with either sign, and a 0.

        Of 2 n + 1 such errors the bounds of any coverage are the size of rank ceil((n + 1)
        coverage), as of n sizes themselves.

        Args:
            rows: How many rows there were, n.
            sizes: Absolute errors, ascending; of more than `LARGEST_SAMPLE` as many of them, those
                of the ranks ceil(i n / `LARGEST_SAMPLE`). Errors between them are then taken as
                large as the next one.

        Raises:
            DamagedError: They do not fit together.
        """
        count = min(rows, LARGEST_SAMPLE)
        if not 0 < rows <= _MOST_ROWS or sizes.shape != (count,):
            raise DamagedError("the residuals of a task are not in order")
        known = -(-np.arange(1, count + 1) * rows // count)
        ranks = _kept_ranks(2 * rows + 1) - (rows + 1)
        places = np.searchsorted(known, np.maximum(abs(ranks), 1))
        return cls(2 * rows + 1, np.sign(ranks) * sizes[places])

    def check(self) -> None:
        """Refuse residuals that `of` can't have made.

        Raises:
            DamagedError: They do not fit together.
        """
        ranks = min(self.rows, LARGEST_SAMPLE)
        if self.errors.shape != (ranks,) or not (np.diff(self.errors) >= 0).all():
            raise DamagedError("the residuals of a task are not in order")
        if self.scale == "log" and not (self.lowest or 0) > 0:
            raise DamagedError("the residuals of a task have no scale")

    def bounds(self, coverage: float) -> tuple[float, float]:
        """Return the errors between which a new one lies with probability `coverage`, on the scale.

        Each tail has half of the rest: the lower bound is the floor((n + 1) (1 - coverage) / 2)-th
        smallest error, the upper one is as far from the other end. Infinite for too few rows.
        """
        rank = math.floor((self.rows + 1) * (1 - coverage) / 2 + 1e-9)
        if rank < 1:
            return -math.inf, math.inf
        kept = _kept_ranks(self.rows)
        # of the ranks that are kept, the next ones outwards
        low = int(np.searchsorted(kept, rank, side="right")) - 1
        high = int(np.searchsorted(kept, self.rows + 1 - rank))
        return float(self.errors[low]), float(self.errors[high])

    def interval(self, predicted: np.ndarray, coverage: float) -> np.ndarray:
        """Return intervals around predictions.

        Where no label was negative, intervals end at 0. A new label below 0 has a probability of at
        most 1 / (n + 1) then, and by no more can the coverage fall.

        Shape:
            predicted: [n]. returns: [n, 2].
        """
        ends = self._scaled(np.asarray(predicted, np.float64))[:, None] + np.array(
            self.bounds(coverage)
        )
        if self.scale == "log":
            with np.errstate(over="ignore"):
                return np.asarray(np.exp(ends))
        return np.asarray(ends if self.lowest is None else np.maximum(ends, 0.0))

    def _scaled(self, values: np.ndarray) -> np.ndarray:
        if self.scale == "linear" or self.lowest is None:
            return values
        return np.asarray(np.log(np.maximum(values, self.lowest)))


def _equally_weighted(errors: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return errors of equal weight in place of weighted ones, both ascending.

    Those at the quantiles (i - 1/2) / m, m being the effective number of rows: with equal weights,
    the errors themselves.
    """
    ends = np.cumsum(weights / weights.max())
    count = int(effective_rows(weights) + 1e-9)
    wanted = (np.arange(count) + 0.5) / count * ends[-1]
    return np.asarray(errors[np.minimum(np.searchsorted(ends, wanted), len(errors) - 1)])


def _kept_ranks(rows: int) -> np.ndarray:
    """Return the ranks, from 1, of the residuals that are kept of so many rows."""
    if rows <= LARGEST_SAMPLE:
        return np.arange(1, rows + 1)
    return np.round(np.linspace(1, rows, LARGEST_SAMPLE)).astype(np.int64)
