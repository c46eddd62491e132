"""Verdicts on given runs, against scipy's tests and by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st
from scipy import stats

from jointrain import (
    InvalidInputError,
    Study,
    SupervisedTable,
    default_recipes,
    load_penguins,
)
from jointrain.studies import corrected_resampled_t_test, verdict
from jointrain.studies._metric_names import named_metric
from jointrain.studies._run_changes import GivenRuns
from jointrain.studies._statistics import judge_estimates

JOINT = [0.82, 0.85, 0.81, 0.86, 0.84]
SEPARATE = [0.80, 0.81, 0.80, 0.83, 0.82]


def rows(recipe, values, task="a", metric="accuracy", seeds=None, **more):
    seeds = range(len(values)) if seeds is None else seeds
    return [
        {"recipe": recipe, "task": task, "metric": metric, "seed": seed, "value": value, **more}
        for seed, value in zip(seeds, values, strict=True)
    ]


def two(joint=JOINT, separate=SEPARATE, **fields):
    return pl.DataFrame(
        rows("joint", joint, **fields) + rows("separate", separate, **fields),
        infer_schema_length=None,
    )


def by_folds(joint, separate, seeds, folds, **columns):
    keys = [(seed, fold) for seed in range(seeds) for fold in range(folds)]
    return pl.DataFrame(
        [
            {
                "recipe": name, "task": "a", "metric": "rmse", "seed": seed, "fold": fold,
                "value": value, **columns,
            }
            for name, values in (("joint", joint), ("separate", separate))
            for (seed, fold), value in zip(keys, values, strict=True)
        ]
    )  # fmt: skip


def test_same_seeds_are_judged_by_the_paired_t_test():
    result = verdict(two())
    found = result.comparisons["joint"]["a"]
    test = stats.ttest_rel(JOINT, SEPARATE)
    low, high = test.confidence_interval()
    percent = 100 / np.mean(SEPARATE)
    assert found.p_value == pytest.approx(test.pvalue)
    assert (found.low, found.high) == pytest.approx((percent * low, percent * high))
    assert found.change == pytest.approx(percent * 0.024)
    assert result.tests == {"joint": "paired t"}
    # one task: Delta-m is its change
    assert result.delta_m["joint"].p_value == pytest.approx(test.pvalue)


def test_other_seeds_are_judged_by_welch():
    others = pl.DataFrame(rows("joint", JOINT, seeds=range(5, 10)) + rows("separate", SEPARATE[:4]))
    result = verdict(others)
    found = result.comparisons["joint"]["a"]
    test = stats.ttest_ind(JOINT, SEPARATE[:4], equal_var=False)
    low, high = test.confidence_interval()
    percent = 100 / np.mean(SEPARATE[:4])
    assert result.tests == {"joint": "Welch t"}
    assert found.p_value == pytest.approx(test.pvalue)
    assert (found.low, found.high) == pytest.approx((percent * low, percent * high))


def test_of_errors_less_is_better():
    found = verdict(two([1.0, 1.1, 1.2], [2.0, 2.2, 2.3], metric="val/RMSE"))
    assert found.comparisons["joint"]["a"].change == pytest.approx(100 * 3.2 / 6.5)
    assert found.verdict("joint")["a"] == "better"


def test_delta_m_over_tasks_of_the_same_seeds_is_the_paired_test_of_the_mean():
    random = np.random.default_rng(0)
    values = random.normal(1, 0.1, (2, 3, 6))
    frame = pl.concat(
        two(values[0, i], values[1, i], task=task, metric="rmse") for i, task in enumerate("abc")
    )
    result = verdict(frame)
    changes = 100 * (1 - values[0] / values[1].mean(1, keepdims=True))
    changes -= 100 * (1 - values[1] / values[1].mean(1, keepdims=True))
    test = stats.ttest_1samp(changes.mean(0), 0)
    assert result.delta_m["joint"].change == pytest.approx(changes.mean())
    # half of the level is for Delta-m
    assert result.delta_m["joint"].p_value == pytest.approx(min(1, 2 * test.pvalue))
    each = [stats.ttest_1samp(one, 0).pvalue for one in changes]
    found = [result.comparisons["joint"][task].p_value for task in "abc"]
    assert found == pytest.approx([min(1, 6 * p) for p in each])


def test_recipes_are_judged_at_once():
    frame = pl.concat([two(), pl.DataFrame(rows("upgrad", JOINT[::-1]))])
    alone = verdict(two()).comparisons["joint"]["a"]
    among = verdict(frame).comparisons["joint"]["a"]
    assert among.p_value == pytest.approx(2 * alone.p_value)
    assert among.low < alone.low


def test_folds_are_judged_by_the_corrected_resampled_test():
    random = np.random.default_rng(1)
    separate = random.normal(2, 0.1, 5)
    joint = separate - random.normal(0.1, 0.05, 5)
    result = verdict(by_folds(joint, separate, 1, 5), fold="fold", test_fraction=0.3)
    p_value, low, high = corrected_resampled_t_test(
        100 * (separate - joint) / separate.mean(), 3 / 7
    )
    found = result.comparisons["joint"]["a"]
    assert (found.p_value, found.low, found.high) == pytest.approx((p_value, low, high))
    assert result.tests == {"joint": "corrected resampled t"}
    # Nadeau and Bengio by hand
    left = separate - joint
    error = left.std(ddof=1) * math.sqrt(1 / 5 + 3 / 7)
    assert found.p_value == pytest.approx(2 * stats.t.sf(abs(left.mean()) / error, 4))


@pytest.mark.parametrize("shares", [False, True])
@pytest.mark.parametrize("spread", [1e-5, 3e-4, 1e-2])
@pytest.mark.parametrize("metric", ["accuracy", "auroc", "miou"])
def test_bounded_metrics_over_folds_keep_their_spread(metric, spread, shares):
    """Test rows that are not known, or given as shares, are no counts of rows."""
    for seed in range(10):
        random = np.random.default_rng(seed)
        folds = int(random.integers(3, 8))
        separate = random.normal(0.8, 0.01, folds)
        joint = separate + random.normal(spread, spread, folds)
        frame = by_folds(joint, separate, 1, folds).with_columns(metric=pl.lit(metric))
        rows = {"test_rows": "n", "train_rows": "m"} if shares else {"test_fraction": 0.25}
        found = verdict(frame.with_columns(n=0.25, m=0.75), fold="fold", **rows)
        change = 100 * (joint - separate) / separate.mean()
        error = change.std(ddof=1) * math.sqrt(1 / folds + 1 / 3)
        reach = stats.t.ppf(0.975, folds - 1) * error
        by_hand = change.mean() + reach * np.array([-1, 0, 1])
        one = found.comparisons["joint"]["a"]
        assert (one.low, one.change, one.high) == pytest.approx(tuple(by_hand), rel=1e-6)
        assert not any("same in all runs" in note for note in found.notes)


def test_folds_alone_are_those_of_a_cross_validation():
    joint, separate = np.array([1.0, 1.3, 1.1, 1.2, 1.15]), np.array([1.4, 1.5, 1.6, 1.3, 1.5])
    frame = by_folds(joint, separate, 1, 5)
    plain = verdict(frame.drop("seed"), fold="fold")
    fifth = verdict(frame, fold="fold", test_fraction=0.2)
    by_rows = verdict(frame.with_columns(n=20, m=80), fold="fold", test_rows="n", train_rows="m")
    for one in (fifth, by_rows):
        assert one.comparisons["joint"]["a"].p_value == pytest.approx(
            plain.comparisons["joint"]["a"].p_value
        )
    assert any("1/5 of the rows" in note for note in plain.notes)
    assert not by_rows.notes


def test_a_column_of_folds_is_not_passed_over():
    """Seeds on one test set are judged otherwise than folds."""
    random = np.random.default_rng(3)
    separate = random.normal(2, 0.1, 5)
    joint = separate - random.normal(0.1, 0.05, 5)
    frame = by_folds(joint, separate, 5, 1).with_columns(fold=pl.col("seed"))
    named, found = verdict(frame, fold="fold"), verdict(frame)
    assert found.comparisons == named.comparisons
    assert any("'fold' is taken as the folds" in note for note in found.notes)
    assert verdict(frame.rename({"fold": "params.fold"})).comparisons == named.comparisons
    # one name tells nothing apart
    one = verdict(frame.with_columns(fold=pl.lit(0)))
    assert one.comparisons == verdict(frame.drop("fold")).comparisons
    assert one.comparisons != named.comparisons


def test_the_same_folds_in_each_seed_are_no_new_rows():
    random = np.random.default_rng(2)
    separate = random.normal(2, 0.1, 15)
    joint = separate - random.normal(0.1, 0.05, 15)
    frame = by_folds(joint, separate, 3, 5)
    same = verdict(frame, fold="fold")
    # folds of other names are cut anew
    own = frame.with_columns(fold=pl.col("seed") * 5 + pl.col("fold"))
    anew = verdict(own, fold="fold")
    one, other = (result.comparisons["joint"]["a"] for result in (same, anew))
    assert one.smallest_visible / other.smallest_visible == pytest.approx(
        stats.t.isf(0.025, 4) / stats.t.isf(0.025, 12)
    )


def test_a_cut_of_its_own_in_each_seed_is_a_fold():
    separate = np.array([1.4, 1.5, 1.6, 1.3, 1.5, 1.45])
    joint = separate - [0.1, 0.2, 0.15, 0.05, 0.12, 0.1]
    frame = by_folds(joint, separate, 6, 1).with_columns(fold=pl.col("seed"))
    found = verdict(frame, fold="fold", test_fraction=0.2).comparisons["joint"]["a"]
    p_value, *_ = corrected_resampled_t_test((separate - joint) / separate.mean(), 0.25)
    assert found.p_value == pytest.approx(p_value)


@pytest.mark.parametrize("count", [1, 2])
def test_fewer_than_three_pairs_have_no_interval(count):
    result = verdict(two(JOINT[:count], SEPARATE[:count]))
    found = result.comparisons["joint"]["a"]
    assert math.isnan(found.low)
    assert found.verdict == "undecided"
    assert found.change > 0
    assert result.tests == {"joint": "none"}
    assert result.needed["joint"]["a"].seeds is None


def test_missing_runs_are_counted_and_not_filled_in():
    result = verdict(two().filter(~((pl.col("recipe") == "joint") & (pl.col("seed") == 2))))
    found = result.comparisons["joint"]["a"]
    kept = [0, 1, 3, 4]
    test = stats.ttest_rel([JOINT[i] for i in kept], [SEPARATE[i] for i in kept])
    assert found.p_value == pytest.approx(test.pvalue)
    assert (found.defined, found.total) == (4, 5)
    assert result.notes == ("a by joint against separate is defined in 4 of 5 pairs of runs",)


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_runs_without_a_value_in_one_recipe_leave_no_interval(value):
    result = verdict(two([*JOINT[:4], value]))
    found = result.comparisons["joint"]["a"]
    assert math.isnan(found.low)
    assert (found.defined, found.total) == (4, 5)
    assert "undefined in runs of one of the two" in " ".join(result.notes)


def test_a_task_that_a_recipe_lacks_is_named():
    frame = pl.concat([two(), two(task="b"), pl.DataFrame(rows("only b", JOINT, task="b"))])
    result = verdict(frame)
    assert list(result.comparisons["only b"]) == ["b"]
    assert "only b has no value of a" in result.notes
    lacking = pl.concat([two(), pl.DataFrame(rows("joint", JOINT, task="b"))])
    assert "separate has no value of b: no verdict for it" in verdict(lacking).notes


def test_equal_runs_are_asked_about():
    result = verdict(two(separate=[0.8] * 5))
    assert "all runs of separate have the same accuracy of a: see whether the seed was used" in (
        result.notes
    )
    assert math.isfinite(result.comparisons["joint"]["a"].low)
    same = verdict(two(separate=JOINT)).comparisons["joint"]["a"]
    assert (same.low, same.high, same.verdict) == (0, 0, "equivalent")


@pytest.mark.parametrize("welch", [False, True])
def test_the_seeds_that_are_needed_have_the_power(welch):
    seeds = range(5, 10) if welch else range(5)
    frame = pl.DataFrame(rows("joint", JOINT, seeds=seeds) + rows("separate", SEPARATE))
    needed = verdict(frame, difference=0.01).needed["joint"]["a"]
    assert needed.difference == pytest.approx(1 / np.mean(SEPARATE))
    assert needed.seeds is not None
    powers = []
    for count in (needed.seeds - 1, needed.seeds):
        if welch:
            parts = np.var(JOINT, ddof=1), np.var(SEPARATE, ddof=1)
            error = math.sqrt(sum(parts) / count)
            freedom = (count - 1) * sum(parts) ** 2 / sum(part**2 for part in parts)
        else:
            error = np.std(np.subtract(JOINT, SEPARATE), ddof=1) / math.sqrt(count)
            freedom = count - 1
        limit = stats.t.isf(0.025, freedom)
        found = stats.nct(freedom, 0.01 / error)
        powers.append(found.sf(limit) + np.nan_to_num(found.cdf(-limit)))
    assert powers[0] < 0.8 <= powers[1]
    assert needed.seeds_if_wider > needed.seeds


def test_no_number_of_seeds_shows_what_the_folds_hide():
    random = np.random.default_rng(3)
    separate = random.normal(2, 0.2, 10)
    joint = separate + random.normal(0, 0.2, 10)
    result = verdict(by_folds(joint, separate, 2, 5), fold="fold", difference="1%")
    assert result.needed["joint"]["a"].seeds is None


@given(st.permutations(range(20)))
@settings(max_examples=20, deadline=None, derandomize=True)
def test_the_order_of_rows_does_not_matter(order):
    frame = pl.concat([two(), two(JOINT[::-1], SEPARATE[1:] + SEPARATE[:1], task="b")])
    expected = verdict(frame)
    found = verdict(frame[order])
    assert found.to_frame().equals(expected.to_frame())
    assert found.notes == expected.notes


@given(
    st.lists(st.tuples(*[st.floats(0.5, 2)] * 2), min_size=3, max_size=8),
    st.integers(-10, 10),
)
@settings(max_examples=50, deadline=None, derandomize=True)
def test_the_unit_of_an_error_does_not_matter(pairs, exponent):
    joint, separate = zip(*pairs, strict=True)
    plain = verdict(two(joint, separate, metric="rmse"))
    scaled = two(joint, separate, metric="rmse").with_columns(pl.col("value") * 2.0**exponent)
    assert (
        verdict(scaled)
        .to_frame()
        .drop("mean", "baseline_mean")
        .equals(plain.to_frame().drop("mean", "baseline_mean"))
    )


@pytest.mark.parametrize("design", ["pairs", "no pairs", "folds"])
def test_where_nothing_differs_few_studies_find_something(design):
    random = np.random.default_rng(4)
    metrics = {task: named_metric("rmse", np.ones(1))[0] for task in "ab"}
    studies, false = 2000, 0
    shift = 4 if design == "no pairs" else 0
    for _ in range(studies):
        values = {}
        for at, name in enumerate(("separate", "joint", "upgrad")):
            for task in metrics:
                if design == "folds":
                    keys = [(str(seed), str(fold)) for seed in range(2) for fold in range(5)]
                    # the rows of a fold are as hard for all seeds
                    drawn = np.tile(random.normal(10, 1, 5), 2) + random.normal(0, 0.3, 10)
                else:
                    keys = [(str(seed + at * shift), "") for seed in range(4)]
                    drawn = random.normal(10, 1, 4)
                values[name, task] = dict(zip(keys, drawn, strict=True))
        runs = GivenRuns(values, 5 if design == "folds" else 0, False, margin=0.0)
        estimates = {name: runs.judge(name, "separate", metrics)[0] for name in ("joint", "upgrad")}
        tasks, overall = judge_estimates(estimates)
        found = [*overall.values(), *(one for of in tasks.values() for one in of.values())]
        false += any(one.verdict in ("better", "worse") for one in found)
    # of 2,000 with 5 % each more come by chance in 1 of 1,000 such tests
    assert false <= stats.binom.ppf(0.999, studies, 0.05)


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({}, {"baseline": "seperate"}, "no recipe 'seperate' to compare with.*did you mean 'sep"),
        ({}, {"baseline": "x"}, "no recipe 'x' to compare with; there are 'joint', 'separate'"),
        ({}, {"judge_by": "f1"}, "has no metric 'f1'; there are 'accuracy'"),
        ({}, {"margin": -1}, "margin"),
        ({}, {"difference": "a lot"}, "the difference must be a positive number"),
        ({}, {"difference": 0}, "the difference must be a positive number"),
        ({}, {"test_fraction": 0.2}, "where there are folds only"),
        ({}, {"fold": "seed", "test_fraction": 1.2}, "between 0 and 1, got 1.2"),
        ({}, {"fold": "seed", "test_rows": "value"}, "both test rows and training rows"),
        ({}, {"higher": "accuracy", "lower": "accuracy"}, "both higher and lower"),
        ({"task": "Delta-m"}, {}, "a task can't be called 'Delta-m', which is what the mean over"),
        ({"metric": "quality"}, {}, "more or less of metric 'quality' is better is not known"),
    ],
)
def test_what_can_not_be_judged_is_said_in_a_sentence(change, options, message):
    frame = two().with_columns(**{name: pl.lit(value) for name, value in change.items()})
    with pytest.raises(InvalidInputError, match=message):
        verdict(frame, **options)


def test_one_recipe_has_nothing_to_compare_with():
    with pytest.raises(InvalidInputError, match="all runs are of recipe 'separate'"):
        verdict(two().filter(recipe="separate"))
    apart = pl.DataFrame(rows("joint", JOINT) + rows("separate", SEPARATE, task="b"))
    with pytest.raises(InvalidInputError, match="no task has values of both"):
        verdict(apart)
    empty = two([None] * 5, [None] * 5).with_columns(pl.col("value").cast(pl.Float64))
    with pytest.raises(InvalidInputError, match="no task has values of both"):
        verdict(empty)
    # one that can be judged is, beside one that can't
    more = verdict(pl.concat([two(), pl.DataFrame(rows("other", JOINT, task="b"))]))
    assert more.verdict("other") == {"Delta-m": "undecided"}
    assert more.tests == {"joint": "paired t", "other": "none"}


def test_the_folds_of_a_study_have_its_verdicts():
    table = SupervisedTable.prepare(load_penguins(), ["species", "sex", "body_mass_g"])
    recipes = [replace(one, epochs=2, width=8) for one in default_recipes()]
    study = Study(table, recipes, [], folds=5, seeds=1).run(workers=1)
    found = verdict(
        study.table,
        fold="fold",
        test_rows="test_rows",
        train_rows="train_rows",
        judge_by=["accuracy", "ROC-AUC", "RMSE"],
    )
    for recipe, of_tasks in study.comparisons.items():
        for task, one in of_tasks.items():
            other = found.comparisons[recipe][task]
            assert (one.change, one.low, one.margin) == pytest.approx(
                (other.change, other.low, other.margin)
            )
        assert found.delta_m[recipe].low == pytest.approx(study.delta_m[recipe].low)
        assert found.verdict(recipe) == study.verdict(recipe)


def test_a_task_with_several_metrics_needs_a_word():
    frame = pl.concat([two(), two(metric="loss")])
    with pytest.raises(InvalidInputError, match="metrics accuracy, loss; say by which"):
        verdict(frame)
    result = verdict(frame, judge_by="accuracy")
    assert result.notes == ("not judged: loss",)
    assert result.to_frame()["verdict"].to_list() == verdict(two()).to_frame()["verdict"].to_list()
    mixed = pl.concat([two(), two(metric="loss", task="b")])
    assert verdict(mixed).metrics["b"].higher_is_better is False
    with pytest.raises(InvalidInputError, match="task 'b' has none of the metrics"):
        verdict(mixed, judge_by="accuracy")


def test_folds_lacking_their_rows_are_named():
    frame = by_folds([1.0] * 5, [1.1, 1.2, 1.0, 1.3, 1.2], 1, 5).with_columns(
        n=pl.when(pl.col("fold") != 3).then(20), m=pl.when(pl.col("fold") != 3).then(80)
    )
    with pytest.raises(InvalidInputError, match="no test and training rows in seed 0, fold 3"):
        verdict(frame, fold="fold", test_rows="n", train_rows="m")
    with pytest.raises(InvalidInputError, match="0 test rows"):
        verdict(frame.with_columns(n=0, m=80), fold="fold", test_rows="n", train_rows="m")


@pytest.mark.parametrize("name", ["a", "z"])
def test_recipes_have_folds_of_one_size(name):
    """The last one's sizes would decide, by its name."""
    frame = by_folds([1.0, 1.1, 1.0, 1.2, 1.1], [1.1, 1.2, 1.0, 1.3, 1.2], 1, 5).with_columns(
        recipe=pl.col("recipe").replace("joint", name),
        n=pl.when(recipe="separate").then(100).otherwise(400),
        m=pl.when(recipe="separate").then(400).otherwise(100),
    )
    first, second = sorted(["separate", name])
    with pytest.raises(
        InvalidInputError,
        match=rf"task 'a' has \d00 test rows and \d00 training rows in seed 0, fold 0 by "
        rf"{first!r} but \d00 and \d00 by {second!r}; give",
    ):
        verdict(frame, fold="fold", test_rows="n", train_rows="m")
    with pytest.raises(InvalidInputError, match="training rows in fold 0 by"):
        verdict(frame.drop("seed"), fold="fold", test_rows="n", train_rows="m")
    # tasks may differ, and folds
    alike = frame.with_columns(n=100 + pl.col("fold"), m=pl.lit(400))
    whole = pl.concat([alike, alike.with_columns(task=pl.lit("b"), n=pl.col("n") - 50)])
    assert verdict(whole, fold="fold", test_rows="n", train_rows="m").tasks == ["a", "b"]


