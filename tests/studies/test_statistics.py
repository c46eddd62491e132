"""Statistics of comparisons against hand-worked cases, scipy and a simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from jointrain.studies._statistics import (
    compare_changes,
    corrected_resampled_t_test,
    delta_m,
    holm,
    relative_changes,
)

NAN = math.nan


def test_corrected_t_test_of_a_hand_worked_case():
    # mean 2, variance 2.5, J = 5, test/train = 1/4: error = sqrt((1/5 + 1/4) * 2.5) = 1.06066
    # t = 1.885618 with 4 degrees of freedom; t(0.975, 4) = 2.776445
    p_value, low, high = corrected_resampled_t_test(np.array([0.0, 1, 2, 3, 4]), 0.25)
    assert p_value == pytest.approx(0.132426, abs=1e-5)
    assert low == pytest.approx(2 - 2.776445 * 1.060660, abs=1e-5)
    assert high == pytest.approx(2 + 2.776445 * 1.060660, abs=1e-5)


@given(st.integers(2, 30), st.integers(0, 1000))
def test_without_overlap_it_is_the_one_sample_t_test(count, seed):
    differences = np.random.default_rng(seed).normal(0.3, 1.0, count)
    expected = stats.ttest_1samp(differences, 0)
    interval = expected.confidence_interval(0.95)
    assert corrected_resampled_t_test(differences, 0.0) == pytest.approx(
        (expected.pvalue, interval.low, interval.high)
    )


def test_overlap_widens_the_interval_and_raises_the_p_value():
    differences = np.random.default_rng(0).normal(1, 1, 15)
    plain = corrected_resampled_t_test(differences, 0.0)
    corrected = corrected_resampled_t_test(differences, 0.25)
    assert corrected[0] > plain[0]
    assert corrected[1] < plain[1] < plain[2] < corrected[2]
    widening = (corrected[2] - corrected[1]) / (plain[2] - plain[1])
    assert widening == pytest.approx(math.sqrt((1 / 15 + 1 / 4) * 15))


@pytest.mark.parametrize("differences", [[], [3.0]])
def test_fewer_than_two_differences_show_nothing(differences):
    p_value, low, high = corrected_resampled_t_test(np.array(differences), 0.25)
    assert p_value == 1
    assert math.isnan(low)
    assert math.isnan(high)


def test_equal_recipes_show_nothing():
    assert corrected_resampled_t_test(np.zeros(10), 0.25) == (1.0, 0.0, 0.0)


def test_the_same_change_everywhere_counts_by_its_signs():
    expected = (2 * 0.5**10, 0.1, 0.1)
    assert corrected_resampled_t_test(np.full(10, 0.1), 0.25) == pytest.approx(expected)


def test_the_test_keeps_its_level_under_the_null():
    """Ten-fold differences whose correlation is what overlapping training sets give.

    In the model of Nadeau & Bengio two folds' differences correlate by n_test / (n_test + n_train).
    """
    folds, repeats = 10, 4000
    ratio = 1 / (folds - 1)
    correlation = ratio / (1 + ratio)
    random = np.random.default_rng(0)
    common = random.normal(size=(repeats, 1))
    noise = random.normal(size=(repeats, folds))
    differences = math.sqrt(correlation) * common + math.sqrt(1 - correlation) * noise
    corrected = np.mean([corrected_resampled_t_test(row, ratio)[0] < 0.05 for row in differences])
    plain = np.mean([corrected_resampled_t_test(row, 0.0)[0] < 0.05 for row in differences])
    assert 0.035 < corrected < 0.065
    assert plain > 0.12


def test_holm_of_a_hand_worked_case():
    # sorted 0.005, 0.01, 0.03, 0.04 -> times 4, 3, 2, 1 -> 0.02, 0.03, 0.06, max(0.06, 0.04)
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([0.03]) == [0.03]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=10))
def test_holm_keeps_the_order_and_lies_between_plain_and_bonferroni(p_values):
    corrected = holm(p_values)
    for i, (p, q) in enumerate(zip(p_values, corrected, strict=True)):
        assert p <= q <= min(1.0, len(p_values) * p)
        assert all(corrected[j] >= q for j in range(len(p_values)) if p_values[j] > p_values[i])


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


def test_relative_changes_without_a_defined_fold():
    changes = relative_changes(np.array([NAN, 1.0]), np.array([1.0, NAN]), higher_is_better=True)
    assert np.isnan(changes).all()


def test_relative_changes_of_a_baseline_of_zero():
    changes = relative_changes(np.array([0.0, 1.0]), np.zeros(2), higher_is_better=False)
    assert changes == pytest.approx([0.0, NAN], nan_ok=True)


def test_verdicts_of_tasks():
    random = np.random.default_rng(0)
    changes = {
        "up": random.normal(10, 1, 15),
        "down": random.normal(-10, 1, 15),
        "level": random.normal(0.1, 5, 15),
        "undefined": np.full(15, NAN),
    }
    shown = compare_changes(changes, 0.25)
    assert {task: comparison.verdict for task, comparison in shown.items()} == {
        "up": "better",
        "down": "worse",
        "level": "undecided",
        "undefined": "undecided",
    }
    up = shown["up"]
    assert up.change == pytest.approx(changes["up"].mean())
    assert up.low < up.change < up.high
    plain = corrected_resampled_t_test(changes["up"], 0.25)[0]
    assert plain < up.p_value <= 4 * plain
    assert math.isnan(shown["undefined"].change)


def test_delta_m_is_the_mean_over_tasks_tested_over_folds():
    changes = {"a": np.array([1.0, 2, 3, 6]), "b": np.array([-1.0, 2, 5, 0])}
    shown = delta_m(changes, 0.25)
    expected = corrected_resampled_t_test(np.array([0.0, 2, 4, 3]), 0.25)
    assert shown.change == pytest.approx(2.25)
    assert (shown.p_value, shown.low, shown.high) == pytest.approx(expected)


def test_delta_m_pairs_the_folds_of_tasks_with_undefined_folds():
    # the folds' common part of the two tasks cancels only where the same folds are paired
    wave = np.array([10.0, -10, 10, -10, 10, -10])
    a, b = wave + 1, 1 - wave
    a[0], b[5] = NAN, NAN
    shown = delta_m({"a": a, "b": b}, 0.25)
    filled_a, filled_b = np.nan_to_num(a, nan=np.nanmean(a)), np.nan_to_num(b, nan=np.nanmean(b))
    assert shown.change == pytest.approx((np.nanmean(a) + np.nanmean(b)) / 2)
    expected = corrected_resampled_t_test((filled_a + filled_b) / 2, 0.25)
    assert (shown.p_value, shown.low, shown.high) == pytest.approx(expected)


def test_delta_m_leaves_out_a_task_without_a_defined_fold():
    changes = {"a": np.array([1.0, 2, 3]), "b": np.full(3, NAN)}
    assert delta_m(changes, 0.5) == delta_m({"a": changes["a"]}, 0.5)


@pytest.mark.parametrize("changes", [{}, {"a": np.empty(0)}, {"a": np.array([NAN, NAN])}])
def test_delta_m_of_nothing_shows_nothing(changes):
    shown = delta_m(changes, 0.25)
    assert math.isnan(shown.change)
    assert (shown.p_value, shown.verdict) == (1.0, "undecided")
