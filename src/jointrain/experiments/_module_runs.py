"""Runs of one's own modules on a fold of one's own data, and how they are scored."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch

from jointrain.data import TensorData
from jointrain.experiments._fold import Fold, FoldResult, check_range
from jointrain.experiments._gradient_weights import gradient_weights
from jointrain.experiments._job_words import fold_in_words, recipe_in_words
from jointrain.experiments._recipe import Recipe, size_weights
from jointrain.experiments._recipe_runs import Spent, run_recipes
from jointrain.experiments._weight_rules import Members
from jointrain.networks import Network
from jointrain.system.own_code import (
    ChangedCodeError,
    check_same_code,
    digests_of_code,
    one_line,
)
from jointrain.task import Task
from jointrain.training import (
    FitRuns,
    FittedNetwork,
    NetworkModel,
    Run,
    Trainer,
    fit_one_by_one,
    one_thread,
    random_state_kept,
    resolve_device,
)
from jointrain.training.population import fit_population

_ROUNDING = 1e-6
"""By how much a computed metric may lie beyond its bounds."""


class ModuleExperiment(Protocol):
    """What the runs of an experiment of one's own modules ask it for, see `Experiment`."""

    @property
    def tasks(self) -> tuple[Task, ...]: ...
    @property
    def network(self) -> Callable[..., Network]: ...
    @property
    def device(self) -> str | torch.device: ...
    @property
    def fixed_test(self) -> bool: ...
    def held_out(self, fold: Fold) -> tuple[np.ndarray, np.ndarray]: ...
    def take(self, rows: np.ndarray, tasks: Sequence[str], *, training: bool) -> Any: ...
    def known_rows(self, rows: np.ndarray, tasks: Sequence[str]) -> int: ...
    def labels_among(self, rows: np.ndarray) -> dict[str, int]: ...

    def effective_labels(self, rows: np.ndarray) -> dict[str, int]: ...
    def make_network(self, recipe: Recipe, tasks: Sequence[Task]) -> Network: ...


class ModuleFold:
    """A fold of an experiment of one's own modules and data."""

    def __init__(self, experiment: ModuleExperiment, fold: Fold) -> None:
        self.experiment, self.fold = experiment, fold
        self.tasks: Sequence[Task] = experiment.tasks
        self.train_rows, self.held_out = experiment.held_out(fold)
        self._taken: dict[Any, Any] = {}

    def runs(
        self, recipe: Recipe, make_trainer: Callable[..., Trainer] = Trainer
    ) -> list[list[Run]]:
        """Return the runs of a recipe, one for each group of tasks."""
        names = [task.name for task in self.tasks]
        by_name = {task.name: task for task in self.tasks}
        weights = recipe.given_weights(names)
        recipe.auxiliary_among(names)
        groups = [[by_name[name] for name in group] for group in recipe.groups(names)]
        if recipe.weights == "size":
            weights = size_weights(self.experiment.labels_among(self.train_rows))
        elif recipe.weights == "gradients" and not recipe.trains_apart:
            weights = {}
            for group in groups:
                weights |= self._explored(recipe, group)
        return [[self._run(recipe, group, weights, make_trainer) for group in groups]]

    def _explored(self, recipe: Recipe, tasks: Sequence[Task]) -> dict[str, float]:
        data, rows = self._train(tasks)
        return gradient_weights(
            self._network(recipe, tasks),
            tasks,
            data,
            epochs=recipe.chosen_epochs(rows),
            settings=recipe.settings(
                rows, validates=False, explores=True, absent=self._absent(tasks)
            ),
            seed=self.fold.seed,
            device=self.experiment.device,
        )

    def _absent(self, tasks: Sequence[Task]) -> set[str]:
        """Return the names of the other tasks."""
        return {task.name for task in self.tasks} - {task.name for task in tasks}

    def _train(self, tasks: Sequence[Task]) -> tuple[Any, int]:
        """Return the data that tasks are trained on, and how many of the rows have a label."""
        names = [task.name for task in tasks]
        data = self._take(self.train_rows, names, training=True)
        counted = self.experiment.known_rows(self.train_rows, names)
        return data, counted

    def _take(self, rows: np.ndarray, names: Sequence[str], *, training: bool) -> Any:
        """Return rows as a trainer takes them; runs that share data in memory hold them once."""
        together = (training, None)
        if together in self._taken:
            return self._taken[together]
        key = (training, tuple(names))
        if key not in self._taken:
            data = self.experiment.take(rows, names, training=training)
            self._taken[together if isinstance(data, TensorData) else key] = data
            return data
        return self._taken[key]

    def _network(self, recipe: Recipe, tasks: Sequence[Task]) -> Network:
        with random_state_kept():
            torch.manual_seed(self.fold.seed)
            return self.experiment.make_network(recipe, tasks)

    def _run(
        self,
        recipe: Recipe,
        tasks: Sequence[Task],
        weights: Mapping[str, float] | None,
        make_trainer: Callable[..., Trainer],
    ) -> Run:
        names = [task.name for task in tasks]
        auxiliary = recipe.auxiliary_in(names)
        data, rows = self._train(tasks)
        validation = None
        main = [name for name in names if name not in auxiliary]
        if self.experiment.known_rows(self.held_out, main):
            validation = self._take(self.held_out, names, training=False)
        trainer = make_trainer(
            self._network(recipe, tasks),
            tasks,
            **recipe.trainer_options(
                names,
                [task.name for task in self.tasks],
                weights=weights,
                rows=rows,
                validates=validation is not None,
            ),
            seed=self.fold.seed,
            device=self.experiment.device,
        )
        return Run(trainer, data, validation)

    def result_of(self, recipe: Recipe, members: Members, spent: Spent) -> FoldResult:
        """Score the fitted networks of a recipe on the test rows, once."""
        start = time.perf_counter()
        parts = [part for of_member in members for part in of_member]
        rows = self._scored(recipe.name, parts, self.fold.test)
        validation = []
        if self.experiment.fixed_test and len(self.held_out):
            validation = self._scored(recipe.name, parts, self.held_out)
        seconds = spent.seconds + time.perf_counter() - start
        return FoldResult(
            recipe.name, self.fold.number, self.fold.seed, rows, seconds,
            work=spent.work, cost=spent.cost(parts), validation=validation, curves=spent.curves(),
        )  # fmt: skip

    def _scored(
        self, name: str, parts: Sequence[FittedNetwork], rows: np.ndarray
    ) -> list[dict[str, Any]]:
        metrics = evaluate_parts(self.experiment, parts, rows)
        trained = self.experiment.effective_labels(self.fold.train)
        tested = self.experiment.effective_labels(rows)
        for task in self.tasks:
            for metric, value in metrics[task.name].items():
                said = f"recipe {name!r} has {float(value):g} as"
                check_range(task, metric, float(value), said, _ROUNDING)
        return [
            self.fold.row(
                name, task.name, metric, float(value), trained[task.name], tested[task.name]
            )
            for task in self.tasks
            for metric, value in metrics[task.name].items()
        ]