PERCENT = [100 * value for value in JOINT]


@pytest.mark.parametrize(
    ("joint", "separate"),
    [
        (PERCENT, SEPARATE),
        (SEPARATE, PERCENT),
        ([*PERCENT[:3], *JOINT[3:]], PERCENT),
        ([95.0, 97.0, 96.0], [0.30, 0.31, 0.29]),
        ([100.0, 99.0, 98.0], [1.0, 0.99, 0.98]),
        ([30.0, 31.0, 32.0], [0.0, 0.6, 0.61]),
    ],
)
def test_shares_beside_percents_are_refused(joint, separate):
    with pytest.raises(InvalidInputError, match=r"accuracy of task 'a' is .* by recipe '.*', seed"):
        verdict(two(joint, separate))


@pytest.mark.parametrize(
    ("joint", "separate"),
    [
        ([2.1, 2.0, 1.9], [0.4, 0.5, 0.3]),
        ([6.1, 5.0, 7.9], [0.9, 1.1, 0.3]),
        ([80.0, 81.0, 82.0], [0.0, 0.0, 0.0]),
        ([0.4, 1.5, 0.3], [0.9, 9.0, 40.0]),
    ],
)
def test_percents_of_rare_things_are_none_of_shares(joint, separate):
    assert verdict(two(joint, separate)).metrics["a"].highest == 100


