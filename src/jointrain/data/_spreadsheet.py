"""Excel workbooks (.xlsx), read by fastexcel."""

from __future__ import annotations

import datetime as dt
import logging
from typing import TYPE_CHECKING, Any

import polars as pl

from jointrain.data._column_names import named_columns
from jointrain.data._raw_table import RawTable
from jointrain.errors import InvalidInputError, MissingDependencyError, closest

if TYPE_CHECKING:
    import fastexcel

_FIRST_DAYS = (dt.date(1899, 12, 30), dt.date(1899, 12, 31))
"""The day that a cell with a time and no date is given."""
_LIKE_VALUE = r"^\s*[-+]?\d"


def read_workbook(data: bytes, where: str, sheet: str | None) -> RawTable:
    """Read a sheet of a workbook; its first line with content is the header.

    Numbers that are all whole become integers: a workbook knows no others. Cells with an error
    (#N/A) are missing. A column with values of several types is text. Rows without cells are left
    out.

    Args:
        data: The workbook's bytes.
        where: What messages call it.
        sheet: Name of the sheet; default the first.

    Raises:
        InvalidInputError: The workbook is damaged, or has no such sheet, or the sheet is empty.
        MissingDependencyError: fastexcel is not installed.
    """
    try:
        import fastexcel
    except ImportError:
        raise MissingDependencyError(
            f"{where} is an Excel workbook, which needs: pip install 'jointrain[excel]'"
        ) from None

    # what it says of columns with errors only is said by the notes
    logging.getLogger("fastexcel").addHandler(logging.NullHandler())
    try:
        book = fastexcel.read_excel(data)
        names = book.sheet_names
        if sheet is not None and sheet not in names:
            raise InvalidInputError(
                f"{where} has no sheet {sheet!r}{closest(sheet, names)}; it has {', '.join(names)}"
            )
        chosen = names[0] if sheet is None else sheet
        return _read_sheet(book, where, chosen, other=names if sheet is None else [])
    except fastexcel.FastExcelError as error:
        reason = str(error).splitlines()[0]
        raise InvalidInputError(f"{where} can't be read as an Excel workbook ({reason})") from None


def _read_sheet(
    book: fastexcel.ExcelReader, where: str, sheet: str, *, other: list[str]
) -> RawTable:
    place = f"sheet {sheet!r} of {where}"
    header = book.load_sheet(sheet, header_row=None, n_rows=1, dtypes="string").to_polars()
    more = [name for name in other if name != sheet]
    advice = f"; say another, such as {where}#{more[0]}" if more else ""
    if header.height == 0:
        raise InvalidInputError(f"{place} is empty{advice}")
    cells, is_uniform = _cells(book, sheet)
    if cells.height == 0:
        raise InvalidInputError(f"{place} has column names but no rows{advice}")
    cells.columns = [str(number) for number in range(cells.width)]
    notes = []
    if len(other) > 1:
        others = ", ".join(name for name in other if name != sheet)
        notes.append(
            f"{where} has several sheets; {sheet!r} was read ({where}#NAME reads another: {others})"
        )
    empty = _are_empty(book, sheet, cells)
    full = cells.filter(~empty)
    if full.height < cells.height:
        count = cells.height - full.height
        notes.append(f"{place} has {count} empty {'row' if count == 1 else 'rows'}, left out")
    names, names_notes = named_columns(
        [name or "" for name in header.row(0)], full, f"the header of {place}"
    )
    if not is_uniform:
        cells, more_notes = _with_mixtures(book, sheet, cells, names, place)
        notes += more_notes
        full = cells.filter(~empty)
    lost = _words_lost(book, sheet, cells, names)
    if lost:
        words = [f"{name} ({len(found)} {found[0]!r})" for name, found in lost.items()]
        notes.append(
            f"{place} has words in columns of numbers or dates, read as missing: {', '.join(words)}"
        )
    return RawTable(
        full.select(_plain(full[column]).alias(name) for column, name in names.items()),
        is_text=False,
        where=where,
        notes=(*notes, *names_notes),
        lost=lost,
    )


