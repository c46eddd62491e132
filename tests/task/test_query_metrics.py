"""Metrics within queries: against scikit-learn query by query, and counts by hand."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import ndcg_score, roc_auc_score

from jointrain.task._query_metrics import NDCG, RecallAt, group_auc

RNG = np.random.default_rng(0)
QUERIES = RNG.integers(0, 12, 90) * 7  # numbers with gaps
GAINS = RNG.integers(0, 4, 90).astype(float)
LABELS = (GAINS > 2).astype(float)
SCORES = RNG.normal(size=90)
TIED = np.round(SCORES)


def _given(scores, target, queries):
    return (torch.from_numpy(np.asarray(scores, dtype=float)),
            torch.from_numpy(np.asarray(target, dtype=float))), {
        "queries": torch.from_numpy(np.asarray(queries))
    }  # fmt: skip


def _call(metric, scores, target, queries):
    positional, named = _given(scores, target, queries)
    return metric(*positional, **named)


def _each(queries):
    for query in np.unique(queries):
        rows = queries == query
        if rows.sum() > 1:
            yield rows


@pytest.mark.parametrize("k", [1, 3, 50])
@pytest.mark.parametrize("scores", [SCORES, TIED, np.zeros(90)])
@pytest.mark.parametrize("gains", [GAINS, LABELS])
def test_ndcg_is_the_mean_of_scikit_learns_over_queries(k, scores, gains):
    expected = [
        ndcg_score(gains[None, rows], scores[None, rows], k=k)
        for rows in _each(QUERIES)
        if gains[rows].any()
    ]
    assert _call(NDCG(k), scores, gains, QUERIES) == pytest.approx(np.mean(expected))


def test_ndcg_by_hand():
    # places 1 and 2 hold gains 1 and 3: (1 + 3 / log2(3)) / (3 + 1 / log2(3))
    expected = (1 + 3 / math.log2(3)) / (3 + 1 / math.log2(3))
    assert _call(NDCG(10), [0.9, 0.5], [1.0, 3.0], [4, 4]) == pytest.approx(expected)
    assert math.isnan(_call(NDCG(10), [0.9, 0.5], [-1.0, 3.0], [4, 4]))


def test_ordered_classes_are_ranked_by_their_mean():
    shares = RNG.dirichlet(np.ones(4), 90)
    by_mean = _call(NDCG(5), shares @ np.arange(4), GAINS, QUERIES)
    assert _call(NDCG(5), shares, GAINS, QUERIES) == pytest.approx(by_mean)


def test_recall_counts_hits():
    expected = []
    for rows in _each(QUERIES):
        best = np.argsort(-SCORES[rows])[:3]
        if LABELS[rows].any():
            expected.append(LABELS[rows][best].sum() / LABELS[rows].sum())
    assert _call(RecallAt(3), SCORES, LABELS, QUERIES) == pytest.approx(np.mean(expected))
    # of three equal rows two are among the first two by lot
    assert _call(RecallAt(2), [1, 1, 1], [1, 0, 0], [5, 5, 5]) == pytest.approx(2 / 3)


@pytest.mark.parametrize("scores", [SCORES, TIED])
def test_group_auc_weighs_queries_by_their_rows(scores):
    areas, sizes = [], []
    for rows in _each(QUERIES):
        if 0 < LABELS[rows].sum() < rows.sum():
            areas.append(roc_auc_score(LABELS[rows], scores[rows]))
            sizes.append(rows.sum())
    expected = np.average(areas, weights=sizes)
    assert _call(group_auc, scores, LABELS, QUERIES) == pytest.approx(expected)


@pytest.mark.parametrize("metric", [NDCG(3), RecallAt(3), group_auc])
def test_what_says_nothing_is_undefined(metric):
    assert math.isnan(_call(metric, [0.1, 0.2], [0.0, 0.0], [1, 1]))
    assert math.isnan(_call(metric, [0.1, 0.2], [1.0, 0.0], [1, 2]))
    assert math.isnan(_call(metric, [math.nan, 0.2], [1.0, 0.0], [1, 1]))


@pytest.mark.parametrize("scores", [SCORES, TIED])
def test_weights_of_rows_count_within_queries_and_between_them(scores):
    weights = RNG.lognormal(size=90)
    areas, sums, gains, hits, means = [], [], [], [], []
    for rows in _each(QUERIES):
        labels, counts = LABELS[rows], weights[rows]
        if 0 < labels.sum() < rows.sum():
            areas.append(roc_auc_score(labels, scores[rows], sample_weight=counts))
            sums.append(counts.sum())
        if labels.any():
            gains.append(ndcg_score(labels[None], scores[None, rows], k=5))
            hits.append(_call(RecallAt(2), scores[rows], labels, QUERIES[rows]))
            means.append(counts.mean())
    given = torch.from_numpy(weights)
    positional, named = _given(scores, LABELS, QUERIES)
    assert group_auc(*positional, given, **named) == pytest.approx(np.average(areas, weights=sums))
    assert NDCG(5)(*positional, given, **named) == pytest.approx(np.average(gains, weights=means))
    found = RecallAt(2)(*positional, given, **named)
    assert found == pytest.approx(np.average(hits, weights=means))
    # equal weights, of any unit, are none
    equal = torch.full((90,), 1e300, dtype=torch.float64)
    for metric in (NDCG(5), RecallAt(2), group_auc):
        assert metric(*positional, equal, **named) == pytest.approx(metric(*positional, **named))


def test_whole_weights_equal_repeated_rows_in_group_auc():
    times = RNG.integers(1, 4, 90)
    repeated = [np.repeat(one, times) for one in (TIED, LABELS, QUERIES)]
    positional, named = _given(TIED, LABELS, QUERIES)
    found = group_auc(*positional, torch.from_numpy(times.astype(float)), **named)
    assert found == pytest.approx(_call(group_auc, *repeated))
