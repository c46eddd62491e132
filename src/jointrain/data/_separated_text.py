"""CSV, TSV and their kin, read by pyarrow; every cell stays as it is written."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NoReturn

import numpy as np
import polars as pl

from jointrain.data._column_names import named_columns
from jointrain.data._dialect import Dialect, Records, find_dialect
from jointrain.data._raw_table import RawTable, ReadingOptions
from jointrain.data._text_encoding import refuse_not_utf8, to_utf8
from jointrain.errors import InvalidInputError

if TYPE_CHECKING:
    pass

_LIKE_MISSING = (
    *("na", "n/a", "#n/a", "<na>", "nan", "nat", "null", "none", "nil", "unknown", "missing"),
    *("?", "-", "--", ".", "\\n", "-99", "-999", "-9999"),
)
"""Words that could mean a missing value: if they are in quotes, they are values."""
_SPACED_QUOTES = (b', "', b'; "', b'| "', b'\t "', b'" ,', b'" ;', b'" |', b'" \t')
_BLOCK_BYTES = 1 << 24
_ROW_LIKE_SEPARATORS = 4
"""Separators in the lines of one cell, as many as in rows, that tell swallowed rows from text."""


def read_separated(data: bytes, where: str, usual: str, options: ReadingOptions) -> RawTable:
    """Read a text file with separators.

    Args:
        data: Its bytes, unpacked.
        where: What messages call it.
        usual: The separator that its name speaks for.
        options: What the user said.

    Raises:
        InvalidInputError: It is empty, in another encoding, or has a fault; the line is named.
    """
    data, notes = to_utf8(data, where, options.encoding)
    if not data.strip():
        raise InvalidInputError(f"{where} is empty; it needs a header and at least one row")
    data = data.removesuffix(b"\x1a")  # how DOS ends a file
    data = _without_spaces_at_quotes(data)
    text = _TextTable(data, where, find_dialect(data, where, usual, options))
    cells = text.cells()
    names, names_notes = _named(cells, text)
    _refuse_swallowed_rows(cells, text)
    _refuse_spaced_quotes(cells, text)
    return RawTable(
        cells.select(pl.col(column).alias(name) for column, name in names.items()),
        is_text=True,
        where=where,
        quoted=_quoted(cells, names, text, options),
        row_to_line=text.line_of_row,
        separator=text.dialect.separator,
        notes=(*notes, *text.dialect.notes, *names_notes),
    )


def _without_spaces_at_quotes(data: bytes) -> bytes:
    """Drop the spaces between separators and quotes, as in ``a, "b, c" , d``.

    Quotes only count as such next to a separator. The spaces are dropped only if every quote then
    stands where one that opens or closes a field must.
    """
    if not any(pair in data for pair in _SPACED_QUOTES):
        return data
    written = np.frombuffer(data, np.uint8)
    places = np.flatnonzero(written == ord('"'))
    ends = np.zeros(256, bool)
    ends[[ord(mark) for mark in ',;|\t\r\n"']] = True
    if len(places) % 2:
        return data
    dropped = np.zeros(len(written), bool)
    for side, step in ((places[::2], -1), (places[1::2], 1)):
        at = side + step
        while True:
            inside = at[(at >= 0) & (at < len(written))]
            blank = inside[written[inside] == ord(" ")]
            if not ends[written[inside[written[inside] != ord(" ")]]].all():
                return data  # a quote within a field
            if not len(blank):
                break
            dropped[blank] = True
            at = blank + step
    return written[~dropped].tobytes()


@dataclass(frozen=True)
class _TextTable:
    """The bytes of a table in UTF-8, and how it is written."""

    data: bytes
    where: str
    dialect: Dialect

    @property
    def width(self) -> int:
        """Fields in a row."""
        return len(self.dialect.names) + self.dialect.extra_fields

    @cached_property
    def rows(self) -> bytes | memoryview:
        """The rows without the header and without comment lines; no copy if there is none."""
        comment = self.dialect.comment
        start = self.dialect.body_offset
        prefix = b"" if comment is None else comment.encode()
        if comment is None or not (
            self.data.startswith(prefix, start)
            or self.data.find(b"\n" + prefix, start - 1) >= 0
            or self.data.find(b"\r" + prefix, start - 1) >= 0
        ):
            return memoryview(self.data)[start:]
        kept: list[str] = []
        for _ in self._records(kept=kept):
            pass
        return "".join(kept).encode()

    @cached_property
    def has_quotes(self) -> bool:
        """Whether there is any quote below the header."""
        return self.data.find(b'"', self.dialect.body_offset) >= 0

    def cells(self) -> pl.DataFrame:
        """Return the cells; the columns are named by their numbers."""
        import pyarrow as pa

        if re.compile(rb"[^\r\n]").search(self.rows) is None:
            raise InvalidInputError(
                f"{self.where} has a header but no rows; it needs at least one row"
            )
        if self.has_quotes:
            self._check_quotes()
        names = [str(number) for number in range(self.width)]
        try:
            return _parsed(self.rows, self, names, names)
        except pa.ArrowInvalid as error:
            self._refuse(str(error).splitlines()[0])

    def line_of_row(self, row: int) -> int:
        """Return the line of the file on which a row (from 0) begins."""
        records = self._records()
        found = -1
        for fields in records:
            found += bool(fields) or self.width == 1
            if found == row:
                break
        return records.line

    def _records(self, *, strict: bool = False, kept: list[str] | None = None) -> Records:
        dialect = self.dialect
        return Records(
            self.data[dialect.body_offset :].decode(),
            dialect.separator,
            dialect.comment,
            dialect.body_line,
            strict=strict,
            kept=kept,
        )

    def _check_quotes(self) -> None:
        """Refuse a quote that does not close, or closes before the end of its field.

        The fast parser would take the rest of the file as one field, or drop the quote. Where
        quotes only surround fields, those with an even number open and those with an odd one
        close; if so, nothing more is to be looked at.
        """
        written = np.frombuffer(self.rows, np.uint8)
        places = np.flatnonzero(written == ord('"'))
        ends = np.zeros(256, bool)
        ends[[ord(self.dialect.separator), ord("\n"), ord("\r"), ord('"')]] = True
        opening, closing = places[::2], places[1::2]
        opens = ends[written[opening - 1]] | (opening == 0)
        closes = ends[written[np.minimum(closing + 1, len(written) - 1)]]
        closes |= closing == len(written) - 1
        if len(places) % 2 == 0 and opens.all() and closes.all():
            return
        refuse_not_utf8(self.data, self.where)
        records = self._records(strict=True)
        try:
            for _ in records:
                pass
        except csv.Error:
            raise InvalidInputError(
                f"{self.where} has a quote in line {records.line} that does not close; close or "
                "remove it"
            ) from None

    def _refuse(self, reason: str) -> NoReturn:
        """Find the line that can't be read, and raise."""
        refuse_not_utf8(self.data, self.where)
        records = self._records()
        for fields in records:
            if fields and len(fields) != self.width:
                raise InvalidInputError(
                    f"{self.where} has {len(fields)} fields in line {records.line} where the "
                    f"header has {len(self.dialect.names)}; mend that line (a field with a "
                    "separator in it needs quotes)"
                )
        raise InvalidInputError(f"{self.where} can't be read: {reason}; mend the file")


