"""Statistics of comparisons against hand-worked cases, scipy and simulations."""

import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import stats

from jointrain import InvalidInputError
from jointrain.studies._statistics import (
    LEVEL,
    Changes,
    check_margin,
    conclude,
    corrected_resampled_t_test,
    delta_m,
    estimate_change,
    judge_all,
    mean_estimate,
)

NAN = math.nan
SEEDS = np.repeat([0, 1, 2], 5)


def judged(changes: dict[str, np.ndarray], **more):
    """Return the comparisons of one recipe's tasks, and its Delta-m."""
    ratio = more.pop("ratio", 0.25)
    samples = {task: Changes(np.asarray(v, float), ratio, **more) for task, v in changes.items()}
    tasks, overall = judge_all({"joint": samples})
    return tasks["joint"], overall["joint"]


def test_corrected_t_test_of_a_hand_worked_case():
    # mean 2, variance 2.5, J = 5, test/train = 1/4: error = sqrt((1/5 + 1/4) * 2.5) = 1.06066
    # t = 1.885618 with 4 degrees of freedom; t(0.975, 4) = 2.776445
    p_value, low, high = corrected_resampled_t_test(np.array([0.0, 1, 2, 3, 4]), 0.25)
    assert p_value == pytest.approx(0.132426, abs=1e-5)
    assert low == pytest.approx(2 - 2.776445 * 1.060660, abs=1e-5)
    assert high == pytest.approx(2 + 2.776445 * 1.060660, abs=1e-5)


def test_seeds_of_a_hand_worked_case():
    # within seeds: -1, 0, 1 and -2, 0, 2, so s^2 = (2 + 8) / 4 = 2.5 with 4 degrees of freedom;
    # mean 4, J = 6, r = 1/2: error = sqrt(2.5 * (1/6 + 1/2)) = 1.290994
    found = estimate_change(
        Changes(np.array([1.0, 2, 3, 4, 6, 8]), 0.5, np.array([0, 0, 0, 1, 1, 1]))
    )
    assert (found.change, found.freedom) == (4, 4)
    assert found.error == pytest.approx(1.290994, abs=1e-6)
    assert found.residuals @ found.residuals == pytest.approx(found.error**2)


@given(st.integers(3, 30), st.integers(0, 1000))
def test_it_is_the_t_test_of_one_sample_with_a_wider_error(count, seed):
    differences = np.random.default_rng(seed).normal(0.3, 1.0, count)
    ratio = 1 / (count - 1)
    error = stats.sem(differences) * math.sqrt(1 + count * ratio)
    low, high = stats.t.interval(0.95, count - 1, differences.mean(), error)
    p_value = 2 * stats.t.sf(abs(differences.mean()) / error, count - 1)
    assert corrected_resampled_t_test(differences, ratio) == pytest.approx((p_value, low, high))


@pytest.mark.parametrize("differences", [[], [3.0], [3.0, 4.0]])
def test_fewer_than_three_folds_have_no_interval(differences):
    p_value, low, high = corrected_resampled_t_test(np.array(differences), 0.25)
    assert p_value == 1
    assert math.isnan(low)
    assert math.isnan(high)


def test_seeds_do_not_stand_in_for_folds():
    # two folds, ten seeds: still two folds
    values = np.random.default_rng(0).normal(5, 0.1, 20)
    tasks, overall = judged({"a": values, "b": values}, ratio=1.0, seeds=np.repeat(range(10), 2))
    for one in (*tasks.values(), overall):
        assert one.verdict == "undecided"
        assert math.isnan(one.low)
        assert math.isnan(one.smallest_visible)
        assert one.change == pytest.approx(values.mean())


def test_equal_recipes_are_equivalent():
    tasks, overall = judged({"a": np.zeros(10), "b": np.zeros(10)})
    for one in (*tasks.values(), overall):
        assert (one.low, one.high, one.p_value, one.verdict) == (0, 0, 1, "equivalent")


