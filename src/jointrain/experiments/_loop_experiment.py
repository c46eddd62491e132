"""Experiments of one's own loop: a function that trains and scores a recipe by itself."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from numbers import Real
from typing import Any

import numpy as np

from jointrain.baselines import Baseline
from jointrain.errors import InvalidInputError, closest
from jointrain.experiments._any_experiment import AnyExperiment, as_tasks
from jointrain.experiments._fold import Fold, FoldResult, check_range
from jointrain.experiments._fold_overlaps import fold_overlaps
from jointrain.experiments._job_words import array_digest, recipe_in_words
from jointrain.experiments._module_runs import failed_result
from jointrain.experiments._named_recipes import SEPARATE
from jointrain.experiments._recipe import Recipe
from jointrain.system.own_code import (
    ChangedCodeError,
    check_same_code,
    digest_of,
    digests_of_code,
)
from jointrain.task import Task
from jointrain.training import one_thread
from jointrain.training.sampling import Joint, Separate

Figures = Mapping[str, Mapping[str, float]]
"""Metrics by task and name."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LoopRecipe(Recipe):
    """A recipe of one's own loop: a name, and whatever the loop understands.

    Args:
        given: What the loop is called with in place of a recipe.
    """

    given: Any = None

    @classmethod
    def of(cls, given: Any) -> Recipe:
        """Return a recipe of what the user gave: a name, a mapping with one, or a `Recipe`.

        Raises:
            InvalidInputError: It has no name, or a setting is not named by a text.
        """
        if isinstance(given, Recipe):
            return given
        name = given if isinstance(given, str) else None
        if isinstance(given, Mapping):
            name = given.get("name")
        elif name is None:
            name = getattr(given, "name", None)
        if not isinstance(name, str) or not name:
            raise InvalidInputError(
                f"a recipe of one's own loop is a name, a mapping or an object with a `name`, got "
                f"{given!r}"
            )
        if isinstance(given, Mapping):
            try:
                json.dumps(dict(given), default=lambda _: None)
            except (TypeError, ValueError) as error:
                raise InvalidInputError(
                    f"the settings of recipe {name!r} can't be told apart ({error}); name each by "
                    "a text"
                ) from None
        return cls(name=name, schedule=Separate() if name == SEPARATE else Joint(), given=given)

    def to_json(self) -> dict[str, Any]:
        """Return name and settings as values that JSON can hold, or a hash of them."""
        settings = dict(self.given) if isinstance(self.given, Mapping) else {}
        if not settings and not isinstance(self.given, str):
            settings = {"settings": digest_of(self.given)}
        plain = json.loads(json.dumps(settings, default=digest_of))
        return {**plain, "name": self.name}


