"""Layout of rows: all data sets of an experiment by one number, and its fixed splits."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from torch.utils.data import ConcatDataset, DataLoader, Subset

from jointrain.data import DataSource, is_missing, validation_split
from jointrain.errors import InvalidInputError
from jointrain.experiments._rows import OwnData
from jointrain.experiments._splits import Given, Holdout, Splits, is_share, row_numbers
from jointrain.task import Task

FixedSplit = tuple[np.ndarray, np.ndarray | None, np.ndarray]
"""Rows to train on, those for early stopping (None: to be drawn), and those to test."""

_ROW_BITS = 40
"""Bits of an origin that hold the row; those above them hold the data set."""


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
        made = _Numbering(tasks)
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
            groups = _numbered(groups)
        time = _row_values(splits.time, made.parts[0], "time")
        if time is not None:
            time = _times(time)
        if isinstance(splits, Holdout):
            fixed = [made.held_out(splits, groups, time)]
        if groups is not None:
            more = sum(part.count for part in made.parts[1:])
            groups = np.concatenate([groups, groups.max() + 1 + np.arange(more)])
        layout = cls(tuple(made.parts), tuple(fixed), groups, time)
        for number, (train, validation, test) in enumerate(fixed):
            layout.check_apart(number, train, test, validation)
        return layout

    @cached_property
    def labels(self) -> np.ndarray:
        """What rows are spread over folds by, [n, t]; see `RowSet.labels`."""
        return np.concatenate([part.labels for part in self.parts])

    @cached_property
    def weights(self) -> np.ndarray:
        """How much each label counts, [n, t]; see `RowSet.weights`."""
        return np.concatenate([part.weights for part in self.parts])

    @cached_property
    def _origins(self) -> np.ndarray:
        """Where each row comes from, [n]: equal numbers are one row of one data set."""
        known: dict[Any, int] = {}
        found = [
            _origins(one.source.data, np.arange(one.count), known)
            for part in self.parts
            for one in part.sets
        ]
        return np.concatenate(found)

    def check_apart(
        self, number: int, train: np.ndarray, test: np.ndarray, validation: np.ndarray | None = None
    ) -> None:
        """Refuse a split that has a row in two of its parts.

        Rows of subsets of one data set are the same if they are the same row of that data set.
        Where tasks have data sets of their own, the rows of each task are compared.

        Args:
            number: The split's number, for the error.
            train: Rows of its training part.
            test: Rows of its test part.
            validation: Rows of its validation part; None for none.

        Raises:
            InvalidInputError: A row is in two parts.
        """
        unseen = "test rows must be unseen"
        both, row = self._in_both(train, test)
        if both:
            raise InvalidInputError(
                f"split {number} trains and tests on {both} same row{'s' * (both > 1)}, the first "
                f"is {row}; {unseen}"
            )
        self._check_origins(number, "training", train, "test", test, unseen)
        if validation is None:
            return
        both, row = self._in_both(train, validation)
        if both:
            raise InvalidInputError(
                f"row {row} of split {number} is both to train on and for validation"
            )
        self._check_origins(
            number, "training", train, "validation", validation,
            "validation rows must not be trained on",
        )  # fmt: skip
        both, row = self._in_both(validation, test)
        if both:
            raise InvalidInputError(
                f"row {row} of split {number} is both for validation and to test; {unseen}"
            )
        self._check_origins(number, "validation", validation, "test", test, unseen)

    def _in_both(self, one: np.ndarray, other: np.ndarray) -> tuple[int, int]:
        """Return how many rows two parts share by number, and the first one's number in its part.

        Rows of several data sets are counted on, so the first of a test set has another number.
        """
        both = np.intersect1d(one, other)
        return len(both), int(both[0] - self._start(both[0])) if len(both) else 0

    def _start(self, row: int) -> int:
        """Return the number of the first row of the part that a row is of."""
        starts = np.cumsum([0, *(part.count for part in self.parts[:-1])])
        return int(starts[np.searchsorted(starts, row, side="right") - 1])

    def _check_origins(
        self,
        number: int,
        first: str,
        rows: np.ndarray,
        second: str,
        others: np.ndarray,
        advice: str,
    ) -> None:
        """Refuse two parts of a split whose rows have other numbers, but come from one row.

        Raises:
            InvalidInputError: There is such a row.
        """
        shared = self._shared(others, rows)
        if not len(shared):
            return
        row = int(self._origins[shared[0]] & ((1 << _ROW_BITS) - 1))
        if self._start(rows[0]) == self._start(others[0]):
            raise InvalidInputError(
                f"row {row} is in the data more than once, and on both sides of split {number}; "
                "keep such rows on one side by `groups`"
            )
        alike = np.array_equal(np.unique(self._origins[rows]), np.unique(self._origins[others]))
        # of the same rows, none is an example
        example = "" if alike and len(shared) > 1 else f", such as row {row}"
        raise InvalidInputError(
            f"{second} and {first} data of split {number} are rows of one data set, and share "
            f"some{example}; {advice}"
        )

    def _shared(self, rows: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Return those of some rows that come from where others do, and serve the same task."""
        sets = [one for part in self.parts for one in part.sets]
        set_of = np.repeat(np.arange(len(sets)), [one.count for one in sets])
        names = dict.fromkeys(name for one in sets for name in one.tasks)
        found = np.zeros(len(rows), dtype=bool)
        # most tasks are served by the same sets, which are compared once
        for serving in {
            tuple(index for index, one in enumerate(sets) if name in one.tasks) for name in names
        }:
            mine = np.isin(set_of[rows], serving)
            theirs = others[np.isin(set_of[others], serving)]
            found[mine] |= np.isin(self._origins[rows[mine]], self._origins[theirs])
        return rows[found]

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
            found.append(_as_array(values))
        return np.concatenate(found)
    values = _as_array(given)
    if values.shape != (data.count,):
        raise InvalidInputError(
            f"`{what}` must hold a value for each of the {data.count} rows, got shape "
            f"{values.shape}"
        )
    return values