def test_the_same_change_everywhere_has_no_spread_to_judge_it_by():
    assert corrected_resampled_t_test(np.full(10, 0.1), 0.25) == pytest.approx(
        (1, NAN, NAN), nan_ok=True
    )


def test_equal_changes_of_a_metric_that_counts_rows_are_as_sure_as_one_row():
    # as if the changes had a standard deviation of 2: error = 2 sqrt(1/5 + 1/4)
    small, large = (
        estimate_change(Changes(np.full(5, value), 0.25, resolution=2.0)) for value in (2.0, 50.0)
    )
    assert small.error == large.error == pytest.approx(2 * math.sqrt(0.45))
    assert conclude(small).verdict == "undecided"
    assert conclude(large).verdict == "better"


def test_undefined_folds_leave_the_variance_of_the_others():
    values = np.array([1.0, NAN, 2, 3, NAN])
    found = estimate_change(Changes(values, 0.25))
    # three folds, as if there were no others: r = 1 / 2
    plain = estimate_change(Changes(np.array([1.0, 2, 3]), 0.5))
    assert (found.defined, found.total, found.freedom) == (3, 5, 2)
    assert (found.change, found.error) == pytest.approx((plain.change, plain.error))


def test_degrees_of_freedom_count_folds_that_come_again_once():
    random = np.random.default_rng(0)
    values = random.normal(size=15)
    same = np.tile(np.eye(5), (3, 3))
    fresh = np.where(SEEDS[:, None] == SEEDS, np.eye(15), 0.2)
    freedoms = [
        estimate_change(Changes(values, 0.25, SEEDS, overlap)).freedom for overlap in (same, fresh)
    ]
    assert freedoms == pytest.approx([4, 12])


def test_where_the_overlap_is_not_known_seeds_do_not_count_for_undefined_folds():
    values = np.random.default_rng(0).normal(size=15)
    assert estimate_change(Changes(values, 0.25, SEEDS)).freedom == 12
    values[3] = NAN
    assert estimate_change(Changes(values, 0.25, SEEDS)).freedom == 4


def test_the_test_keeps_its_level_under_the_null():
    """Ten-fold differences whose correlation is what overlapping training sets give.

    In the model of Nadeau & Bengio two folds' differences correlate by n_test / (n_test + n_train).
    """
    folds, repeats = 10, 2000
    ratio = 1 / (folds - 1)
    correlation = ratio / (1 + ratio)
    random = np.random.default_rng(0)
    common = random.normal(size=(repeats, 1))
    noise = random.normal(size=(repeats, folds))
    differences = math.sqrt(correlation) * common + math.sqrt(1 - correlation) * noise
    corrected = np.mean([corrected_resampled_t_test(row, ratio)[0] < 0.05 for row in differences])
    plain = np.mean(stats.ttest_1samp(differences, 0, axis=1).pvalue < 0.05)
    assert 0.035 < corrected < 0.065
    assert plain > 0.12


def null_changes(random, tasks, folds, defined, deviations, shared=0.0):
    """Return changes of no effect, [3 * folds] each, with the correlation that folds have."""
    seeds = np.repeat(range(3), folds)
    size = (3 * folds, tasks)
    common, own = random.normal(size=(1, tasks)), random.normal(size=size)
    own = math.sqrt(shared) * random.normal(size=(len(own), 1)) + math.sqrt(1 - shared) * own
    found = (math.sqrt(1 / folds) * common + math.sqrt(1 - 1 / folds) * own) * deviations
    for task, kept in enumerate(defined):
        for seed in range(3):
            rows = np.flatnonzero(seeds == seed)
            found[random.permutation(rows)[kept:], task] = NAN
    return {
        str(task): Changes(found[:, task], 1 / (folds - 1), seeds, np.eye(len(seeds)))
        for task in range(tasks)
    }