def test_what_is_no_share_may_differ_by_any_factor():
    assert verdict(two([80.0, 81.0, 82.0], [0.8, 0.81, 0.82], metric="rmse")).tasks == ["a"]
    frame = two(PERCENT, SEPARATE, metric="quality")
    assert verdict(frame, higher="quality").tasks == ["a"]


SAME = "by joint against separate is the same in all runs, so nothing tells how sure it is"


def equal_changes(by):
    joint, separate = [0.81, 0.82, 0.80], [0.80, 0.81, 0.79]
    if by == "seeds":
        return verdict(two(joint, separate))
    if by == "folds":
        return verdict(by_folds(joint, separate, 1, 3), fold="fold", test_fraction=0.3)
    perfect = rows("joint", [1.0] * 3, seeds=[7, 8, 9])
    return verdict(pl.DataFrame(perfect + rows("separate", [0.0] * 3)))


@pytest.mark.parametrize("by", ["seeds", "folds", "other seeds"])
def test_changes_that_are_all_equal_are_said_to_be(by):
    result = equal_changes(by)
    assert not math.isfinite(result.comparisons["joint"]["a"].low)
    assert f"the change of a {SAME}" in result.notes
    # all 0 is a verdict, and two are no sign
    for joint in (SEPARATE, [0.81, 0.82]):
        assert SAME not in " ".join(verdict(two(joint, SEPARATE[: len(joint)])).notes)


