"""`jointrain predict`: all targets for the rows of a table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jointrain.cli._bundle_opening import open_table_bundle, raw_table, say_all
from jointrain.cli._flags import FACTORY, TABLE_HELP, with_reading
from jointrain.cli._printing import print_line
from jointrain.cli._streamed_use import (
    Counted,
    files_in_parts,
    streamed_predictions,
    text_predictions,
    whole_predictions,
)
from jointrain.cli._value_forms import column_names
from jointrain.system.output_file import check_new_file
from jointrain.system.quick_imports import quick_imports
from jointrain.system.terminal_streams import printing, say

if TYPE_CHECKING:
    from jointrain.data import ReadingOptions


@with_reading
def predict(
    bundle: Annotated[Path, typer.Argument(help="Folder that fit or compare wrote.")],
    table: Annotated[str, typer.Argument(help=TABLE_HELP)],
    out: Annotated[
        str, typer.Option(help="File to write, kind by its ending; - is standard output (CSV).")
    ],
    force: Annotated[bool, typer.Option("--force", help="Replace the file.")] = False,
    intervals: Annotated[
        float | None,
        typer.Option(help="Share of the numbers that intervals are to hold, such as 0.9."),
    ] = None,
    preference: Annotated[
        str | None,
        typer.Option(
            help="How much each target counts, such as a=0.7,b=0.3; for models of the network "
            "pareto-set. Default: all the same."
        ),
    ] = None,
    factory: FACTORY = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(
            help="Columns of the table to write beside the predictions, as they are written there. "
            "Repeatable."
        ),
    ] = None,
    escape_formulas: Annotated[
        bool,
        typer.Option(
            "--escape-formulas",
            help="Write an apostrophe before texts that a spreadsheet would take for a formula.",
        ),
    ] = False,
    *,
    options: ReadingOptions,
) -> None:
    """Predict all targets for the rows of a table.

    The columns are read as those of the training table were; flags say where this table is written
    in another way. The column of names is written as it is there.
    """
    with quick_imports():
        import polars as pl

        from jointrain.data import (
            TextFiles,
            check_writable_ending,
            formulas_escaped,
            write_parts,
            write_table,
        )
        from jointrain.tables import interval_notes

    if out != "-":
        check_writable_ending(out)
        check_new_file(out, force=force)
    opened = open_table_bundle(bundle, factory).preferring(preference)
    model, notes = opened.model, opened.description["notes"]
    name = notes.get("id")
    columns = column_names(keep or [])
    files = files_in_parts(table, model, options, notes)
    if isinstance(files, TextFiles):
        parts = text_predictions(opened, files, options, columns, intervals)
    elif files is not None:
        if name is not None and name in files.schema:
            columns = list(dict.fromkeys([name, *columns]))
        parts = streamed_predictions(model, files, columns, intervals)
    else:
        raw = raw_table(table, options, opened)
        parts = whole_predictions(opened, raw, options, columns, intervals)
    counted = Counted(formulas_escaped(part) if escape_formulas else part for part in parts)
    if files is None:
        made = write_table(pl.concat(counted), out, replace=force)
    else:
        made = write_parts(counted, out, replace=force)
    say_all(interval_notes(model, intervals, notes, preferring=preference is not None))
    if out != "-":
        with printing(saved=Path(made)):
            if made != Path(out):
                say(f"note: {out} exists by now; the predictions are in {made}")
            print_line(f"Predicted {counted.rows} row{'s' * (counted.rows != 1)}: {made}")
