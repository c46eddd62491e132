"""Runs of recipes on folds: what each asks for, all trained at once, and what each took."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

from jointrain.data import DataSource, TensorData
from jointrain.experiments._fold import FoldResult
from jointrain.experiments._loss_curves import LossCurve, curves_of_runs
from jointrain.experiments._recipe import Recipe
from jointrain.experiments._weight_rules import Members, requested_recipes
from jointrain.task import Task
from jointrain.training import FittedNetwork, Mixture, Run, training_work
from jointrain.training.population import fit_together

Result = TypeVar("Result", bound=FoldResult, covariant=True)


@dataclass
class Spent:
    """What the runs of a recipe took on a fold, all networks together.

    Args:
        seconds: Time.
        work: As `training_work`.
        steps: Steps of the optimisers.
        passes: How often a training row went through a network, on average over rows.
        runs: The curves of the runs, by task.
    """

    seconds: float = 0.0
    work: float = 0.0
    steps: int = 0
    passes: float = 0.0
    runs: dict[str, list[LossCurve]] = field(default_factory=dict)

    def add(self, runs: Iterable[Run], rows: int, seconds_of_a_step: float) -> None:
        """Take in finished runs, of a fold with so many training rows."""
        runs = list(runs)
        for task, curves in curves_of_runs(runs).items():
            self.runs.setdefault(task, []).extend(curves)
        for run in runs:
            trainer, own = run.trainer, row_count(run.train)
            steps = trainer.history[-1].step
            self.seconds += seconds_of_a_step * steps
            self.work += training_work(trainer, own)
            self.steps += steps
            settings = trainer.settings
            of_step = own / math.ceil(own / (settings.batch_size * settings.accumulate))
            self.passes += steps * of_step / max(rows, 1)

    def curves(self) -> dict[str, dict[str, Any]]:
        """Return how training went, by task, the mean over runs."""
        return {task: dict(vars(LossCurve.mean(curves))) for task, curves in self.runs.items()}

    def cost(self, parts: Sequence[FittedNetwork]) -> dict[str, float]:
        """Return what is printed beside the figures: parameters, steps, passes."""
        size = sum(p.numel() for part in parts for p in part.network.parameters())
        return {"parameters": float(size), "steps": float(self.steps), "passes": self.passes}


def row_count(data: Any) -> int:
    """Return the number of rows of what a trainer is fitted to, of the largest of several sets."""
    if isinstance(data, TensorData):
        return len(data)
    if isinstance(data, Mixture):
        return max((size.rows or 1 for size in data.sizes), default=1)
    if isinstance(data, Mapping):
        return max(map(row_count, data.values()), default=1)
    source = data if isinstance(data, DataSource) else DataSource(data)
    return len(source.data) if source.in_memory else source.rows or 1


class RunsOfFold(Protocol[Result]):
    """A fold that can say what runs a recipe needs on it, and measure what these have left."""

    @property
    def tasks(self) -> Sequence[Task]:
        """The tasks."""

    def runs(self, recipe: Recipe) -> list[list[Run]]:
        """Return the runs of a recipe, ready to be fitted, member by member of its ensemble."""

    def result_of(self, recipe: Recipe, members: Members, spent: Spent) -> Result:
        """Measure the fitted networks of a recipe, whose runs took so much."""


def run_recipes(
    recipes: Sequence[Recipe],
    folds: Sequence[RunsOfFold[Result]],
    fit_runs: Callable[[Sequence[Run]], None],
) -> list[Result]:
    """Train all runs of the recipes on the folds, all at once, and measure them.

    Recipes that ask for the same run share it. The seconds are shared out among the runs by the
    steps that they made; a shared run is charged to each.

    Args:
        recipes: What to train; what a rule of weights needs first is trained, too.
        folds: Where.
        fit_runs: Fits the trainers.
    """
    wanted = {
        (recipe.name, number): requested_recipes(recipe, fold.tasks)
        for number, fold in enumerate(folds)
        for recipe in recipes
    }
    requests = {key: next(generator) for key, generator in wanted.items()}
    spent = {key: Spent() for key in wanted}
    members: dict[tuple[str, int], Members] = {}
    while requests:
        start = time.perf_counter()
        prepared: dict[tuple[Recipe, int], list[list[Run]]] = {}
        for (_, number), asked in requests.items():
            for recipe in asked:
                key = (_nameless(recipe), number)
                if key not in prepared:
                    prepared[key] = folds[number].runs(recipe)
        runs = [run for of_one in prepared.values() for of_member in of_one for run in of_member]
        fit_runs(runs)
        fitted: dict[tuple[Recipe, int], Members] = {
            key: [[part for run in of_member for part in run.parts()] for of_member in of_one]
            for key, of_one in prepared.items()
        }
        each = (time.perf_counter() - start) / max(_steps(prepared.values()), 1)
        following = {}
        for (name, number), asked in requests.items():
            keys = [(_nameless(recipe), number) for recipe in asked]
            # what a rule of weights looked at first is no part of how the recipe went
            spent[name, number].runs = {}
            for of_one in (prepared[key] for key in keys):
                rows = row_count(of_one[0][0].train)
                spent[name, number].add((run for of in of_one for run in of), rows, each)
            try:
                following[name, number] = wanted[name, number].send([fitted[key] for key in keys])
            except StopIteration as end:
                members[name, number] = end.value
        requests = following
    by_name = {recipe.name: recipe for recipe in recipes}
    return [
        folds[number].result_of(by_name[name], members[key], spent[key])
        for key in wanted
        for name, number in [key]
    ]


def fit_recipe(recipe: Recipe, fold: RunsOfFold[Any]) -> Members:
    """Train a recipe on a fold, with all that its rule of weights needs first.

    Args:
        recipe: What to train.
        fold: Where.

    Raises:
        InvalidInputError: As in `Trainer.fit`.
    """
    wanted = requested_recipes(recipe, fold.tasks)
    asked = next(wanted)
    while True:
        runs = [fold.runs(one) for one in asked]
        fit_together([run for of_one in runs for of_member in of_one for run in of_member])
        fitted: list[Members] = [
            [[part for run in of_member for part in run.parts()] for of_member in of_one]
            for of_one in runs
        ]
        try:
            asked = wanted.send(fitted)
        except StopIteration as end:
            members: Members = end.value
            return members


def _nameless(recipe: Recipe) -> Recipe:
    return replace(recipe, name="")


def _steps(prepared: Iterable[list[list[Run]]]) -> int:
    """Return the steps that fitted runs have made."""
    return sum(
        run.trainer.history[-1].step
        for of_one in prepared
        for of_member in of_one
        for run in of_member
    )
