"""`jointrain report`: the page of a folder that a command wrote, or that a study keeps runs in."""

from __future__ import annotations

import webbrowser
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jointrain.cli._printing import print_line
from jointrain.cli._said import command_line
from jointrain.errors import InvalidInputError
from jointrain.system.output_file import write_text, write_whole
from jointrain.system.output_folder import BUNDLE, RUNS
from jointrain.system.stored_files import MISFIT
from jointrain.system.terminal_streams import say

if TYPE_CHECKING:
    from jointrain.reports import Figures


def report(
    folder: Annotated[
        Path, typer.Argument(help="What compare, weigh, group or share wrote, or a --study.")
    ],
    baseline: Annotated[
        str, typer.Option(help="Recipe that the others are compared with, in a --study.")
    ] = "separate",
    open_page: Annotated[bool, typer.Option("--open", help="Show it in a browser.")] = False,
) -> None:
    """Write report.html of a folder: a study that is finished, or as far as it is.

    Needs neither the table nor the model: it reads report.json, else results.parquet, else the runs
    that a study keeps.
    """
    from jointrain.reports import FIGURES, PAGE, render_page

    figures, path = _figures(folder, baseline), folder / PAGE
    try:
        page = render_page(figures)
    except MISFIT:
        raise InvalidInputError(
            f"{folder / FIGURES} is damaged, or another version of jointrain wrote it; run the "
            "command again that made it"
        ) from None
    write_whole(path, partial(write_text, text=page))
    print_line(f"Saved: {path}")
    if open_page and not webbrowser.open(path.resolve().as_uri()):
        raise InvalidInputError(f"no browser could be opened here; open {path} in one")


def _figures(folder: Path, baseline: str) -> Figures:
    """Return the figures that a folder holds.

    Raises:
        InvalidInputError: It holds none.
    """
    from jointrain.reports import FIGURES, interim_figures, read_figures, runs_figures
    from jointrain.studies import KeptRuns

    if not folder.is_dir():
        raise InvalidInputError(
            f"there is no folder {folder}; give one that compare, weigh, group or share wrote"
        )
    if (folder / FIGURES).is_file():
        return read_figures(folder / FIGURES)
    table, title, command = folder / "results.parquet", f"{folder.name}: what the runs show", None
    if table.is_file():
        kept = KeptRuns.of_table(table)
    elif (folder / RUNS).is_file():
        kept, command = KeptRuns.of_store(folder), command_line()
    elif (folder / BUNDLE).is_file():
        raise InvalidInputError(
            f"{folder} holds a model and no study; jointrain inspect {folder} shows it"
        )
    else:
        raise InvalidInputError(
            f"{folder} holds no study: there is no {FIGURES}, results.parquet or {RUNS} in it"
        )
    for note in kept.notes:
        say(f"note: {note}")
    if kept.finished and kept.done:
        return runs_figures(kept.judged(baseline), title, command=command)
    return interim_figures(
        kept.table,
        title,
        recipes=kept.recipes,
        done=kept.done,
        planned=kept.planned,
        higher=kept.higher_is_better(),
        command=command,
    )
