"""`jointrain evaluate`: metrics of a bundle on a table with targets."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jointrain.cli._bundle_opening import (
    open_table_bundle,
    raw_table,
    say_all,
)
from jointrain.cli._flags import FACTORY, JSON, with_reading
from jointrain.cli._printing import print_rows
from jointrain.cli._streamed_use import opened_files, streamed_metrics
from jointrain.system.terminal_streams import say

if TYPE_CHECKING:
    import polars as pl

    from jointrain.data import RawTable, ReadingOptions
    from jointrain.tables import BlendedModel, TableModel


@with_reading
def evaluate(
    bundle: Annotated[Path, typer.Argument(help="Folder that fit or compare wrote.")],
    table: Annotated[str, typer.Argument(help="A table with the targets in it.")],
    factory: FACTORY = None,
    *,
    options: ReadingOptions,
    json_output: JSON = False,
) -> None:
    """Measure a bundle on a table that has the targets.

    The columns are read as those of the training table were; flags say where this table is written
    in another way. Rows count by the column of --row-weight that the bundle was trained with.
    """
    from jointrain.data import is_streamed

    opened = open_table_bundle(bundle, factory)
    model = opened.model
    notes = opened.description["notes"]
    if is_streamed(table):
        files = opened_files(table, model, options, notes)
        where, rows_read = files.where, files.rows
        weight = _weight_among(files.schema, notes)
        metrics = streamed_metrics(model, files, weight).values
    else:
        raw = raw_table(table, options, notes)
        frame = _frame(model, raw, options, notes)
        where, rows_read = raw.where, len(frame)
        weight = _weight_among(frame.columns, notes)
        metrics = model.evaluate(frame, weight)
    if json_output:
        print(json.dumps(_without_nan(metrics), ensure_ascii=False))
        return
    rows = [
        [task, name, "undefined" if value != value else f"{value:.4g}"]
        for task, values in metrics.items()
        for name, value in values.items()
    ]
    weighed = "" if weight is None else f", weighed by {weight}"
    print_rows(f"{where}: {rows_read} rows{weighed}", ["task", "metric", "value"], rows)


def _frame(
    model: TableModel | BlendedModel,
    raw: RawTable,
    options: ReadingOptions,
    notes: Mapping[str, Any],
) -> pl.DataFrame:
    """Return a table in memory, read as that of training was."""
    from jointrain.data import query_columns, row_of_sums
    from jointrain.tables import read_as_trained, reading_notes, unseen_notes

    tasks = model.predicted_tasks
    read = [name for task in tasks for name in task.target_columns]
    others = [*read, *query_columns(tasks), notes.get("row_weight")]
    say_all(reading_notes(model))
    frame = read_as_trained(model, raw, options, others)
    if (why := row_of_sums(frame)) is not None:
        say(f"note: the last row is left out: {why}")
        frame = frame.head(-1)
    say_all(unseen_notes(model.encoder.unseen(frame)))
    return frame


def _weight_among(columns: Collection[str], notes: Mapping[str, Any]) -> str | None:
    """Return the column of weights that the bundle was trained with, if it is there."""
    weight: str | None = notes.get("row_weight")
    if weight is not None and weight not in columns:
        say(f"note: rows weighed in training, by column {weight!r}, which is not here: all count 1")
        return None
    return weight


def _without_nan(metrics: dict[str, dict[str, float]]) -> dict[str, dict[str, float | None]]:
    return {
        task: {name: None if value != value else value for name, value in values.items()}
        for task, values in metrics.items()
    }
