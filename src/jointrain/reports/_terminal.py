"""A study's result for the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from jointrain.reports._summary import answer, summarize_recipes, summarize_tasks
from jointrain.studies import StudyResult

_COLOURS = {"better": "green", "worse": "red", "equivalent": "blue"}


def print_result(result: StudyResult, console: Console) -> None:
    """Print a table for each task, one over all tasks, and the answer in words."""
    study = result.study
    for summary in summarize_tasks(result):
        print_table(console, summary.heading, summary.columns, summary.rows)
    headings, rows = summarize_recipes(result)
    print_table(console, "All tasks", headings, rows)
    console.print(
        f"Means ± standard deviation over {study.folds} folds x {study.seeds} "
        f"seed{'s' if study.seeds > 1 else ''}; ↑ higher is "
        f"better, ↓ lower. Changes: mean with 95 % confidence interval, positive is better.",
        style="dim",
        soft_wrap=True,
    )
    console.print()
    console.print(" ".join(answer(result)), style="bold", markup=False)


def print_table(console: Console, title: str, headings: list[str], rows: list[list[str]]) -> None:
    """Print a table, rows in the colour of their verdict."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="left" if index == 0 else "right", no_wrap=True)
    for row in rows:
        colour = next((c for word, c in _COLOURS.items() if row[-1].endswith(word)), None)
        colour = next((c for word, c in _COLOURS.items() if row[2].endswith(word)), colour)
        table.add_row(*row, style=colour)
    console.print(table, markup=False)
    console.print()
