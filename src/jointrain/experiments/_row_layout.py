"""Layout of rows: all data sets of an experiment by one number, and its fixed splits."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from torch.utils.data import Subset

from jointrain.data import DataSource, validation_split
from jointrain.errors import InvalidInputError
from jointrain.experiments._rows import OwnData
from jointrain.experiments._splits import Given, Holdout, Splits, is_share, row_numbers
from jointrain.task import Task

FixedSplit = tuple[np.ndarray, np.ndarray | None, np.ndarray]
"""Rows to train on, those for early stopping (None: to be drawn), and those to test."""


@dataclass(frozen=True, eq=False)
class RowLayout:
    """All rows of all data sets by one number, and the splits that do not hang on a seed.

    Args:
        parts: The data sets; rows of the first one that splits may cut come first.
        fixed: Training, validation (None: to be drawn) and test rows of each fixed split.
        groups: Group of each row of all parts; None for none.
        time: Time of each row of the first part; None for none.
    """

    parts: tuple[OwnData, ...]
    fixed: tuple[FixedSplit, ...]
    groups: np.ndarray | None
    time: np.ndarray | None

    @classmethod
    def of(cls, data: Any, splits: Splits, tasks: Sequence[Task]) -> RowLayout:
        """Return the layout of an experiment's data.

        Raises:
            InvalidInputError: Data, splits and tasks do not fit.
        """
        made = _Numbering(tasks, data)
        if data is not None:
            made.rows(data, "data")
        elif not isinstance(splits, Given):
            raise InvalidInputError("an experiment needs `data`")
        fixed: list[FixedSplit] = []
        if isinstance(splits, Given):
            cut = 0 if data is None else made.parts[0].count
            fixed = [made.given(number, one, cut) for number, one in enumerate(splits.splits)]
        groups = _row_values(splits.groups, made.parts[0], "groups")
        if groups is not None:
            groups = np.unique(groups, return_inverse=True)[1].ravel()
        time = _row_values(splits.time, made.parts[0], "time")
        if time is not None:
            try:
                time = time.astype(np.float64)
            except (TypeError, ValueError):
                raise InvalidInputError("`time` must hold numbers, such as days") from None
            if not np.isfinite(time).all():
                raise InvalidInputError("`time` holds a value that is no number")
        if isinstance(splits, Holdout):
            fixed = [made.held_out(splits, groups, time)]
        if groups is not None:
            more = sum(part.count for part in made.parts[1:])
            groups = np.concatenate([groups, groups.max() + 1 + np.arange(more)])
        return cls(tuple(made.parts), tuple(fixed), groups, time)

    @cached_property
    def labels(self) -> np.ndarray:
        """What rows are spread over folds by, [n, t]; see `RowSet.labels`."""
        return np.concatenate([part.labels for part in self.parts])

    @cached_property
    def weights(self) -> np.ndarray:
        """How much each label counts, [n, t]; see `RowSet.weights`."""
        return np.concatenate([part.weights for part in self.parts])

    def groups_of(self, rows: np.ndarray) -> np.ndarray | None:
        """Return the groups of some rows."""
        return None if self.groups is None else self.groups[rows]

    def time_of(self, rows: np.ndarray) -> np.ndarray | None:
        """Return the times of some rows."""
        return None if self.time is None else self.time[rows]

    def take(self, rows: np.ndarray, tasks: Sequence[str], *, training: bool) -> Any:
        """Return what a trainer takes, see `OwnData.take`."""
        for part, mine in self._by_part(rows):
            if len(mine) == len(rows):
                return part.take(mine, tasks, training=training)
        raise InvalidInputError("a part of a split mixes rows of several data sets")

    def hashes(self, rows: np.ndarray) -> dict[bytes, int]:
        """Return the rows by a hash of their inputs."""
        found: dict[bytes, int] = {}
        start = 0
        for part, mine in self._by_part(rows):
            found |= {digest: row + start for digest, row in part.hashes(mine).items()}
            start += part.count
        return found

    def _by_part(self, rows: np.ndarray) -> list[tuple[OwnData, np.ndarray]]:
        found, start = [], 0
        for part in self.parts:
            mine = rows[(rows >= start) & (rows < start + part.count)] - start
            found.append((part, mine))
            start += part.count
        return found

    def digest(self) -> str:
        """Return a hash of fixed splits, groups and times."""
        digest = hashlib.sha256()
        for arrays in (*self.fixed, (self.groups, self.time)):
            for one in arrays:
                digest.update(b"none" if one is None else one.tobytes() + b"|")
        return digest.hexdigest()


def _row_values(given: Any, data: OwnData, what: str) -> np.ndarray | None:
    """Return a value for each row of the data, as given: in one array, or by data set."""
    if given is None:
        return None
    if isinstance(given, Mapping):
        found = []
        for one in data.sets:
            key = one.tasks[0] if len(one.tasks) == 1 else one.tasks
            values = given.get(key, given.get(one.tasks))
            if values is None or len(values) != one.count:
                raise InvalidInputError(
                    f"`{what}` must hold {one.count} values for the data set of "
                    f"{', '.join(one.tasks)}"
                )
            found.append(np.asarray(values))
        return np.concatenate(found)
    values = np.asarray(given)
    if values.shape != (data.count,):
        raise InvalidInputError(
            f"`{what}` must hold a value for each of the {data.count} rows, got shape "
            f"{values.shape}"
        )
    return values


class _Numbering:
    """Gives the rows of data sets their numbers, those of one data set once."""

    def __init__(self, tasks: Sequence[Task], data: Any) -> None:
        self.tasks, self.data = tasks, data
        self.parts: list[OwnData] = []
        self._known: dict[int, np.ndarray] = {}

    def rows(self, data: Any, what: str) -> np.ndarray:
        """Return the numbers of a data set's rows."""
        if id(data) not in self._known:
            start = sum(part.count for part in self.parts)
            self.parts.append(OwnData(data, self.tasks, what))
            self._known[id(data)] = np.arange(start, start + self.parts[-1].count)
        return self._known[id(data)]

    def given(self, number: int, split: Sequence[Any], cut: int) -> FixedSplit:
        """Return the rows of a split that is given; of row numbers, those below `cut`."""
        words = ("training", "validation", "test") if len(split) == 3 else ("training", "test")
        found = []
        if not cut:
            _check_sources(split[0], split[-1], number)
        for part, word in zip(split, words, strict=True):
            rows = row_numbers(part, cut, f"the {word} part of split {number}") if cut else None
            found.append(self.rows(part, f"{word} data") if rows is None else rows)
        if not all(map(len, found)):
            raise InvalidInputError(f"a part of split {number} has no row")
        if len(found) == 3 and len(both := np.intersect1d(found[0], found[1])):
            raise InvalidInputError(
                f"row {both[0]} of split {number} is both to train on and for validation"
            )
        return found[0], found[1] if len(found) == 3 else None, found[-1]

    def held_out(
        self, splits: Holdout, groups: np.ndarray | None, time: np.ndarray | None
    ) -> FixedSplit:
        """Return the one split of `Holdout`."""
        cut = self.parts[0]
        validation = None
        if not is_share(splits.validation):
            validation = self.rows(splits.validation, "validation data")
        if not is_share(splits.test):
            _check_sources(self.data, splits.test, 0)
            return np.arange(cut.count), validation, self.rows(splits.test, "test data")
        train, test = validation_split(
            cut.labels, cut.spread_tasks, splits.test, splits.seed, groups, time
        )
        return train, validation, test


