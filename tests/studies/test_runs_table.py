"""Tables of runs in the forms that programs write."""

from __future__ import annotations

import re

import polars as pl
import pytest

from jointrain import InvalidInputError
from jointrain.studies import verdict

LONG = pl.DataFrame(
    [
        {"recipe": recipe, "task": task, "metric": "acc", "seed": seed, "value": value + seed / 100}
        for recipe, value in (("separate", 0.8), ("joint", 0.81))
        for task in ("a", "b_c")
        for seed in (0, 1, 2, 5)
    ]
).with_columns(value=pl.col("value") + pl.int_range(pl.len()) % 3 / 50)

WIDE = LONG.pivot("task", index=["recipe", "seed"], values="value")


def same(frame, **options):
    assert (
        verdict(frame, **options)
        .to_frame()
        .drop("metric")
        .equals(verdict(LONG).to_frame().drop("metric"))
    )


@pytest.mark.parametrize(
    ("pattern", "column"),
    [
        ("{task}/{metric}", "{}/acc"),
        ("val/{metric}/{task}", "val/acc/{}"),
        ("val/acc_{task}", "val/acc_{}"),
        ("{metric}_{task}", "val_acc_{}"),
        ("{task} acc", "{} acc"),
    ],
)
def test_wide_tables_are_read_by_a_pattern(pattern, column):
    frame = WIDE.rename({name: column.format(name) for name in ("a", "b_c")})
    same(frame.with_columns(step=1, note=pl.lit("x")), wide=pattern)


@pytest.mark.parametrize("large", [1e20, -1e20, 2.0**63])
def test_numbers_may_be_of_any_size_in_keys(large):
    frame = LONG.with_columns(seed=pl.col("seed").cast(pl.Float64).replace(5.0, large))
    found, wanted = (verdict(one).delta_m["joint"] for one in (frame, LONG))
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high))


def test_separate_runs_of_a_wide_table_have_a_task_each():
    parts = [
        WIDE.filter(recipe="joint"),
        WIDE.filter(recipe="separate").with_columns(a=pl.lit(None, pl.Float64)),
        WIDE.filter(recipe="separate").with_columns(b_c=pl.lit(None, pl.Float64)),
    ]
    frame = pl.concat(parts).rename({"a": "a/acc", "b_c": "b_c/acc"})
    same(frame, wide="{task}/{metric}")


def test_an_export_of_mlflow_is_read_without_its_prefixes():
    frame = WIDE.select(
        run_id=pl.int_range(pl.len()).cast(pl.String),
        status=pl.lit("FINISHED"),
        **{
            "metrics.a/acc": "a",
            "metrics.b_c/acc": "b_c",
            "params.recipe": "recipe",
            "params.seed": pl.col("seed").cast(pl.String),
        },
    )
    same(frame, wide="{task}/{metric}")
    same(frame.to_pandas(), wide="{task}/{metric}")
    failed = frame.head(1).with_columns(
        pl.lit("FAILED").alias("status"), pl.lit("9").alias("params.seed")
    )
    result = verdict(pl.concat([frame, failed]), wide="{task}/{metric}")
    assert result.notes == ("1 run is not finished (FAILED) and left out",)
    with pytest.raises(InvalidInputError, match="no run is finished"):
        verdict(failed, wide="{task}/{metric}")


def test_columns_with_and_without_a_prefix_are_not_read_by_halves():
    frame = WIDE.rename({"a": "metrics.a/acc", "b_c": "b_c/acc"})
    with pytest.raises(
        InvalidInputError,
        match=r"'metrics.a/acc' and 'b_c/acc' both fit the pattern '\{task\}/\{metric\}', with "
        r"'metrics.' and without; ",
    ):
        verdict(frame, wide="{task}/{metric}")
    with pytest.raises(InvalidInputError, match=r"with 'metrics.' and with 'summary.'"):
        verdict(frame.rename({"b_c/acc": "summary.b_c/acc"}), wide="{task}/{metric}")
    both = WIDE.rename({"a": "metrics.acc_a", "b_c": "acc_b_c"})
    with pytest.raises(InvalidInputError, match="both fit"):
        verdict(both, wide="acc_{task}")
    # what else fits a pattern of any two words is no metric
    whole = WIDE.rename({"a": "metrics.a_acc", "b_c": "metrics.b_c_acc"})
    more = {"experiment_id": 3, "params.n_acc": 0.5, "a_b_step": 7, "tags.x_acc": 1}
    same(
        whole.with_columns(**{name: pl.lit(v) for name, v in more.items()}), wide="{task}_{metric}"
    )
    # nor is another prefix one of the pattern's own
    same(frame.rename({"b_c/acc": "metrics.b_c/acc"}), wide="metrics.{task}/{metric}")


def test_an_export_of_wandb_is_read_by_its_group():
    frame = WIDE.select(
        Name=pl.lit("run"), Group="recipe", State=pl.lit("finished"), seed="seed",
        **{"val/acc_a": "a", "val/acc_b_c": "b_c"},
    )  # fmt: skip
    same(frame, recipe="Group", wide="val/acc_{task}")
    with pytest.raises(InvalidInputError, match="'recipe' for the recipes; it has 'Name'"):
        verdict(frame, wide="val/acc_{task}")


