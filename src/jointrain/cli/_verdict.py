"""`jointrain verdict`: what a table of runs shows, whatever program made them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jointrain.cli._flags import JSON, READING_OF_RUNS, TABLE_HELP, with_reading
from jointrain.cli._printing import console_of_output, print_json, print_line
from jointrain.cli._said import command_line
from jointrain.errors import InvalidInputError
from jointrain.system.output_file import check_new_file, write_text, write_whole
from jointrain.system.terminal_streams import say

if TYPE_CHECKING:
    import polars as pl

    from jointrain.data import RawTable, ReadingOptions

_MARKDOWN = (".md", ".markdown")
_HTML = (".html", ".htm")


@partial(with_reading, texts=READING_OF_RUNS)
def verdict(
    runs: Annotated[str, typer.Argument(help=TABLE_HELP)],
    recipe: Annotated[str, typer.Option(help="Column of recipes.")] = "recipe",
    task: Annotated[str | None, typer.Option(help="Column of tasks. Default task.")] = None,
    metric: Annotated[
        str | None, typer.Option(help="Column of metrics. Default metric, else --value names it.")
    ] = None,
    value: Annotated[str | None, typer.Option(help="Column of values. Default value.")] = None,
    seed: Annotated[str | None, typer.Option(help="Column of seeds. Default seed.")] = None,
    fold: Annotated[
        str | None,
        typer.Option(help="Column of folds. Default fold; without one, one test set for all."),
    ] = None,
    wide: Annotated[
        str | None,
        typer.Option(
            help="Columns hold a metric of a task each, of such names: {task}/{metric}, acc_{task}."
        ),
    ] = None,
    baseline: Annotated[
        str, typer.Option(help="Recipe that the others are compared with.")
    ] = "separate",
    judge_by: Annotated[
        list[str] | None,
        typer.Option(help="Metric to judge by, where a task has several. Repeatable."),
    ] = None,
    higher: Annotated[
        list[str] | None,
        typer.Option(help="Metric of which more is better, if its name does not say. Repeatable."),
    ] = None,
    lower: Annotated[
        list[str] | None, typer.Option(help="Metric of which less is better. Repeatable.")
    ] = None,
    test_rows: Annotated[
        str | None, typer.Option(help="Column of rows in the test part of a fold.")
    ] = None,
    train_rows: Annotated[
        str | None, typer.Option(help="Column of rows in its training part.")
    ] = None,
    test_fraction: Annotated[
        float | None,
        typer.Option(help="Test part of a fold. Default that of a cross-validation."),
    ] = None,
    margin: Annotated[
        float, typer.Option(help="Changes up to this many percent do not matter.")
    ] = 1.0,
    difference: Annotated[
        str | None,
        typer.Option(help="Say how many seeds would show it: 2% of the baseline, or 0.01."),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write a page to this file: .md or .html.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the page.")] = False,
    *,
    options: ReadingOptions,
    json_output: JSON = False,
) -> None:
    """Judge recipes by a table of runs, whatever program made them.

    A row holds the value of a recipe, task, metric and seed (and fold); or with --wide a run, as in
    exports of MLflow and W&B.
    """
    if report is not None and report.suffix.lower() not in (*_MARKDOWN, *_HTML):
        raise InvalidInputError(f"--report {report} must end in .md or .html")
    if report is not None:
        check_new_file(report, force=force, flag="--report")
    from jointrain.reports import print_runs, render_page, runs_figures, runs_page, runs_to_json
    from jointrain.studies import verdict as judge

    keys = [recipe, task or "task", metric or "metric", seed or "seed", fold or "fold"]
    frame = _read(runs, options, keys)
    result = judge(
        frame,
        recipe=recipe,
        task=task,
        metric=metric,
        value=value,
        seed=seed,
        fold=fold,
        wide=wide,
        baseline=baseline,
        judge_by=judge_by or (),
        higher=higher or (),
        lower=lower or (),
        test_rows=test_rows,
        train_rows=train_rows,
        test_fraction=test_fraction,
        margin=margin,
        difference=difference,
    )
    for note in result.notes:
        say(f"note: {note}")
    if report is not None:
        title = "Which recipe? What the runs show"
        if report.suffix.lower() in _HTML:
            page = render_page(runs_figures(result, title, command=command_line()))
        else:
            page = runs_page(result, title)
        write_whole(report, partial(write_text, text=page))
    if json_output:
        print_json(runs_to_json(result))
        return
    print_runs(result, console_of_output())
    if report is not None:
        print_line(f"\nSaved: {report}")


def _read(source: str, options: ReadingOptions, keys: list[str]) -> pl.DataFrame:
    """Read a table of runs, names and seeds as they are written."""
    from jointrain.data import read_raw, type_raw

    raw = read_raw(source, options)
    for note in raw.notes:
        say(f"note: {note}")
    if raw.is_text:
        known = {name: "text" for name in raw.frame.columns if name.split(".", 1)[-1] in keys}
        known |= {name: "text" for name in raw.frame.columns if name in keys}
        options = replace(options, columns={**known, **options.columns})
        raw = _without_infinity(raw, [name for name in raw.frame.columns if name not in known])
    frame = type_raw(raw, options)
    if len(frame) < len(raw.frame):
        say("note: the last row is left out: it sums up the others")
    return frame


def _without_infinity(raw: RawTable, names: list[str]) -> RawTable:
    """Return a table of text without infinite cells, which typing refuses: runs may diverge."""
    import polars as pl

    cells = [pl.col(name).str.strip_chars().str.to_lowercase() for name in names]
    infinite = [cell.str.contains(r"^[+-]?inf(inity)?$") for cell in cells]
    count = sum(raw.frame.select(infinite).sum().row(0)) if names else 0
    if not count:
        return raw
    say(f"note: {count} infinite value{'s are' if count > 1 else ' is'} taken as undefined")
    kept = [
        pl.when(~found).then(name).alias(name) for name, found in zip(names, infinite, strict=True)
    ]
    return replace(raw, frame=raw.frame.with_columns(kept))
