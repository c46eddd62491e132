"""Tables of text for the terminal: words are never broken."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jointrain.system.terminal_streams import printable

_COLOURS = {"better": "green", "worse": "red", "equivalent": "blue"}

_LONG_TEXT = 30
"""Cells longer than this are broken between words where there is no room for them."""

_FIGURE = re.compile(r"[-+]?\d|nan$|undefined$|-$|$")


def print_table(
    console: Console, title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]
) -> None:
    """Print a table, rows in the colour of their verdict.

    Words are never broken. Where the console has no room for all columns, they follow below in a
    table of their own, with the first column again.
    """
    console.print(
        printable(title), style="bold", markup=False, emoji=False, highlight=False, soft_wrap=True
    )
    headings = [_cell(heading) for heading in headings]
    rows = [[_cell(cell) for cell in row] for row in rows]
    rows = _shortened(rows, max(console.width // 2, 12))
    for chosen, widths, gap in _layout(headings, rows, console.width):
        table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0))
        for index, width in zip(chosen, widths, strict=True):
            figures = index > 0 and all(_FIGURE.match(row[index]) for row in rows)
            right = figures or _is_verdict(headings[index])
            table.add_column(
                Text(headings[index]),
                justify="right" if right else "left",
                width=width,
                overflow="fold",
            )
        for row in rows:
            colour = next((_COLOURS[cell] for cell in reversed(row) if cell in _COLOURS), None)
            # a text is shown as it is, where a string may hold codes such as :man:
            table.add_row(*(Text(row[index]) for index in chosen), style=colour)
        console.print(table)
        console.print()


def _cell(text: str) -> str:
    return printable(text).replace("\n", "\\n")


def _is_verdict(heading: str) -> bool:
    return heading == "verdict"


def _shortened(rows: Sequence[Sequence[str]], most: int) -> list[list[str]]:
    """Return the rows with names in the first column that are no longer than `most`.

    The middle is left out: names that many columns share differ at their ends.
    """
    return [[_middle_left_out(row[0], most), *row[1:]] for row in rows]


def _middle_left_out(text: str, most: int) -> str:
    if cell_len(text) <= most:
        return text
    left = (most - 1) // 2
    return f"{text[:left]}…{text[len(text) - (most - 1 - left) :]}"


def _layout(
    headings: Sequence[str], rows: Sequence[Sequence[str]], room: int
) -> list[tuple[list[int], list[int], int]]:
    """Return which columns go into which table, their widths, and the gap between them."""
    least, wanted = [], []
    for index, heading in enumerate(headings):
        cells = [row[index] for row in rows]
        longest = max(map(cell_len, cells), default=0)
        word = max(map(cell_len, f"{heading} {' '.join(cells)}".split(" ")))
        of_heading = max(map(cell_len, heading.split(" ")))
        breaks = longest > _LONG_TEXT and index > 0
        least.append(max(of_heading, min(longest, max(word, room // 4)) if breaks else longest))
        wanted.append(max(longest, cell_len(heading)))
    columns = list(range(len(headings)))
    for gap in (2, 1):
        if sum(least) + gap * (len(columns) - 1) <= room:
            return [(columns, _spread(least, wanted, room - gap * (len(columns) - 1)), gap)]
    tables: list[list[int]] = [[0]]
    for index in columns[1:]:
        taken = sum(least[one] for one in tables[-1]) + 2 * len(tables[-1])
        if taken + least[index] > room and len(tables[-1]) > 1:
            tables.append([0])
        tables[-1].append(index)
    layout = []
    for chosen in tables:
        left = room - 2 * (len(chosen) - 1)
        widths = _spread([least[i] for i in chosen], [wanted[i] for i in chosen], left)
        layout.append((chosen, widths, 2))
    return layout


def _spread(least: Sequence[int], wanted: Sequence[int], room: int) -> list[int]:
    """Return widths that use the room: what is wanted, the smallest wants first."""
    widths = list(least)
    for index in sorted(range(len(widths)), key=lambda one: wanted[one] - least[one]):
        left = room - sum(widths)
        widths[index] += max(0, min(wanted[index] - widths[index], left))
    return widths
