"""Changes: in percent or as differences, what does not matter, and which folds test the same."""

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

from jointrain.metrics import BINARY_METRICS, MULTICLASS_METRICS, REGRESSION_METRICS, Metric
from jointrain.studies._changes import (
    exact_differences,
    margin_of,
    relative_changes,
    task_changes,
    unit_of,
)
from jointrain.studies._statistics import Changes, conclude, estimate_change

NAN = math.nan
METRICS = {
    metric.name: metric
    for metrics in (BINARY_METRICS, MULTICLASS_METRICS, REGRESSION_METRICS)
    for metric in metrics
}


def test_relative_changes_are_positive_when_better():
    baseline = np.array([2.0, 4.0])
    values = np.array([1.5, 4.5])
    errors = relative_changes(values, baseline, higher_is_better=False)
    scores = relative_changes(values, baseline, higher_is_better=True)
    assert errors == pytest.approx([100 * 0.5 / 3, -100 * 0.5 / 3])
    assert scores == pytest.approx(-errors)


def test_relative_changes_of_a_negative_baseline_keep_their_sign():
    changes = relative_changes(np.array([-1.0]), np.array([-2.0]), higher_is_better=True)
    assert changes == pytest.approx([50.0])


def test_relative_changes_keep_the_place_of_undefined_folds():
    values = np.array([1.0, NAN, 3.0, 4.0])
    baseline = np.array([2.0, 2.0, NAN, 2.0])
    changes = relative_changes(values, baseline, higher_is_better=True)
    assert changes == pytest.approx([-50.0, NAN, NAN, 100.0], nan_ok=True)


def test_relative_changes_without_a_denominator():
    for baseline in (np.array([1.0, NAN]), np.zeros(2)):
        changes = relative_changes(np.array([NAN, 1.0]), baseline, higher_is_better=True)
        assert np.isnan(changes).all()


@pytest.mark.parametrize(
    ("metric", "reference", "unit"),
    [
        ("RMSE", [10.0, 11, 9, 10], "percent"),
        ("RMSE", [1e-6, 1.1e-6, 0.9e-6], "percent"),
        ("RMSE", [0.0, 0, 0], "difference"),
        ("R2", [0.8, 0.7, 0.75], "percent"),
        ("R2", [0.05, 0.06, 0.04], "difference"),
        ("R2", [-0.4, -0.1, -0.2], "difference"),
        ("R2", [0.9, -0.4, 0.3], "difference"),
        ("log-loss", [0.5, 0.4, 0.6], "percent"),
        ("log-loss", [0.001, 0.002, 0.0015], "difference"),
        ("log-loss", [0.9, 0.0, 0.0], "percent"),
        ("macro-F1", [0.0, 0, 0], "difference"),
        ("ROC-AUC", [0.99, 0.98, 1.0], "percent"),
        ("ROC-AUC", [0.9, 0.8], "percent"),
        ("ROC-AUC", [], "percent"),
    ],
)
def test_percentages_need_a_reference_that_is_surely_above_zero(metric, reference, unit):
    assert unit_of(np.array(reference), METRICS[metric], 0.5) == unit


@pytest.mark.parametrize(
    ("metric", "value", "expected"),
    [
        ("RMSE", 50.0, 0.5),
        ("log-loss", 0.5, 0.005),
        ("log-loss", 0.0, 0.0001),
        ("ROC-AUC", 0.99, 0.0001),
        ("accuracy", 0.4, 0.004),
        ("accuracy", 0.5, 0.005),
        ("R2", 0.7, 0.003),
        ("R2", -0.5, 0.015),
        ("R2", 1.0, 0.0),
    ],
)
def test_the_margin_near_a_bound_is_a_share_of_what_is_missing_to_it(metric, value, expected):
    assert margin_of(value, METRICS[metric], 1.0) == pytest.approx(expected)
    assert margin_of(value, METRICS[metric], 3.0) == pytest.approx(3 * expected)


def changes_of(values, reference, metric, **more):
    count = len(values)
    rows = {"test_rows": np.full(count, 20), "train_rows": np.full(count, 80)} | more
    return task_changes(
        np.array(values), np.array(reference), metric, seeds=np.zeros(count), **rows
    )


