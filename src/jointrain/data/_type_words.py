"""Types of columns in words."""

from __future__ import annotations

import polars as pl

_PLAIN: dict[type[pl.DataType], str] = {
    pl.Boolean: "true and false",
    pl.String: "text",
    pl.Categorical: "categories",
    pl.Enum: "categories",
    pl.Date: "dates",
    pl.Time: "times of day",
    pl.Duration: "durations",
    pl.Binary: "bytes",
    pl.Object: "Python objects",
    pl.Null: "no values",
}


def type_in_words(dtype: pl.DataType) -> str:
    """Return what a column of a type holds, such as ``lists of whole numbers``."""
    if isinstance(dtype, (pl.List, pl.Array)):
        inner = dtype.inner
        return f"lists of {type_in_words(inner if isinstance(inner, pl.DataType) else inner())}"
    if isinstance(dtype, pl.Struct):
        names = [field.name for field in dtype.fields]
        more = "" if len(names) <= 5 else f" and {len(names) - 5} more"
        return f"structs with the fields {', '.join(names[:5])}{more}"
    if isinstance(dtype, pl.Datetime):
        zone = f" of the zone {dtype.time_zone}" if dtype.time_zone else ""
        return f"dates with time{zone}"
    if dtype.is_decimal():
        return "decimal numbers"
    if dtype.is_integer():
        return "whole numbers"
    if dtype.is_float():
        return "numbers"
    return _PLAIN.get(type(dtype), str(dtype))
