"""A table with its roles: targets, features, groups and time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl

from jointrain.data._columns import Column, dropped_columns, infer_columns
from jointrain.data._tables import as_table
from jointrain.data._targets import encode_targets, infer_tasks
from jointrain.errors import InvalidInputError, closest
from jointrain.task import Task


@dataclass(frozen=True)
class SupervisedTable:
    """A table, what to predict from it, and from which columns.

    Args:
        frame: The rows that have at least one label.
        tasks: What to predict.
        columns: The feature columns.
        groups: Number of each row's group, [n]; rows of a group stay on one side of every split.
        time: Rank of each row's time, [n]; splits train on the past and test on the future.
        unlabelled_rows: How many rows were left out because they have no label at all.
        dropped: Why a column that could have been a feature is none, by its name.
    """

    frame: pl.DataFrame
    tasks: tuple[Task, ...]
    columns: tuple[Column, ...]
    groups: np.ndarray | None = None
    time: np.ndarray | None = None
    unlabelled_rows: int = 0
    dropped: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def prepare(
        cls,
        frame: Any,
        targets: Sequence[str],
        *,
        kinds: Mapping[str, str] | None = None,
        ignore: Sequence[str] = (),
        id_column: str | None = None,
        group_column: str | None = None,
        time_column: str | None = None,
    ) -> SupervisedTable:
        """Infer tasks and feature columns.

        Args:
            frame: Polars, pandas or Arrow table.
            targets: Names of the target columns.
            kinds: Kind of a task by target name where it should not be inferred.
            ignore: Columns that are no features.
            id_column: A column that names rows; no feature.
            group_column: Rows with the same value stay together in every split; no feature.
            time_column: Rows are split by its order, past before future; no feature.

        Raises:
            InvalidInputError: A column does not exist, has two roles or holds what its role can't
                use, or no feature column is left.
        """
        table = as_table(frame)
        roles: dict[str, str] = {}
        named = [("target", name) for name in targets] + [("ignored", name) for name in ignore]
        named += [
            (role, name)
            for role, name in (("id", id_column), ("group", group_column), ("time", time_column))
            if name is not None
        ]
        for role, name in named:
            if name not in table.columns:
                raise InvalidInputError(
                    f"{role} column {name!r} is not in the table{closest(name, table.columns)}; "
                    f"it has {_shortened(table.columns)}"
                )
            # id and group may be the same column (rows of one patient); a target is only a target
            if name in roles and "target" in (role, roles[name]):
                other = roles[name] if role == "target" else role
                raise InvalidInputError(
                    f"column {name!r} is a target and also {other}; drop one of the two"
                    if other != "target"
                    else f"target {name!r} is named twice; name it once"
                )
            roles[name] = role
        if group_column is not None and time_column is not None:
            raise InvalidInputError("splits go by group or by time, not both; drop one of the two")
        tasks = infer_tasks(table, list(targets), kinds)
        labelled = np.isfinite(encode_targets(table, tasks)).any(1)
        features = [name for name in table.columns if name not in roles]
        columns = infer_columns(table, features)
        if not columns:
            raise InvalidInputError(
                "no feature column is left beside targets, ignored, id, group, time and constant "
                "columns; the table needs at least one"
            )
        groups = None if group_column is None else _numbered(table, group_column, "group")
        time = None if time_column is None else _numbered(table, time_column, "time")
        return cls(
            frame=table.filter(pl.Series(labelled)),
            tasks=tuple(tasks),
            columns=tuple(columns),
            groups=None if groups is None else groups[labelled],
            time=None if time is None else time[labelled],
            unlabelled_rows=int((~labelled).sum()),
            dropped=dropped_columns(table, features),
        )

    def only(self, tasks: Sequence[str]) -> SupervisedTable:
        """Return the table with some of its tasks, and the rows that have a label of one of them.

        Args:
            tasks: Their names.
        """
        if {task.name for task in self.tasks} <= set(tasks):
            return self
        fewer = replace(self, tasks=tuple(task for task in self.tasks if task.name in tasks))
        labelled = np.isfinite(fewer.labels()).any(1)
        return replace(
            fewer,
            frame=self.frame.filter(pl.Series(labelled)),
            groups=None if self.groups is None else self.groups[labelled],
            time=None if self.time is None else self.time[labelled],
            unlabelled_rows=self.unlabelled_rows + int((~labelled).sum()),
        )

    def labels(self) -> np.ndarray:
        """Return the labels as numbers, [n, t], NaN where one is missing."""
        return encode_targets(self.frame, list(self.tasks))


def _numbered(table: pl.DataFrame, column: str, role: str) -> np.ndarray:
    """Return each row's value as its rank among the distinct values."""
    values = table[column]
    missing = values.is_null().arg_true()
    if len(missing):
        raise InvalidInputError(
            f"{role} column {column!r} is empty in row {int(missing[0]) + 1}; fill it or leave "
            f"those rows out"
        )
    if role == "time" and not (values.dtype.is_numeric() or values.dtype.is_temporal()):
        raise InvalidInputError(
            f"time column {column!r} holds text such as {values[0]!r}; write dates as 2026-01-31 "
            f"or give a number"
        )
    return values.rank("dense").to_numpy().astype(np.int64) - 1


def _shortened(names: Sequence[str], limit: int = 8) -> str:
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