def _cells(book: Any, sheet: str) -> tuple[pl.DataFrame, bool]:
    """Return the cells, and whether those of each column are of one type."""
    import fastexcel

    try:
        loaded = book.load_sheet(sheet, schema_sample_rows=None, dtype_coercion="strict")
    except fastexcel.UnsupportedColumnTypeCombinationError:
        return book.load_sheet(sheet, schema_sample_rows=None).to_polars(), False
    return loaded.to_polars(), True


def _are_empty(book: Any, sheet: str, cells: pl.DataFrame) -> pl.Series:
    """Say which rows have no cells: words such as NA and errors are missing values, but cells."""
    empty = cells.select(pl.all_horizontal(pl.all().is_null())).to_series()
    if empty.any():
        loaded = book.load_sheet(sheet, dtypes="string")
        written = loaded.to_polars().with_columns(pl.all().fill_null("").str.strip_chars())
        empty &= written.select(pl.all_horizontal(pl.all() == "")).to_series()
        _, faults = loaded.to_arrow_with_errors()
        for fault in faults.errors if faults else []:
            empty[fault.position[0] - fault.row_offset] = False
    return empty


def _with_mixtures(
    book: Any, sheet: str, cells: pl.DataFrame, names: dict[str, str], place: str
) -> tuple[pl.DataFrame, list[str]]:
    """Return the cells with columns of several types as text, and what is noted of them."""
    notes = []
    if mixed := [name for column, name in names.items() if _is_mixed(book, sheet, cells[column])]:
        notes.append(
            f"{place} has columns with text and other values, read as text: "
            f"{', '.join(map(repr, mixed))}; --column NAME=number reads numbers"
        )
    written = book.load_sheet(sheet, dtypes="string").to_polars()
    written.columns = cells.columns
    # true among numbers would be 1
    truths = [
        column
        for column in names
        if cells.schema[column].is_numeric() and written[column].is_in(["true", "false"]).any()
    ]
    if truths:
        notes.append(
            f"{place} has columns with true or false among numbers, read as text: "
            f"{', '.join(repr(names[column]) for column in truths)}; write numbers to have numbers"
        )
    return cells.with_columns(written.select(truths).get_columns()), notes


def _words_lost(
    book: Any, sheet: str, cells: pl.DataFrame, names: dict[str, str]
) -> dict[str, tuple[str, ...]]:
    """Return the words such as n/a that became missing values, by column."""
    gaps = [
        column
        for column in names
        if cells[column].null_count() and cells.schema[column] != pl.String
    ]
    found = {}
    for column in gaps:
        written = book.load_sheet(sheet, use_columns=[int(column)], dtypes="string").to_polars()
        lost = written.to_series().filter(cells[column].is_null()).drop_nulls()
        # a cell with an error is no value, and shows it
        lost = lost.filter((lost.str.strip_chars() != "") & ~lost.str.starts_with("#"))
        if len(lost):
            found[names[column]] = tuple(lost)
    return found


def _is_mixed(book: Any, sheet: str, cells: pl.Series) -> bool:
    """Say whether a column of text has cells of other types."""
    import fastexcel

    if cells.dtype != pl.String or not cells.str.contains(_LIKE_VALUE).any():
        return False
    try:
        book.load_sheet(
            sheet,
            use_columns=[int(cells.name)],
            schema_sample_rows=None,
            dtype_coercion="strict",
        )
    except fastexcel.UnsupportedColumnTypeCombinationError:
        return True
    return False


def _plain(cells: pl.Series) -> pl.Series:
    if cells.dtype.is_float() and not cells.is_null().all():
        whole = (cells == cells.round()) & (cells.abs() < 2**53)
        return cells.cast(pl.Int64) if whole.all() else cells
    if isinstance(cells.dtype, pl.Datetime):
        if cells.dt.date().is_in(_FIRST_DAYS).all():
            return cells.dt.time()
        return cells.cast(pl.Datetime("us"))
    return cells
