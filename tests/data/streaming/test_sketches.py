"""Sketches of columns against numpy on all values."""

import numpy as np
import polars as pl
import pytest

from jointrain.data.streaming import _sketches
from jointrain.data.streaming._sketches import Counts, Distinct, Moments, Quantiles


def test_moments_are_those_of_all_numbers():
    random = np.random.default_rng(0)
    values = random.normal(1e6, 2.0, 1000)
    values[::7] = np.nan
    weights = random.uniform(0, 3, 1000)
    moments, weighted = Moments(), Moments()
    for start in range(0, 1000, 130):
        part = slice(start, start + 130)
        moments.add(values[part])
        weighted.add(values[part], weights[part])
    known = np.isfinite(values)
    assert moments.mean == pytest.approx(np.nanmean(values), rel=1e-12)
    assert moments.deviation == pytest.approx(np.nanstd(values), rel=1e-9)
    mean = np.average(values[known], weights=weights[known])
    variance = np.average((values[known] - mean) ** 2, weights=weights[known])
    assert weighted.mean == pytest.approx(mean, rel=1e-12)
    assert weighted.deviation == pytest.approx(np.sqrt(variance), rel=1e-9)


def test_quantiles_are_right_to_a_rank_error_of_0_2_percent():
    random = np.random.default_rng(0)
    values = random.lognormal(size=300_000)
    values.sort()  # the order in which numbers come is of no account
    quantiles = Quantiles()
    for part in np.split(values, 30):
        quantiles.add(part)
    shares = np.array([0.01, 0.25, 0.5, 0.75, 0.99])
    ranks = np.searchsorted(values, quantiles.at(shares)) / len(values)
    assert np.abs(ranks - shares).max() < 0.002
    assert quantiles.ends == (values[0], values[-1])


def test_few_values_are_counted_exactly():
    random = np.random.default_rng(0)
    values = pl.Series(random.choice(list("abcde"), 5000, p=[0.5, 0.3, 0.1, 0.06, 0.04]))
    counts = Counts()
    for start in range(0, 5000, 700):
        counts.add(values[start : start + 700])
    expected = values.value_counts(sort=True).rows()
    assert counts.most_frequent().rows() == expected
    assert counts.exact
    assert counts.distinct == 5


def test_frequent_values_among_very_many_are_found(monkeypatch):
    monkeypatch.setattr(_sketches, "MOST_VALUES", 500)
    random = np.random.default_rng(0)
    rows = 200_000
    values = pl.Series(random.zipf(1.3, rows) % 1_000_000).cast(pl.String)
    counts = Counts()
    for start in range(0, rows, 20_000):
        counts.add(values[start : start + 20_000])
    true = dict(values.value_counts().rows())
    assert not counts.exact
    assert counts.error <= rows / 500
    kept = dict(counts.most_frequent().rows())
    for value, count in true.items():
        # the bound of Misra and Gries: none too many, and none too few by more than the error
        assert 0 <= count - kept.get(value, 0) <= counts.error
    assert counts.distinct == pytest.approx(len(true), rel=0.08)


def test_different_texts_are_estimated():
    distinct = Distinct()
    for start in range(0, 100_000, 10_000):
        distinct.add(pl.Series(range(start, start + 20_000)).cast(pl.String))
    assert distinct.count == pytest.approx(110_000, rel=0.06)
    few = Distinct()
    few.add(pl.Series(["a", "b", "a"]))
    assert few.count == 2
