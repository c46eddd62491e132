"""AnyExperiment: what a study knows of what is to be learned, whatever it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, Self

import numpy as np

from jointrain.baselines import Baseline
from jointrain.errors import InvalidInputError
from jointrain.experiments._fold import Fold, FoldResult
from jointrain.experiments._recipe import Recipe
from jointrain.task import Task
from jointrain.training import Run, Trainer


class ExperimentJob(Protocol):
    """What one process does at a time: some recipes and baselines on some folds.

    It can be pickled, and so can its result.
    """

    @property
    def key(self) -> str:
        """A hash of data, recipes and seeds: equal keys have equal results."""

    def run(self) -> list[dict[str, Any]]:
        """Return what was measured, recipe by recipe and fold by fold, as fields of results."""


class AnyExperiment(ABC):
    """Tasks, data with their splits, and a way to train recipes on them and to score these.

    A study, its store, its budget and the searches know no more of an experiment than this.
    """

    tasks: tuple[Task, ...]
    """The tasks."""

    folds: int
    """Number of folds of a repetition."""

    any_folds: bool = False
    """Whether it can be cut into any number of folds, see `with_folds`."""

    ensembles: bool = False
    """Whether a recipe may train several networks in place of each."""

    cuts_training: bool = True
    """Whether a budget may train on fewer rows, and for fewer epochs than a recipe says."""

    follows_rules: bool = True
    """Whether it knows the rules of weights, such as ``difficulty``."""

    fixed_test: bool = False
    """Whether all repetitions test the same rows once, see `Holdout`."""

    first_baselines: tuple[str, ...] = ()
    """What is run beside the recipes where nothing else is said."""

    notes: tuple[str, ...] = ()
    """What a reader of its reports should know of its data, a sentence each."""

    ships = False
    """Whether predictions are kept, and a model is put together from the recipes."""

    @property
    @abstractmethod
    def row_count(self) -> int:
        """Number of rows with a label that a study works on."""

    @abstractmethod
    def digest(self) -> str:
        """Return a hash of data and tasks, and of all else that results hang on beside recipes."""

    @abstractmethod
    def folds_of(self, seed: int) -> list[Fold]:
        """Return the folds of a repetition.

        Raises:
            InvalidInputError: The rows can't be split so.
        """

    @abstractmethod
    def jobs(
        self,
        folds: Sequence[Fold],
        recipes: Sequence[Recipe],
        baselines: Sequence[Baseline],
        reference: Recipe,
        *,
        apart: bool = False,
    ) -> Sequence[ExperimentJob]:
        """Return the parts of a study: the same whatever the number of workers.

        Args:
            folds: Of one seed or several.
            recipes: What to train.
            baselines: What to fit beside them.
            reference: The recipe that the others are compared with.
            apart: Whether each fold, and each baseline, has jobs of its own, so that some are done
                soon and a slow one keeps none of the others waiting.
        """

    def result(self, fields: Mapping[str, Any]) -> FoldResult:
        """Return a result of a job, of its fields."""
        return FoldResult(**fields)

    def runs(
        self, fold: Fold, recipe: Recipe, make_trainer: Callable[..., Trainer] = Trainer
    ) -> list[Run]:
        """Return the runs of a recipe on a fold as a study prepares them, ready to be fitted.

        Args:
            fold: Its training part is what encoders and networks see.
            recipe: What to train; a rule of weights that needs other runs is not followed.
            make_trainer: Makes the trainers, of what `Trainer` takes.

        Raises:
            InvalidInputError: It trains nothing itself, or the recipe does not go with it.
        """
        del fold, recipe, make_trainer
        raise InvalidInputError(
            "this experiment is trained by a loop of one's own, which can't be looked into; give "
            "an Experiment of modules and data"
        )

    def fit(self, recipe: Recipe, *, seed: int = 0) -> Any:
        """Train a recipe on all rows that are not for testing, and return what it left.

        Raises:
            InvalidInputError: It trains nothing itself, or a row can't be used.
        """
        del recipe, seed
        raise InvalidInputError(
            "this experiment is trained by a loop of one's own; call that for the model to keep"
        )

    def splits_in_words(self) -> str:
        """Return how rows are split, in words."""
        return "as the experiment says"

    def labelled(self) -> np.ndarray | None:
        """Return which rows have which task's label, [n, t] of bool; None where it is not known."""
        return None

    def label_counts(self) -> dict[str, int]:
        """Return how many rows have each task's label; empty where that is not known."""
        known = self.labelled()
        if known is None:
            return {}
        counts = known.sum(0).tolist()
        return {task.name: count for task, count in zip(self.tasks, counts, strict=True)}

    def overlaps(self, folds: Sequence[Fold]) -> dict[str, np.ndarray]:
        """Return by task how much the test rows of any two folds are the same, [J, J] each.

        Empty where that is not known.
        """
        del folds
        return {}

    def check(self, recipes: Sequence[Recipe], baselines: Sequence[Baseline]) -> None:
        """Refuse recipes and baselines that can't be run here.

        Raises:
            InvalidInputError: One is such.
        """
        del baselines
        names = [task.name for task in self.tasks]
        for recipe in recipes:
            recipe.check()
            recipe.check_tasks(names)

    def as_recipe(self, given: Any) -> Recipe:
        """Return a recipe of what the user gave as one.

        Raises:
            InvalidInputError: It is none.
        """
        if not isinstance(given, Recipe):
            raise InvalidInputError(
                f"`recipes` must hold Recipe values, got {given!r}; named_recipes makes them of "
                "names"
            )
        return given

    def with_folds(self, folds: int) -> Self:
        """Return the experiment cut into so many folds.

        Raises:
            InvalidInputError: It says itself how it is split.
        """
        if folds != self.folds:
            raise InvalidInputError(
                f"the experiment says itself how it is split, into {self.folds} "
                f"fold{'s' * (self.folds != 1)}; leave `folds` out"
            )
        return self

    def sample(self, rows: int, seed: int) -> Self:
        """Return the experiment on about so many of its rows; itself if it has no more.

        Args:
            rows: How many are wanted.
            seed: Decides which.
        """
        del rows, seed
        return self


def as_tasks(given: Any) -> tuple[Task, ...]:
    """Return the tasks of an experiment.

    Raises:
        InvalidInputError: They are no list of tasks, there is none, two have one name, or one has
            no metric.
    """
    if isinstance(given, (str, Task)) or not isinstance(given, Iterable):
        raise InvalidInputError(f"`tasks` must be a list of tasks, got {given!r}")
    tasks = tuple(given)
    for task in tasks:
        if not isinstance(task, Task):
            raise InvalidInputError(
                f"`tasks` must hold tasks such as Task.regression('price'), got {task!r}"
            )
    if not tasks:
        raise InvalidInputError("an experiment needs at least one task")
    names = [task.name for task in tasks]
    for task in tasks:
        if names.count(task.name) > 1:
            raise InvalidInputError(f"two tasks are named {task.name!r}; names must differ")
        if not task.metrics:
            raise InvalidInputError(
                f"task {task.name!r} has no metric to compare recipes by; give it one, such as "
                'metrics=(Metric("IoU", function, higher_is_better=True),)'
            )
    return tasks
