"""CSV, TSV and their kin: found out how they are written, and read by pyarrow."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import polars as pl

from jointrain.data._raw_table import RawTable, ReadingOptions
from jointrain.data._table_names import SEPARATORS, check_names
from jointrain.errors import InvalidInputError

if TYPE_CHECKING:
    import pyarrow as pa

_LIKE_MISSING = (
    "",
    *("na", "n/a", "#n/a", "<na>", "nan", "nat", "null", "none", "nil", "unknown"),
    *("?", "-", "--", ".", "\\n"),
)
_LIKE_NUMBER = r"^\s*[-+(<>~$€£]*\s*[.,]?\d"


def read(path: Path, ending: str, options: ReadingOptions) -> RawTable:
    """Read a text file with separators; every cell stays as it is written."""
    data = _file_bytes(path, compressed=ending.endswith(".gz"))
    data = data.removeprefix(b"\xef\xbb\xbf")
    if not data.strip():
        raise InvalidInputError(f"{path} is empty; it needs a header and at least one row")
    separator = options.separator or SEPARATORS[ending]
    names, skipped_lines = _header(path, data, separator)
    if options.separator is None and ending.startswith(".csv") and len(names) == 1:
        separator = next((other for other in ";\t" if other in names[0]), separator)
        names, skipped_lines = _header(path, data, separator)
    names = [name.strip() or f"unnamed_{i}" for i, name in enumerate(names, start=1)]
    check_names(names, f"the header of {path}")
    body = io.BytesIO(data)
    for _ in range(skipped_lines):
        body.readline()
    rest = data[body.tell() :]
    frame = _parse(path, data, rest, separator, names)
    return RawTable(
        frame,
        True,
        str(path),
        quoted=_quoted(frame, rest, separator, options),
        row_to_line=lambda row: _line(data, separator, skipped_lines, row),
        separator=separator,
    )


def _quoted(
    frame: pl.DataFrame, rest: bytes, separator: str, options: ReadingOptions
) -> dict[str, pl.Series]:
    """Return which cells are in quotes, for the columns where it could matter."""
    if b'"' not in rest:
        return {}
    like_missing = [*_LIKE_MISSING, *(token.lower() for token in options.missing or ())]
    matters = frame.select(
        (
            pl.all().str.strip_chars().str.to_lowercase().is_in(like_missing)
            | pl.all().str.contains(_LIKE_NUMBER)
        ).any()
    ).row(0, named=True)
    columns = [name for name, does in matters.items() if does]
    if not columns:
        return {}
    # each quote three times: the outer quotes of a field become characters of its own, and what
    # was inside stays inside
    cells = _to_polars(_arrow(rest.replace(b'"', b'"""'), separator, frame.columns, columns))
    masks = cells.select(pl.all().str.starts_with('"').fill_null(False))
    return {name: masks[name] for name in columns if masks[name].any()}


def _line(data: bytes, separator: str, header_lines: int, row: int) -> int:
    """Return the line of the file on which a row begins."""
    reader = csv.reader(io.StringIO(data.decode(), newline=""), delimiter=separator)
    line, found, width = 1, -1, 0
    for fields in reader:
        width = width or len(fields)
        if reader.line_num > header_lines and (fields or width == 1):
            found += 1
            if found == row:
                break
        line = reader.line_num + 1
    return line


def _file_bytes(path: Path, *, compressed: bool) -> bytes:
    data = path.read_bytes()
    if not compressed:
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidInputError(
            f"{path} is no whole gzip file ({error}); fetch or write it again"
        ) from None


def _text(path: Path, data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidInputError(
            f"{path} is not UTF-8: line {line} holds the byte 0x{data[error.start]:02x}; save it "
            "with UTF-8 encoding"
        ) from None


def _header(path: Path, data: bytes, separator: str) -> tuple[list[str], int]:
    """Return the names, and the number of lines that the header and blank lines above it take."""
    start = 0
    end = 0
    while True:  # more of the file until the header, whose names may hold line breaks, is whole
        end = min(len(data), max(2 * end, 1 << 16))
        cut = data.rfind(b"\n", start, end) + 1 if end < len(data) else end
        reader = csv.reader(
            io.StringIO(_text(path, data[:cut]), newline=""), delimiter=separator, strict=True
        )
        try:
            for fields in reader:
                if fields:
                    return fields, reader.line_num
        except csv.Error:
            if end == len(data):
                raise InvalidInputError(
                    f"the header of {path} has a quote that does not close; close or remove it"
                ) from None
        if end == len(data):
            raise InvalidInputError(f"{path} is empty; it needs a header and at least one row")


def _parse(path: Path, data: bytes, rest: bytes, separator: str, names: list[str]) -> pl.DataFrame:
    import pyarrow as pa

    if not rest.strip(b"\r\n"):
        raise InvalidInputError(f"{path} has a header but no rows; it needs at least one row")
    if rest.count(b'"') % 2:
        _check_quotes(path, data, separator)
    try:
        return _to_polars(_arrow(rest, separator, names, names))
    except pa.ArrowInvalid as error:
        _explain(path, data, separator, len(names), str(error).splitlines()[0])


def _arrow(rest: bytes, separator: str, names: list[str], columns: list[str]) -> pa.Table:
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    return arrow_csv.read_csv(
        pa.BufferReader(rest),
        # one block for small files; a field must fit into a block
        read_options=arrow_csv.ReadOptions(column_names=names, block_size=1 << 24),
        parse_options=arrow_csv.ParseOptions(
            delimiter=separator,
            newlines_in_values=b'"' in rest,
            # in a table of one column a blank line is a missing value
            ignore_empty_lines=len(names) > 1,
        ),
        convert_options=arrow_csv.ConvertOptions(
            column_types={name: pa.large_string() for name in names},
            include_columns=columns,
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )


def _to_polars(table: pa.Table) -> pl.DataFrame:
    return pl.DataFrame(pl.from_arrow(table))


def _check_quotes(path: Path, data: bytes, separator: str) -> None:
    """Refuse a quote that does not close; the fast parser would take the rest as one field."""
    text = io.StringIO(_text(path, data), newline="")
    csv.field_size_limit(max(csv.field_size_limit(), len(data)))
    reader = csv.reader(text, delimiter=separator, strict=True)
    line = 1
    try:
        for _ in reader:
            line = reader.line_num + 1
    except csv.Error:
        raise InvalidInputError(
            f"{path} has a quote in line {line} that does not close; close or remove it"
        ) from None


def _explain(path: Path, data: bytes, separator: str, expected: int, reason: str) -> NoReturn:
    """Find the line that can't be read, and raise."""
    reader = csv.reader(io.StringIO(_text(path, data), newline=""), delimiter=separator)
    line = 1
    csv.field_size_limit(max(csv.field_size_limit(), len(data)))
    for fields in reader:
        if fields and len(fields) != expected:
            raise InvalidInputError(
                f"{path} has {len(fields)} fields in line {line} where the header has {expected}; "
                "mend that line (a field with a separator in it needs quotes)"
            )
        line = reader.line_num + 1
    raise InvalidInputError(f"{path} can't be read: {reason}; mend the file")
