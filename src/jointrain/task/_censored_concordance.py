"""The C-index of numbers of which some are known by bounds only."""

from __future__ import annotations

import numpy as np
from torch import Tensor


def censored_concordance(
    prediction: Tensor, lower: Tensor, upper: Tensor, weights: Tensor | None = None
) -> float:
    """Return the share of pairs whose order is known that are predicted in that order.

    The order of two rows is known where the upper bound of one is below the lower bound of the
    other. Equal predictions count a half. NaN if no order is known, or a prediction is NaN.

    Args:
        prediction: Higher means a higher number.
        lower: Lower bounds; a number that is known has equal bounds.
        upper: Upper bounds.
        weights: A pair counts the product of its rows' weights; default 1.

    Shape:
        prediction, lower, upper, weights: [b].

    Source: Harrell et al., "Evaluating the Yield of Medical Tests", JAMA 247, 1982.
    """
    found = prediction.double().cpu().numpy()
    if np.isnan(found).any():
        return float("nan")
    low, high = lower.double().cpu().numpy(), upper.double().cpu().numpy()
    ranks = np.unique(found, return_inverse=True)[1]
    by_upper, by_lower = np.argsort(high).tolist(), np.argsort(low).tolist()
    counts = np.ones(len(found))
    if weights is not None:
        # by the largest first: squares of tiny or huge ones are nothing or infinite
        counts = (weights.double() / weights.max()).cpu().numpy()
    sums = _PrefixSums(int(ranks.max(initial=-1)) + 1)
    right, pairs, below, added = 0.0, 0.0, 0.0, 0
    for later in by_lower:
        while added < len(by_upper) and high[by_upper[added]] < low[later]:
            earlier = by_upper[added]
            sums.add(int(ranks[earlier]), float(counts[earlier]))
            below += float(counts[earlier])
            added += 1
        rank, weight = int(ranks[later]), float(counts[later])
        right += weight * (sums.before(rank) + sums.before(rank + 1)) / 2
        pairs += weight * below
    return right / pairs if pairs else float("nan")


class _PrefixSums:
    """Sums of the first values of a list, by a tree of partial sums (Fenwick)."""

    def __init__(self, size: int) -> None:
        self._parts = [0.0] * (size + 1)

    def add(self, index: int, value: float) -> None:
        """Add to the value at an index."""
        index += 1
        while index < len(self._parts):
            self._parts[index] += value
            index += index & -index

    def before(self, index: int) -> float:
        """Return the sum of the values before an index."""
        total = 0.0
        while index:
            total += self._parts[index]
            index &= index - 1
        return total
