"""What is said of columns of many values: how they were taken, and what may be meant otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from jointrain.data._columns import Column, looks_like_ids
from jointrain.data._id_blocks import BUCKETS, MOST_VALUES
from jointrain.data._reading_notes import listed
from jointrain.data._table_schema import number_text
from jointrain.errors import InvalidInputError, closest


def check_said(said: Mapping[str, str], known: Sequence[str], roles: Mapping[str, str]) -> None:
    """Refuse what is said of a column that is not there, or is no feature.

    Raises:
        InvalidInputError: There is such a column, or it is no mapping to text.
    """
    if not isinstance(said, Mapping) or not all(isinstance(kind, str) for kind in said.values()):
        raise InvalidInputError(
            "`said` gives the kind of a column by its name, such as {'zip': 'category'}, got "
            f"{said!r}"
        )
    for name, kind in said.items():
        word = kind.partition(":")[0]
        if name not in known:
            raise InvalidInputError(
                f"column {name!r} is said to be {word}, but it is not in the table"
                f"{closest(name, known)}"
            )
        if name in roles:
            raise InvalidInputError(
                f"column {name!r} is said to be {word}, but it is {roles[name]} and no feature; "
                "leave out one of the two"
            )


def numbers_as_text(frame: pl.DataFrame, said: Mapping[str, str]) -> pl.DataFrame:
    """Return a table of features in which numbers are text where columns are said to be such.

    Raises:
        InvalidInputError: Something is said of a column that is not there.
    """
    check_said(said, frame.columns, {})
    return frame.with_columns(
        number_text(frame[name]) for name in said if frame.schema[name].is_numeric()
    )


def id_notes(
    table: pl.DataFrame, columns: Sequence[Column], said: Mapping[str, str]
) -> tuple[str, ...]:
    """Say which columns became ids and bags by themselves, and which numbers look like ids."""
    notes = []
    counts = {
        column.name: table[column.name].n_unique() for column in columns if column.kind == "id"
    }
    ids = [f"{name} ({counts[name]} values)" for name in counts if name not in said]
    if ids:
        notes.append(
            f"many values that are no language, a learned vector for each: {listed(ids)}; "
            "--text NAME reads their characters instead"
        )
    bags = [
        f"{column.name} (by {column.separator})"
        for column in columns
        if column.kind == "bag" and column.name not in said
    ]
    if bags:
        notes.append(
            f"several values in a cell, taken apart: {listed(bags)}; --category NAME takes cells "
            "as they are"
        )
    numbers = [
        column.name
        for column in columns
        if column.kind == "numeric"
        and table[column.name].dtype.is_numeric()
        and looks_like_ids(table[column.name])
    ]
    if numbers:
        notes.append(
            f"whole numbers that look like ids are taken as numbers: {listed(numbers)}; "
            "--category NAME learns a vector for each value"
        )
    notes += [
        f"column {name} has {count} values: the {MOST_VALUES} most frequent have vectors of their "
        f"own, the others share {BUCKETS} by a hash, about {-(-(count - MOST_VALUES) // BUCKETS)} "
        "each"
        for name, count in counts.items()
        if count > MOST_VALUES
    ]
    return tuple(notes)
