"""What commands of a bundle begin with: a table read as the one that it was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jointrain.cli._reading import with_kept_reading
from jointrain.errors import InvalidInputError
from jointrain.system.terminal_streams import say

if TYPE_CHECKING:
    import polars as pl

    from jointrain.data import RawTable, ReadingOptions
    from jointrain.tables import BlendedModel, TableModel


class TableBundle(NamedTuple):
    """The model of a table, and what its bundle tells of it."""

    model: TableModel | BlendedModel
    description: dict[str, Any]


def open_table_bundle(path: Path, factory: list[str] | None) -> TableBundle:
    """Open the bundle of a table's model with what --factory names.

    Raises:
        InvalidInputError: It is damaged, needs another factory, or holds modules of other inputs.
    """
    from jointrain.bundle import describe_bundle, read_bundle
    from jointrain.training import NetworkModel

    described = describe_bundle(path)
    if described.get("kind") != "modules":
        opened = read_bundle(path, factories=factories_of(factory))
        for remark in opened.remarks:
            say(f"note: {remark}")
        if not isinstance(opened.model, NetworkModel):
            return TableBundle(opened.model, opened.description)
    raise InvalidInputError(
        f"{path} holds modules of one's own, whose inputs are no table: use Python, "
        "jointrain.load_bundle(path, factories={...}).predict(inputs) or .evaluate(data)"
    )


def raw_table(table: str, options: ReadingOptions, notes: Mapping[str, Any]) -> RawTable:
    """Read a table's file as that of training was, where nothing else is said."""
    from jointrain.data import read_raw

    raw = read_raw(table, with_kept_reading(options, notes))
    for note in raw.notes:
        say(f"note: {note}")
    return raw


def read_as_trained(
    model: TableModel | BlendedModel,
    raw: RawTable,
    options: ReadingOptions,
    others: Sequence[str | None],
) -> pl.DataFrame:
    """Read a table as the model's own was read: its features and the named columns."""
    from jointrain.data import type_raw

    if model.schema is None:
        say(
            "note: an older jointrain wrote this bundle, which did not keep how columns are read; "
            "they are read as this table shows",
        )
        return type_raw(raw, options)
    names = [column.name for column in model.columns]
    schema = model.schema.only([*names, *(name for name in others if name is not None)])
    return type_raw(raw, options, schema)


def say_unused(model: TableModel | BlendedModel, frame: Any, roles: Sequence[str | None]) -> None:
    """Name the columns of a table that a model has no use for."""
    known = {column.name for column in model.columns}
    known |= {name for task in model.tasks for name in task.target_columns}
    unused = [name for name in frame.columns if name not in known and name not in roles]
    if unused:
        shown = ", ".join(map(repr, unused[:8]))
        more = f" and {len(unused) - 8} more" if len(unused) > 8 else ""
        say(f"note: the model does not use: {shown}{more}")


def warn_unseen(model: TableModel | BlendedModel, frame: Any) -> None:
    """Count the rows with values that no training row had."""
    warn_of_unseen(model.encoder.unseen(frame))


def warn_of_unseen(counts: Mapping[str, int]) -> None:
    """Say how many rows have values that no training row had, by column."""
    for column, count in counts.items():
        rows = "row has" if count == 1 else "rows have"
        say(
            f"warning: {count} {rows} a value of {column!r} that was never seen in training",
        )


def factories_of(paths: list[str] | None) -> dict[str, Any]:
    """Return what --factory names, by path and by name."""
    from jointrain.system.own_code import imported

    made = {path: imported(path) for path in paths or ()}
    return made | {path.partition(":")[2]: factory for path, factory in made.items()}
