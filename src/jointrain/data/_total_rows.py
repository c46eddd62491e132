"""A last row that sums up the others is no row of a table."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

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
    """Leave out a last row that names itself a total and holds the sum of a column."""
    why = row_of_sums(frame)
    if why is None:
        return frame
    notes.add(f"the last row is left out: {why}")
    return frame.head(-1)


def row_of_sums(frame: pl.DataFrame) -> str | None:
    """Return why the last row is one of sums, in words: its name, and a column; None if it isn't.

    Args:
        frame: A table whose columns have been read.
    """
    if frame.height < 3:
        return None
    names = [
        name for name, dtype in frame.schema.items()
        if dtype == pl.String and _is_total(frame[name][-1] or "")
        and int((frame[name] == frame[name][-1]).sum()) == 1
    ]  # fmt: skip
    if not names:
        return None
    for name, dtype in frame.schema.items():
        if not dtype.is_numeric() or frame[name][-1] is None:
            continue
        total, above = float(frame[name][-1]), frame[name].head(-1).cast(pl.Float64)
        if above.count() > 1 and total and abs(float(above.sum()) - total) <= 1e-3 * abs(total):
            return (
                f"it is called {frame[names[0]][-1]!r} in column {names[0]}, and column {name} "
                "holds the sum of the others there"
            )
    return None


def _is_total(cell: str) -> bool:
    return cell.strip().lower().rstrip(":") in TOTAL_WORDS