def _sources(data: Any, key: Any = None) -> dict[tuple[Any, int], np.ndarray | None]:
    """Return which rows of which data sets some data are, by task and identity; None for all."""
    if isinstance(data, Mapping):
        return {k: v for name, one in data.items() for k, v in _sources(one, name).items()}
    rows: np.ndarray | None = None
    while isinstance(data, (Subset, DataSource)):
        if isinstance(data, Subset):
            indices = np.asarray(data.indices)
            rows = indices if rows is None else indices[rows]
            data = data.dataset
        else:
            data = data.data
    return {(key, id(data)): rows}


def _check_sources(train: Any, test: Any, number: int) -> None:
    """Refuse test data that hold rows of the training data: of one data set, or subsets of one.

    Raises:
        InvalidInputError: They do.
    """
    if train is test:  # its rows have the same numbers, which says it
        return
    trained = _sources(train)
    for key, rows in _sources(test).items():
        if key not in trained:
            continue
        parts = [one for one in (rows, trained[key]) if one is not None]
        same = (
            np.intersect1d(parts[0], parts[1]) if len(parts) == 2 else np.concatenate([*parts, []])
        )
        if len(same) or not parts:
            first = f", such as row {int(same[0])}" if len(same) else ""
            raise InvalidInputError(
                f"test and training data of split {number} are rows of one data set, and share "
                f"some{first}; test rows must be unseen"
            )