def _as_array(given: Any) -> np.ndarray:
    values = np.asarray(given)
    if isinstance(given, list | tuple) and values.dtype.kind in "US":
        values = np.array(given, dtype=object)  # numpy makes text of what stands beside text
    return values


def _times(given: np.ndarray) -> np.ndarray:
    """Return the times of rows as numbers.

    Raises:
        InvalidInputError: One is missing, or is none.
    """
    missing = given.dtype.kind in "mM" and np.isnat(given).any()
    try:
        time = given.astype(np.float64)
    except (TypeError, ValueError):
        raise InvalidInputError("`time` must hold numbers, such as days") from None
    if missing or not np.isfinite(time).all():
        raise InvalidInputError("`time` holds a value that is no number")
    return time


def _numbered(groups: np.ndarray) -> np.ndarray:
    """Return the number of each row's group.

    Raises:
        InvalidInputError: A row's group is missing, and may be any.
    """
    values = groups.tolist()
    if groups.dtype.kind in "mM":
        missing = np.isnat(groups)
    else:
        missing = np.array([is_missing(value) for value in values], dtype=bool)
    if missing.any():
        raise InvalidInputError(
            f"`groups` holds no value for row {int(missing.argmax())} (from 0); fill it or leave "
            "the row out"
        )
    try:
        return np.unique(groups, return_inverse=True)[1].ravel()
    except TypeError:  # values of types that have no order among them
        numbers: dict[Any, int] = {}
        return np.array([numbers.setdefault(value, len(numbers)) for value in values])


class _Numbering:
    """Gives the rows of data sets their numbers, those of one data set once."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.tasks = tasks
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
        for part, word in zip(split, words, strict=True):
            rows = row_numbers(part, cut, f"the {word} part of split {number}") if cut else None
            found.append(self.rows(part, f"{word} data") if rows is None else rows)
        if not all(map(len, found)):
            raise InvalidInputError(f"a part of split {number} has no row")
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
            return np.arange(cut.count), validation, self.rows(splits.test, "test data")
        train, test = validation_split(
            cut.labels, cut.spread_tasks, splits.test, splits.seed, groups, time
        )
        return train, validation, test


def _origins(data: Any, rows: np.ndarray, known: dict[Any, int]) -> np.ndarray:
    """Return a number for each of some rows of a data set: which row of which data set it is.

    Loaders, sources, subsets and chains of data sets are those that they are made of; any other
    data set is itself. `known` numbers these, and grows.
    """
    if not len(rows):
        return rows
    if isinstance(data, (DataLoader, DataSource)):
        return _origins(data.dataset if isinstance(data, DataLoader) else data.data, rows, known)
    if isinstance(data, Subset) and (indices := _indices(data)) is not None:
        return _origins(data.dataset, indices[rows], known)
    if np.any(rows < 0) and hasattr(data, "__len__"):
        rows = rows % len(data)
    if isinstance(data, ConcatDataset):
        ends = np.array(data.cumulative_sizes)
        which = np.minimum(np.searchsorted(ends, rows, side="right"), len(ends) - 1)
        found = np.empty_like(rows)
        for index, one in enumerate(data.datasets):
            mine = which == index
            found[mine] = _origins(one, rows[mine] - (ends[index - 1] if index else 0), known)
        return found
    return (known.setdefault(_identity(data), len(known)) << _ROW_BITS) + rows


def _indices(subset: Subset[Any]) -> np.ndarray | None:
    """Return the row of the whole data set for each row of a subset; None if it has no such."""
    try:
        found = np.asarray(subset.indices, dtype=np.int64)
    except (TypeError, ValueError):  # keys that are no numbers
        return None
    return found if found.shape == (len(subset),) else None


def _identity(data: Any) -> Any:
    """Return what tells a data set from others; sources of Hugging Face's are copies of it."""
    if hasattr(data, "with_format"):
        known = getattr(DataSource(data).data, "_fingerprint", None)
        if isinstance(known, str):
            return known
    return id(data)
