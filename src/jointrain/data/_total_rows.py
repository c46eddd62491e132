"""A last row that sums up the others is no row of a table."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace

import polars as pl

from jointrain.data._number_text import split_cells
from jointrain.data._raw_table import RawTable
from jointrain.data._reading_notes import ReadingNotes, missing_flag
from jointrain.data._table_schema import MISSING_NUMBERS, TOTAL_WORDS, known_cells, written_cells


def without_totals(
    raw: RawTable, notes: ReadingNotes, verbatim: Collection[str], missing: Collection[str]
) -> RawTable:
    """Leave out a last row that names itself a total in a column of numbers.

    Args:
        raw: The table.
        notes: Where that is noted.
        verbatim: Columns that are not looked at.
        missing: Cells that the user takes as missing, in rows that stay.
    """
    frame = raw.frame
    if frame.height < 3:
        return raw
    last = frame.row(-1, named=True)
    for name, cell in last.items():
        if not _is_total(cell or "") or name in verbatim or cell.strip() in missing:
            continue
        above = known_cells(written_cells(frame[name].head(-1)), MISSING_NUMBERS).drop_nulls()
        if len(above) and split_cells(above)["body"].is_not_null().all():
            notes.add(
                f"the last row is left out: it holds {cell.strip()!r} in column {name}, which "
                f"otherwise holds numbers; {missing_flag(cell.strip())} keeps the row"
            )
            kept = frame.height - 1
            return replace(
                raw,
                frame=frame.head(kept),
                quoted={column: mask.head(kept) for column, mask in raw.quoted.items()},
            )
    return raw


def without_sums(frame: pl.DataFrame, notes: ReadingNotes) -> pl.DataFrame:
    """Leave out a last row of sums or means, see `row_of_sums`."""
    why = row_of_sums(frame)
    if why is None:
        return frame
    notes.add(f"the last row is left out: {why}")
    return frame.head(-1)


@dataclass
class RowsAbove:
    """What is known of rows that come before a table, in parts.

    Args:
        rows: How many there are.
        sums: The sum of each column of numbers, and how many it has.
    """

    rows: int = 0
    sums: dict[str, tuple[float, int]] = field(default_factory=dict)

    def add(self, frame: pl.DataFrame) -> None:
        """Take in the next rows."""
        self.rows += frame.height
        for name, dtype in frame.schema.items():
            if dtype.is_numeric():
                total, count = self.sums.get(name, (0.0, 0))
                own = float(frame[name].cast(pl.Float64).sum())
                self.sums[name] = (total + own, count + frame[name].count())


def row_of_sums(frame: pl.DataFrame, above: RowsAbove | None = None) -> str | None:
    """Return why the last row is one of sums or means, in words; None if it isn't.

    It is where it names itself so and one column agrees, and where it lacks a value and all its
    numbers, of at least two columns, are the sums of those above.

    Args:
        frame: A table whose columns have been read.
        above: The rows before it, if it is the last part of a table.
    """
    above = above or RowsAbove()
    rows = frame.height + above.rows
    if rows < 3:
        return None
    numbers = [
        name for name, dtype in frame.schema.items()
        if dtype.is_numeric() and not _is_null(frame[name])
    ]  # fmt: skip
    for name, dtype in frame.schema.items():
        cell = frame[name][-1] if dtype == pl.String else None
        kind = _kind_of_row(cell or "")
        if kind is None or int((frame[name] == cell).sum()) > 1:
            continue
        agreeing = [number for number in numbers if _sums_up(frame[number], kind, above)]
        if agreeing:
            return (
                f"it is called {cell!r} in column {name}, and column {agreeing[0]} holds the "
                f"{kind} of the others there"
            )
    enough = rows > _FEW_ROWS and len(numbers) > 1
    unnamed = enough and any(_is_null(column) for column in frame)
    if unnamed and all(_sums_up(frame[name], "sum", above) for name in numbers):
        return f"its numbers are the sums of those above (columns {', '.join(numbers[:3])})"
    return None


def _is_null(column: pl.Series) -> bool:
    """Return whether the last value is missing; of dates, Python has not all."""
    return bool(column.tail(1).is_null()[0])


def _sums_up(column: pl.Series, kind: str, before: RowsAbove) -> bool:
    """Return whether the last number is the sum, or the mean, of those above it."""
    total, above = float(column[-1]), column.head(-1).cast(pl.Float64)
    earlier, count = before.sums.get(column.name, (0.0, 0))
    count += above.count()
    if count < 2 or not total:
        return False
    found = (earlier + float(above.sum())) / (count if kind == "mean" else 1)
    return abs(found - total) <= 1e-3 * abs(total)


_FEW_ROWS = 5
"""The numbers of so few rows may sum up to others by chance."""

_MEANS = frozenset(
    ("average", "averages", "avg", "mean", "means", "mittelwert", "durchschnitt", "moyenne",
     "media", "promedio", "gemiddelde")
)  # fmt: skip


def _kind_of_row(cell: str) -> str | None:
    if _is_total(cell):
        return "sum"
    return "mean" if cell.strip().lower().rstrip(":") in _MEANS else None


def _is_total(cell: str) -> bool:
    return cell.strip().lower().rstrip(":") in TOTAL_WORDS
