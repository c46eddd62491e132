"""`jointrain explain`: how much each column moves the predictions of a table's rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jointrain.cli._bundle_opening import TableBundle, open_table_bundle, raw_table, read_for
from jointrain.cli._flags import FACTORY, JSON, TABLE_HELP, with_reading
from jointrain.cli._printing import print_line, print_rows, progress_bar
from jointrain.errors import InvalidInputError
from jointrain.system.output_file import check_new_file
from jointrain.system.terminal_streams import say

if TYPE_CHECKING:
    from jointrain.data import RawTable, ReadingOptions
    from jointrain.tables import Explanations

_SHOWN_COLUMNS = 5


@with_reading
def explain(
    bundle: Annotated[Path, typer.Argument(help="Folder that fit or compare wrote.")],
    table: Annotated[str, typer.Argument(help=TABLE_HELP)],
    out: Annotated[
        str | None,
        typer.Option(
            help="File to write, kind by its ending (CSV, Parquet, ...): a line for each row, "
            "output and column; - is standard output (CSV)."
        ),
    ] = None,
    background: Annotated[
        str | None,
        typer.Option(
            help="A table whose rows the others are held against, such as that of training. "
            "Default: the rows themselves."
        ),
    ] = None,
    rows: Annotated[int, typer.Option(help="The first rows are explained, so many.")] = 100,
    background_rows: Annotated[
        int, typer.Option(help="Rows drawn from the background at most.")
    ] = 100,
    orders: Annotated[
        int, typer.Option(help="Random orders for each row, with more than 8 columns.")
    ] = 10,
    seed: Annotated[int, typer.Option(help="Of the draws and the orders.")] = 0,
    factory: FACTORY = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file.")] = False,
    *,
    options: ReadingOptions,
    json_output: JSON = False,
) -> None:
    """Explain the predictions of rows: how much each column moves each target, and which way.

    The figures are Shapley values, of shap's explainers, in the unit of the prediction: the base
    (the mean prediction of the background) and the contributions of all columns sum to the
    prediction. The columns are read as those of the training table were; flags say where this table
    is written in another way. Needs jointrain[explain].
    """
    from jointrain.data import kept_columns, with_kept, write_table
    from jointrain.tables import explain as explain_rows, for_read_rows

    _check_where(out, json_output, force)
    opened = open_table_bundle(bundle, factory)
    raw = _raw(table, options, opened)
    frame, others = read_for(opened.model, raw, options), None
    if background is not None:
        others = read_for(opened.model, _raw(background, options, opened), options)
    with progress_bar("explaining rows") as advance:
        found = explain_rows(
            for_read_rows(opened.model),
            frame,
            others,
            rows=rows,
            background_rows=background_rows,
            orders=orders,
            seed=seed,
            progress=advance,
        )
    if len(frame) > len(found.rows):
        say(
            f"note: the first {len(found.rows)} of {len(frame)} rows are explained; --rows N says "
            "how many"
        )
    if found.background_rows < min(background_rows, len(frame if others is None else others)):
        say(
            f"note: {found.background_rows} rows of the background are used: with "
            f"{len(found.columns)} columns more would take more memory than is good"
        )
    if json_output:
        print(json.dumps(found.to_json(), ensure_ascii=False))
    if out is None:
        return
    lines = found.to_frame()
    kept = kept_columns(raw, opened.description["notes"].get("id"), [])
    if kept.width:
        # an id may be called as a column of the lines
        kept = kept.rename({name: f"{name} of the table" for name in kept.columns if name in lines})
        lines = with_kept(lines, kept[(lines["row"] - 1).to_list()])
    made = write_table(lines, out, replace=force)
    if out != "-" and not json_output:
        _print(found)
        print_line(f"Explained {_rows(len(found.rows))}: {made}")


def _check_where(out: str | None, json_output: bool, force: bool) -> None:
    """Refuse what can't be written, before any work is done."""
    from jointrain.data import check_writable_ending

    if out is None:
        if not json_output:
            raise InvalidInputError("say where to write: --out FILE, or --json")
        return
    if out == "-" and json_output:
        raise InvalidInputError("--out - and --json both write to standard output; choose one")
    check_writable_ending(out)
    if out != "-":
        check_new_file(out, force=force)


def _raw(table: str, options: ReadingOptions, opened: TableBundle) -> RawTable:
    from jointrain.data import is_streamed

    if is_streamed(table):
        raise InvalidInputError(
            f"{table} is a folder or a pattern of files; name one file with the rows to explain"
        )
    return raw_table(table, options, opened)


def _rows(count: int) -> str:
    return f"{count} row{'s' * (count != 1)}"


def _print(found: Explanations) -> None:
    """Print the columns that move each output most."""
    strength = found.strength
    shown = [
        [
            output.name,
            output.unit,
            f"{found.base[place]:.4g}",
            found.columns[column],
            f"{strength[column, place]:.4g}",
        ]
        for place, output in enumerate(found.outputs)
        for column in (-strength[:, place]).argsort(kind="stable")[:_SHOWN_COLUMNS]
    ]
    how = "exact" if found.exact else "estimates, with standard errors in the file"
    print_rows(
        f"Shapley values of {_rows(len(found.rows))} against {found.background_rows} "
        f"({how}; {found.seconds:.1f} s)",
        ["output", "unit", "base", "column", "mean size"],
        shown,
    )