def test_values_may_be_named_by_their_metric():
    same(LONG.drop("metric").rename({"value": "accuracy"}), value="accuracy")


def test_text_of_numbers_is_read_and_seeds_are_alike_however_they_are_typed():
    same(LONG.with_columns(pl.col("value").cast(pl.String), pl.col("seed").cast(pl.Float64)))


def changed(**columns):
    return LONG.with_columns(**columns)


FIRST = pl.int_range(pl.len()) == 0


@pytest.mark.parametrize(
    ("frame", "options", "message"),
    [
        (LONG, {"recipe": "recipy"}, "no column 'recipy' for the recipes.*did you mean 'recipe'"),
        (LONG.drop("seed"), {}, "no column 'seed' for the seeds"),
        (LONG.drop("metric"), {}, "no column 'metric'; name"),
        (LONG.drop("task"), {}, "no column 'task'"),
        (LONG.clear(), {}, "has no rows"),
        (pl.concat([LONG, LONG.head(2)]), {}, r"rows 1 and 17 are the same run \(recipe separate, "
         r"task a, metric acc, seed 0\); 1 more come twice; leave one out or name .*--fold"),
        (changed(value=pl.when(FIRST).then(pl.lit("0.9*")).otherwise(pl.lit("0.8"))), {},
         "column 'value' holds '0.9\\*' in row 1, which is no number"),
        (changed(value=pl.lit(True)), {}, "column 'value' holds Boolean where numbers belong"),
        (changed(metric=pl.when(FIRST).then(pl.lit("Acc")).otherwise("metric")), {},
         "metric 'Acc' and metric 'acc' differ in case only"),
        (changed(recipe=pl.when(FIRST).then(pl.lit("Separate")).otherwise("recipe")), {},
         "recipe 'Separate' and recipe 'separate' differ in case only"),
        (changed(seed=pl.when(~FIRST).then("seed")), {}, "row 1 has no seed"),
        (changed(task=pl.when(~FIRST).then("task")), {}, "row 1 has no task"),
        (changed(recipe=pl.concat_list("recipe")), {}, "column 'recipe' holds lists"),
        (LONG, {"wide": "{task}"[:-1]}, "--wide must hold"),
        (LONG, {"wide": "{metric}"}, "--wide must hold"),
        (LONG, {"wide": "{task}{metric}"}, "--wide needs something between"),
        (LONG, {"wide": "{task}/{metric}"}, "no column with numbers fits"),
        (LONG, {"wide": "{task}/{metric}", "task": "task"}, "leave out --task"),
        (WIDE.rename({"a": "a_b_good"}), {"wide": "{task}_{metric}"}, "fits '{task}_{metric}' as"),
        (LONG.rename({"seed": "params.seed"}).with_columns(pl.lit(1).alias("tags.seed")), {},
         "column 'seed' may be params.seed or tags.seed"),
    ],
)  # fmt: skip
def test_tables_that_can_not_be_read_are_refused_in_a_sentence(frame, options, message):
    with pytest.raises(InvalidInputError, match=message):
        verdict(frame, **options)


@pytest.mark.parametrize(
    ("pattern", "column", "name"),
    [
        ("1-acc_{task}", "1-acc_{}", "1-acc"),
        ("-acc_{task}", "-acc_{}", "-acc_{task}"),
        ("1 - acc {task}", "1 - acc {}", "1 - acc {task}"),
        ("{task}/-acc", "{}/-acc", "{task}/-acc"),
        ("1-{task} acc", "1-{} acc", "1-{task} acc"),
        ("{task}/{metric}", "{}/1-acc", "1-acc"),
        ("{task}/{metric}", "{}/-acc", "-acc"),
    ],
)
def test_a_pattern_does_not_take_the_sign_off_a_metric(pattern, column, name):
    frame = WIDE.rename({task: column.format(task) for task in ("a", "b_c")})
    with pytest.raises(InvalidInputError, match=f"metric {re.escape(repr(name))} is better is not"):
        verdict(frame, wide=pattern)
    columns = ["task", "change", "low", "high"]
    found = verdict(frame, wide=pattern, higher=name).to_frame()
    assert found.select(columns).equals(verdict(LONG).to_frame().select(columns))


def test_a_sign_between_task_and_metric_may_be_either():
    frame = WIDE.rename({"a": "a-1-acc", "b_c": "b_c-1-acc"})
    with pytest.raises(InvalidInputError, match="as task 'a' with '1-acc' or task 'a-1' with"):
        verdict(frame, wide="{task}-{metric}")
    same(WIDE.rename({"a": "a-acc", "b_c": "b_c-acc"}), wide="{task}-acc")
    same(WIDE.rename({"a": "a - acc", "b_c": "b_c - acc"}), wide="{task} - acc")
