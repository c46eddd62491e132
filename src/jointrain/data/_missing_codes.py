"""Numbers such as -999 and dates such as 9999-12-31 that stand for a missing value."""

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
    """Return what looks like a code for missing values in a column, None if nothing does.

    That is a number of nines (-9, 99, -9999, ...), or the first or last day that a system knows,
    that several rows have and that is farther from all others than they are from each other: no
    scale of theirs would hold it.

    Args:
        values: Numbers or dates, null where missing, [n].
    """
    # as they are stored: Python has no date before the year 1 or after 9999
    stored = values.to_physical() if values.dtype.is_temporal() else values
    for value in (stored.min(), stored.max()):
        dates = values.dtype.is_temporal() and value is not None
        if not (_is_last_day(value, values.dtype) if dates else _is_nines(value)):
            continue
        is_code = (stored == value).fill_null(value=False)
        others = stored.filter(~is_code).drop_nulls().cast(pl.Float64)
        if int(is_code.sum()) < 2 or others.n_unique() < 3:
            continue
        low, high = float(others.min()), float(others.max())  # type: ignore[arg-type]
        if max(low - float(value), float(value) - high) > high - low:  # type: ignore[arg-type]
            return MissingCode(int(is_code.arg_true()[0]), int(is_code.sum()))
    return None


_FIRST_DAYS = ((1, 1, 1), (1753, 1, 1), (1899, 12, 30), (1900, 1, 1), (1970, 1, 1))
_LAST_YEARS = (2099, 2199, 2999, 9999)


def _is_last_day(stored: object, dtype: pl.DataType) -> bool:
    if dtype != pl.Date and not isinstance(dtype, pl.Datetime):
        return False
    parts = pl.Series([stored]).cast(dtype).dt
    year = parts.year()[0]
    return year in _LAST_YEARS or (year, parts.month()[0], parts.day()[0]) in _FIRST_DAYS


def _is_nines(value: object) -> bool:
    if not isinstance(value, int | float) or value != value or abs(value) > 1e15:
        return False
    return value == int(value) and set(str(abs(int(value)))) == {"9"}