@pytest.mark.parametrize(
    ("defined", "deviations"),
    [((5, 1), (1, 10)), ((5, 3), (1, 10)), ((3, 4), (3, 3)), ((5, 5), (1, 1))],
)
def test_undefined_folds_make_nothing_surer(defined, deviations):
    random = np.random.default_rng(0)
    false = 0
    for _ in range(400):
        tasks, overall = judge_all({"r": null_changes(random, 2, 5, defined, deviations)})
        said = {overall["r"].verdict, *(one.verdict for one in tasks["r"].values())}
        false += bool(said & {"better", "worse"})
    # a level of 5 % gives 31 or more in one of a hundred such tests
    assert false <= 31


def test_delta_m_is_the_mean_over_tasks_tested_over_folds():
    changes = {"a": np.array([1.0, 2, 3, 6]), "b": np.array([-1.0, 2, 5, 0])}
    shown = delta_m(changes, 0.25)
    expected = corrected_resampled_t_test(np.array([0.0, 2, 4, 3]), 0.25)
    assert shown.change == pytest.approx(2.25)
    assert (shown.p_value, shown.low, shown.high) == pytest.approx(expected)


def test_delta_m_pairs_the_folds_of_tasks_with_undefined_folds():
    # what the tasks have in common in a fold cancels only where the same folds are paired
    wave = np.array([10.0, -10, 10, -10, 10, -10])
    a, b = wave + 1, 1.1 * (1 - wave)
    assert delta_m({"a": a, "b": b}, 0.25).smallest_visible < 2
    a[0], b[5] = NAN, NAN
    shown = delta_m({"a": a, "b": b}, 0.25)
    alone = delta_m({"a": a}, 0.25)
    assert shown.change == pytest.approx((np.nanmean(a) + np.nanmean(b)) / 2)
    assert shown.smallest_visible < 0.6 * alone.smallest_visible
    assert math.isnan(delta_m({"a": wave + 1, "b": 1 - wave}, 0.25).low)


def test_delta_m_is_no_surer_than_the_task_that_makes_up_its_variance():
    random = np.random.default_rng(0)
    a, b = random.normal(0, 0.01, 5), random.normal(0, 10, 5)
    b[:2] = NAN
    shown, alone = delta_m({"a": a, "b": b}, 0.25), delta_m({"b": b}, 0.25)
    assert shown.smallest_visible == pytest.approx(alone.smallest_visible / 2, rel=1e-3)
    assert (shown.defined, shown.total) == (3, 5)


@pytest.mark.parametrize("defined", [0, 1, 2])
def test_delta_m_leaves_out_and_names_a_task_whose_error_cannot_be_told(defined):
    b = np.full(5, NAN)
    b[:defined] = 100.0
    changes = {"a": np.array([1.0, 2, 3, 2, 1]), "b": b}
    shown, alone = delta_m(changes, 0.25), delta_m({"a": changes["a"]}, 0.25)
    assert (shown.change, shown.low, shown.high) == (alone.change, alone.low, alone.high)
    assert shown.left_out == ("b",)
    assert alone.left_out == ()


def test_delta_m_counts_tasks_by_importance():
    each = {
        task: estimate_change(Changes(np.array([v, v + 1, v + 2]), 0.5))
        for task, v in (("a", 0.0), ("b", 10.0), ("c", 99.0))
    }
    found = mean_estimate(each, {"a": 3, "b": 1, "c": 0})
    assert found.change == pytest.approx((3 * 1 + 11) / 4)
    assert found.left_out == ()


def test_delta_m_leaves_out_what_is_no_percentage_unless_all_are_none():
    values = np.array([1.0, 2, 3, 4, 6])
    percent = Changes(values, 0.25)
    difference = Changes(values / 100, 0.25, unit="difference", margin=0.01)
    _, overall = judge_all({"r": {"a": percent, "b": difference}})
    assert (overall["r"].change, overall["r"].unit) == (pytest.approx(3.2), "percent")
    assert overall["r"].left_out == ("b",)
    _, overall = judge_all({"r": {"a": difference, "b": difference}})
    assert (overall["r"].change, overall["r"].unit) == (pytest.approx(0.032), "difference")
    assert overall["r"].left_out == ()


