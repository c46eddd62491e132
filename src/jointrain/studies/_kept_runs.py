"""KeptRuns: what a folder knows of a study's runs, without the study itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl

from jointrain.data import write_parquet
from jointrain.errors import InvalidInputError
from jointrain.studies._given_runs import RunVerdicts, verdict
from jointrain.studies._metric_names import named_metric
from jointrain.studies._run_store import RunStore
from jointrain.task import Task

_COLUMNS = {
    "recipe": pl.String, "task": pl.String, "metric": pl.String, "fold": pl.Int64,
    "seed": pl.Int64, "value": pl.Float64, "train_rows": pl.Int64, "test_rows": pl.Int64,
}  # fmt: skip

_DECIDES = "decides"
"""The column that tells by which metric a task is judged."""


def write_runs(table: pl.DataFrame, tasks: Sequence[Task], path: Path) -> None:
    """Write the rows of runs as ``results.parquet``, with a column ``decides``.

    Args:
        table: As `StudyResult.table`.
        tasks: Of whose metrics the first decides.
        path: The file.
    """
    decides = {task.name: task.primary_metric.name for task in tasks}
    first = pl.col("task").replace_strict(decides, return_dtype=pl.String)
    write_parquet(table.with_columns((pl.col("metric") == first).alias(_DECIDES)), path)


@dataclass(frozen=True)
class KeptRuns:
    """What a folder knows of a study's runs.

    Args:
        table: As `StudyResult.table`, of the metric that each task is judged by alone.
        recipes: Names of recipes and baselines, in order.
        done: How many runs are done, of recipes and baselines on folds.
        planned: How many there are in all.
        notes: What the reader should know of them, in words.
    """

    table: pl.DataFrame
    recipes: tuple[str, ...]
    done: int
    planned: int
    notes: tuple[str, ...] = ()

    @classmethod
    def of_store(cls, folder: Path) -> Self:
        """Return the finished runs of a folder that `Study.run` was given as `store`.

        Raises:
            InvalidInputError: It holds none that jointrain made.
        """
        store = RunStore.existing(folder)
        description, results, _ = store.kept()
        earlier = store.descriptions()
        try:
            recipes = _listed(description)
            seeds, folds = _seeds(description), range(description["folds"])
            gone = {name for one in earlier for name in _listed(one)} - {*recipes}
            # a study that went on with more seeds or recipes may have made a run again; with fewer,
            # it is those that it was last asked for
            done = {
                (one["name"], one["seed"], one["fold"]): one["rows"]
                for of_job in results
                for one in of_job
                if one["name"] not in gone and one["seed"] in seeds
            }
            rows = [row for of_run in done.values() for row in of_run]
            planned = len(recipes) * description["folds"] * description["seeds"]
            # a budget may have added recipes
            planned += sum(
                not (name in recipes and seed in seeds and fold in folds)
                for name, seed, fold in done
            )
            table = _named(pl.DataFrame(rows, schema=_COLUMNS))
        except (KeyError, TypeError, ValueError, AttributeError, pl.exceptions.PolarsError):
            raise InvalidInputError(
                f"{folder} holds runs that this version of jointrain did not write; install the "
                "version that did, or run the command again"
            ) from None
        return cls(_first_metrics(table), recipes, len(done), planned)

    @classmethod
    def of_table(cls, path: Path) -> Self:
        """Return the runs of a file ``results.parquet`` that a command wrote.

        Raises:
            InvalidInputError: It is none.
        """
        try:
            whole = pl.read_parquet(path)
            table = whole.select(list(_COLUMNS)).cast(_COLUMNS)  # type: ignore[arg-type]
            table = _named(table)
            decides = whole[_DECIDES].cast(pl.Boolean) if _DECIDES in whole.columns else None
        except (OSError, ValueError, pl.exceptions.PolarsError):
            raise InvalidInputError(
                f"{path} is damaged, or of another version of jointrain; run the command again"
            ) from None
        runs = table.select("recipe", "seed", "fold").n_unique()
        recipes = table["recipe"].unique(maintain_order=True).to_list()
        if decides is not None:
            return cls(table.filter(decides), tuple(recipes), runs, runs)
        kept = _first_metrics(table)
        notes: tuple[str, ...] = ()
        if len(kept) < len(table):
            found = kept.select("task", "metric").unique(maintain_order=True).iter_rows()
            by = ", ".join(f"{task} by {metric}" for task, metric in found)
            notes = (
                f"{path.name} is of an older version, which did not keep which metric decides: "
                f"here each target is judged by its first one ({by}), which may be another than "
                "that of the answer",
            )
        return cls(kept, tuple(recipes), runs, runs, notes)

    @property
    def finished(self) -> bool:
        """Whether all runs are done."""
        return self.done >= self.planned

    def judged(self, baseline: str) -> RunVerdicts:
        """Return what the runs show, see `verdict`.

        Raises:
            InvalidInputError: They can't be compared.
        """
        folds = self.table["fold"].n_unique() > 1
        # loops whose splits are no row numbers keep 0 rows: they are not known
        counts = self.table.select("test_rows", "train_rows")
        known = folds and any(bool((counts[name] != 0).any()) for name in counts.columns)
        found = verdict(
            self.table,
            fold="fold" if folds else None,
            baseline=baseline,
            test_rows="test_rows" if known else None,
            train_rows="train_rows" if known else None,
        )
        return replace(found, notes=(*self.notes, *found.notes))

    def higher_is_better(self) -> dict[str, bool | None]:
        """Return whether more is better, by metric; None where its name does not say."""
        return {name: _direction(name) for name in self.table["metric"].unique()}


def _listed(description: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the recipes and baselines that a study was asked for."""
    return (*description["recipes"], *description["baselines"])


def _seeds(description: Mapping[str, Any]) -> range:
    """Return the seeds that a study was asked for."""
    first = description.get("seed", 0)
    return range(first, first + description["seeds"])


def _direction(metric: str) -> bool | None:
    try:
        return named_metric(metric, np.zeros(0))[0].higher_is_better
    except InvalidInputError:
        return None


def _named(table: pl.DataFrame) -> pl.DataFrame:
    """Return the rows, which all say what was measured of which run.

    Raises:
        ValueError: One does not.
    """
    for name in ("recipe", "task", "metric", "fold", "seed"):
        if table[name].null_count():
            raise ValueError(f"a row without a {name}")
    return table


def _first_metrics(table: pl.DataFrame) -> pl.DataFrame:
    """Keep of each task the metric that comes first in its runs."""
    if table.is_empty():
        return table
    first: dict[str, str] = {}
    for task, metric in table.select("task", "metric").iter_rows():
        first.setdefault(task, metric)
    chosen = pl.DataFrame({"task": list(first), "metric": list(first.values())})
    return table.join(chosen, on=["task", "metric"], how="semi", maintain_order="left")
