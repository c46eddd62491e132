"""`jointrain evaluate`: metrics of a bundle on a table with targets."""

from __future__ import annotations

import math
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
from jointrain.cli._printing import print_json, print_rows
from jointrain.cli._since_training import (
    History,
    measure,
    print_since_training,
)
from jointrain.cli._streamed_use import opened_files, sample_of, streamed_metrics
from jointrain.errors import InvalidInputError
from jointrain.system.terminal_streams import say

if TYPE_CHECKING:
    import polars as pl

    from jointrain.data import RawTable, ReadingOptions
    from jointrain.metrics import Metric
    from jointrain.tables import BlendedModel, TableModel

FAILED = 3
"""The exit code where a metric is worse than --fail-below."""


@with_reading
def evaluate(
    bundle: Annotated[Path, typer.Argument(help="Folder that fit or compare wrote.")],
    table: Annotated[str, typer.Argument(help="A table with the targets in it.")],
    factory: FACTORY = None,
    *,
    options: ReadingOptions,
    history: Annotated[
        Path | None,
        typer.Option(
            help="File of the running test of the bundle's promises; made if there is none. With "
            "it a table is counted once, and the test is of all tables so far."
        ),
    ] = None,
    fail_below: Annotated[
        list[str] | None,
        typer.Option(
            help="METRIC=VALUE or TASK/METRIC=VALUE: exit code 3 if it is worse. Repeatable."
        ),
    ] = None,
    json_output: JSON = False,
    details: Annotated[
        bool, typer.Option("--details", help="With --json: all that is shown, not metrics alone.")
    ] = False,
) -> int:
    """Measure a bundle on a table that has the targets.

    The columns are read as those of the training table were; flags say where this table is written
    in another way. Rows count by the column of --row-weight that the bundle was trained with.

    Beside what is measured stand what compare reported and what a constant gives. Then: how many
    values lie within their intervals, how far each column has drifted, and which target is no
    longer as good as promised, by a test that may be made every week. The rows must be new ones.
    """
    from jointrain.data import is_streamed
    from jointrain.tables import for_read_rows

    opened = open_table_bundle(bundle, factory)
    model, reported = opened.model, opened.description["metrics"]
    notes = opened.description["notes"]
    limits = _limits(fail_below or [], model)
    if history is not None and notes.get("reference") is None:
        raise InvalidInputError(
            f"--history: {bundle} keeps no promise to be tested; fit or compare anew writes one"
        )
    kept = History(history, opened.description["digests"])
    if is_streamed(table):
        if history is not None:
            raise InvalidInputError(
                "--history takes a table that fits into memory; give one file, such as a week's"
            )
        files, model = opened_files(table, model, options, notes)
        where, rows_read = files.where, files.rows
        weight = _weight_among(files.schema, notes)
        metrics = streamed_metrics(model, files, weight).values
        found = measure(model, sample_of(files, model, weight), weight, notes, kept)
        found.metrics = metrics
    else:
        raw = raw_table(table, options, opened)
        frame = _frame(model, raw, options, notes)
        model = for_read_rows(model)
        where, rows_read = raw.where, len(frame)
        weight = _weight_among(frame.columns, notes)
        found = measure(model, frame, weight, notes, kept)
    kept.write()
    if json_output:
        said = found.to_json(reported) if details else found.metrics
        print_json(_finite(said))
    else:
        rows = [
            [
                task,
                name,
                _figure(reported.get(task, {}).get(name)),
                _figure(value),
                _figure(found.constant.get(task, {}).get(name)),
            ]
            for task, values in found.metrics.items()
            for name, value in values.items()
        ]
        weighed = "" if weight is None else f", weighed by {weight}"
        headings = ["task", "metric", "reported", "measured", "constant"]
        read = f"{rows_read} row{'s' * (rows_read != 1)}"
        print_rows(f"{where}: {read}{weighed}", headings, rows)
        print_since_training(found)
    return _failed(limits, found.metrics)


def _figure(value: float | None) -> str:
    if value is None:
        return "-"
    return "undefined" if value != value else f"{value:.4g}"


def _limits(said: list[str], model: TableModel | BlendedModel) -> list[tuple[str, Metric, float]]:
    """Return task, metric and value of --fail-below.

    Raises:
        InvalidInputError: One has another form, or no task has the metric.
    """
    found = []
    for one in said:
        name, _, number = one.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            value = float("nan")
        if not name or value != value:
            raise InvalidInputError(
                f"--fail-below must look like METRIC=VALUE or TASK/METRIC=VALUE, got {one!r}"
            )
        fitting = [
            (task.name, metric, value)
            for task in model.predicted_tasks
            for metric in task.metrics or ()
            if name in (metric.name, f"{task.name}/{metric.name}")
        ]
        if not fitting:
            there = [m.name for task in model.predicted_tasks for m in task.metrics or ()]
            raise InvalidInputError(
                f"--fail-below {one}: no task has the metric {name!r}; there are "
                f"{', '.join(dict.fromkeys(there))}"
            )
        found += fitting
    return found


def _failed(
    limits: list[tuple[str, Metric, float]], metrics: Mapping[str, Mapping[str, float]]
) -> int:
    """Say which metrics are worse than they may be; return the exit code."""
    failed = False
    for task, metric, limit in limits:
        value = metrics[task].get(metric.name, float("nan"))
        good = value >= limit if metric.higher_is_better else value <= limit
        if not good:  # what is undefined is not good
            say(f"failed: {metric.name} of {task} is {_figure(value)}, worse than {limit:g}")
            failed = True
    return FAILED if failed else 0


def _frame(
    model: TableModel | BlendedModel,
    raw: RawTable,
    options: ReadingOptions,
    notes: Mapping[str, Any],
) -> pl.DataFrame:
    """Return a table in memory, read as that of training was."""
    from jointrain.data import query_columns, row_of_sums, with_rare_labels
    from jointrain.tables import read_as_trained, reading_notes, unseen_notes

    tasks = model.predicted_tasks
    read = [name for task in tasks for name in task.target_columns]
    others = [*read, *query_columns(tasks), notes.get("row_weight")]
    say_all(reading_notes(model))
    frame = read_as_trained(model, raw, options, others)
    frame = with_rare_labels(frame, notes.get("relabelled") or {})  # older bundles have none
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


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
