"""Studies: same folds for all, nothing of the test rows seen in training, honest verdicts."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from jointrain import InvalidInputError, Recipe, Study, SupervisedTable, default_recipes
from jointrain.data import outer_folds
from jointrain.experiments import SEPARATE
from jointrain.studies._statistics import estimate_change
from jointrain.training import Alternating, Joint, Separate

QUICK = Recipe(width=16, epochs=40)


def related_table(rows: int = 90, seed: int = 0) -> SupervisedTable:
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(rows, 3))
    z = np.tanh(x @ generator.normal(size=3))
    frame = pl.DataFrame(
        {
            "a": x[:, 0], "b": x[:, 1], "c": x[:, 2],
            "y1": 100 + 10 * z + generator.normal(size=rows),
            "y2": z - 0.1 * generator.normal(size=rows),
            "sign": np.where(z > 0, "plus", "minus"),
        }
    )  # fmt: skip
    holes = pl.int_range(pl.len()) % 7 == 0
    frame = frame.with_columns(y2=pl.when(holes).then(None).otherwise("y2"))
    return SupervisedTable.prepare(frame, ["y1", "y2", "sign"])


@pytest.fixture(scope="module")
def result():
    return Study(related_table(), default_recipes(QUICK), folds=3, seeds=2).run(workers=1)


def test_every_recipe_task_metric_fold_and_seed_has_a_row(result):
    assert len(result.table) == 6 * (2 + 2 + 2) * 3 * 2
    assert set(result.table["recipe"]) == {
        "separate", "joint", "alternating", "constant", "linear", "extra trees",
    }  # fmt: skip
    counts = result.table.group_by("recipe", "task", "metric").len()["len"]
    assert set(counts) == {6}


def test_all_recipes_see_the_same_rows(result):
    per_fold = result.table.group_by("task", "fold", "seed").agg(
        pl.col("test_rows").n_unique(), pl.col("train_rows").n_unique()
    )
    assert set(per_fold["test_rows"]) == {1}
    assert set(per_fold["train_rows"]) == {1}


def test_test_rows_count_labels_only(result):
    per_task = result.table.filter(pl.col("recipe") == "joint", pl.col("seed") == 0).group_by(
        "task"
    )
    totals = {
        task: frame.unique(["fold"])["test_rows"].sum()
        for (task,), frame in ((key, group) for key, group in per_task)
    }
    assert totals == {"y1": 90, "y2": 90 - 13, "sign": 90}


def test_the_ratio_of_test_to_training_rows_counts_labels_only(result):
    """y2 lacks a seventh of its labels on both sides; with all rows counted it would be lower."""
    ratio = result.table.filter(pl.col("task") == "y2").select(
        (pl.col("test_rows") / pl.col("train_rows")).mean()
    )
    assert ratio.item() == pytest.approx(1 / 2, rel=0.03)


def test_metrics_are_in_the_targets_unit(result):
    rmse = np.nanmean(result.values("constant", "y1", "RMSE"))
    expected = related_table().frame["y1"].std()
    assert rmse == pytest.approx(expected, rel=0.15)


def test_networks_beat_the_constant(result):
    for task, metric in (("y1", "R2"), ("y2", "R2")):
        for recipe in ("separate", "joint", "alternating"):
            assert np.nanmean(result.values(recipe, task, metric)) > 0.2, (recipe, task)


def test_comparisons_and_best(result):
    names = {"joint", "alternating", "constant", "linear", "extra trees"}
    assert set(result.comparisons) == names
    assert result.comparisons["constant"]["y1"].verdict == "worse"
    assert result.delta_m["constant"].change < result.delta_m["joint"].change
    assert result.best().name == result.decision.network


@pytest.mark.integration
def test_same_study_same_figures_whatever_the_workers(result):
    again = Study(related_table(), default_recipes(QUICK), folds=3, seeds=2).run(workers=2)
    assert again.table.equals(result.table)


def test_a_leak_on_the_test_rows_is_not_seen():
    """A column that equals the target on test rows only must not change what is learned."""
    table = related_table()
    from jointrain.data import outer_folds
    from jointrain.experiments import Fold
    from jointrain.tables._fold_runs import fold_jobs

    train, test = outer_folds(table.labels(), list(table.tasks), 3, 0)[0]
    noise = np.random.default_rng(1).normal(size=90)
    leaking = noise.copy()
    leaking[test] = table.frame["y1"].to_numpy()[test]

    def error(column: np.ndarray) -> float:
        frame = table.frame.with_columns(extra=column)
        changed = SupervisedTable.prepare(frame, ["y1", "y2", "sign"])
        recipes = default_recipes(QUICK)
        jobs = fold_jobs(changed, [Fold(0, 0, train, test)], recipes, (), recipes[0])
        return next(
            row["value"]
            for job in jobs
            for result in job.run()
            for row in result["rows"]
            if (row["recipe"], row["task"], row["metric"]) == ("joint", "y1", "RMSE")
        )

    # the encoder squashes values far from those it was fitted on, so the leak is only noise
    assert error(leaking) > 0.8 * error(noise)


def test_undefined_folds_do_not_spoil_the_verdict():
    frame = pl.DataFrame(
        {
            "x": np.arange(40.0),
            "rare": [1] * 6 + [0] * 34,
            "y": np.arange(40.0) * 2,
            "patient": np.repeat(np.arange(8), 5),
        }
    )
    table = SupervisedTable.prepare(frame, ["rare", "y"], group_column="patient")
    result = Study(table, default_recipes(QUICK), folds=4, seeds=1).run(workers=1)
    values = result.values("joint", "rare", "ROC-AUC")
    assert np.isnan(values).any()
    # six positives of two patients are in two folds at most
    rare, overall = result.comparisons["joint"]["rare"], result.delta_m["joint"]
    assert rare.defined == np.isfinite(values).sum() <= 2
    assert rare.total == 4
    assert (rare.verdict, np.isnan(rare.low)) == ("undecided", True)
    assert overall.left_out == ("rare",)
    assert overall.change == pytest.approx(result.comparisons["joint"]["y"].change)


def test_default_recipes_keep_the_given_schedule_and_settings():
    recipes = default_recipes(Recipe(schedule=Alternating("proportional"), width=7))
    assert [recipe.name for recipe in recipes] == ["separate", "joint", "alternating"]
    assert [recipe.schedule for recipe in recipes] == [
        Separate(),
        Joint(),
        Alternating("proportional"),
    ]
    assert {recipe.width for recipe in recipes} == {7}
    per_task = default_recipes(Recipe(schedule=Alternating(), optimizer_layout="per_task"))
    assert [recipe.optimizer_layout for recipe in per_task] == ["per_task", "one", "per_task"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"folds": 1}, "`folds` must be at least 2"),
        ({"seeds": 0}, "`seeds` must be at least 1"),
        ({"recipes": [Recipe(name="joint")]}, "must be named 'separate'"),
        ({"baselines": ["xgboosted"]}, "no baseline 'xgboosted'.*did you mean 'xgboost'"),
        ({"recipes": [Recipe(name="a"), Recipe(name="a")]}, "different names"),
        ({"recipes": [Recipe(name="separate", weights={"y3": 1.0})]}, "'y3'"),
        ({"folds": 91}, "91"),
    ],
)
def test_bad_studies(arguments, message):
    with pytest.raises(InvalidInputError, match=message):
        Study(related_table(), **arguments).run(workers=1)


def test_a_column_that_equals_the_target_on_test_rows_only_helps_nobody():
    """Were test rows seen in fitting, encoding, early stopping or choosing, the leak would show."""
    generator = np.random.default_rng(0)
    rows = 100
    frame = pl.DataFrame({"x": generator.normal(size=rows), "y": generator.normal(size=rows)})
    plain = SupervisedTable.prepare(frame, ["y"])
    (_train, test), *_ = outer_folds(plain.labels(), list(plain.tasks), 2, 0)
    leak = generator.normal(size=rows)
    leak[test] = frame["y"].to_numpy()[test]
    table = SupervisedTable.prepare(frame.with_columns(leak=leak), ["y"])
    result = Study(table, default_recipes(QUICK), folds=2, seeds=1).run(workers=1)
    first = result.table.filter(pl.col("fold") == 0, pl.col("metric") == "R2")
    # the column is noise where the first fold learns, so nothing there tells of the target; of 50
    # rows of noise, a line may seem to explain a little
    assert first["value"].max() < 0.2
    other = result.table.filter(
        pl.col("fold") == 1, pl.col("metric") == "R2", pl.col("recipe") != "constant"
    )
    assert other["value"].max() < 0.2


def test_a_partition_that_names_no_task_is_refused_before_anything_runs():
    table = related_table()
    recipes = [*default_recipes(QUICK), replace(QUICK, name="groups", partition=(("y1", "yy"),))]
    with pytest.raises(InvalidInputError, match="'yy'"):
        Study(table, recipes)


def test_verdict_names_each_task_and_delta_m(result):
    found = result.verdict("constant")
    assert found["y1"] == result.comparisons["constant"]["y1"].verdict == "worse"
    assert found["Delta-m"] == result.delta_m["constant"].verdict
    assert list(found) == ["y1", "y2", "sign", "Delta-m"]
    with pytest.raises(InvalidInputError, match=r"no recipe 'jiont'.*did you mean 'joint'"):
        result.verdict("jiont")


def test_delta_m_is_judged_for_all_recipes_at_once(result):
    """Two recipes share the level, a single one has it for itself."""
    alone = result.judge(["joint"])[1]["joint"]
    both = result.delta_m["joint"]
    assert both.p_value == pytest.approx(min(1.0, 2 * alone.p_value))
    assert both.change == alone.change
    assert both.smallest_visible > alone.smallest_visible


def test_delta_m_over_some_targets(result):
    assert result.overall("joint", SEPARATE) == result.delta_m["joint"]
    assert result.overall("constant", SEPARATE) == result.delta_m["constant"]
    one = result.overall("joint", SEPARATE, ["y1"])
    assert one.change == result.comparisons["joint"]["y1"].change
    turned = result.overall("constant", "joint", ["y1"], among=2)
    assert turned.change < 0
    alone = result.overall("constant", "joint", ["y1"])
    assert turned.smallest_visible > alone.smallest_visible


def test_seeds_on_the_same_rows_are_counted_as_what_they_are(result):
    # 90 rows cut anew by the second seed: nearly 2 (3 - 1) degrees of freedom
    freedom = estimate_change(result.measured.changes("joint", SEPARATE)["y1"]).freedom
    assert 3.3 < freedom < 4
    # three groups in three folds: the second seed tests the same groups again
    table = related_table()
    frame = table.frame.with_columns(ward=pl.int_range(pl.len()) // 30)
    grouped = SupervisedTable.prepare(frame, ["y1", "y2"], group_column="ward")
    again = Study(grouped, default_recipes(replace(QUICK, epochs=1)), (), folds=3, seeds=2)
    changes = again.run(workers=1).measured.changes("joint", SEPARATE)
    assert estimate_change(changes["y1"]).freedom == pytest.approx(2)


def test_what_was_run_on_some_seeds_only_is_judged_by_those(result):
    less = replace(
        result, table=result.table.filter((pl.col("recipe") != "joint") | (pl.col("seed") == 0))
    )
    found = less.comparisons["joint"]["y1"]
    assert (found.defined, found.total) == (3, 3)
    assert less.comparisons["alternating"]["y1"].total == 6


def test_the_margin_is_the_users(result):
    wide = replace(result, margin=1000.0)
    assert wide.comparisons["joint"]["y1"].verdict == "equivalent"
    assert wide.comparisons["joint"]["y1"].margin == pytest.approx(1000)
    assert wide.shipped_delta_m.margin > 100
    assert Study(related_table(), margin=2.0).margin == 2
    with pytest.raises(InvalidInputError, match="`margin` must be a percentage"):
        Study(related_table(), margin=-1.0)


@pytest.mark.parametrize("name", ["Delta-m", "all targets (Delta-m)"])
def test_a_target_does_not_take_the_name_of_the_mean_over_all(name):
    frame = pl.DataFrame({"x": range(20), name: range(20), "y": range(20)})
    with pytest.raises(InvalidInputError, match=r"a task can't be called .* give it another name"):
        Study(SupervisedTable.prepare(frame, [name, "y"]))
