"""Study: recipes and baselines on the same folds and seeds, and what they show."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import torch

from jointrain.data import (
    SupervisedTable,
    TableEncoder,
    check_class_counts,
    outer_folds,
    validation_split,
)
from jointrain.errors import InvalidInputError, closest
from jointrain.studies._baselines import BASELINES, predict_with_baseline
from jointrain.studies._statistics import (
    Comparison,
    compare_changes,
    delta_m,
    relative_changes,
)
from jointrain.training._phases import AnySchedule
from jointrain.training._recipe import Recipe
from jointrain.training._schedule import Alternating, Joint, Separate
from jointrain.training._table_model import (
    evaluate_predictions,
    fit_parts,
    make_data,
    predict_parts,
    target_scaling,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SEPARATE = "separate"
"""Name of the recipe that all others are compared with."""


def default_recipes(base: Recipe | None = None) -> list[Recipe]:
    """Return the recipes that `compare` runs: separate, joint and alternating.

    Args:
        base: Settings that all three share; default `Recipe()`. Its schedule is kept for the recipe
            of the same kind.
    """
    base = base or Recipe()
    schedules: dict[str, AnySchedule] = {
        "separate": Separate(),
        "joint": Joint(),
        "alternating": Alternating(),
    }
    schedules[base.schedule.kind] = base.schedule
    recipes = [replace(base, name=name, schedule=schedule) for name, schedule in schedules.items()]
    # an optimiser per task can't take joint steps over a shared trunk
    return [
        replace(recipe, layout="one")
        if recipe.layout == "per_task" and recipe.name == "joint"
        else recipe
        for recipe in recipes
    ]


@dataclass(frozen=True)
class Study:
    """Recipes and baselines to be run on the same folds and seeds.

    Args:
        table: The rows, with tasks and feature columns.
        recipes: What to run; one must be named ``separate``. Default: `default_recipes()`.
        baselines: Which of ``constant`` and ``extra trees`` to run beside them; default both.
        folds: Number of outer folds, at least 2; default 5.
        seeds: Number of repetitions, each with folds, initial weights and batches of its own;
            default 3. Splits by time are the same in all of them.
        seed: The first repetition's seed; default 0.

    Raises:
        InvalidInputError: A value lies outside its range, names are not unique, or the table can't
            be split into so many folds.
    """

    table: SupervisedTable
    recipes: Sequence[Recipe] = ()
    baselines: Sequence[str] = BASELINES
    folds: int = 5
    seeds: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.recipes:
            object.__setattr__(self, "recipes", default_recipes())
        if self.folds < 2:
            raise InvalidInputError(f"`folds` must be at least 2, got {self.folds}")
        if self.seeds < 1:
            raise InvalidInputError(f"`seeds` must be at least 1, got {self.seeds}")
        names = [recipe.name for recipe in self.recipes] + list(self.baselines)
        if len(set(names)) != len(names):
            raise InvalidInputError(f"recipes and baselines must have different names, got {names}")
        if SEPARATE not in names:
            raise InvalidInputError(
                f"one recipe must be named {SEPARATE!r}: the others are compared with it"
            )
        for name in self.baselines:
            if name not in BASELINES:
                raise InvalidInputError(
                    f"unknown baseline {name!r}{closest(name, BASELINES)}; known are "
                    f"{', '.join(BASELINES)}"
                )
        tasks = [task.name for task in self.table.tasks]
        for recipe in self.recipes:
            recipe.given_weights(tasks)

    def run(
        self, *, workers: int | None = None, progress: Callable[[int, int], None] | None = None
    ) -> StudyResult:
        """Run everything; the result is the same whatever the number of workers.

        Args:
            workers: Processes to run folds in; default one for each core.
            progress: Called with the number of finished folds and of all.
        """
        labels = self.table.labels()
        tasks = list(self.table.tasks)
        if self.table.time is None and self.table.groups is None:
            check_class_counts(labels, tasks, self.folds)
        jobs = [
            (fold, self.seed + repetition, train, test)
            for repetition in range(self.seeds)
            for fold, (train, test) in enumerate(
                outer_folds(
                    labels,
                    tasks,
                    self.folds,
                    self.seed + repetition,
                    groups=self.table.groups,
                    time=self.table.time,
                )
            )
        ]
        total = len(jobs)
        rows: list[dict[str, object]] = []
        seconds: dict[str, float] = {}
        for done, (fold_rows, fold_seconds) in enumerate(self._results(jobs, workers), start=1):
            rows += fold_rows
            for name, spent in fold_seconds.items():
                seconds[name] = seconds.get(name, 0.0) + spent
            if progress is not None:
                progress(done, total)
        return StudyResult(self, _sorted_results(rows, self), seconds)

    def _results(
        self, jobs: list[tuple[int, int, np.ndarray, np.ndarray]], workers: int | None
    ) -> Iterator[tuple[list[dict[str, object]], dict[str, float]]]:
        count = min(workers or os.cpu_count() or 1, len(jobs))
        if count == 1:
            return (_run_fold(self, *job) for job in jobs)
        from joblib import Parallel, delayed

        parallel = Parallel(n_jobs=count, return_as="generator_unordered")
        results: Iterator[tuple[list[dict[str, object]], dict[str, float]]] = parallel(
            delayed(_run_fold)(self, *job) for job in jobs
        )
        return results


def _run_fold(
    study: Study, fold: int, seed: int, train_rows: np.ndarray, test_rows: np.ndarray
) -> tuple[list[dict[str, object]], dict[str, float]]:
    """Run every recipe and baseline on one fold; return result rows and seconds by recipe."""
    table, tasks = study.table, study.table.tasks
    labels = table.labels()
    train_labels = labels[train_rows]
    encoder = TableEncoder().fit(table.frame[train_rows], list(table.columns), seed)
    inputs = encoder.transform(table.frame)
    scaling = target_scaling(train_labels, tasks)
    data = make_data(torch.from_numpy(inputs), labels, tasks, scaling)
    rows: list[dict[str, object]] = []
    seconds: dict[str, float] = {}

    def record(recipe: str, predictions: dict[str, np.ndarray], spent: float) -> None:
        seconds[recipe] = spent
        metrics = evaluate_predictions(tasks, predictions, labels[test_rows])
        for index, task in enumerate(tasks):
            labelled = int(np.isfinite(labels[test_rows, index]).sum())
            rows.extend(
                {
                    "recipe": recipe,
                    "task": task.name,
                    "metric": metric,
                    "fold": fold,
                    "seed": seed,
                    "value": value,
                    "train_rows": len(train_rows),
                    "test_rows": labelled,
                }
                for metric, value in metrics[task.name].items()
            )

    with _one_thread():
        for recipe in study.recipes:
            start = time.perf_counter()
            inner_train, inner_validation = validation_split(
                train_labels,
                list(tasks),
                recipe.validation_fraction,
                seed,
                groups=None if table.groups is None else table.groups[train_rows],
                time=None if table.time is None else table.time[train_rows],
            )
            parts = fit_parts(
                recipe,
                data,
                tasks,
                train_rows[inner_train],
                train_rows[inner_validation],
                seed=seed,
            )
            predictions = predict_parts(parts, tasks, scaling, data.inputs[test_rows])
            record(recipe.name, predictions, time.perf_counter() - start)
        for name in study.baselines:
            start = time.perf_counter()
            predictions = predict_with_baseline(
                name, inputs[train_rows], train_labels, inputs[test_rows], tasks, seed
            )
            record(name, predictions, time.perf_counter() - start)
    return rows, seconds


@contextmanager
def _one_thread() -> Iterator[None]:
    """Run small networks on one thread: folds run side by side, and bits do not change with it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _sorted_results(rows: list[dict[str, object]], study: Study) -> pl.DataFrame:
    names = [recipe.name for recipe in study.recipes] + list(study.baselines)
    tasks = [task.name for task in study.table.tasks]
    return (
        pl.DataFrame(rows)
        .with_columns(
            pl.col("recipe").replace_strict(names, range(len(names))).alias("_recipe"),
            pl.col("task").replace_strict(tasks, range(len(tasks))).alias("_task"),
        )
        .sort("_recipe", "_task", "metric", "seed", "fold")
        .drop("_recipe", "_task")
    )


