"""`jointrain export`: the model of a bundle as one file for other runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jointrain.cli._bundle_opening import TableBundle, open_table_bundle, raw_table, read_for
from jointrain.cli._flags import FACTORY, TABLE_HELP, with_reading
from jointrain.cli._printing import print_line, print_rows
from jointrain.errors import InvalidInputError
from jointrain.system.output_file import check_new_file, write_whole
from jointrain.system.terminal_streams import say

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    from jointrain.data import ReadingOptions

_CLOSE = 1e-5


@with_reading
def export(
    bundle: Annotated[Path, typer.Argument(help="Folder that fit or compare wrote.")],
    out: Annotated[Path, typer.Option(help="File to write.")],
    format: Annotated[
        str, typer.Option(help="onnx (encoder, networks, trees), or torch-export (networks).")
    ] = "onnx",
    quantize: Annotated[
        str | None,
        typer.Option(help="int8: weights of networks in 8 bits; needs --check with the targets."),
    ] = None,
    categories: Annotated[
        str, typer.Option(help="How categories are given to the file: text or codes.")
    ] = "text",
    check: Annotated[
        str | None,
        typer.Option(help=f"A table to compare the file with predict on. {TABLE_HELP}"),
    ] = None,
    factory: FACTORY = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file.")] = False,
    *,
    options: ReadingOptions,
) -> None:
    """Write the model of a bundle as one file, its encoder inside.

    With --check the file predicts a table beside `predict`: how far apart they are, and how many
    rows a second each predicts. Needs jointrain[export].
    """
    from jointrain.exporting import export_model

    if categories not in ("text", "codes"):
        raise InvalidInputError(f"--categories must be text or codes, got {categories!r}")
    if quantize is not None and check is None:
        raise InvalidInputError(
            "--quantize changes predictions; name a table with the targets by --check, so that "
            "what it costs is measured"
        )
    check_new_file(out, force=force)
    if not out.parent.is_dir() or out.is_dir():
        raise InvalidInputError(f"{out} can't be written: name a file in a folder that is there")
    opened = open_table_bundle(bundle, factory)
    frame = None if check is None else _checked_table(opened, check, options, quantize)
    inputs = write_whole(
        out,
        lambda part: export_model(
            opened.model,
            part,
            format,  # type: ignore[arg-type]
            quantize=quantize,  # type: ignore[arg-type]
            codes=categories == "codes",
        ),
    )
    print_line(f"Exported: {out} ({out.stat().st_size / 1e6:.1f} MB)")
    if frame is None:
        return
    from jointrain.exporting import compare_exported
    from jointrain.tables import for_read_rows

    opened = opened._replace(model=for_read_rows(opened.model))
    found = compare_exported(opened.model, out, inputs, frame)
    rows = [
        [
            task.name,
            f"{found.difference[task.name]:.2g}",
            "probability" if task.has_classes else "standard deviations",
        ]
        for task in opened.model.predicted_tasks
    ]
    print_rows(
        f"{found.rows} row{'s' * (found.rows != 1)}: the largest difference to predict",
        ["task", "difference", "in"],
        rows,
    )
    print(
        f"Rows a second: {found.rows / found.seconds:,.0f} by the file, "
        f"{found.rows / found.seconds_of_predict:,.0f} by predict"
    )
    if quantize is not None:
        _print_loss(opened, frame, found.predictions)
    elif max(found.difference.values()) > _CLOSE:
        say(f"warning: the file and predict differ by more than {_CLOSE:g}")


def _checked_table(
    opened: TableBundle, table: str, options: ReadingOptions, quantize: str | None
) -> pl.DataFrame:
    """Return the table of --check, with the targets where they are needed."""
    from jointrain.data import query_columns

    model = opened.model
    tasks = model.predicted_tasks
    raw = raw_table(table, options, opened)
    others = [name for task in tasks for name in task.target_columns]
    if quantize is None:
        others = []
    frame = read_for(model, raw, options, [*others, *query_columns(tasks)])
    missing = [name for name in others if name not in frame.columns]
    if missing:
        raise InvalidInputError(
            f"{raw.where} has no column {missing[0]!r}; --quantize is measured by the targets"
        )
    return frame


def _print_loss(
    opened: TableBundle, frame: pl.DataFrame, predictions: dict[str, np.ndarray]
) -> None:
    """Print what the metrics are with and without the change."""
    from jointrain.data import encode_targets, query_numbers
    from jointrain.tables import evaluate_predictions

    model = opened.model
    tasks = model.predicted_tasks
    labels = encode_targets(frame, list(tasks))
    after = evaluate_predictions(tasks, predictions, labels, query_numbers(frame, tasks))
    rows = [
        [
            task,
            name,
            f"{before:.4g}",
            f"{after[task][name]:.4g}",
            f"{after[task][name] - before:+.2g}",
        ]
        for task, values in model.evaluate(frame).items()
        for name, before in values.items()
    ]
    print_rows("What 8 bits cost", ["task", "metric", "predict", "int8", "change"], rows)
