"""Measured: a metric of each recipe on the same folds, and how recipes compare by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import polars as pl

from jointrain.errors import InvalidInputError, closest
from jointrain.studies._changes import task_changes
from jointrain.studies._statistics import MARGIN, Changes, Comparison, judge_all
from jointrain.task import Task


@dataclass(frozen=True)
class Measured:
    """The figures of recipes (or baselines, or candidates of a search) on folds and seeds.

    Args:
        tasks: The tasks.
        names: All that is compared; one that was not run yet has no value.
        table: A row for each recipe, task, metric, fold and seed, with its value.
        overlaps: As `fold_overlaps`, by task, folds in the order of seeds and numbers; empty if the
            folds are not known.
        margin: Changes up to this many percent do not matter (of 1 - value for bounded metrics near
            1).
        fixed_test: Whether there is one test set that all seeds share.
    """

    tasks: tuple[Task, ...]
    names: tuple[str, ...]
    table: pl.DataFrame
    overlaps: Mapping[str, np.ndarray] = field(default_factory=dict)
    margin: float = MARGIN
    fixed_test: bool = False

    @cached_property
    def runs(self) -> pl.DataFrame:
        """Seed and fold of each of the J places of values, in order."""
        return self.table.select("seed", "fold").unique().sort("seed", "fold")

    def values(self, name: str, task: str, metric: str) -> np.ndarray:
        """Return a metric over seeds and folds, [J], NaN where it is undefined or was not run."""
        return self._values.get((name, task, metric), np.full(len(self.runs), np.nan))

    @cached_property
    def _values(self) -> dict[tuple[object, ...], np.ndarray]:
        names = self.table.select("recipe", "task", "metric").unique(maintain_order=True)
        placed = self.table.join(names.with_row_index("row"), on=names.columns).join(
            self.runs.with_row_index("column"), on=["seed", "fold"]
        )
        values = np.full((len(names), len(self.runs)), np.nan)
        values[placed["row"].to_numpy(), placed["column"].to_numpy()] = placed["value"].to_numpy()
        return dict(zip(names.iter_rows(), values, strict=True))

    @cached_property
    def _label_counts(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Labels in the test and training part of each fold, [J] each, by task."""
        keys = ["seed", "fold"]
        found = {}
        for (task,), part in self.table.partition_by("task", as_dict=True).items():
            once = part.unique(keys, keep="first", maintain_order=True)
            rows = self.runs.join(once, on=keys, how="left", maintain_order="left")
            found[str(task)] = rows["test_rows"].to_numpy(), rows["train_rows"].to_numpy()
        return found

    @cached_property
    def _places(self) -> dict[str, np.ndarray]:
        """On which folds of all seeds each was run, [J] of bool, by name."""
        order = list(self.runs.iter_rows())
        found = {name: np.zeros(len(order), dtype=bool) for name in self.names}
        for (name,), part in self.table.partition_by("recipe", as_dict=True).items():
            known = set(part.select("seed", "fold").unique().iter_rows())
            found[str(name)] = np.array([number in known for number in order], dtype=bool)
        return found

    def lacks(self, name: str, reference: str, task: str) -> int:
        """Return on how many folds that both were run on only the reference has a value of a task.

        By the task's first metric.
        """
        metric = next(one for one in self.tasks if one.name == task).primary_metric.name
        run = self._places[name] & self._places[reference]
        own, other = (np.isfinite(self.values(one, task, metric)) for one in (name, reference))
        return int((run & other & ~own).sum())

    def changes(self, name: str, reference: str) -> dict[str, Changes]:
        """Return the changes of each task's first metric, on the folds that both were run on.

        Raises:
            InvalidInputError: There is no such recipe.
        """
        for given in (name, reference):
            if given not in self.names:
                raise InvalidInputError(f"there is no recipe {given!r}{closest(given, self.names)}")
        run = self._places[name] & self._places[reference]
        changes = {}
        for task in self.tasks:
            metric = task.primary_metric
            test_rows, train_rows = self._label_counts[task.name]
            overlap = self.overlaps.get(task.name)
            changes[task.name] = task_changes(
                self.values(name, task.name, metric.name)[run],
                self.values(reference, task.name, metric.name)[run],
                metric,
                test_rows=test_rows[run],
                train_rows=train_rows[run],
                seeds=self.runs["seed"].to_numpy()[run],
                overlap=None if overlap is None else overlap[np.ix_(run, run)],
                margin=self.margin,
                fixed_test=self.fixed_test,
            )
        return changes

    def judge(
        self,
        names: Sequence[str],
        reference: str,
        importance: Mapping[str, float] | None = None,
    ) -> tuple[dict[str, dict[str, Comparison]], dict[str, Comparison]]:
        """Return how some compare with another one, all judged together (see `judge_all`).

        Args:
            names: What is compared.
            reference: What it is compared with.
            importance: How much each task counts in Delta-m; default 1 each.

        Returns:
            By name and task; and Delta-m by name.

        Raises:
            InvalidInputError: There is no such recipe.
        """
        return judge_all({name: self.changes(name, reference) for name in names}, importance)