def evaluate_parts(
    experiment: ModuleExperiment, parts: Sequence[FittedNetwork], rows: np.ndarray
) -> dict[str, dict[str, float]]:
    """Return the metrics of each task on some rows, by the network that predicts it."""
    tasks = [task for task in experiment.tasks if experiment.known_rows(rows, [task.name])]
    names = [task.name for task in tasks]
    found = {
        task.name: {metric.name: float("nan") for metric in task.metrics or ()}
        for task in experiment.tasks
    }
    if not names:
        return found
    kept = [replace(part, tasks=tuple(n for n in part.tasks if n in names)) for part in parts]
    model = NetworkModel(tuple(tasks), tuple(part for part in kept if part.tasks))
    model.to(resolve_device(experiment.device))
    return found | model.evaluate(experiment.take(rows, names, training=False))


@dataclass(frozen=True)
class ModuleJob:
    """What one process does at a time: some recipes on some folds.

    Args:
        experiment: What is to be learned.
        folds: The folds.
        stacked: Recipes whose runs are trained as one population.
        single: Recipes whose runs are trained one after the other.
        data: `Experiment.digest`.
    """

    experiment: ModuleExperiment
    folds: Sequence[Fold]
    stacked: Sequence[Recipe]
    single: Sequence[Recipe]
    data: str

    @cached_property
    def key(self) -> str:
        """A hash of data, network, recipes and seeds: equal keys have equal results."""
        _ = self.code  # kept in what is sent
        plain = {
            "data": self.data,
            "folds": [fold_in_words(fold) for fold in self.folds],
            "recipes": [recipe_in_words(recipe) for recipe in (*self.stacked, *self.single)],
        }
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()

    @cached_property
    def code(self) -> dict[str, str]:
        """Hashes of one's own code, as it is where the job is made."""
        return digests_of_code(self._own_code())

    @property
    def device(self) -> str:
        """Where it trains; on another machine, that one's."""
        return str(self.experiment.device)

    def _own_code(self) -> list[Any]:
        recipes = [one for recipe in (*self.stacked, *self.single) for one in recipe.own_code]
        return [*recipes, self.experiment.network]

    def run(self) -> list[dict[str, Any]]:
        """Return what was measured, recipe by recipe and fold by fold, as fields of `FoldResult`.

        A recipe that fails has its error in place of its figures; the others go on.

        Raises:
            ChangedCodeError: Code is another here than where the job was made.
        """
        check_same_code(self.code, self._own_code())
        with one_thread():
            folds = [ModuleFold(self.experiment, fold) for fold in self.folds]
            results: list[FoldResult] = []
            if self.stacked:
                results = self._together(folds)
            results += [
                _tried(recipe, fold, fit_one_by_one) for fold in folds for recipe in self.single
            ]
        return [vars(result) for result in results]

    def _together(self, folds: Sequence[ModuleFold]) -> list[FoldResult]:
        try:
            return run_recipes(self.stacked, folds, fit_population)
        except ChangedCodeError:
            raise
        except (Exception, SystemExit):  # one of many failed: which one is found one by one
            return [
                _tried(recipe, fold, fit_population) for fold in folds for recipe in self.stacked
            ]


def _tried(recipe: Recipe, fold: ModuleFold, fit_runs: FitRuns) -> FoldResult:
    """Return what a recipe did on a fold, or its error."""
    start = time.perf_counter()
    on_gpu = resolve_device(fold.experiment.device).type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    try:
        (result,) = run_recipes([recipe], [fold], fit_runs)
    except ChangedCodeError:
        raise
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        return failed_result(recipe.name, fold.fold, error, time.perf_counter() - start)
    if on_gpu:
        memory = float(torch.cuda.max_memory_allocated())
        result = replace(result, cost=result.cost | {"memory": memory})
    return result


def failed_result(name: str, fold: Fold, error: BaseException, seconds: float) -> FoldResult:
    """Return the result of a recipe that raised."""
    return FoldResult(name, fold.number, fold.seed, [], seconds, error=one_line(error))
