"""Study: recipes and baselines on the same folds and seeds, and what they show."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl
import torch

from jointrain.data import (
    SupervisedTable,
    TableEncoder,
    check_class_counts,
    outer_folds,
)
from jointrain.data._tensor_data import TensorData
from jointrain.errors import InvalidInputError, closest
from jointrain.studies._baselines import BASELINES, predict_with_baseline
from jointrain.studies._statistics import (
    Comparison,
    compare_changes,
    delta_m,
    relative_changes,
)
from jointrain.studies.population import fit_population, why_not_stacked
from jointrain.task import Task
from jointrain.training._phases import AnySchedule
from jointrain.training._recipe import Recipe
from jointrain.training._schedule import Alternating, Joint, Separate
from jointrain.training._table_model import (
    Part,
    Run,
    evaluate_predictions,
    inner_splits,
    make_data,
    member_seed,
    predict_parts,
    prepare_runs,
    runs_before,
    single_task_losses,
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
            recipe.groups(tasks)

    def run(
        self, *, workers: int | None = None, progress: Callable[[int, int], None] | None = None
    ) -> StudyResult:
        """Run everything; the result is the same whatever the number of workers.

        Args:
            workers: Processes to run folds in; default one for each core.
            progress: Called with how often a recipe or baseline was run on a fold so far, and in
                all; runs that are trained together are counted when all are done.
        """
        labels = self.table.labels()
        tasks = list(self.table.tasks)
        if self.table.time is None and self.table.groups is None:
            check_class_counts(labels, tasks, self.folds)
        folds = [
            _Fold(fold, self.seed + repetition, train, test)
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
        total = len(folds) * (len(self.recipes) + len(self.baselines))
        rows: list[dict[str, object]] = []
        seconds: dict[str, float] = {}
        done = 0
        for results in self._results(_jobs(self, folds), workers):
            for name, (result_rows, spent) in results:
                rows += result_rows
                seconds[name] = seconds.get(name, 0.0) + spent
                done += 1
            if progress is not None:
                progress(done, total)
        return StudyResult(self, _sorted_results(rows, self), seconds)

    def _results(self, jobs: list[_Job], workers: int | None) -> Iterator[list[_Result]]:
        count = min(workers or os.cpu_count() or 1, len(jobs))
        if count == 1:
            return (job.run() for job in jobs)
        from joblib import Parallel, delayed

        parallel = Parallel(n_jobs=count, return_as="generator_unordered")
        results: Iterator[list[_Result]] = parallel(delayed(_Job.run)(job) for job in jobs)
        return results


_Rows = list[dict[str, object]]
_Result = tuple[str, tuple[_Rows, float]]
"""A recipe or baseline on one fold: its name, the rows of the table, and the seconds spent."""

_RUNS_TOGETHER = 32
"""Fewest runs that a population of a study holds, where there are so many."""


class _Fold(NamedTuple):
    """Which rows a fold trains and tests on."""

    number: int
    seed: int
    train: np.ndarray
    test: np.ndarray


@dataclass(frozen=True)
class _Job:
    """What one process does at a time: some recipes and baselines on some folds.

    Args:
        study: Of which it is a part.
        folds: The folds.
        stacked: Recipes whose runs are trained as one population.
        single: Recipes whose runs are trained one after the other.
        baselines: What is fitted beside them.
    """

    study: Study
    folds: list[_Fold]
    stacked: list[Recipe] = field(default_factory=list)
    single: list[Recipe] = field(default_factory=list)
    baselines: list[str] = field(default_factory=list)

    def run(self) -> list[_Result]:
        """Return what was measured, recipe by recipe and fold by fold."""
        with _one_thread():
            folds = [_EncodedFold(self.study, fold) for fold in self.folds]
            results = _run_stacked(self.stacked, folds) if self.stacked else []
            for fold in folds:
                results += [fold.run_single(recipe) for recipe in self.single]
                results += [fold.run_baseline(name) for name in self.baselines]
        return results


def _jobs(study: Study, folds: list[_Fold]) -> list[_Job]:
    """Return the parts of a study: the same whatever the number of workers.

    Populations come first: they take longest. How many folds go into one depends on the study
    alone, since the size of a population may change the last bits of its results.
    """
    tasks = study.table.tasks
    names = [task.name for task in tasks]
    stacked = [recipe for recipe in study.recipes if _stackable(recipe, tasks)]
    single = [recipe for recipe in study.recipes if recipe not in stacked]
    jobs = []
    if stacked:
        rows = len(study.table.frame)
        runs = sum(len(recipe.groups(names)) * recipe.chosen_ensemble(rows) for recipe in stacked)
        together = math.ceil(_RUNS_TOGETHER / runs)
        count = math.ceil(len(folds) / together)
        bounds = [round(len(folds) * i / count) for i in range(count + 1)]
        jobs = [_Job(study, folds[a:b], stacked=stacked) for a, b in pairwise(bounds)]
    if single or study.baselines:
        rest = list(study.baselines)
        jobs += [_Job(study, [fold], single=single, baselines=rest) for fold in folds]
    return jobs


def _stackable(recipe: Recipe, tasks: Sequence[Task]) -> bool:
    """Return whether all runs of a recipe can be part of a population."""
    targets = {task.name: torch.zeros(1) for task in tasks}
    # rules that need other runs first come to weights that are numbers
    plain = recipe if recipe.weights == "size" else replace(recipe, weights="equal")
    runs = prepare_runs(plain, TensorData(torch.zeros(1, 1), targets), None, tasks, seed=0)
    return all(why_not_stacked(run) is None for run in runs)


class _EncodedFold:
    """A fold with its data as numbers: encoder and scales learned from the training rows."""

    def __init__(self, study: Study, fold: _Fold) -> None:
        table = study.table
        self.study, self.fold, self.tasks = study, fold, table.tasks
        self.labels = table.labels()
        self.train_labels = self.labels[fold.train]
        self.scaling = target_scaling(self.train_labels, self.tasks)
        self._inputs: dict[int | None, TensorData] = {}
        self._splits: dict[object, list[tuple[TensorData, TensorData | None]]] = {}

    def data(self, bins: int | None) -> TensorData:
        """Return all rows, encoded with so many bins."""
        if bins not in self._inputs:
            table, rows = self.study.table, self.fold.train
            encoder = TableEncoder(bins).fit(table.frame[rows], list(table.columns), self.fold.seed)
            inputs = torch.from_numpy(encoder.transform(table.frame))
            self._inputs[bins] = make_data(inputs, self.labels, self.tasks, self.scaling)
        return self._inputs[bins]

    def splits(self, recipe: Recipe) -> list[tuple[TensorData, TensorData | None]]:
        """Return the rows to train on and those for early stopping, of each ensemble member."""
        key = (recipe.bins, recipe.ensemble, recipe.validation_fraction)
        if key not in self._splits:
            table, rows = self.study.table, self.fold.train
            data = self.data(recipe.bins)
            self._splits[key] = [
                (
                    data.take(torch.from_numpy(rows[train])),
                    data.take(torch.from_numpy(rows[validation])) if len(validation) else None,
                )
                for train, validation in inner_splits(
                    recipe,
                    self.train_labels,
                    self.tasks,
                    self.fold.seed,
                    None if table.groups is None else table.groups[rows],
                    None if table.time is None else table.time[rows],
                )
            ]
        return self._splits[key]

    def runs(self, recipe: Recipe, losses: Mapping[str, float] | None = None) -> list[Run]:
        """Return the runs of a recipe."""
        return [
            run
            for member, (train, validation) in enumerate(self.splits(recipe))
            for run in prepare_runs(
                recipe,
                train,
                validation,
                self.tasks,
                losses,
                seed=member_seed(self.fold.seed, member),
            )
        ]

    def run_single(self, recipe: Recipe) -> _Result:
        """Train a recipe's networks one after the other and measure it."""
        start = time.perf_counter()
        losses = None
        first = runs_before(recipe)
        if first is not None:
            losses = single_task_losses(
                [part for run in self.runs(first) for part in run.fit()], self.tasks
            )
        parts = [part for run in self.runs(recipe, losses) for part in run.fit()]
        rows = self.measure(recipe.name, self.predict(recipe, parts))
        return recipe.name, (rows, time.perf_counter() - start)

    def run_baseline(self, name: str) -> _Result:
        """Fit a baseline and measure it."""
        start = time.perf_counter()
        train, test = self.fold.train, self.fold.test
        inputs = self.data(0).inputs.numpy()
        predictions = predict_with_baseline(
            name, inputs[train], self.train_labels, inputs[test], self.tasks, self.fold.seed
        )
        return name, (self.measure(name, predictions), time.perf_counter() - start)

    def predict(self, recipe: Recipe, parts: Sequence[Part]) -> dict[str, np.ndarray]:
        """Return the predictions of the test rows."""
        inputs = self.data(recipe.bins).inputs[self.fold.test]
        return predict_parts(parts, self.tasks, self.scaling, inputs)

    def measure(self, name: str, predictions: dict[str, np.ndarray]) -> _Rows:
        """Return the rows of the result table."""
        fold = self.fold
        labels = self.labels[fold.test]
        metrics = evaluate_predictions(self.tasks, predictions, labels)
        return [
            {
                "recipe": name,
                "task": task.name,
                "metric": metric,
                "fold": fold.number,
                "seed": fold.seed,
                "value": value,
                "train_rows": len(fold.train),
                "test_rows": int(np.isfinite(labels[:, index]).sum()),
            }
            for index, task in enumerate(self.tasks)
            for metric, value in metrics[task.name].items()
        ]


