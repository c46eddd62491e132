"""Rows that come after training: read as those of training were, and what is to be said of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import polars as pl

from jointrain.data import RawTable, ReadingOptions, row_of_sums, type_raw
from jointrain.tables._blended_model import BlendedModel
from jointrain.tables._table_model import TableModel, in_double_precision

AnyTableModel: TypeAlias = TableModel | BlendedModel

_LATER = (
    "the intervals were measured on the latest rows of the table that the model was fitted to; on "
    "later data their coverage is not promised"
)
_OLDER = (
    "an older jointrain wrote this bundle, which did not keep how columns are read; they are read "
    "as this table shows"
)


def in_double(model: AnyTableModel) -> AnyTableModel:
    """Return a model with its networks in float64, in which they predict, for many calls."""
    if isinstance(model, TableModel):
        parts = tuple(
            replace(part, network=in_double_precision(part.network)) for part in model.parts
        )
        return replace(model, parts=parts)
    components: dict[str, Any] = {
        name: in_double(component) if isinstance(component, TableModel) else component
        for name, component in model.components.items()
    }
    return replace(model, components=components)


def read_as_trained(
    model: AnyTableModel, raw: RawTable, options: ReadingOptions, others: Sequence[str | None] = ()
) -> pl.DataFrame:
    """Read a table as the model's own was read: its features and the named columns.

    Args:
        model: Whose table it is to be like.
        raw: The table as it is written.
        options: Where it is written in another way.
        others: Further columns to read so; None is passed over.

    Raises:
        InvalidInputError: A cell is not what its column must hold.
    """
    if model.schema is None:
        return type_raw(raw, options, every_row=True)
    names = [column.name for column in model.columns]
    schema = model.schema.only([*names, *(name for name in others if name is not None)])
    return type_raw(raw, options, schema)


def for_read_rows(model: AnyTableModel) -> AnyTableModel:
    """Return a model for tables that `read_as_trained` or `TextFiles.as_parquet` gave.

    What means a missing value is one there already; text that looks like it was in quotes.
    """
    if model.schema is None:
        return model
    return replace(model, schema=model.schema.after_reading())


def reading_notes(model: AnyTableModel) -> list[str]:
    """Return what is to be said of how a table is read for a model, a sentence each."""
    return [f"note: {_OLDER}"] if model.schema is None else []


def total_notes(frame: pl.DataFrame) -> list[str]:
    """Return what is to be said of a last row that sums up the others."""
    why = row_of_sums(frame)
    return [] if why is None else [f"note: the last row is no case to predict: {why}"]


def unseen_notes(counts: Mapping[str, int]) -> list[str]:
    """Return how many rows hold values that no training row had, a sentence a column.

    Args:
        counts: The rows by column, as `TableEncoder.unseen` gives them.
    """
    return [
        f"warning: {count} {'row has' if count == 1 else 'rows have'} a value of {column!r} that "
        "was never seen in training"
        for column, count in counts.items()
    ]


def unused_notes(
    model: AnyTableModel, names: Sequence[str], roles: Sequence[str | None]
) -> list[str]:
    """Return which columns of a table a model has no use for.

    Args:
        model: The model.
        names: The table's columns.
        roles: Those that are there for something else.
    """
    known = {column.name for column in model.columns}
    known |= {name for task in model.tasks for name in task.target_columns}
    unused = [name for name in names if name not in known and name not in roles]
    if not unused:
        return []
    shown = ", ".join(map(repr, unused[:8]))
    more = f" and {len(unused) - 8} more" if len(unused) > 8 else ""
    return [f"note: the model does not use: {shown}{more}"]


def interval_notes(
    model: AnyTableModel,
    coverage: float | None,
    notes: Mapping[str, Any],
    *,
    preferring: bool = False,
) -> list[str]:
    """Return what is to be said of intervals: of what rows they are, and which have no end.

    Args:
        model: The model.
        coverage: Of the intervals; None for none.
        notes: Those of the model's bundle.
        preferring: Whether the model is one for a preference.
    """
    if coverage is None:
        return []
    told = [f"note: {_LATER}"] if notes.get("time") is not None else []
    if preferring:
        told.append("note: the intervals were measured with equal shares of all targets")
    open_ended = ", ".join(
        name
        for name, residuals in model.calibration.residuals.items()
        if not all(map(math.isfinite, residuals.bounds(coverage)))
    )
    if open_ended:
        told.append(
            f"note: too few rows were left out of training to bound {open_ended} at "
            f"{100 * coverage:g} %: the ends are infinite"
        )
    return told