@dataclass(frozen=True, eq=False)
class LoopExperiment(AnyExperiment):
    """An experiment that a function of the user's trains and scores; see `Experiment.of`.

    Args:
        run: Called with a recipe, a seed and a split.
        tasks: The tasks.
        splits: What it is called with, one after the other.
    """

    run: Callable[[Any, int, Any], Any]
    tasks: tuple[Task, ...]
    splits: tuple[Any, ...] = field(default=(None,))

    cuts_training = False
    follows_rules = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "tasks", as_tasks(self.tasks))
        if not callable(self.run):
            raise InvalidInputError(
                f"`run` must be called with recipe, seed and split, got {self.run!r}"
            )
        if not self.splits:
            raise InvalidInputError("`splits` is empty; leave it out for one fixed test set")

    @property
    def folds(self) -> int:  # type: ignore[override]
        """Number of splits."""
        return len(self.splits)

    @property
    def fixed_test(self) -> bool:  # type: ignore[override]
        """Whether there is one split."""
        return self.folds == 1

    @property
    def row_count(self) -> int:
        """Rows of all splits, where these are row numbers; else 0: it is not known."""
        return max(
            (int(rows.max()) + 1 for one in self._rows for rows in one if len(rows)), default=0
        )

    @cached_property
    def _rows(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Row numbers of training and test part of each split; empty where they are not known."""
        found = []
        for one in self.splits:
            parts = [np.arange(0)] * 2
            if isinstance(one, (tuple, list)) and len(one) in (2, 3):
                parts = [_row_numbers(part) for part in (one[0], one[-1])]
            known = all(map(len, parts))
            found.append((parts[0], parts[1]) if known else (np.arange(0), np.arange(0)))
        return found

    def splits_in_words(self) -> str:
        """Return how rows are split, in words."""
        return "one test set for all seeds" if self.fixed_test else "as they were given"

    def digest(self) -> str:
        """Return a hash of tasks, splits and the code of the loop."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        told = [[task.name, task.kind, digest_of(task)] for task in self.tasks]
        plain = json.dumps([told, digest_of(self.run), [digest_of(one) for one in self.splits]])
        return hashlib.sha256(plain.encode()).hexdigest()

    def folds_of(self, seed: int) -> list[Fold]:
        """Return the splits with a seed; row numbers are empty where they are not known."""
        return [Fold(number, seed, *rows) for number, rows in enumerate(self._rows)]

    def overlaps(self, folds: Sequence[Fold]) -> dict[str, np.ndarray]:
        """Return how much test rows are the same: a split of one number is the same rows."""
        if all(len(test) for _, test in self._rows):
            spread = [Task.regression(task.name) for task in self.tasks]
            return fold_overlaps(spread, np.zeros((self.row_count, len(spread))), folds)
        numbers = np.array([fold.number for fold in folds])
        same = (numbers[:, None] == numbers).astype(float)
        return {task.name: same for task in self.tasks}

    def as_recipe(self, given: Any) -> Recipe:
        """Return a recipe of what the user gave, see `LoopRecipe.of`."""
        return LoopRecipe.of(given)

    def check(self, recipes: Sequence[Recipe], baselines: Sequence[Baseline]) -> None:
        """Refuse baselines.

        Raises:
            InvalidInputError: There is one.
        """
        del recipes
        if baselines:
            raise InvalidInputError(
                f"baseline {baselines[0].name!r} is for tables; let the loop run it as a recipe"
            )

    def jobs(
        self,
        folds: Sequence[Fold],
        recipes: Sequence[Recipe],
        baselines: Sequence[Baseline],
        reference: Recipe,
        *,
        apart: bool = False,
    ) -> list[LoopJob]:
        """Return a job for each recipe and split."""
        del baselines, reference, apart
        return [LoopJob(self, fold, recipe, self._digest) for fold in folds for recipe in recipes]


def _row_numbers(part: Any) -> np.ndarray:
    """Return the row numbers that a part holds, empty if it holds something else."""
    if isinstance(part, (np.ndarray, range, list)):
        found = np.asarray(part)
        if found.ndim == 1 and found.dtype.kind == "b":
            return np.flatnonzero(found)
        if found.ndim == 1 and found.size and found.dtype.kind in "iu" and found.min() >= 0:
            return np.unique(found).astype(np.int64)
    return np.arange(0)


@dataclass(frozen=True)
class LoopJob:
    """One call of the user's loop.

    Args:
        experiment: The loop, the tasks and the splits.
        fold: Which split and seed.
        recipe: What to train.
        data: `LoopExperiment.digest`.
    """

    experiment: LoopExperiment
    fold: Fold
    recipe: Recipe
    data: str

    @cached_property
    def key(self) -> str:
        """A hash of loop, recipe, split and seed."""
        _ = self.code
        rows = [array_digest(rows) for rows in (self.fold.train, self.fold.test)]
        plain = [self.data, self.fold.number, self.fold.seed, rows, recipe_in_words(self.recipe)]
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()

    @cached_property
    def code(self) -> dict[str, str]:
        """Hashes of the loop's code, as it is where the job is made."""
        return digests_of_code([self.experiment.run])

    def run(self) -> list[dict[str, Any]]:
        """Call the loop on one thread and return the fields of a `FoldResult`.

        Where it raised an error, the result holds that.

        Raises:
            ChangedCodeError: The loop is of other code here than where the job was made.
        """
        check_same_code(self.code, [self.experiment.run])
        fold, recipe = self.fold, self.recipe
        given = recipe.given if isinstance(recipe, LoopRecipe) else recipe
        start = time.perf_counter()
        try:
            with one_thread():  # as in processes of their own, so that all bits are the same
                found = self.experiment.run(given, fold.seed, self.experiment.splits[fold.number])
            test, validation, cost = _parts_of(found, recipe.name)
            rows = self._rows(test, "figures")
            held_out = self._rows(validation, "validation figures") if validation else []
        except ChangedCodeError:
            raise
        except (Exception, SystemExit) as error:  # the user's code may raise anything
            seconds = time.perf_counter() - start
            return [vars(failed_result(recipe.name, fold, error, seconds))]
        seconds = time.perf_counter() - start
        work = cost.pop("work", math.nan)
        result = FoldResult(
            recipe.name, fold.number, fold.seed, rows, seconds,
            work=work, cost=cost, validation=held_out,
        )  # fmt: skip
        return [vars(result)]

    def _rows(self, figures: Any, what: str) -> list[dict[str, Any]]:
        if not isinstance(figures, Mapping):
            raise InvalidInputError(
                f"`run` must return {{task: {{metric: value}}}}, got {type(figures).__name__}"
            )
        rows = []
        names = [task.name for task in self.experiment.tasks]
        for name in figures:
            if name not in names:
                raise InvalidInputError(
                    f"`run` returned {what} of {name!r}, which is no task{closest(name, names)}"
                )
        for task in self.experiment.tasks:
            by_metric = figures.get(task.name)
            primary = task.primary_metric.name
            if not isinstance(by_metric, Mapping) or primary not in by_metric:
                known = "" if not isinstance(by_metric, Mapping) else closest(primary, by_metric)
                raise InvalidInputError(
                    f"`run` returned no {primary} of task {task.name!r} in its {what}{known}"
                )
            # the metric that decides is first, which tells what is kept of a run by which to judge
            for metric, value in {primary: by_metric[primary], **by_metric}.items():
                rows.append(self._row(task, metric, value))
        return rows

    def _row(self, task: Task, metric: str, value: Any) -> dict[str, Any]:
        if hasattr(value, "item"):
            value = value.item()
        if not isinstance(value, Real):
            raise InvalidInputError(
                f"`run` returned {value!r} as {metric} of task {task.name!r}; it must be a number"
            )
        number = float(value)
        check_range(task, metric, number, f"`run` returned {number:g} as")
        number = number if math.isfinite(number) else math.nan
        # no rows: not known
        sizes = len(self.fold.train), len(self.fold.test)
        return self.fold.row(self.recipe.name, task.name, str(metric), number, *sizes)


def _parts_of(found: Any, recipe: str) -> tuple[Any, Any, dict[str, float]]:
    """Return test figures, validation figures (None for none) and costs of what a loop returned."""
    if not isinstance(found, tuple):
        return found, None, {}
    if len(found) not in (2, 3):
        raise InvalidInputError(
            "`run` must return figures, or a tuple of test figures, validation figures and, if "
            f"known, costs, got {len(found)} of them"
        )
    cost = found[2] if len(found) == 3 else {}
    if not isinstance(cost, Mapping):
        raise InvalidInputError(f"`run` must return costs as {{name: number}}, got {cost!r}")
    for name, value in cost.items():
        if not isinstance(value, Real):
            raise InvalidInputError(
                f"`run` returned {value!r} as the cost {name!r} of recipe {recipe!r}; it must be a "
                "number"
            )
        if not 0 <= float(value) < math.inf:
            raise InvalidInputError(
                f"`run` returned {value} as the cost {name!r} of recipe {recipe!r}; it must be a "
                "number of 0 or more; leave out what is not known"
            )
    return found[0], found[1], {str(name): float(value) for name, value in cost.items()}
