"""Metrics of rows that are ranked among each other: within a query, a user, a session.

Every row belongs to one query. A figure is one of each query, averaged; equal predictions count as
if their order were drawn by lot. Letters: b rows, q queries.

Where rows weigh, a query counts by the mean weight of its rows, as in LightGBM; in `group_auc` the
weights count within queries, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]


class _Ranked(NamedTuple):
    """Rows from the best to the worst of each query.

    Shape:
        query: [b], ascending numbers from 0. gain: [b], the mean target of rows that are predicted
        equal. place: [b], the place within the query, from 0. sizes: [q].
    """

    query: Array
    gain: Array
    place: Array
    sizes: Array


@dataclass(frozen=True)
class NDCG:
    r"""Normalised discounted cumulative gain of the first k rows.

    :math:`\sum_{i \le k} g_i / \log_2 (i + 1)` with g_i the target of the row in place i, over the
    same of the best order. Mean over the queries of two or more rows whose targets are not all 0;
    NaN if there is none, or a target is negative.

    Args:
        k: How many rows count.

    Shape:
        prediction: [b], or [b, c] with the probabilities of ordered classes, which are ranked by
        their mean. target, weights, queries: [b].

    Source: Järvelin & Kekäläinen, "Cumulated Gain-Based Evaluation of IR Techniques", TOIS 20,
        2002; ties: McSherry & Najork, "Computing Information Retrieval Performance Measures
        Efficiently in the Presence of Tied Scores", ECIR 2008.
    Differs from the source: gains are the targets as they are, as in scikit-learn.
    """

    k: int

    def __call__(
        self,
        prediction: Tensor,
        target: Tensor,
        weights: Tensor | None = None,
        *,
        queries: Tensor,
    ) -> float:
        """Return the mean over queries."""
        scores, gains, ids = _arrays(prediction, target, queries)
        if np.isnan(scores).any() or (gains < 0).any():
            return float("nan")
        found = self._sums(_ranked(scores, gains, ids))
        best_order = _ranked(gains, gains, ids)
        best = self._sums(best_order)
        counted = (best > 0) & (best_order.sizes > 1)
        return _mean(found[counted] / best[counted], _of_queries(weights, ids, counted))

    def _sums(self, rows: _Ranked) -> Array:
        worth = np.where(rows.place < self.k, 1 / np.log2(rows.place + 2), 0.0)
        return np.bincount(rows.query, rows.gain * worth, len(rows.sizes))


@dataclass(frozen=True)
class RecallAt:
    """The share of a query's rows of the second class that is among its first k rows.

    Mean over the queries of two or more rows that have such a row; NaN if there is none.

    Args:
        k: How many rows count.

    Shape:
        prediction: [b], probability of the second class. target, weights, queries: [b].
    """

    k: int

    def __call__(
        self,
        prediction: Tensor,
        target: Tensor,
        weights: Tensor | None = None,
        *,
        queries: Tensor,
    ) -> float:
        """Return the mean over queries."""
        scores, labels, ids = _arrays(prediction, target, queries)
        if np.isnan(scores).any():
            return float("nan")
        rows = _ranked(scores, labels, ids)
        hits = np.bincount(rows.query, rows.gain * (rows.place < self.k), len(rows.sizes))
        positives = np.bincount(rows.query, rows.gain, len(rows.sizes))
        counted = (positives > 0) & (rows.sizes > 1)
        return _mean(hits[counted] / positives[counted], _of_queries(weights, ids, counted))


def group_auc(
    prediction: Tensor, target: Tensor, weights: Tensor | None = None, *, queries: Tensor
) -> float:
    """Return the area under the ROC curve of each query, averaged by the number of its rows.

    Queries with one class only are left out; NaN if there are no others. Where rows weigh, a pair
    counts the product of its rows' weights, and a query the sum of them.

    Shape:
        prediction: [b], probability of the second class. target, weights, queries: [b].

    Source: Zhou et al., "Deep Interest Network for Click-Through Rate Prediction", KDD 2018,
        equation 7.
    """
    scores, labels, ids = _arrays(prediction, target, queries)
    if np.isnan(scores).any():
        return float("nan")
    counts = np.ones(len(ids)) if weights is None else _numbers(weights / weights.max())
    order = np.lexsort((scores, ids))
    scores, labels, ids, counts = scores[order], labels[order] > 0.5, ids[order], counts[order]
    sizes = np.bincount(ids, counts)
    positives = np.bincount(ids, counts * labels, len(sizes))
    negatives = sizes - positives
    # negatives that rank below each run of equal predictions, half of those within it
    starts, _, tie = _ties(ids, scores)
    of_runs = np.bincount(tie, counts * ~labels)
    before = np.cumsum(of_runs) - of_runs
    first = np.searchsorted(ids[starts], np.arange(len(sizes)))
    below = before - before[first][ids[starts]] + of_runs / 2
    right = np.bincount(ids, counts * labels * below[tie], len(sizes))
    both = (positives > 0) & (negatives > 0)
    if not both.any():
        return float("nan")
    areas = right[both] / (positives[both] * negatives[both])
    return float(np.average(areas, weights=sizes[both]))


def _arrays(prediction: Tensor, target: Tensor, queries: Tensor) -> tuple[Array, Array, Array]:
    """Return scores and targets, and the queries as numbers from 0 without gaps, [b] each."""
    scores = prediction.double().cpu().numpy()
    if scores.ndim == 2:
        scores = scores @ np.arange(scores.shape[1])
    ids = np.unique(queries.cpu().numpy(), return_inverse=True)[1]
    return scores, target.double().cpu().numpy(), ids


def _ranked(scores: Array, gains: Array, ids: Array) -> _Ranked:
    order = np.lexsort((-scores, ids))
    scores, gains, ids = scores[order], gains[order], ids[order]
    sizes = np.bincount(ids)
    place = np.arange(len(ids)) - (np.cumsum(sizes) - sizes)[ids]
    _, lengths, tie = _ties(ids, scores)
    mean = np.bincount(tie, gains) / lengths
    return _Ranked(ids, mean[tie], place, sizes)


def _ties(ids: Array, scores: Array) -> tuple[Array, Array, Array]:
    """Return where runs of equal scores of a query begin, how long they are, and each row's run."""
    new = np.ones(len(ids), dtype=bool)
    new[1:] = (ids[1:] != ids[:-1]) | (scores[1:] != scores[:-1])
    starts = np.flatnonzero(new)
    lengths = np.diff(np.append(starts, len(ids)))
    return starts, lengths, np.cumsum(new) - 1


def _numbers(values: Tensor) -> Array:
    return values.double().cpu().numpy()


def _of_queries(weights: Tensor | None, ids: Array, counted: Array) -> Array | None:
    """Return the mean weights of the queries that are counted; None for equal ones.

    Source: LightGBM, src/io/metadata.cpp, CalculateQueryWeights.
    """
    if weights is None:
        return None
    means = np.bincount(ids, _numbers(weights / weights.max())) / np.bincount(ids)
    return np.asarray(means[counted])


def _mean(values: Array, weights: Array | None) -> float:
    return float(np.average(values, weights=weights)) if len(values) else float("nan")
