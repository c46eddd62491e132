"""Tables on standard output, a progress bar on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console

from jointrain.system.printed_tables import print_table
from jointrain.system.terminal_streams import printable

if TYPE_CHECKING:
    from jointrain.training import FittedNetwork


def console_of_output() -> Console:
    """Return the console that prints on standard output."""
    console = Console()
    # a pipe has no width of its own, and a table cut at 80 columns would lose its verdicts
    return console if console.is_terminal else Console(width=160)


def print_rows(title: str, headings: list[str], rows: list[list[str]]) -> None:
    """Print a table with a title on standard output."""
    print_table(console_of_output(), title, headings, rows)


def print_line(text: str) -> None:
    """Print a line on standard output; names in it may be a stranger's."""
    print(printable(text))


def print_json(value: Any) -> None:
    """Print a value as a line of JSON; names in it may be a stranger's."""
    # JSON escapes the control characters of ASCII alone
    print(json.dumps(value, ensure_ascii=False).translate(_CONTROL))


_CONTROL = {number: f"\\u{number:04x}" for number in range(0x7F, 0xA0)}


@contextmanager
def progress_bar(unit: str) -> Iterator[Callable[[float, int], None]]:
    """Give a function of (done, all) that moves a progress bar on standard error."""
    from rich.progress import Progress

    with Progress(
        console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()
    ) as bar:
        line = bar.add_task(unit, total=None)
        yield lambda done, total: bar.update(line, completed=done, total=total)


def by_task(parts: Sequence[FittedNetwork]) -> dict[str, list[FittedNetwork]]:
    """Return the networks that predict each task."""
    found: dict[str, list[FittedNetwork]] = {}
    for part in parts:
        for name in part.tasks:
            found.setdefault(name, []).append(part)
    return found


def range_text(counts: Sequence[int]) -> str:
    """Return counts as their smallest and largest."""
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"
