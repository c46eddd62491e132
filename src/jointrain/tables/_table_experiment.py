"""TableExperiment: a table as a study knows it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from jointrain.baselines import BASELINES, FIRST_BASELINES, Baseline, check_predicts
from jointrain.data import SupervisedTable, outer_folds
from jointrain.errors import InvalidInputError
from jointrain.experiments import AnyExperiment, Fold, Recipe, fold_overlaps
from jointrain.tables._fit_table import fit_table
from jointrain.tables._fold_runs import (
    FoldJob,
    TableFoldResult,
    fold_jobs,
    fold_runs,
    table_digest,
)
from jointrain.tables._row_sample import sample_rows
from jointrain.tables._table_model import TableModel
from jointrain.task import Task, known_labels
from jointrain.training import Run, Trainer

DEFAULT_FOLDS = 5

_INSTEAD = "gradient boosting"
"""Has quantiles, which forests have not."""


@dataclass(frozen=True)
class TableExperiment(AnyExperiment):
    """A table, cut into folds: networks and baselines are trained on it, and blends of them ship.

    Args:
        table: The rows, with tasks and feature columns.
        folds: Number of folds of a repetition, at least 2; default 5.

    Raises:
        InvalidInputError: There are fewer than two folds.
    """

    table: SupervisedTable
    folds: int = DEFAULT_FOLDS

    ships = True
    any_folds = True
    ensembles = True

    def __post_init__(self) -> None:
        if self.folds < 2:
            raise InvalidInputError(f"`folds` must be at least 2, got {self.folds}")

    @property
    def first_baselines(self) -> tuple[str, ...]:  # type: ignore[override]
        """Those of `FIRST_BASELINES`; gradient boosting for what can't predict a target."""
        return tuple(
            name if BASELINES[name].why_not(self.tasks) is None else _INSTEAD
            for name in FIRST_BASELINES
        )

    @property
    def tasks(self) -> tuple[Task, ...]:  # type: ignore[override]
        """The tasks of the table."""
        return self.table.tasks

    @property
    def notes(self) -> tuple[str, ...]:  # type: ignore[override]
        """What was decided for the user of the table, and what looks odd."""
        instead = [
            f"{name} has no quantiles, which target {task.name} is: where no baselines are named, "
            f"{_INSTEAD} is measured in its place"
            for task in self.tasks
            for name, stands in zip(FIRST_BASELINES, self.first_baselines, strict=True)
            if stands != name and task.kind == "quantiles"
        ]
        return (*self.table.notes, *instead[:1])

    @property
    def row_count(self) -> int:
        """Rows with a label."""
        return len(self.table.frame)

    def digest(self) -> str:
        """Return `table_digest` of the table."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        return table_digest(self.table)

    def folds_of(self, seed: int) -> list[Fold]:
        """Return the folds of a repetition, see `outer_folds`."""
        table = self.table
        splits = outer_folds(
            table.labels(), list(table.tasks), self.folds, seed,
            groups=table.groups, time=table.time,
        )  # fmt: skip
        return [Fold(number, seed, train, test) for number, (train, test) in enumerate(splits)]

    def jobs(
        self,
        folds: Sequence[Fold],
        recipes: Sequence[Recipe],
        baselines: Sequence[Baseline],
        reference: Recipe,
        *,
        apart: bool = False,
    ) -> list[FoldJob]:
        """Return the parts of a study, see `fold_jobs`."""
        return fold_jobs(
            self.table, folds, recipes, baselines, reference, self._digest, apart=apart
        )

    def result(self, fields: Mapping[str, Any]) -> TableFoldResult:
        """Return a result of a job, of its fields."""
        return TableFoldResult(**fields)

    def runs(
        self, fold: Fold, recipe: Recipe, make_trainer: Callable[..., Trainer] = Trainer
    ) -> list[Run]:
        """Return the runs of a recipe on a fold, see `fold_runs`."""
        return fold_runs(self.table, fold, recipe, make_trainer)

    def labelled(self) -> np.ndarray:
        """Return which rows have which task's label, [n, t] of bool."""
        return known_labels(self.table.labels(), self.table.tasks)

    def overlaps(self, folds: Sequence[Fold]) -> dict[str, np.ndarray]:
        """Return `fold_overlaps` of the table."""
        return fold_overlaps(self.tasks, self.table.labels(), folds, self.table.groups)

    def check(self, recipes: Sequence[Recipe], baselines: Sequence[Baseline]) -> None:
        """Refuse recipes and baselines that can't be run here.

        Raises:
            InvalidInputError: One is such.
        """
        for baseline in baselines:
            check_predicts(baseline, self.tasks)
        super().check(recipes, baselines)

    def fit(self, recipe: Recipe, *, seed: int = 0) -> TableModel:
        """Return the model of a recipe on all rows, see `fit_table`."""
        return fit_table(self.table, recipe, seed=seed)

    def with_folds(self, folds: int) -> TableExperiment:
        """Return the table cut into so many folds."""
        return replace(self, folds=folds)

    def sample(self, rows: int, seed: int) -> TableExperiment:
        """Return about so many of the rows, see `sample_rows`."""
        return replace(self, table=sample_rows(self.table, rows, seed))
