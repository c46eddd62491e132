"""Columns of lists, as Parquet and data frames have them: bags of their items."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import polars as pl

from jointrain.errors import InvalidInputError

ITEM_MARK = "\x1f"
"""What stands between the items of lists when they are text: ASCII's separator of units."""


def is_list(dtype: pl.DataType) -> bool:
    """Return whether a column of this type holds lists of text or whole numbers."""
    if not isinstance(dtype, (pl.List, pl.Array)):
        return False
    inner = dtype.inner
    inner = inner if isinstance(inner, pl.DataType) else inner()
    return inner.is_integer() or inner in (pl.String, pl.Categorical, pl.Enum)


def list_items(column: pl.Series) -> pl.Series:
    """Return a column of lists as lists of text."""
    if isinstance(column.dtype, pl.Array):
        column = column.arr.to_list()
    return column.cast(pl.List(pl.String))


def list_columns(frame: pl.DataFrame, roles: Iterable[str] = ()) -> list[str]:
    """Return the columns of a table that hold lists and are bags.

    Args:
        frame: The table.
        roles: Columns that are no features.
    """
    beside = set(roles)
    return [n for n, dtype in frame.schema.items() if n not in beside and is_list(dtype)]


def have_several_items(frame: pl.DataFrame, names: Iterable[str]) -> list[str]:
    """Return those of the columns, joined by `lists_as_bags`, in which a list has several items.

    Of others the text is that of the items.
    """
    return [n for n in names if frame[n].str.contains(ITEM_MARK, literal=True).any()]


def lists_as_bags(
    frame: pl.DataFrame, said: Mapping[str, str], roles: Iterable[str] = ()
) -> tuple[pl.DataFrame, dict[str, str]]:
    """Return a table whose lists are text, and what is said of its columns: these are bags.

    Text can be compared, counted and kept by all that looks at tables.

    Args:
        frame: The table.
        said: What columns are, by name, see `SupervisedTable.prepare`.
        roles: Columns that are no features; they stay.

    Raises:
        InvalidInputError: A column of lists is said to be no bag.
    """
    names = list_columns(frame, roles)
    for name in names:
        word = said.get(name, "bag").partition(":")[0]
        if word in ("category", "text"):
            raise InvalidInputError(
                f"column {name!r} is said to be {word}, but it holds lists, which are bags; join "
                "their items to text first, or leave it to be a bag"
            )
    joined = [
        list_items(frame[name])
        .list.eval(pl.element().drop_nulls())
        .list.join(ITEM_MARK)
        .alias(name)
        for name in names
    ]
    bags = dict.fromkeys(names, f"bag:{ITEM_MARK}")
    return frame.with_columns(joined), {**said, **bags}