def _run_stacked(recipes: Sequence[Recipe], folds: Sequence[_EncodedFold]) -> list[_Result]:
    """Train all runs of the recipes on the folds as populations, and measure them.

    The seconds of a population are shared out among its runs by the steps that they made.
    """
    seconds: dict[tuple[str, int], float] = {}
    losses: dict[tuple[str, int], dict[str, float] | None] = {}
    results: list[_Result] = []

    def fit(chosen: Sequence[tuple[Recipe, str]]) -> Iterator[tuple[str, int, list[Run]]]:
        """Yield the fitted runs of each recipe on each fold, under the given name."""
        start = time.perf_counter()
        prepared = [
            (name, number, fold.runs(recipe, losses.get((name, number))))
            for number, fold in enumerate(folds)
            for recipe, name in chosen
        ]
        fit_population([run for _, _, runs in prepared for run in runs])
        steps = [sum(run.trainer.history[-1].step for run in runs) for _, _, runs in prepared]
        each = (time.perf_counter() - start) / max(sum(steps), 1)
        for (name, number, runs), made in zip(prepared, steps, strict=True):
            seconds[name, number] = seconds.get((name, number), 0.0) + each * made
            yield name, number, runs

    by_name = {recipe.name: recipe for recipe in recipes}
    before = [(recipe, runs_before(recipe)) for recipe in recipes]
    for name, number, runs in fit([(first, recipe.name) for recipe, first in before if first]):
        losses[name, number] = single_task_losses(_parts(runs), folds[0].tasks)
    for name, number, runs in fit([(recipe, recipe.name) for recipe in recipes]):
        start = time.perf_counter()
        fold = folds[number]
        rows = fold.measure(name, fold.predict(by_name[name], _parts(runs)))
        spent = seconds[name, number] + time.perf_counter() - start
        results.append((name, (rows, spent)))
    return results


def _parts(runs: Sequence[Run]) -> list[Part]:
    return [part for run in runs for part in run.parts()]


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
        seconds: Time spent on each recipe over all folds and seeds. The time of runs that were
            trained together is shared out among them by the steps that they made.
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