@dataclass(frozen=True)
class StudyResult:
    """What a study measured, and what it shows.

    Args:
        study: What was run.
        table: A row for each recipe, task, metric, fold and seed, with its value.
        seconds: Time spent on each recipe over all folds and seeds.
    """

    study: Study
    table: pl.DataFrame
    seconds: dict[str, float]

    @property
    def recipe_names(self) -> list[str]:
        """Names of the recipes and, after them, of the baselines."""
        return [recipe.name for recipe in self.study.recipes] + list(self.study.baselines)

    def values(self, recipe: str, task: str, metric: str) -> np.ndarray:
        """Return a metric over seeds and folds, [J], NaN where it is undefined."""
        chosen = self.table.filter(
            (pl.col("recipe") == recipe) & (pl.col("task") == task) & (pl.col("metric") == metric)
        )
        return chosen["value"].to_numpy()

    @cached_property
    def _test_over_train(self) -> float:
        return float((self.table["test_rows"] / self.table["train_rows"]).mean())  # type: ignore[arg-type]

    def _changes(self, recipe: str, reference: str = SEPARATE) -> dict[str, np.ndarray]:
        changes = {}
        for task in self.study.table.tasks:
            metric = task.primary_metric
            changes[task.name] = relative_changes(
                self.values(recipe, task.name, metric.name),
                self.values(reference, task.name, metric.name),
                higher_is_better=metric.higher_is_better,
            )
        return changes

    def compare(self, recipe: str, reference: str = SEPARATE) -> dict[str, Comparison]:
        """Return how a recipe or baseline compares with another one, by task.

        The primary metric of each task is compared by the corrected resampled t-test over folds x
        seeds; p-values are corrected for the number of tasks (Holm).

        Raises:
            InvalidInputError: The study holds no such recipe.
        """
        for name in (recipe, reference):
            if name not in self.recipe_names:
                raise InvalidInputError(
                    f"the study has no recipe {name!r}{closest(name, self.recipe_names)}"
                )
        return compare_changes(self._changes(recipe, reference), self._test_over_train)

    @cached_property
    def comparisons(self) -> dict[str, dict[str, Comparison]]:
        """How each recipe compares with separate training, by recipe and task."""
        return {name: self.compare(name) for name in self.recipe_names if name != SEPARATE}

    @cached_property
    def delta_m(self) -> dict[str, Comparison]:
        """Delta-m of each recipe over all tasks, by recipe."""
        return {
            recipe: delta_m(self._changes(recipe), self._test_over_train)
            for recipe in self.recipe_names
            if recipe != SEPARATE
        }

    def plot(self) -> Figure:
        """Return a matplotlib figure of the changes against separate training, task by task.

        Raises:
            MissingDependencyError: matplotlib is not installed.
        """
        from jointrain.studies._plot import plot_changes

        return plot_changes(self)

    def best(self) -> Recipe:
        """Return the recipe with the highest Delta-m; separate if no other is above zero."""
        best, highest = None, 0.0
        for recipe in self.study.recipes:
            if recipe.name == SEPARATE:
                best = best or recipe
            elif self.delta_m[recipe.name].change > highest:
                best, highest = recipe, self.delta_m[recipe.name].change
        assert best is not None
        return best
