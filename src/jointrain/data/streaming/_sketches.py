"""What one pass over the rows leaves of a column: enough to fit its encoding, in bounded memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from jointrain.errors import MissingDependencyError

KLL_SIZE = 2048
"""k of the quantile sketch: ranks of all quantiles together are right to 0.19 % of the rows."""

MOST_VALUES = 1 << 18
"""So many different values of a column are counted exactly."""

MOST_BYTES = 1 << 26
"""Of longer values fewer are counted, so that they take no more than this."""

_KEPT_HASHES = 4096
"""Of the smallest hashes of values; their number is then known to 1.6 %, one standard deviation."""


class Moments:
    """Number, mean and variance of numbers that come in parts.

    Source: Chan, Golub & LeVeque, "Updating formulae and a pairwise algorithm for computing sample
        variances", COMPSTAT 1982, equations 2.1.
    """

    def __init__(self) -> None:
        self.count = 0.0
        self.mean = 0.0
        self._squares = 0.0

    def add(self, values: np.ndarray, weights: np.ndarray | None = None) -> None:
        """Take in numbers, [n], NaN left out, each counting by its weight, [n]."""
        known = np.isfinite(values)
        values = values[known]
        counts = np.ones(len(values)) if weights is None else weights[known]
        count = float(counts.sum())
        if not count:
            return
        mean = float((values * counts).sum() / count)
        squares = float((counts * (values - mean) ** 2).sum())
        total, apart = self.count + count, mean - self.mean
        self._squares += squares + apart**2 * self.count * count / total
        self.mean += apart * count / total
        self.count = total

    @property
    def deviation(self) -> float:
        """The standard deviation, the mean of squares being over their number."""
        return float(np.sqrt(self._squares / self.count)) if self.count else 0.0


class Quantiles:
    """Quantiles of numbers that come in parts.

    Source: Karnin, Lang & Liberty, "Optimal quantile approximation in streams", FOCS 2016, as in
        Apache DataSketches.

    Raises:
        MissingDependencyError: The package of the sketch is not installed.
    """

    def __init__(self) -> None:
        try:
            from datasketches import kll_doubles_sketch
        except ImportError:
            raise MissingDependencyError(
                "tables larger than memory need the package datasketches, which is not installed; "
                "install it with: pip install 'jointrain[streaming]'"
            ) from None
        self._sketch = kll_doubles_sketch(KLL_SIZE)

    def add(self, values: np.ndarray) -> None:
        """Take in numbers, [n], none of them NaN."""
        if len(values):
            # it takes no array that can't be written to
            self._sketch.update(np.require(values, np.float64, ("C", "W")))

    @property
    def empty(self) -> bool:
        """Whether there was no number."""
        return bool(self._sketch.is_empty())

    def at(self, shares: Any) -> np.ndarray:
        """Return the quantiles of shares, [s]; each is a number that came."""
        return np.array(self._sketch.get_quantiles(np.asarray(shares, dtype=np.float64)))

    @property
    def ends(self) -> tuple[float, float]:
        """The smallest and the largest number, exactly."""
        return float(self._sketch.get_min_value()), float(self._sketch.get_max_value())


class Distinct:
    """How many different texts there are among those that come in parts.

    Source: Bar-Yossef et al., "Counting distinct elements in a data stream", RANDOM 2002,
        algorithm 1 (the k smallest hashes).
    """

    def __init__(self) -> None:
        self._hashes = np.empty(0, dtype=np.uint64)

    def add(self, values: pl.Series) -> None:
        """Take in texts, none of them missing."""
        hashes = values.hash(7).unique().to_numpy()
        self._hashes = np.unique(np.concatenate([self._hashes, hashes]))[:_KEPT_HASHES]

    @property
    def count(self) -> int:
        """How many there were: exactly up to 4096, else an estimate."""
        if len(self._hashes) < _KEPT_HASHES:
            return len(self._hashes)
        return round((_KEPT_HASHES - 1) / (float(self._hashes[-1]) / 2.0**64))


class Counts:
    """How often values come that come in parts: exactly, or the most frequent ones of very many.

    With more than `MOST_VALUES` different values, those with the smallest counts are given up, and
    as much is taken off the others as the largest that was given up: a count is then too small by
    at most `error`, which is at most the number of rows / `MOST_VALUES`.

    Source: Misra & Gries, "Finding repeated elements", 1982; the form that takes parts together is
        that of Agarwal et al., "Mergeable summaries", PODS 2012, section 3.1.
    """

    def __init__(self) -> None:
        self.error = 0
        self._counts = pl.DataFrame(schema={"value": pl.String, "rows": pl.Int64})
        self._waiting: list[pl.DataFrame] = []
        self._waiting_rows = 0
        self._distinct = Distinct()

    def add(self, values: pl.Series) -> None:
        """Take in texts, none of them missing."""
        if not len(values):
            return
        counted = values.rename("value").value_counts(name="rows")
        counted = counted.with_columns(pl.col("rows").cast(pl.Int64))
        self._waiting.append(counted)
        self._waiting_rows += len(counted)
        self._distinct.add(counted["value"])
        if self._waiting_rows > max(1 << 14, len(self._counts)):
            self._settle()

    def _settle(self) -> None:
        if not self._waiting:
            return
        both = pl.concat([self._counts, *self._waiting])
        self._waiting, self._waiting_rows = [], 0
        counts = both.group_by("value").agg(pl.col("rows").sum())
        most = min(MOST_VALUES, int(len(counts) * MOST_BYTES / max(1, counts.estimated_size())))
        if len(counts) > most:
            counts = counts.sort(["rows", "value"], descending=[True, False])
            taken = int(counts["rows"][most])
            self.error += taken
            counts = counts.with_columns(pl.col("rows") - taken).filter(pl.col("rows") > 0)
        self._counts = counts

    @property
    def exact(self) -> bool:
        """Whether every value is there with its number of rows."""
        self._settle()
        return self.error == 0

    def most_frequent(self) -> pl.DataFrame:
        """Return ``value`` and ``rows``, most frequent first, equals by value."""
        self._settle()
        return self._counts.sort(["rows", "value"], descending=[True, False])

    @property
    def distinct(self) -> int:
        """How many different values there were, estimated where they are not all counted."""
        return len(self._counts) if self.exact else max(len(self._counts), self._distinct.count)
