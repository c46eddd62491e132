"""Intervals from residuals: by hand, coverage, scales, and what bundles of 0.1 kept."""

import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from jointrain.system.stored_files import DamagedError
from jointrain.tables._conformal import LARGEST_SAMPLE, Residuals


def _of(errors):
    """Return residuals of errors around 0; labels of both signs keep the linear scale."""
    errors = np.asarray(errors, np.float64)
    return Residuals.of(np.zeros(len(errors)), errors)


def test_bounds_by_hand():
    residuals = _of([3.0, -1, 2, -4, math.nan])
    assert residuals.rows == 4
    assert residuals.bounds(0.6) == (-4, 3)  # 5 * 0.2 = 1: the first and the last
    assert residuals.bounds(0.2) == (-1, 2)  # 5 * 0.4 = 2
    assert residuals.bounds(0.7) == (-math.inf, math.inf)


def test_each_side_has_its_own_quantile():
    residuals = _of(np.concatenate([np.linspace(-1, 0, 50), np.linspace(0, 100, 49)]))
    low, high = residuals.bounds(0.9)
    assert -1 <= low < 0
    assert high > 80
    np.testing.assert_allclose(residuals.interval(np.array([5.0]), 0.9), [[5 + low, 5 + high]])


@pytest.mark.parametrize("rows", [999, 1000, 1001, 12_345])
def test_kept_quantiles_are_never_inside_those_of_all_residuals(rows):
    errors = np.random.default_rng(0).normal(size=rows)
    ordered = np.sort(errors)
    residuals = _of(errors)
    assert len(residuals.errors) == min(rows, LARGEST_SAMPLE)
    step = math.ceil(rows / LARGEST_SAMPLE)
    for coverage in (0.01, 0.5, 0.9, 0.95, 0.99):
        rank = math.floor((rows + 1) * (1 - coverage) / 2 + 1e-9)
        low, high = residuals.bounds(coverage)
        assert ordered[max(rank - 1 - step, 0)] <= low <= ordered[rank - 1]
        assert ordered[rows - rank] <= high <= ordered[min(rows - rank + step, rows - 1)]


def test_intervals_cover_as_often_as_they_say():
    random = np.random.default_rng(0)
    covered = []
    for _ in range(400):
        low, high = _of(random.exponential(size=99) - 1).bounds(0.9)
        fresh = random.exponential(size=200) - 1
        covered.append(np.mean((low <= fresh) & (fresh <= high)))
    assert np.mean(covered) == pytest.approx(0.9, abs=0.01)


def test_spread_positive_labels_have_intervals_in_proportion_to_their_size():
    random = np.random.default_rng(0)
    truth = np.exp(random.uniform(0, 6, 500))
    residuals = Residuals.of(truth, truth * np.exp(random.normal(scale=0.2, size=500)))
    assert residuals.scale == "log"
    small, large = residuals.interval(np.array([10.0, 1000.0]), 0.9)
    np.testing.assert_allclose(large, 100 * small)
    assert small[0] > 0
    fresh = np.exp(random.uniform(0, 6, 5000))
    labels = fresh * np.exp(random.normal(scale=0.2, size=5000))
    ends = residuals.interval(fresh, 0.9)
    assert np.mean((ends[:, 0] <= labels) & (labels <= ends[:, 1])) == pytest.approx(0.9, abs=0.03)
    # a prediction at or below zero still has a positive interval
    assert (residuals.interval(np.array([-3.0, 0.0]), 0.9) > 0).all()


def test_targets_that_were_never_negative_have_no_interval_below_zero():
    counts = np.tile([0.0, 1, 2, 3, 4], 20)
    residuals = Residuals.of(np.full(100, 2.0), counts)
    assert residuals.scale == "linear"
    assert residuals.interval(np.array([0.5]), 0.9)[0, 0] == 0
    mixed = Residuals.of(np.full(100, 2.0), counts - 2)
    assert mixed.interval(np.array([-1.5]), 0.9)[0, 0] < 0


@given(
    errors=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60), coverage=st.floats(0.01, 0.99)
)
@settings(max_examples=50, deadline=None)
def test_wider_coverage_never_gives_a_narrower_interval(errors, coverage):
    residuals = _of(errors)
    low, high = residuals.bounds(coverage)
    wider = residuals.bounds(coverage + (1 - coverage) / 2)
    assert wider[0] <= low <= high <= wider[1]


@pytest.mark.parametrize(
    "residuals, fault",
    [
        (Residuals(3, np.array([0.0, 1.0])), "not in order"),
        (Residuals(2, np.array([1.0, 0.0])), "not in order"),
        (Residuals(2, np.array([0.0, np.nan])), "not in order"),
        (Residuals(1, np.array([0.0]), "log"), "no scale"),
    ],
)
def test_residuals_that_do_not_fit_together(residuals, fault):
    with pytest.raises(DamagedError, match=fault):
        residuals.check()


@pytest.mark.parametrize("rows", [1, 5, 19, 20, 100, 499])
def test_sizes_alone_give_the_bounds_of_their_rank(rows):
    sizes = np.sort(np.random.default_rng(rows).exponential(size=rows))
    made = Residuals.symmetric(rows, sizes)
    made.check()
    for coverage in (0.5, 0.8, 0.9, 0.95, 0.99):
        rank = math.ceil((rows + 1) * coverage - 1e-9)
        expected = math.inf if rank > rows else sizes[rank - 1]
        assert made.bounds(coverage) == (-expected, expected)


@pytest.mark.parametrize("rows", [500, 1000, 1001, 77_777])
def test_bounds_of_many_sizes_are_hardly_wider(rows):
    every = np.sort(np.random.default_rng(rows).exponential(size=rows))
    kept = min(rows, 1000)
    sizes = every[-(-np.arange(1, kept + 1) * rows // kept) - 1]
    made = Residuals.symmetric(rows, sizes)
    made.check()
    for coverage in (0.5, 0.8, 0.9, 0.95):
        rank = math.ceil((rows + 1) * coverage - 1e-9)
        step = math.ceil(rows / 499)
        low, high = made.bounds(coverage)
        assert low == -high
        assert every[rank - 1] <= high <= every[min(rank - 1 + 3 * step, rows - 1)]


@pytest.mark.parametrize("rows, count", [(0, 0), (3, 2), (2**41, 1000), (1001, 1001)])
def test_sizes_of_another_number_are_refused(rows, count):
    with pytest.raises(DamagedError, match="not in order"):
        Residuals.symmetric(rows, np.zeros(count))