def test_what_is_undefined_for_one_of_the_two_only_shows_nothing():
    values = np.array([9.0, 10, 11, NAN, 10])
    tasks, overall = judged({"a": values, "b": np.nan_to_num(values)}, one_sided=True)
    for one in (*tasks.values(), overall):
        assert one.verdict == "undecided"
        assert math.isnan(one.low)


@pytest.mark.parametrize("changes", [{}, {"a": np.empty(0)}, {"a": np.array([NAN, NAN])}])
def test_delta_m_of_nothing_shows_nothing(changes):
    shown = delta_m(changes, 0.25)
    assert math.isnan(shown.change)
    assert (shown.p_value, shown.verdict) == (1.0, "undecided")


def test_verdicts_of_tasks():
    random = np.random.default_rng(0)
    changes = {
        "up": random.normal(10, 1, 15),
        "down": random.normal(-10, 1, 15),
        "level": random.normal(0.1, 5, 15),
        "same": random.normal(0.1, 0.1, 15),
        "undefined": np.full(15, NAN),
    }
    shown, _ = judged(changes, seeds=SEEDS)
    assert {task: comparison.verdict for task, comparison in shown.items()} == {
        "up": "better",
        "down": "worse",
        "level": "undecided",
        "same": "equivalent",
        "undefined": "undecided",
    }
    assert math.isnan(shown["undefined"].change)


def test_what_lies_within_the_margin_is_equivalent_though_it_differs():
    values = np.array([0.4, 0.5, 0.6, 0.5, 0.45])
    assert delta_m({"a": values}, 0.25).verdict == "equivalent"
    assert delta_m({"a": values}, 0.25, margin=0.1).verdict == "better"


def test_intervals_of_recipes_and_tasks_share_the_level():
    # two recipes of two tasks: a quarter of 5 % for each Delta-m, an eighth for each task's change
    values = np.random.default_rng(0).normal(size=5)
    samples = {task: Changes(values, 0.25) for task in "ab"}
    tasks, overall = judge_all({"one": samples, "two": samples})
    error = stats.sem(values) * math.sqrt(1 + 5 / 4)
    for found, tests in ((overall["one"], 4), (tasks["two"]["b"], 8)):
        half = error * stats.t.ppf(1 - LEVEL / tests / 2, 4)
        assert found.smallest_visible == pytest.approx(half)
    alone, _ = judge_all({"one": {"a": samples["a"]}})
    half = error * stats.t.ppf(1 - LEVEL / 2, 4)
    assert alone["one"]["a"].smallest_visible == pytest.approx(half)


@settings(deadline=None)
@given(
    st.integers(1, 4), st.integers(1, 3), st.integers(2, 6), st.floats(0, 1), st.integers(0, 10**6)
)
def test_the_verdict_is_what_the_printed_interval_says(tasks, seeds, folds, undefined, seed):
    random = np.random.default_rng(seed)
    owner = np.repeat(range(seeds), folds)
    samples = {}
    for task in range(tasks):
        values = random.normal(random.choice([-5, 0, 5]), random.choice([0.1, 1, 5]), len(owner))
        if random.random() < 0.2:
            values = np.round(values)
        values[random.random(len(owner)) < undefined * random.random()] = NAN
        samples[str(task)] = Changes(
            values, 1 / (folds - 1), owner, resolution=float(random.choice([0, 1]))
        )
    by_task, overall = judge_all({"r": samples})
    for one in (*by_task["r"].values(), overall["r"]):
        if math.isnan(one.low):
            assert math.isnan(one.high)
            assert (one.verdict, one.p_value) == ("undecided", 1)
            continue
        assert one.low <= one.change <= one.high
        apart = one.low > 0 or one.high < 0
        assert (one.p_value < LEVEL) == apart
        within = max(abs(one.low), abs(one.high)) <= one.margin
        expected = ("better" if one.change > 0 else "worse") if apart else "undecided"
        assert one.verdict == ("equivalent" if within else expected)


@pytest.mark.parametrize("margin", [-1, NAN, math.inf])
def test_impossible_margins_are_refused(margin):
    with pytest.raises(InvalidInputError, match="`margin` must be a percentage of at least 0"):
        check_margin(margin)