def _parsed(
    rows: bytes | memoryview, text: _TextTable, names: list[str], columns: Sequence[str]
) -> pl.DataFrame:
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    def parsed(block_bytes: int) -> pl.DataFrame:
        table = arrow_csv.read_csv(
            pa.BufferReader(rows),
            read_options=arrow_csv.ReadOptions(column_names=names, block_size=block_bytes),
            parse_options=arrow_csv.ParseOptions(
                delimiter=text.dialect.separator,
                newlines_in_values=text.has_quotes,
                # in a table of one column a blank line is a missing value
                ignore_empty_lines=len(names) > 1,
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types={name: pa.large_string() for name in names},
                include_columns=list(columns),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
        return pl.DataFrame(pl.from_arrow(table))

    try:
        return parsed(_BLOCK_BYTES)
    except pa.ArrowInvalid as error:
        if "straddl" not in str(error):
            raise
        return parsed(min(len(rows) + 1, 2**31 - 1))  # a field must fit into a block


def _named(cells: pl.DataFrame, text: _TextTable) -> tuple[dict[str, str], list[str]]:
    """Return each column's name by its number, and notes."""
    names = list(text.dialect.names)
    notes = []
    if text.dialect.extra_fields:
        names, note = _with_extra_name(cells, names, text)
        notes.append(note)
    found, more = named_columns(names, cells, f"the header of {text.where}")
    return found, notes + more


def _with_extra_name(
    cells: pl.DataFrame, names: list[str], text: _TextTable
) -> tuple[list[str], str]:
    """Return the names for rows that all have one field more than the header."""
    last = cells.to_series(-1)
    if last.null_count() == len(last):
        return names, f"each row of {text.where} ends with a separator that the header lacks"
    # R puts names of rows in quotes; a decimal comma or a title would look alike without them
    if len(names) > 1 and text.has_quotes and _in_quotes(cells, ["0"], text)["0"].all():
        return ["", *names], (
            f"each row of {text.where} begins with a field in quotes that the header lacks: it was "
            "taken as the name of the row"
        )
    raise InvalidInputError(
        f"{text.where} has {text.width} fields in each row where the header, {names[0]!r}"
        f"{' and others' if len(names) > 1 else ''}, has {len(names)}; name the first column, or "
        "put numbers with a decimal comma in quotes, or remove a title above the header"
    )


def _quoted(
    cells: pl.DataFrame, names: Mapping[str, str], text: _TextTable, options: ReadingOptions
) -> dict[str, pl.Series]:
    """Return which cells are in quotes, for the columns where it could matter."""
    if not text.has_quotes:
        return {}
    words = {*_LIKE_MISSING, *(word.strip() for word in options.missing or ())} - {""}
    forms = {form for word in words for form in (word, word.lower(), word.upper(), word.title())}
    forms |= {f" {form}" for form in forms} | {f"{form} " for form in forms}
    matters = cells.select(pl.col(list(names)).is_in(list(forms)).any()).row(0, named=True)
    columns = [column for column, does in matters.items() if does]
    if not columns:
        return {}
    masks = _in_quotes(cells, columns, text)
    return {names[column]: masks[column] for column in columns if masks[column].any()}


def _in_quotes(cells: pl.DataFrame, columns: Sequence[str], text: _TextTable) -> pl.DataFrame:
    """Return which cells of some columns are in quotes.

    With each quote three times, the quotes around a field become characters of its own, and what
    was inside stays inside.
    """
    shown = _parsed(bytes(text.rows).replace(b'"', b'"""'), text, cells.columns, columns)
    return shown.select(pl.all().str.starts_with('"').fill_null(value=False))


def _refuse_spaced_quotes(cells: pl.DataFrame, text: _TextTable) -> None:
    """Refuse quotes that surround a field but for space before them, which would stay in it.

    Where other quotes lie within fields, or where that space is a tab or one that does not break,
    it can't be dropped.
    """
    blank = "[ \u00a0]" if text.dialect.separator == "\t" else "[ \t\u00a0]"
    if not text.has_quotes or not re.search(rb'[ \t\xa0]"', text.rows):
        return
    shape = f'^{blank}+"[^"]*"{blank}*$'
    found = cells.select(pl.all().str.contains(shape).fill_null(value=False))
    columns = [column.name for column in found if column.any()]
    if not columns:
        return
    surrounded = _in_quotes(cells, columns, text)
    for name in columns:
        literal = (found[name] & ~surrounded[name]).arg_true()
        if len(literal):
            row = int(literal[0])
            raise InvalidInputError(
                f"{text.where} has space before the quotes of a field in line "
                f"{text.line_of_row(row)}, {cells[name][row]!r}, where they would be a part of it; "
                "remove the space"
            )


def _refuse_swallowed_rows(cells: pl.DataFrame, text: _TextTable) -> None:
    """Refuse a cell that holds whole rows, as two quotes too many make it."""
    separators = text.width - 1
    ends = max(text.data.count(b"\n"), text.data.count(b"\r"))
    lines = ends - text.dialect.body_line + 1 + (text.data[-1:] not in (b"\n", b"\r"))
    if not text.has_quotes or not separators or lines <= len(cells):
        return
    for column in cells:
        rows = column.str.contains("\n", literal=True).fill_null(False).arg_true()
        for row, cell in zip(rows, column.gather(rows), strict=True):
            inside = cell.split("\n")[1:-1]
            if len(inside) * separators >= _ROW_LIKE_SEPARATORS and all(
                line.count(text.dialect.separator) == separators for line in inside
            ):
                line = text.line_of_row(row)
                raise InvalidInputError(
                    f"{text.where} has a quote in line {line} that closes only after {len(inside)} "
                    "lines that look like rows; close or remove it"
                )
