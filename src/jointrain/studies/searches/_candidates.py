"""Candidates: recipes measured on the same inner folds, and an honest choice among them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import polars as pl

from jointrain.charts import Chart, InNotebook, bars
from jointrain.errors import InvalidInputError, closest
from jointrain.experiments import Recipe
from jointrain.studies._cuts import Cut
from jointrain.studies._measured import Measured
from jointrain.studies._statistics import (
    Comparison,
    Estimate,
    Unit,
    estimate_change,
    judge_all,
    mean_estimate,
    mean_of_defined,
)
from jointrain.task import Task

CLEARLY_CHEAPER = 0.6
"""A candidate is clearly cheaper with less than this share of the work: stopping early varies."""


@dataclass(frozen=True)
class Candidates(InNotebook):
    """What was measured of each candidate on the folds, and which one it speaks for.

    Args:
        measured: The figures of all that was measured.
        choices: Those that may be chosen; the earlier of two that are equally good is.
        baseline: The candidate that Delta-m is relative to.
        reference: The candidate that is kept unless another one is shown to be better.
        importance: How much a task's change counts in Delta-m, by task; 1 for tasks left out.
        seconds: Time spent on each candidate.
        work: What the training of each cost, counted and not timed; see
            `jointrain.training.training_work`.
        notes: What the reader should know, in words: first what a budget cut, then what failed.
        cuts: What a budget cut.
    """

    measured: Measured
    choices: tuple[str, ...]
    baseline: str
    reference: str
    importance: Mapping[str, float] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    work: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    cuts: tuple[Cut, ...] = ()

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks."""
        return self.measured.tasks

    @property
    def names(self) -> tuple[str, ...]:
        """All that was measured."""
        return self.measured.names

    @property
    def table(self) -> pl.DataFrame:
        """A row for each candidate, task, metric, fold and seed, with its value."""
        return self.measured.table

    def values(self, name: str, task: str, metric: str) -> np.ndarray:
        """Return a metric of a candidate over seeds and folds, [J], NaN where it is undefined."""
        return self.measured.values(name, task, metric)

    def changes(self, name: str, against: str | None = None) -> dict[str, np.ndarray]:
        """Return the changes of the first metric by task, [J] each, in `units`.

        Args:
            name: A candidate.
            against: Another one; default the baseline.

        Raises:
            InvalidInputError: There is no such candidate.
        """
        found = self.measured.changes(name, self.baseline if against is None else against)
        return {task: one.values for task, one in found.items()}

    def to_frame(self) -> pl.DataFrame:
        """Return a row for each candidate and task, the best candidate first.

        Columns: candidate, task, metric, mean, change (in percent against the baseline), delta_m,
        recommended.
        """
        rows = []
        for name in sorted(self.names, key=self.score, reverse=True):
            changes = self.mean_changes(name)
            for task in self.tasks:
                metric = task.primary_metric.name
                rows.append(
                    {
                        "candidate": name,
                        "task": task.name,
                        "metric": metric,
                        "mean": mean_of_defined(self.values(name, task.name, metric)),
                        "change": float(changes[task.name]),
                        "delta_m": float(self.score(name)),
                        "recommended": name == self.recommended,
                    }
                )
        return pl.DataFrame(rows)

    def plot(self) -> Chart:
        """Return a chart of the Delta-m of each candidate, the best first."""
        names = [name for name in self.names if math.isfinite(self.score(name))]
        percent = self.delta_m.unit == "percent"
        form, what = ("{:+.1f} %", "%") if percent else ("{:+.3g}", "difference")
        rows = [
            {"name": name, "value": self.score(name), "text": form.format(self.score(name))}
            for name in sorted(names, key=self.score, reverse=True)
        ]
        return bars(rows, across=f"Delta-m, {what}", down=None)

    def judge(
        self, names: Sequence[str], against: str | None = None
    ) -> tuple[dict[str, dict[str, Comparison]], dict[str, Comparison]]:
        """Return how candidates compare with another one, all judged together (see `judge_all`).

        The figures of the chosen candidate are flattered by the choice all the same:
        `gain_of_choosing` is free of it.

        Args:
            names: Candidates.
            against: Another one; default the reference.

        Returns:
            By candidate and task; and Delta-m by candidate, by importance.

        Raises:
            InvalidInputError: There is no such candidate.
        """
        other = self.reference if against is None else against
        return self.measured.judge(names, other, self.importance)

    def mean_changes(self, name: str) -> dict[str, float]:
        """Return each task's mean change against the baseline, as `changes`; NaN: undefined."""
        return {task: mean_of_defined(values) for task, values in self.changes(name).items()}

    def score(self, name: str) -> float:
        """Return Delta-m against the baseline: the mean change, by importance; see `delta_m`."""
        return self._score(self.mean_changes(name))

    @cached_property
    def _baseline_changes(self) -> Mapping[str, Estimate]:
        itself = self.measured.changes(self.baseline, self.baseline)
        return {task: estimate_change(changes) for task, changes in itself.items()}

    @property
    def units(self) -> dict[str, Unit]:
        """What `changes` of each task are given in: percent, or differences of its metric."""
        return {task: one.unit for task, one in self._baseline_changes.items()}

    @cached_property
    def delta_m(self) -> Estimate:
        """Delta-m of the baseline against itself: its unit, and which tasks it leaves out."""
        return mean_estimate(self._baseline_changes, self.importance)

    @cached_property
    def _counted(self) -> set[str]:
        """The tasks that Delta-m is a mean over, see `mean_estimate`."""
        return set(self.units) - set(self.delta_m.left_out)

    def _score(self, changes: Mapping[str, float]) -> float:
        pairs = [
            (self.importance.get(task, 1.0), change)
            for task, change in changes.items()
            if math.isfinite(change) and task in self._counted
        ]
        total = sum(weight for weight, _ in pairs)
        return sum(weight * change for weight, change in pairs) / total if total else -math.inf

    @property
    def chosen(self) -> str:
        """The candidate with the highest Delta-m on all folds."""
        return max(self.choices, key=self.score)

    @cached_property
    def recommended(self) -> str:
        """The chosen candidate if choosing is shown to pay, else a plain one.

        Where nothing is shown, that is the cheapest of the candidates that are clearly cheaper than
        the reference, and not shown to be worse. Without one it is the reference; if that comes
        last of three or more, no figure speaks for it, and the chosen one is taken. From too few
        folds for an interval it is the reference: a first look is no ground to leave it.
        """
        if self.first_look:
            return self.reference
        if self.gain_of_choosing.verdict == "better":
            return self.chosen
        verdicts = self.judge([name for name in self.choices if name != self.reference])[1]
        cheaper = [
            name
            for name, comparison in verdicts.items()
            if comparison.verdict != "worse" and self.clearly_cheaper(name)
        ]
        if cheaper:
            return min(cheaper, key=lambda name: self.work[name])
        last = min(self.choices, key=self.score)
        if len(self.choices) > 2 and last == self.reference:
            return self.chosen
        return self.reference

    @property
    def first_look(self) -> bool:
        """Whether there are too few folds to tell whether choosing pays."""
        return not math.isfinite(self.gain_of_choosing.low)

    def clearly_cheaper(self, name: str) -> bool:
        """Return whether a candidate takes less than `CLEARLY_CHEAPER` of the reference's work."""
        least, of = self.work.get(name, math.inf), self.work.get(self.reference, 0.0)
        return name != self.reference and least < CLEARLY_CHEAPER * of

    @cached_property
    def gains_of_choosing(self) -> dict[str, np.ndarray]:
        """What choosing the best candidate changes against the reference, free of its luck.

        On each fold, the candidate is taken that is best on the other folds of the same seed, and
        compared with the reference on the fold, which had no say. The best of many candidates by
        the same figures would look better than it is.

        Shape:
            returns: [J] for each task, in percent, NaN where undefined.

        Source: Varma & Simon, "Bias in error estimation when using cross-validation for model
            selection", BMC Bioinformatics 7, 2006; Tsamardinos et al., "Bootstrapping the
            out-of-sample predictions for efficient and accurate cross-validation", Machine Learning
            107, 2018 (on folds that are there already).
        """
        order = self.measured.runs
        seeds, folds = order["seed"].to_numpy(), order["fold"].to_numpy()
        gains = {task.name: np.full(len(order), np.nan) for task in self.tasks}
        changes = {name: self.changes(name) for name in self.choices}
        against = {name: self.changes(name, self.reference) for name in self.choices}
        for position, (seed, fold) in enumerate(zip(seeds, folds, strict=True)):
            others = (seeds == seed) & (folds != fold)
            scores = {
                name: self._score(
                    {task: mean_of_defined(v[others]) for task, v in changes[name].items()}
                )
                for name in self.choices
            }
            best = max(self.choices, key=scores.__getitem__)
            for task, values in gains.items():
                values[position] = against[best][task][position]
        return gains

    @cached_property
    def _judged_gains(self) -> tuple[dict[str, Comparison], Comparison]:
        known = [self.measured.changes(name, self.reference) for name in self.choices]
        kept = self.measured.changes(self.reference, self.reference)
        gains = {
            task: replace(
                kept[task],
                values=values,
                one_sided=any(changes[task].one_sided for changes in known),
            )
            for task, values in self.gains_of_choosing.items()
        }
        tasks, overall = judge_all({"chosen": gains}, self.importance)
        return tasks["chosen"], overall["chosen"]

    @property
    def gain_of_choosing(self) -> Comparison:
        """Delta-m, by importance, of `gains_of_choosing`, with its interval."""
        return self._judged_gains[1]

    @property
    def gain_of_choosing_by_task(self) -> dict[str, Comparison]:
        """`gains_of_choosing` of each task with its interval."""
        return self._judged_gains[0]


