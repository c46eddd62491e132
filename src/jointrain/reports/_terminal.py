"""A study's result for the terminal."""

from __future__ import annotations

from rich.console import Console

from jointrain.reports._study_answer import answer, interim_answer
from jointrain.reports._summary import folds_and_seeds, summary_tables
from jointrain.studies import StudyResult
from jointrain.system.printed_tables import print_table
from jointrain.system.terminal_streams import printable


def print_result(result: StudyResult, console: Console) -> None:
    """Print a table for each task, one over all tasks, and the answer in words."""
    _print_tables(result, console, interim=False)
    console.print(
        printable(" ".join(answer(result, written=True))),
        style="bold",
        markup=False,
        emoji=False,
        highlight=False,
    )


def print_interim(result: StudyResult, console: Console, planned: int | None) -> None:
    """Print what was measured of a study that was stopped: figures, and no verdict.

    Args:
        result: What was measured.
        console: Where to print.
        planned: How many folds x seeds were to be measured; None if that was still open.
    """
    _print_tables(result, console, interim=True)
    console.print(
        printable(interim_answer(result, planned)),
        style="bold",
        markup=False,
        emoji=False,
        highlight=False,
    )


def _print_tables(result: StudyResult, console: Console, *, interim: bool) -> None:
    for table in summary_tables(result, interim=interim):
        print_table(console, table.title, table.headings, table.rows)
    over = "the folds so far" if interim else folds_and_seeds(result)
    interval = "" if interim else " with the interval that decides (95 %, for all at once)"
    console.print(
        f"Means ± standard deviation over {over}; ↑ higher is better, ↓ lower. Changes: mean"
        f"{interval}, positive is better.",
        style="dim",
        soft_wrap=True,
    )
    cut = {one.text for one in result.cuts}
    for note in result.notes:
        # what a budget cut is said in the answer
        if note not in cut:
            console.print(
                printable(f"{note[0].upper()}{note[1:]}."),
                style="dim",
                soft_wrap=True,
                markup=False,
                emoji=False,
            )
    console.print()
