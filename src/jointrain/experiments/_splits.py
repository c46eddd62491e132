"""How an experiment of one's own is split: folds, a held-out test set, or given parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any

import numpy as np

from jointrain.errors import InvalidInputError

VALIDATION = 0.15
"""Default share of the training rows that is kept for early stopping."""


@dataclass(frozen=True, eq=False)
class Folds:
    """Cross-validation: every row is tested once in each repetition.

    Args:
        count: Number of folds, at least 2; default 5.
        groups: Group of each row, [n]; the rows of a group stay on one side of every split. For a
            data set for each task: the groups by its key.
        time: Time of each row, [n], as numbers; training rows come before test rows. For a data set
            for each task: the times by its key.
        validation: Share of the training rows that is kept for early stopping, in (0, 1); default
            0.15. With `time` the latest ones.

    Raises:
        InvalidInputError: A number lies outside its range.
    """

    count: int = 5
    groups: Any = None
    time: Any = None
    validation: float = VALIDATION

    def __post_init__(self) -> None:
        object.__setattr__(self, "count", check_whole("folds", self.count, 2))
        check_share("validation", self.validation)

    def with_count(self, count: int) -> Folds:
        """Return as many folds."""
        return replace(self, count=count)


@dataclass(frozen=True, eq=False)
class Holdout:
    """One test set, the same in all repetitions.

    Recipes are chosen by the validation rows, and each run is scored on the test set once. Verdicts
    are over seeds: they tell how sure the difference is for another seed on this test set, not for
    other test rows.

    Args:
        test: The test data, of a kind that `Experiment` takes; or the share of the rows to hold
            out, in (0, 1).
        validation: The validation data; or the share of the training rows that is kept for early
            stopping and for the choice of a recipe, in (0, 1); default 0.15. A share is drawn anew
            by each seed.
        groups, time: As in `Folds`, of the rows that are cut.
        seed: Decides which rows are held out, if `test` is a share; default 0.

    Raises:
        InvalidInputError: A share lies outside its range.

    Source: Bouthillier et al., "Accounting for Variance in Machine Learning Benchmarks", MLSys 2021
        (what varying seeds alone shows, and what it does not).
    """

    test: Any
    validation: Any = VALIDATION
    groups: Any = None
    time: Any = None
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "seed", check_whole("seed", self.seed, 0))
        for name in ("test", "validation"):
            if is_share(getattr(self, name)):
                check_share(name, getattr(self, name))


@dataclass(frozen=True, eq=False)
class Given:
    """Splits that are given, the same in all repetitions.

    Args:
        splits: For each a pair of training and test part, or a triple of training, validation and
            test part. A part is an array of row numbers, or of bool for each row; or a data set of
            a kind that `Experiment` takes, which then is called without `data`.
        validation: Share of the training rows that is kept for early stopping where no part is
            given for that, in (0, 1); default 0.15.
        groups, time: As in `Folds`; they decide which rows are kept for early stopping, and rows of
            a group count as one in the statistics.

    Raises:
        InvalidInputError: There is no split, or one has neither two parts nor three.
    """

    splits: Sequence[Sequence[Any]]
    validation: float = VALIDATION
    groups: Any = None
    time: Any = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "splits", tuple(tuple(one) for one in self.splits))
        check_share("validation", self.validation)
        if not self.splits:
            raise InvalidInputError("`splits` is empty; give a pair of training and test part")
        for number, one in enumerate(self.splits):
            if len(one) not in (2, 3):
                raise InvalidInputError(
                    f"split {number} has {len(one)} parts; give training and test part, or "
                    "training, validation and test part"
                )


Splits = Folds | Holdout | Given


def is_share(value: Any) -> bool:
    """Return whether a part is given as a share of the rows."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def check_share(name: str, value: float) -> None:
    """Refuse a share that is none.

    Raises:
        InvalidInputError: It lies outside (0, 1).
    """
    if not isinstance(value, Real) or not 0 < value < 1:
        raise InvalidInputError(f"`{name}` must be a share of the rows in (0, 1), got {value!r}")


def check_whole(name: str, value: int, least: int) -> int:
    """Return a whole number, which may be one of numpy.

    Raises:
        InvalidInputError: It is none, or below `least`.
    """
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise InvalidInputError(f"`{name}` must be a whole number, got {value!r}")
    if value < least:
        raise InvalidInputError(f"`{name}` must be at least {least}, got {value}")
    return int(value)


def row_numbers(part: Any, rows: int, what: str) -> np.ndarray | None:
    """Return the row numbers of a part that is given as numbers or marks; None for a data set.

    Raises:
        InvalidInputError: A row is not there, or comes twice.
    """
    if isinstance(part, Mapping) or not (
        isinstance(part, (np.ndarray, range, list, tuple)) or hasattr(part, "__array__")
    ):
        return None
    found = np.asarray(part)
    if found.dtype == bool:
        if found.shape != (rows,):
            raise InvalidInputError(f"{what} marks {len(found)} rows, and there are {rows}")
        return np.flatnonzero(found)
    if found.ndim != 1 or (found.size and found.dtype.kind not in "iu"):
        raise InvalidInputError(f"{what} must be row numbers, or a bool for each row")
    if found.size and not (found.min() >= 0 and found.max() < rows):
        wrong = found.max() if found.max() >= rows else found.min()
        raise InvalidInputError(f"{what} names row {wrong}, and there are {rows} (from 0 on)")
    unique = np.unique(found)
    if len(unique) < len(found):
        twice = next(row for row in found.tolist() if (found == row).sum() > 1)
        raise InvalidInputError(f"{what} names row {twice} twice; name each row once")
    return unique.astype(np.int64)