def test_changes_of_an_error_are_in_percent_of_its_mean():
    found = changes_of([9.0, 9, 12], [10.0, 9, 11], METRICS["RMSE"])
    assert found.values == pytest.approx([10, 0, -10])
    assert (found.unit, found.resolution, found.one_sided) == ("percent", 0, False)
    assert (found.margin, found.test_over_train) == pytest.approx((1, 0.25))


def test_changes_of_what_is_near_zero_are_differences():
    found = changes_of([0.1, 0.2, 0.3], [0.0, -0.1, 0.1], METRICS["R2"])
    assert found.values == pytest.approx([0.1, 0.3, 0.2])
    assert (found.unit, found.margin) == ("difference", pytest.approx(0.01))


def test_one_row_of_an_accuracy_is_the_least_that_can_change():
    found = changes_of([0.85, 0.8, 0.75], [0.8, 0.8, 0.8], METRICS["accuracy"])
    # one of 20 rows is 0.05, or 6.25 % of 0.8; the margin is 1 % of 0.2, or 0.25 % of 0.8
    assert found.resolution == pytest.approx(6.25)
    assert found.margin == pytest.approx(0.25)


def test_the_same_number_of_rows_in_folds_of_other_sizes_is_no_small_spread():
    # one row fewer of 115, 115 and 114: a spread of the sizes alone gave [-1.0, -0.8] and "worse"
    rows = np.array([115, 115, 114])
    reference = np.array([112, 113, 111]) / rows
    changes = task_changes(
        reference - 1 / rows,
        reference,
        METRICS["accuracy"],
        test_rows=rows,
        train_rows=344 - rows,
        seeds=np.zeros(3),
    )
    found = conclude(estimate_change(changes))
    assert found.change == pytest.approx(-0.893, abs=1e-3)
    assert found.verdict == "undecided"
    # what one row can change, corrected for overlapping training sets, times t of two folds
    error = changes.resolution * math.sqrt(1 / 3 + 0.5)
    assert found.high - found.change == pytest.approx(4.303 * error, rel=1e-3)


def test_the_ratio_of_test_to_train_counts_defined_folds():
    found = changes_of(
        [1.0, NAN, 1.0], [1.0, NAN, 2.0], METRICS["RMSE"],
        test_rows=np.array([10, 0, 20]), train_rows=np.array([20, 30, 10]),
    )  # fmt: skip
    assert found.test_over_train == pytest.approx((0.5 + 2) / 2)


def test_a_metric_that_only_one_of_the_two_lacks_is_noticed():
    metric = Metric("correlation", lambda p, t: 0.0, higher_is_better=True, lowest=-1, highest=1)
    assert changes_of([0.5, NAN, 0.5], [0.4, 0.5, 0.4], metric).one_sided
    assert changes_of([NAN, NAN, NAN], [0.4, 0.5, 0.4], metric).one_sided
    assert not changes_of([0.5, NAN, 0.5], [0.4, NAN, 0.4], metric).one_sided


@given(
    whole=st.lists(st.integers(-(10**7), 10**7), min_size=3, max_size=12, unique=True),
    change=st.integers(-2000, 2000),
    decimals=st.integers(1, 6),
)
def test_equal_changes_of_numbers_with_decimals_are_equal(whole, change, decimals):
    reference = np.array([value / 10**decimals for value in whole])
    values = np.array([(value + change) / 10**decimals for value in whole])
    found = exact_differences(values, reference)
    assert (found == found[0]).all()
    assert found[0] == pytest.approx(change / 10**decimals, abs=1e-8)
    assert (found[0] == 0) == (change == 0)
    estimate = estimate_change(Changes(found, 0.25))
    assert estimate.alike == (change != 0)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=8), st.integers(0, 2**31))
def test_differences_beyond_rounding_stay_as_they_are(reference, seed):
    reference = np.array(reference)
    noise = np.random.default_rng(seed).normal(size=len(reference))
    values = reference + 1e-3 * noise
    np.testing.assert_array_equal(exact_differences(values, reference), values - reference)


def test_sums_that_are_equal_up_to_rounding_are_no_change():
    assert exact_differences(np.array([0.1 + 0.2, 0.5]), np.array([0.3, 0.4])).tolist() == [
        0.0,
        0.5 - 0.4,
    ]
