"""Verdicts on given runs: a table of results from anywhere, judged as a study's are.

With folds the changes are judged by the corrected resampled test, as in a study. With seeds alone
(one test set) they are judged by a paired t-test over the seeds that both recipes have, or by
Welch's where they have few in common. Intervals hold for all recipes and tasks at once.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from jointrain.charts import Chart, InNotebook, axis_limit, changes
from jointrain.data import as_table
from jointrain.errors import InvalidInputError, closest
from jointrain.experiments import SEPARATE
from jointrain.metrics import Metric
from jointrain.studies._metric_names import named_metric
from jointrain.studies._plot import rows_of
from jointrain.studies._run_changes import GivenRuns, Test
from jointrain.studies._runs_table import folds_column, runs_table
from jointrain.studies._seeds_needed import Repetition, SeedsNeeded, seeds_needed
from jointrain.studies._statistics import (
    DELTA_M,
    MARGIN,
    Comparison,
    Estimate,
    Unit,
    Verdict,
    check_margin,
    check_task_names,
    judge_estimates,
    mean_estimate,
    mean_of_defined,
    tests_in_all,
)


@dataclass(frozen=True)
class RunVerdicts(InNotebook):
    """What a table of runs shows of each recipe against a baseline.

    Args:
        baseline: Name of the recipe that all others are compared with.
        metrics: The metric that each task is judged by.
        values: The values of a recipe on a task, by (recipe, task), in the order of seed and fold;
            NaN where one is undefined.
        comparisons: By recipe and task.
        delta_m: Over the tasks, by recipe.
        tests: By which test a recipe was judged.
        needed: How many seeds would show the difference asked for, by recipe and task, and for
            ``Delta-m``.
        seeds: The most that a recipe has.
        folds: How many a seed has; 0: one test set for all; 1: each seed has a fold of its own.
        difference: The difference asked for, as it was said.
        asked: Whether it was, or is 1 % by default.
        margin: Changes up to this many percent do not matter.
        notes: What the reader should know of the runs, in words.
    """

    baseline: str
    metrics: Mapping[str, Metric]
    values: Mapping[tuple[str, str], np.ndarray]
    comparisons: Mapping[str, Mapping[str, Comparison]]
    delta_m: Mapping[str, Comparison]
    tests: Mapping[str, Test]
    needed: Mapping[str, Mapping[str, SeedsNeeded]]
    seeds: int
    folds: int
    difference: str
    asked: bool
    margin: float
    notes: tuple[str, ...] = ()

    @property
    def recipes(self) -> list[str]:
        """Names of the recipes but the baseline."""
        return list(self.comparisons)

    @property
    def tasks(self) -> list[str]:
        """Names of the tasks."""
        return list(self.metrics)

    def verdict(self, recipe: str) -> dict[str, Verdict]:
        """Return what the runs show of a recipe, by task and for ``Delta-m``.

        Raises:
            InvalidInputError: There is no such recipe.
        """
        if recipe not in self.comparisons:
            hint = closest(recipe, self.recipes)
            raise InvalidInputError(f"the table of runs has no recipe {recipe!r}{hint}")
        found: dict[str, Verdict] = {
            task: one.verdict for task, one in self.comparisons[recipe].items()
        }
        return {**found, DELTA_M: self.delta_m[recipe].verdict}

    def _notebook_title(self) -> str:
        return f"Runs against {self.baseline}"

    def plot(self, task: str = DELTA_M) -> Chart:
        """Return a chart of the changes against the baseline, with the intervals that decide.

        Args:
            task: Of which task; default over all.

        Raises:
            InvalidInputError: There is no such task.
        """
        if task != DELTA_M and task not in self.metrics:
            hint = closest(task, self.metrics)
            raise InvalidInputError(f"the table of runs has no task {task!r}{hint}")
        found = {
            name: self.delta_m[name] if task == DELTA_M else by_task[task]
            for name, by_task in self.comparisons.items()
            if task == DELTA_M or task in by_task
        }
        rows = rows_of(found)
        unit = "%" if all(one.unit == "percent" for one in found.values()) else "difference"
        limit = axis_limit([rows], least=2.0 if unit == "%" else 0.0) or 1.0
        return changes(rows, limit, unit, against=self.baseline)

    def to_frame(self) -> pl.DataFrame:
        """Return a row for each recipe and task, and for Delta-m, with figures and verdict."""
        rows: list[dict[str, Any]] = []
        for recipe, by_task in self.comparisons.items():
            for task, one in {**by_task, DELTA_M: self.delta_m[recipe]}.items():
                needed = self.needed[recipe][task]
                over_all = task == DELTA_M
                of = [
                    math.nan if over_all else mean_of_defined(self.values[name, task])
                    for name in (self.baseline, recipe)
                ]
                rows.append(
                    {
                        "recipe": recipe,
                        "task": task,
                        "metric": None if over_all else self.metrics[task].name,
                        "baseline_mean": of[0],
                        "mean": of[1],
                        "change": one.change,
                        "low": one.low,
                        "high": one.high,
                        "unit": one.unit,
                        "p_value": one.p_value,
                        "verdict": one.verdict,
                        "margin": one.margin,
                        "defined": one.defined,
                        "total": one.total,
                        "test": self.tests[recipe],
                        "seeds_needed": needed.seeds,
                        "seeds_needed_if_wider": needed.seeds_if_wider,
                    }
                )
        whole = pl.DataFrame(rows, schema_overrides=_TYPES)
        return whole.with_columns(pl.selectors.float().fill_nan(None))


_TYPES = {
    "metric": pl.String,
    "baseline_mean": pl.Float64,
    "mean": pl.Float64,
    "seeds_needed": pl.Int64,
    "seeds_needed_if_wider": pl.Int64,
}


def verdict(
    frame: Any,
    *,
    recipe: str = "recipe",
    task: str | None = None,
    metric: str | None = None,
    value: str | None = None,
    seed: str | None = None,
    fold: str | None = None,
    wide: str | None = None,
    baseline: str = SEPARATE,
    judge_by: str | Sequence[str] = (),
    higher: str | Sequence[str] = (),
    lower: str | Sequence[str] = (),
    test_rows: str | None = None,
    train_rows: str | None = None,
    test_fraction: float | None = None,
    margin: float = MARGIN,
    difference: str | float | None = None,
) -> RunVerdicts:
    """Judge the recipes of a table of runs, whatever program made them.

    Args:
        frame: A table with a row for each run's value, or for each run (`wide`): Polars, pandas,
            Arrow or a mapping. Of MLflow's ``search_runs`` the ``params.``, ``tags.`` and
            ``metrics.`` before names may be left out.
        recipe: Name of the column of recipes.
        task: That of tasks; default ``task``.
        metric: That of metrics; default ``metric``, and where there is none, `value` names it.
        value: That of values; default ``value``.
        seed: That of seeds; default ``seed``, and where there is none but folds, all are of one.
        fold: Name of the column of folds; default ``fold`` where there is one that holds several,
            and where there is none, all runs have the same test set. A fold of one name is taken as
            the same rows in all seeds.
        wide: Pattern of the columns that hold a task's metric each, such as ``{task}/{metric}`` or
            ``val/acc_{task}``.
        baseline: The recipe that all others are compared with.
        judge_by: Metrics to judge by, of which each task must have one; needed where a task has
            several.
        higher: Metrics of which more is better, where their names do not say so.
        lower: Those of which less is.
        test_rows: Name of the column of rows in a fold's test part.
        train_rows: That of rows in its training part.
        test_fraction: The test part of all rows of a fold, between 0 and 1. Without either, folds
            are taken as those of a k-fold cross-validation.
        margin: Changes up to this many percent do not matter.
        difference: For which difference to say how many seeds would show it: ``"2%"`` of the
            baseline, or a number in the metric's own unit; default 1 %.

    Raises:
        InvalidInputError: A column is missing, a cell is no number, a run comes twice, the baseline
            is not there, the direction of a metric is not known, shares are beside percents, the
            sizes of a fold differ by recipe, or nothing can be compared.

    Source: Bouthillier et al., "Accounting for Variance in Machine Learning Benchmarks", MLSys
        2021, arXiv 2103.03098 (what seeds alone can't show); Welch, "The generalization of
        Student's problem", Biometrika 34, 1947; for folds those of `estimate_change`.
    """
    check_margin(margin)
    wanted = _parse_difference("1%" if difference is None else difference)
    given = as_table(frame)
    fold, said = (fold, []) if fold is not None else folds_column(given)
    ratio = _ratio(test_fraction, test_rows, train_rows, fold)
    names = {
        "judge_by": _names(judge_by),
        "higher": _names(higher),
        "lower": _names(lower),
    }
    table = runs_table(
        given,
        recipe=recipe,
        task=task,
        metric=metric,
        value=value,
        seed=seed,
        fold=fold,
        wide=wide,
        test_rows=test_rows,
        train_rows=train_rows,
        directed={*names["higher"], *names["lower"]},
    )
    rows, notes = table.frame, [*said, *table.notes]
    recipes = rows["recipe"].unique().sort().to_list()
    _check_recipes(recipes, baseline)
    check_task_names(rows["task"].unique())
    rows, more = _one_metric_a_task(rows, names)
    notes += more
    metrics, more = _metrics(rows, names["higher"], names["lower"])
    notes += more
    runs = GivenRuns.read(rows, margin, ratio)
    estimates, tests, repetitions = {}, {}, {}
    for name in recipes:
        if name != baseline:
            estimates[name], tests[name], repetitions[name] = runs.judge(name, baseline, metrics)
    if not any(estimates.values()):
        raise InvalidInputError(
            f"no task has values of both {baseline!r} and another recipe; nothing can be compared"
        )
    comparisons, delta_m = judge_estimates(estimates)
    needed = _needed_by_recipe(runs, baseline, estimates, wanted, repetitions)
    values = {(name, one): runs.of(name, one) for name, one in runs.values}
    seeds = rows.group_by("recipe").agg(pl.col("seed").n_unique())["seed"]
    return RunVerdicts(
        baseline=baseline,
        metrics=metrics,
        values=values,
        comparisons=comparisons,
        delta_m=delta_m,
        tests=tests,
        needed=needed,
        seeds=int(seeds.to_numpy().max()),
        folds=1 if runs.one_each else runs.folds,
        difference=wanted.text,
        asked=difference is not None,
        margin=margin,
        notes=(*notes, *runs.notes(baseline, estimates, tests, metrics)),
    )


def _names(given: str | Sequence[str]) -> list[str]:
    return [given] if isinstance(given, str) else list(given)


def _ratio(
    fraction: float | None, test_rows: str | None, train_rows: str | None, fold: str | None
) -> float | None:
    """Return test rows over training rows, None where columns or the folds say it."""
    if (test_rows is None) != (train_rows is None):
        raise InvalidInputError("give the columns of both test rows and training rows, or neither")
    if fold is None and (test_rows is not None or fraction is not None):
        raise InvalidInputError(
            "the size of test parts counts where there are folds only; name their column (--fold)"
        )
    if fraction is None:
        return None
    if test_rows is not None:
        raise InvalidInputError("give columns of rows or a test fraction, not both")
    if not 0 < fraction < 1:
        raise InvalidInputError(f"the test fraction must be between 0 and 1, got {fraction}")
    return fraction / (1 - fraction)


@dataclass(frozen=True)
class _Difference:
    """A difference to be seen: percent of the baseline, or in the metric's own unit."""

    text: str
    size: float
    percent: bool

    def in_unit(self, unit: Unit, level: float) -> float:
        """Return it in the unit of a change, with the mean of the baseline; NaN: not to be told."""
        if self.percent == (unit == "percent"):
            return self.size
        if not level:
            return math.nan
        return self.size * abs(level) / 100 if self.percent else 100 * self.size / abs(level)


def _parse_difference(given: str | float) -> _Difference:
    text = f"{given:g}" if isinstance(given, float | int) else given.strip()
    percent = text.endswith("%")
    try:
        size = float(text.removesuffix("%"))
    except ValueError:
        size = math.nan
    if not 0 < size < math.inf:
        raise InvalidInputError(
            f"the difference must be a positive number, such as 1% of the baseline or 0.01 in the "
            f"metric's own unit, got {given!r}"
        )
    return _Difference(f"{size:g} %" if percent else f"{size:g}", size, percent)


def _one_metric_a_task(
    rows: pl.DataFrame, names: Mapping[str, list[str]]
) -> tuple[pl.DataFrame, list[str]]:
    """Return the rows of the metrics to judge by, one for each task."""
    known = rows["metric"].unique().sort().to_list()
    for name in dict.fromkeys(one for given in names.values() for one in given):
        if name not in known:
            hint = closest(name, known) or f"; there are {', '.join(map(repr, known[:8]))}"
            raise InvalidInputError(f"the table of runs has no metric {name!r}{hint}")
    chosen = names["judge_by"]
    kept = rows.filter(pl.col("metric").is_in(chosen)) if chosen else rows
    for name in rows["task"].unique().sort():
        found = kept.filter(task=name)["metric"].unique().sort().to_list()
        if len(found) > 1:
            raise InvalidInputError(
                f"task {name!r} has metrics {', '.join(found[:8])}; say by which one to judge, "
                f"such as --judge-by {found[0]!r}"
            )
        if not found:
            has = ", ".join(rows.filter(task=name)["metric"].unique().sort()[:8])
            raise InvalidInputError(
                f"task {name!r} has none of the metrics to judge by; it has {has}: name one more"
            )
    others = sorted({*known} - {*kept["metric"]})
    return kept, [f"not judged: {', '.join(others)}"] if others else []


def _metrics(
    rows: pl.DataFrame, higher: Collection[str], lower: Collection[str]
) -> tuple[dict[str, Metric], list[str]]:
    """Return the metric of each task, and notes."""
    found, notes = {}, []
    for name in rows["task"].unique().sort():
        of_task = rows.filter(task=name)
        values = of_task["value"].drop_nulls().to_numpy()
        found[name], note = named_metric(of_task["metric"][0], values, higher, lower)
        if note:
            _check_percents(of_task)
            notes.append(f"{name}: {note}")
    return found, notes


_SHARES_APART = 20
"""What is so many times as much, with nothing in between, is in percent and the rest are shares.

The same in percent is 100 times as much, and how recipes differ takes seldom more than five of it.
Percents of rare things go through 1 without such a gap: 0.4 % beside 2 %.
"""


def _check_percents(of_task: pl.DataFrame) -> None:
    """Refuse values of a task in percent of which some are shares, as it seems."""
    value = pl.col("value")
    shares = of_task.filter((value > 0) & (value <= 1 + 1e-9)).sort("value")
    percents = of_task.filter(value > 1 + 1e-9).sort("value")
    if not len(shares):
        return
    share, percent = shares.row(-1, named=True), percents.row(0, named=True)
    if percent["value"] < _SHARES_APART * share["value"]:
        return
    where = [
        f"{one['value']:g} by recipe {one['recipe']!r}"
        + "".join(f", {key} {one[key]}" for key in ("seed", "fold") if one[key])
        for one in (share, percent)
    ]
    raise InvalidInputError(
        f"{share['metric']} of task {share['task']!r} is {' and '.join(where)}: shares beside "
        "percents; write them alike, or if all are percents, give the metric another name and say "
        "--higher"
    )


def _check_recipes(recipes: Sequence[str], baseline: str) -> None:
    if baseline not in recipes:
        hint = closest(baseline, recipes) or f"; there are {', '.join(map(repr, recipes[:8]))}"
        raise InvalidInputError(f"there is no recipe {baseline!r} to compare with{hint}")
    if len(recipes) < 2:
        raise InvalidInputError(
            f"all runs are of recipe {baseline!r}; give at least one other to compare with it"
        )


def _needed_by_recipe(
    runs: GivenRuns,
    baseline: str,
    estimates: Mapping[str, Mapping[str, Estimate]],
    wanted: _Difference,
    repetitions: Mapping[str, Repetition],
) -> dict[str, dict[str, SeedsNeeded]]:
    halved = max(len(by_task) for by_task in estimates.values()) > 1
    needed = {}
    for name, by_task in estimates.items():
        levels = {
            task: mean_of_defined(np.array(list(runs.values[baseline, task].values())))
            for task in by_task
        }
        shares = tests_in_all(len(estimates), len(by_task), halved=halved)
        needed[name] = _needed(by_task, levels, wanted, shares, repetitions[name])
    return needed


def _needed(
    by_task: Mapping[str, Estimate],
    levels: Mapping[str, float],
    wanted: _Difference,
    shares: tuple[int, int],
    repetition: Repetition,
) -> dict[str, SeedsNeeded]:
    """Return how many seeds would show the difference, by task and over all.

    Args:
        by_task: The changes.
        levels: Mean of the baseline, by task.
        wanted: The difference.
        shares: By how many the level is shared out for a task, and for Delta-m.
        repetition: How seeds lessen the error.
    """
    found = {
        task: seeds_needed(one, wanted.in_unit(one.unit, levels[task]), shares[0], repetition)
        for task, one in by_task.items()
    }
    overall = mean_estimate(by_task)
    size = wanted.size if wanted.percent == (overall.unit == "percent") else math.nan
    if len(by_task) == 1:
        size = next(iter(found.values())).difference
    return {**found, DELTA_M: seeds_needed(overall, size, shares[1], repetition)}