def test_a_mean_over_tasks_that_is_the_same_in_all_runs_is_said_to_be():
    left = np.array([-0.02, 0.0, 0.02])
    frame = pl.concat(
        two(list(0.9 + sign * left), [1.0] * 3, task=task, metric="rmse")
        for task, sign in (("a", 1), ("b", -1))
    )
    result = verdict(frame)
    assert math.isfinite(result.comparisons["joint"]["a"].low)
    assert not math.isfinite(result.delta_m["joint"].low)
    assert f"the change of Delta-m {SAME}" in result.notes


def test_an_unknown_recipe_has_no_verdict():
    with pytest.raises(InvalidInputError, match=r"no recipe 'joimt'.*did you mean 'joint'"):
        verdict(two()).verdict("joimt")


@pytest.mark.parametrize("column", ["seed", "fold"])
def test_changes_that_are_equal_but_for_rounding_give_no_interval(column):
    first = [1234.567, 1198.231, 1302.113, 1250.999, 1277.777]
    values = [*first, *(round(value - 0.1, 3) for value in first)]
    runs = pl.DataFrame(
        {
            "recipe": ["separate"] * 5 + ["joint"] * 5,
            "task": "words",
            "metric": "perplexity",
            column: [*range(5)] * 2,
            "value": values,
        }
    )
    result = verdict(runs, margin=0)
    assert result.verdict("joint") == {"words": "undecided", "Delta-m": "undecided"}
    assert math.isnan(result.comparisons["joint"]["words"].low)
    assert any("is the same in all runs" in note for note in result.notes)
