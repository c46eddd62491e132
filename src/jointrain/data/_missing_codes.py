"""Numbers such as -999 that stand for a missing value in a column of other numbers."""

from __future__ import annotations

from typing import NamedTuple

import polars as pl


class MissingCode(NamedTuple):
    """A number that looks like a code for missing values.

    Args:
        row: The first row that has it.
        rows: How many rows have it.
    """

    row: int
    rows: int


def missing_code(values: pl.Series) -> MissingCode | None:
    """Return what looks like a code for missing values in a column of numbers, None if nothing.

    That is a number of nines (-9, 99, -9999, ...) that several rows have and that is farther from
    all others than they are from each other: no scale of theirs would hold it.

    Args:
        values: Numbers, null where missing, [n].
    """
    for value in (values.min(), values.max()):
        if not _is_nines(value):
            continue
        is_code = (values == value).fill_null(value=False)
        others = values.filter(~is_code).drop_nulls().cast(pl.Float64)
        if int(is_code.sum()) < 2 or others.n_unique() < 3:
            continue
        low, high = float(others.min()), float(others.max())  # type: ignore[arg-type]
        if max(low - float(value), float(value) - high) > high - low:  # type: ignore[arg-type]
            return MissingCode(int(is_code.arg_true()[0]), int(is_code.sum()))
    return None


def _is_nines(value: object) -> bool:
    if not isinstance(value, int | float) or value != value or abs(value) > 1e15:
        return False
    return value == int(value) and set(str(abs(int(value)))) == {"9"}
