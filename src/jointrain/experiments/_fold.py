"""A fold of a study, and what a recipe did on it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import numpy as np

from jointrain.errors import InvalidInputError
from jointrain.experiments._loss_curves import LossCurve
from jointrain.task import Task


class Fold(NamedTuple):
    """Which rows a fold trains and tests on."""

    number: int
    seed: int
    train: np.ndarray
    test: np.ndarray

    def row(
        self, name: str, task: str, metric: str, value: float, train_rows: int, test_rows: int
    ) -> dict[str, Any]:
        """Return a row of the result table: a metric of a task, with the labels behind it."""
        return {
            "recipe": name, "task": task, "metric": metric, "fold": self.number, "seed": self.seed,
            "value": value, "train_rows": train_rows, "test_rows": test_rows,
        }  # fmt: skip


@dataclass(frozen=True)
class FoldResult:
    """What a recipe or a baseline did on a fold.

    Args:
        name: The recipe or baseline.
        fold, seed: The fold's number and seed.
        rows: Rows of the result table: recipe, task, metric, fold, seed, value, train_rows and
            test_rows.
        seconds: What it took.
        work: What the training cost, counted (see `training_work`); NaN of baselines.
        cost: What else it took: parameters, steps, passes over the training rows, memory (bytes at
            most), where they are known.
        validation: As `rows`, measured on the rows for early stopping, where recipes are chosen by
            these.
        curves: How training went, by task: `LossCurve` as plain values; empty where that is not
            known.
        error: Why there are no rows, in one line; None if nothing failed.
    """

    name: str
    fold: int
    seed: int
    rows: list[dict[str, Any]]
    seconds: float
    work: float = field(default=math.nan, kw_only=True)
    cost: dict[str, float] = field(default_factory=dict, kw_only=True)
    validation: list[dict[str, Any]] = field(default_factory=list, kw_only=True)
    curves: dict[str, dict[str, Any]] = field(default_factory=dict, kw_only=True)
    error: str | None = field(default=None, kw_only=True)

    def without_predictions(self) -> Self:
        """Return the figures alone: what is not shipped needs no predictions."""
        return self

    def check(self, tasks: Sequence[Task], fold: Fold) -> None:
        """Refuse what no run of a fold gives; a store may hold anything.

        Raises:
            ValueError: It is such a result.
        """
        if not isinstance(self.name, str) or not 0 <= self.seconds < math.inf:
            raise ValueError("no name or no seconds")
        if not isinstance(self.work, float) or self.work < 0:
            raise ValueError("work that is no number of 0 or more")
        del fold
        names = {task.name for task in tasks}
        if not (self.error is None or isinstance(self.error, str)):
            raise ValueError("an error that is no text")
        if any(type(value) is not float for value in self.cost.values()):
            raise ValueError("a cost that is no number")
        if not self.curves.keys() <= names:
            raise ValueError("curves of other tasks")
        for curve in self.curves.values():
            LossCurve.of_plain(curve)
        for row in (*self.rows, *self.validation):
            if {name: type(value) for name, value in row.items()} != _ROW:
                raise ValueError("a row with other columns")
            if row["task"] not in names or row["recipe"] != self.name:
                raise ValueError("a row of another run")


_ROW = {
    "recipe": str, "task": str, "metric": str, "fold": int, "seed": int, "value": float,
    "train_rows": int, "test_rows": int,
}  # fmt: skip


def check_range(task: Task, metric: str, value: float, said: str, slack: float = 0.0) -> None:
    """Refuse a figure that a metric of a task can't have.

    Args:
        task: Has the metric, or another of a loop's own.
        metric: Its name.
        value: The figure; NaN for none.
        said: How the message begins.
        slack: By how much rounding may go beyond the bounds.

    Raises:
        InvalidInputError: It lies beyond the bounds of the metric.
    """
    known = {one.name: one for one in task.metrics or ()}.get(metric)
    if known is None or math.isnan(value):
        return
    if not known.lowest - slack <= value <= known.highest + slack:
        scale = "; give shares, not percent" if known.highest == 1 < value else ""
        raise InvalidInputError(
            f"{said} {metric} of task {task.name!r}, which lies between {known.lowest:g} and "
            f"{known.highest:g}{scale}"
        )
