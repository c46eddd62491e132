"""StudyPlan: what a study is to run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl

from jointrain.baselines import Baseline
from jointrain.charts import Chart, InNotebook, bars
from jointrain.data import SupervisedTable
from jointrain.errors import InvalidInputError
from jointrain.experiments import SEPARATE, AnyExperiment, Recipe, check_whole, default_recipes
from jointrain.studies._statistics import MARGIN, check_margin, check_task_names
from jointrain.tables import TableExperiment
from jointrain.task import Task


@dataclass(frozen=True)
class StudyPlan(InNotebook):
    """Recipes and baselines, and the seeds of an experiment's folds that they are to be run on.

    Its arguments are those of `Study`, which can run it.
    """

    experiment: AnyExperiment
    recipes: Sequence[Recipe] = ()
    baselines: Sequence[Baseline] = ()
    seeds: int = 3
    seed: int = 0
    ship: Literal["any", "networks"] = "any"
    margin: float = MARGIN

    def __post_init__(self) -> None:
        if not self.recipes:
            object.__setattr__(self, "recipes", default_recipes())
        object.__setattr__(self, "seeds", check_whole("seeds", self.seeds, 1))
        object.__setattr__(self, "seed", check_whole("seed", self.seed, 0))
        check_margin(self.margin)
        check_task_names(task.name for task in self.tasks)
        if self.ship not in ("any", "networks"):
            raise InvalidInputError(f"`ship` must be 'any' or 'networks', got {self.ship!r}")
        names = [recipe.name for recipe in self.recipes] + self.baseline_names
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise InvalidInputError(
                f"recipes and baselines must have different names, and {twice!r} comes twice (an "
                "estimator gets another one by EstimatorBaseline(..., name=))"
            )
        if SEPARATE not in names:
            raise InvalidInputError(
                f"one recipe must be named {SEPARATE!r}: the others are compared with it"
            )
        self.experiment.check(self.recipes, self.baselines)

    def to_frame(self) -> pl.DataFrame:
        """Return a row for each recipe and baseline that is to be run.

        Columns: name, role (``recipe`` or ``baseline``), runs (folds x seeds).
        """
        names = [(recipe.name, "recipe") for recipe in self.recipes]
        names += [(name, "baseline") for name in self.baseline_names]
        rows = [(*pair, self.folds * self.seeds) for pair in names]
        return pl.DataFrame(rows, schema=["name", "role", "runs"], orient="row")

    def _notebook_title(self) -> str:
        tasks = ", ".join(task.name for task in self.tasks)
        folds = f"{self.folds} fold{'s' * (self.folds != 1)}"
        return f"Study of {tasks}: {folds} x {self.seeds} seed{'s' * (self.seeds != 1)}"

    def plot(self) -> Chart:
        """Return a chart of how many rows have each target's label; empty where it is not known."""
        counts = self.experiment.label_counts()
        rows = [
            {"name": name, "value": count, "text": f"{count:,} row{'s' * (count != 1)}"}
            for name, count in counts.items()
        ]
        return bars(rows, across="rows with a label", down=None)

    @property
    def baseline_names(self) -> list[str]:
        """Names of the baselines."""
        return [baseline.name for baseline in self.baselines]

    @property
    def folds(self) -> int:
        """Number of folds of a repetition."""
        return self.experiment.folds

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks."""
        return self.experiment.tasks

    @property
    def table(self) -> SupervisedTable:
        """The table.

        Raises:
            InvalidInputError: The experiment is none of a table.
        """
        if not isinstance(self.experiment, TableExperiment):
            raise InvalidInputError(
                "the experiment is of one's own data, there is no table; use `experiment`"
            )
        return self.experiment.table


def as_experiment(
    given: AnyExperiment | SupervisedTable, folds: int | None = None
) -> AnyExperiment:
    """Return an experiment: of a table, that with five folds.

    Args:
        given: An experiment or a table.
        folds: How many folds, if not so many.

    Raises:
        InvalidInputError: It is neither, or says itself how it is split.
    """
    if isinstance(given, SupervisedTable):
        given = TableExperiment(given)
    if not isinstance(given, AnyExperiment):
        raise InvalidInputError(
            "a study is of a SupervisedTable (see SupervisedTable.prepare) or an Experiment, got "
            f"{type(given).__name__}"
        )
    return given if folds is None else given.with_folds(folds)
