"""`jointrain evaluate`: metrics of a bundle on a table with targets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jointrain.cli._bundle_opening import (
    open_table_bundle,
    raw_table,
    read_as_trained,
    warn_unseen,
)
from jointrain.cli._flags import FACTORY, JSON, with_reading
from jointrain.cli._printing import print_rows
from jointrain.system.terminal_streams import say

if TYPE_CHECKING:
    from jointrain.data import ReadingOptions


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
    from jointrain.data import query_columns, row_of_sums

    opened = open_table_bundle(bundle, factory)
    model = opened.model
    raw = raw_table(table, options, opened.description["notes"])
    tasks = model.predicted_tasks
    weight = opened.description["notes"].get("row_weight")
    read = [name for task in tasks for name in task.target_columns]
    others = [*read, *query_columns(tasks), weight]
    frame = read_as_trained(model, raw, options, others)
    if (why := row_of_sums(frame)) is not None:
        say(f"note: the last row is left out: {why}")
        frame = frame.head(-1)
    warn_unseen(model, frame)
    if weight is not None and weight not in frame.columns:
        say(f"note: rows weighed in training, by column {weight!r}, which is not here: all count 1")
        weight = None
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
    print_rows(f"{raw.where}: {len(frame)} rows{weighed}", ["task", "metric", "value"], rows)


def _without_nan(metrics: dict[str, dict[str, float]]) -> dict[str, dict[str, float | None]]:
    return {
        task: {name: None if value != value else value for name, value in values.items()}
        for task, values in metrics.items()
    }
