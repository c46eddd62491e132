"""Columns: what kind of feature each column of a table is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl

from jointrain.data._type_words import type_in_words
from jointrain.errors import InvalidInputError, closest

ColumnKind = Literal["numeric", "boolean", "category", "text", "datetime", "time", "calendar"]

MAX_SMALL_CATEGORIES = 40
"""So many distinct strings are categories in any table."""

MAX_CATEGORIES = 1000
"""So many distinct strings are categories if each stands in `ROWS_PER_CATEGORY` rows on average."""

ROWS_PER_CATEGORY = 20


@dataclass(frozen=True)
class Column:
    """A feature column of a table.

    Args:
        name: The column's name.
        kind: ``numeric`` (integers, numbers, durations in seconds), ``boolean``, ``category``
            (strings with few distinct values), ``text`` (strings with many), ``datetime`` (dates
            with or without time of day), ``time`` (time of day) or ``calendar`` (dates of which
            only month, weekday and hour count).
        dtype: The column's Polars type, as text.
    """

    name: str
    kind: str
    dtype: str


def infer_columns(frame: pl.DataFrame, names: Sequence[str]) -> list[Column]:
    """Return the feature columns among the named ones, with their kinds.

    Columns that hold one value only, or none, carry nothing and are left out; `dropped_columns`
    says which. Strings are text when they have more than 40 distinct values, unless they have at
    most 1000 and 20 rows for each on average.

    Args:
        frame: The table.
        names: Columns to look at, in order.

    Raises:
        InvalidInputError: A column does not exist, holds an infinite value, or has a type that is
            no feature (lists, structures, bytes).
    """
    _check_known(frame, names)
    schema = frame.schema
    kinds = {name: kind_of_type(schema[name], name) for name in names}
    check_finite(frame, names)
    dropped = dropped_columns(frame, names)
    kept = [name for name in names if name not in dropped]
    strings = [name for name in kept if kinds[name] == "category"]
    distinct = frame.select(pl.col(strings).drop_nulls().n_unique()).row(0) if strings else ()
    texts = {
        name
        for name, count in zip(strings, distinct, strict=True)
        if count > MAX_SMALL_CATEGORIES
        and (count > MAX_CATEGORIES or count * ROWS_PER_CATEGORY > frame.height)
    }
    return [
        Column(name, "text" if name in texts else kinds[name], str(schema[name])) for name in kept
    ]


def dropped_columns(frame: pl.DataFrame, names: Sequence[str]) -> dict[str, str]:
    """Return why columns carry nothing, by name: ``no values`` or ``one value only``.

    A column with one value in some rows and none in others is kept: that a value is missing may
    tell something.

    Raises:
        InvalidInputError: A column does not exist.
    """
    _check_known(frame, names)
    if not names or frame.height == 0:
        return {}
    schema = frame.schema
    counted = [name for name in names if _countable(schema[name])]
    # NaN is missing, as null is
    values = [
        pl.col(name).fill_nan(None) if schema[name].is_float() else pl.col(name) for name in counted
    ]
    nulls = frame.select(value.null_count() for value in values).row(0) if values else ()
    distinct = frame.select(value.n_unique() for value in values).row(0) if values else ()
    dropped = {}
    for name, null_count, count in zip(counted, nulls, distinct, strict=True):
        if null_count == frame.height:
            dropped[name] = "no values"
        elif count == 1:
            dropped[name] = "one value only"
    return dropped


def kind_of_type(dtype: pl.DataType, name: str) -> ColumnKind:
    """Return the kind of a column of this type; strings are ``category``.

    Raises:
        InvalidInputError: The type is no feature.
    """
    if dtype.is_numeric() or dtype in (pl.Duration, pl.Null):
        return "numeric"
    if dtype == pl.Boolean:
        return "boolean"
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        return "category"
    if dtype in (pl.Date, pl.Datetime):
        return "datetime"
    if dtype == pl.Time:
        return "time"
    raise InvalidInputError(
        f"column {name!r} holds {type_in_words(dtype)}, which can't be a feature; split it into "
        "plain columns, or ignore it"
    )


def check_finite(frame: pl.DataFrame, names: Sequence[str]) -> None:
    """Refuse infinite values.

    Raises:
        InvalidInputError: A column holds an infinite value; column, row (from 1) and value are
            named.
    """
    schema = frame.schema
    floats = [name for name in names if schema[name].is_float()]
    if not floats:
        return
    found = frame.select(pl.col(floats).is_infinite().any()).row(0)
    for name, infinite in zip(floats, found, strict=True):
        if infinite:
            row = int(frame[name].is_infinite().fill_null(value=False).arg_true()[0])
            raise InvalidInputError(
                f"column {name!r} holds {frame[name][row]} in row {row + 1}; put a number there or "
                "leave it empty"
            )


def _countable(dtype: pl.DataType) -> bool:
    return not dtype.is_nested() and dtype != pl.Object


def _check_known(frame: pl.DataFrame, names: Sequence[str]) -> None:
    known = set(frame.columns)
    for name in names:
        if name not in known:
            raise InvalidInputError(
                f"column {name!r} is not in the table{closest(name, frame.columns)}"
            )