@dataclass(frozen=True)
class SearchResult(InNotebook):
    """What a search found.

    Args:
        candidates: The figures of all that was measured.
    """

    candidates: Candidates

    def to_frame(self) -> pl.DataFrame:
        """Return a row for each candidate and task, see `Candidates.to_frame`."""
        return self.candidates.to_frame()

    def plot(self) -> Chart:
        """Return a chart of the Delta-m of each candidate, the best first."""
        return self.candidates.plot()


@dataclass(frozen=True)
class RecipeSearchResult(SearchResult):
    """What a search among recipes found.

    Args:
        candidates: The figures of all that was measured.
        recipes: Each candidate's recipe, by name.
    """

    recipes: Mapping[str, Recipe]

    @property
    def chosen(self) -> str:
        """The candidate with the highest Delta-m; of equals the one that is preferred."""
        return self.candidates.chosen

    @property
    def recommended(self) -> str:
        """What to train, as `Candidates.recommended`."""
        return self.candidates.recommended

    def recipe(self, name: str | None = None) -> Recipe:
        """Return the recipe of a candidate; default the chosen one."""
        return self.recipes[self.chosen if name is None else name]


def check_importance(importance: Mapping[str, float], tasks: Sequence[str]) -> None:
    """Refuse importances of what is no task, that are negative, or that sums can't hold.

    Raises:
        InvalidInputError: One of these.
    """
    for name, value in importance.items():
        if name not in tasks:
            raise InvalidInputError(
                f"`importance` names {name!r}, which is no task{closest(name, tasks)}"
            )
        if not 0 <= value < math.inf:
            raise InvalidInputError(f"the importance of task {name!r} must be >= 0, got {value}")
        if value > 1e100:
            raise InvalidInputError(
                f"the importance of task {name!r} must be at most 1e100, got {value}; only the "
                "ratios of importances count"
            )
    if importance and not any(importance.get(name, 1.0) for name in tasks):
        raise InvalidInputError("at least one task must have an importance above 0")
