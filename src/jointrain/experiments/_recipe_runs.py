"""Runs of recipes on folds: what each asks for, all trained at once, and what each took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

from jointrain.experiments._fold import FoldResult
from jointrain.experiments._recipe import Recipe
from jointrain.experiments._weight_rules import Members, rounds
from jointrain.task import Task
from jointrain.training import Run, training_work

Result = TypeVar("Result", bound=FoldResult, covariant=True)


class RunsOfFold(Protocol[Result]):
    """A fold that can say what runs a recipe needs on it, and measure what these have left."""

    @property
    def tasks(self) -> Sequence[Task]:
        """The tasks."""

    def runs(self, recipe: Recipe) -> list[list[Run]]:
        """Return the runs of a recipe, ready to be fitted, member by member of its ensemble."""

    def result_of(self, recipe: Recipe, members: Members, seconds: float, work: float) -> Result:
        """Measure the fitted networks of a recipe, which took so many seconds and so much work."""


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
        (recipe.name, number): rounds(recipe, fold.tasks)
        for number, fold in enumerate(folds)
        for recipe in recipes
    }
    requests = {key: next(generator) for key, generator in wanted.items()}
    seconds, work = dict.fromkeys(wanted, 0.0), dict.fromkeys(wanted, 0.0)
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
            seconds[name, number] += each * _steps(prepared[key] for key in keys)
            work[name, number] += _work(prepared[key] for key in keys)
            try:
                following[name, number] = wanted[name, number].send([fitted[key] for key in keys])
            except StopIteration as end:
                members[name, number] = end.value
        requests = following
    by_name = {recipe.name: recipe for recipe in recipes}
    return [
        folds[number].result_of(by_name[name], members[key], seconds[key], work[key])
        for key in wanted
        for name, number in [key]
    ]


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


def _work(prepared: Iterable[list[list[Run]]]) -> float:
    """Return what the training of fitted runs has cost."""
    return sum(
        training_work(run.trainer, len(run.train))
        for of_one in prepared
        for of_member in of_one
        for run in of_member
    )
