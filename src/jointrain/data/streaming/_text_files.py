"""Text files of a table that is larger than memory: read in parts, once, and kept as Parquet."""

from __future__ import annotations

import codecs
import gzip
import hashlib
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from jointrain.data._dialect import Dialect, find_dialect
from jointrain.data._raw_table import RawTable, ReadingOptions
from jointrain.data._separated_text import read_separated
from jointrain.data._table_schema import TableSchema
from jointrain.data._table_source import SEPARATORS, ending_of
from jointrain.data._tables import type_raw
from jointrain.data._text_encoding import refuse_utf8
from jointrain.data.streaming._kept_rows import KeptRows
from jointrain.data.streaming._record_ends import last_record_end
from jointrain.data.streaming._seen_file import SeenFile
from jointrain.data.streaming._table_files import TableFiles
from jointrain.errors import InvalidInputError

_PART_BYTES = 1 << 22
_MOST_BYTES = 1 << 28
"""A record longer than this is a quote that does not close."""

_ANY_SEPARATOR = ",;|\t"

_SAMPLED_FILES = 16
_SAMPLE_ROWS = 50_000


@dataclass(frozen=True)
class _Part:
    """Rows of a text file that follow each other.

    Args:
        raw: They, as they are written.
        first: Number of the first one in the file, from 0.
    """

    raw: RawTable
    first: int


class TextFiles:
    """CSV files, and others with separators, that are one table.

    They are gone through once, in parts of 16 MB, with the rules of a table that is read as a
    whole; but how columns are read is decided by the first rows of the files, at most 50,000 of 16
    files, and a later cell that does not fit is refused. What is read goes to a temporary folder as
    Parquet, and is read from there.

    Args:
        paths: The files.
        options: How they are written.

    Raises:
        InvalidInputError: There is no file.
    """

    def __init__(self, paths: Sequence[str | Path], options: ReadingOptions | None = None) -> None:
        if not paths:
            raise InvalidInputError("there is no file to read; name at least one")
        self._paths = [Path(path) for path in paths]
        self._options = options or ReadingOptions()
        self._seen = {path: SeenFile.now(path) for path in self._paths}

    @property
    def bytes(self) -> int:
        """How large the files are on the disk."""
        return sum(path.stat().st_size for path in self._paths)

    def sample(self) -> RawTable:
        """Return the first rows of the files, or of some where there are many.

        Raises:
            InvalidInputError: A file has a fault, or has changed.
        """
        count = min(len(self._paths), _SAMPLED_FILES)
        last = len(self._paths) - 1
        chosen = [self._paths[last * i // max(1, count - 1)] for i in range(count)]
        parts = []
        for path in dict.fromkeys(chosen):
            with self._seen[path].unchanged():
                raw = next(self._parts(path)).raw
            rows = min(len(raw.frame), -(-_SAMPLE_ROWS // count))
            quoted = {name: mask[:rows] for name, mask in raw.quoted.items()}
            parts.append(replace(raw, frame=raw.frame.head(rows), quoted=quoted))
        first = parts[0]
        for part in parts[1:]:
            _check_alike(part, first)
        names = first.frame.columns
        masked = {name for part in parts for name in part.quoted}

        class Sampled(RawTable):
            def place(self, row: int) -> str:
                for part in parts:
                    if row < len(part.frame):
                        return part.place(row)
                    row -= len(part.frame)
                raise AssertionError

        return Sampled(
            pl.concat([part.frame.select(names) for part in parts]),
            True,
            first.where if len(parts) == 1 else f"the {len(self._paths)} files",
            {name: pl.concat([_mask(part, name) for part in parts]) for name in masked},
            None,
            first.separator,
            first.notes,
        )

    def parts(self, see: Callable[[int], Any] | None = None) -> Iterator[RawTable]:
        """Yield the rows of all files as they are written, in parts of about 16 MB.

        Args:
            see: Called with the bytes that were read of each part, as they lie in the file.

        Raises:
            InvalidInputError: A file has a fault or lacks a column; file and line are named. Or a
                file has changed, which may be found after the last row only.
        """
        columns: RawTable | None = None
        for path in self._paths:
            for part in self._parts(path, see):
                columns = part.raw if columns is None else columns
                _check_alike(part.raw, columns)
                yield part.raw
        self._check_unchanged()

    def as_parquet(self, schema: TableSchema, options: ReadingOptions | None = None) -> TableFiles:
        """Go through all files, and return what was read.

        Args:
            schema: How their columns are read; columns that it does not know stay text.
            options: Where they are written in another way.

        Raises:
            InvalidInputError: A file has changed, lacks a column, has a fault, or holds a cell that
                does not fit; file, line and cell are named.
        """
        kept = KeptRows()
        columns: RawTable | None = None
        for path in self._paths:
            with self._seen[path].unchanged(), kept.file(str(path), _content(path)) as rows:
                for part in self._parts(path):
                    columns = part.raw if columns is None else columns
                    _check_alike(part.raw, columns)
                    own = replace(part.raw, frame=part.raw.frame.select(columns.frame.columns))
                    rows.add(_as_wide(type_raw(own, options, schema)))
        self._check_unchanged()
        return kept.as_table()

    def _check_unchanged(self) -> None:
        for seen in self._seen.values():
            seen.check()

    def _parts(self, path: Path, see: Callable[[int], Any] | None = None) -> Iterator[_Part]:
        """Yield the rows of a file, part by part; the file must not change meanwhile."""
        with self._seen[path].unchanged():
            yield from self._read_parts(path, see)

    def _read_parts(self, path: Path, see: Callable[[int], Any] | None) -> Iterator[_Part]:
        """Yield the rows of a file, part by part, whatever becomes of it."""
        where, usual = str(path), SEPARATORS.get(ending_of(path)[0], ",")
        options = replace(self._options, encoding=None)
        dialect_of = partial(find_dialect, where=where, usual=usual, options=options)
        lines, first = 0, 0
        head: bytes | None = None
        try:
            with _opened(path, self._options.encoding) as file:
                place = 0
                for dialect, data in _records(file, where, dialect_of):
                    if head is None:
                        head, data = data[: dialect.body_offset], data[dialect.body_offset :]
                        options = replace(options, separator=dialect.separator)
                        if not data.strip():
                            continue
                    try:
                        raw = read_separated(head + data, where, usual, options)
                    except InvalidInputError as error:
                        raise _shifted(error, lines) from None
                    yield _Part(_placed(raw, where, first, lines), first)
                    if see is not None:
                        see(file.place - place)
                        place = file.place
                    lines += data.count(b"\n")
                    first += len(raw.frame)
        except (OSError, EOFError, zlib.error) as error:
            reason = getattr(error, "strerror", None) or error
            raise InvalidInputError(f"{path} can't be read: {reason}") from None
        if not first:
            raise InvalidInputError(f"{path} has no rows; it needs a header and at least one row")


def _placed(raw: RawTable, where: str, first: int, lines: int) -> RawTable:
    """Return a part whose rows are told by their place in the file."""
    line_of: Callable[[int], int] | None = raw.row_to_line

    class Placed(RawTable):
        def place(self, row: int) -> str:
            line = "" if line_of is None else f" (line {line_of(row) + lines})"
            return f"row {first + row + 1}{line} of {where}"

    return Placed(raw.frame, True, where, raw.quoted, None, raw.separator, raw.notes)


def _shifted(error: InvalidInputError, lines: int) -> InvalidInputError:
    """Return an error that counts the lines of the file, not of a part."""
    return InvalidInputError(
        re.sub(r"\bline (\d+)", lambda found: f"line {int(found[1]) + lines}", str(error))
    )


def _records(
    file: Any, where: str, dialect_of: Callable[[bytes], Dialect]
) -> Iterator[tuple[Dialect, bytes]]:
    """Yield a file in parts that end with whole records, and how it is written.

    Args:
        file: Its bytes.
        where: What messages call it.
        dialect_of: Finds out how it is written, from the first part.
    """
    rest, start = b"", 0
    dialect: Dialect | None = None
    while True:
        data = file.read(_PART_BYTES)
        rest += data
        if not data:
            rest = rest.removesuffix(b"\x1a")  # how DOS ends a file
            if rest.strip():
                yield dialect or dialect_of(rest), rest
            return
        end = 0
        if dialect is None:
            # any separator may stand before a quote until the own one is known
            end = last_record_end(rest, 0, _ANY_SEPARATOR, None)
            if end:
                dialect = dialect_of(rest[:end])
                start = dialect.body_offset
        if dialect is not None:
            end = last_record_end(rest, start, dialect.separator, dialect.comment)
        if dialect is not None and end:
            yield dialect, rest[:end]
            rest, start = rest[end:], 0
        elif len(rest) > _MOST_BYTES:
            raise InvalidInputError(
                f"{where} has a quote that does not close within {_MOST_BYTES >> 20} MB; close or "
                "remove it"
            )


def _opened(path: Path, encoding: str | None) -> _Source:
    """Open a text file to read its bytes in UTF-8."""
    packing = ending_of(path)[1]
    try:
        file: Any = path.open("rb")
        on_disk = file
    except FileNotFoundError:
        raise InvalidInputError(f"{path} does not exist; check the name and the folder") from None
    if packing == ".gz":
        file = gzip.GzipFile(fileobj=file)
    elif packing:
        import pyarrow as pa

        file = pa.CompressedInputStream(pa.PythonFile(file, "r"), "zstd")
    start = bytes(file.read(4))
    marked = start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if encoding is not None or marked:
        return _Encoded(file, on_disk, encoding or "utf-16", str(path), start)
    return _Again(start.removeprefix(codecs.BOM_UTF8), file, on_disk)


class _Source:
    """Bytes that are read one after the other, and closed after a block."""

    def __init__(self, file: Any, on_disk: Any) -> None:
        self.file, self._on_disk = file, on_disk

    @property
    def place(self) -> int:
        """How many bytes of the file as it lies on the disk were read."""
        return int(self._on_disk.tell())

    def read(self, size: int) -> bytes:
        """Return the next bytes, about so many; none at the end."""
        found: bytes = self.file.read(size)
        return found

    def __enter__(self) -> _Source:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self._on_disk.close()


class _Again(_Source):
    """A file whose first bytes were read already."""

    def __init__(self, start: bytes, file: Any, on_disk: Any) -> None:
        super().__init__(file, on_disk)
        self._start = start

    def read(self, size: int) -> bytes:
        """Return the first bytes and the next ones."""
        start, self._start = self._start, b""
        return start + super().read(size)


class _Encoded(_Source):
    """A file in another encoding, as UTF-8."""

    def __init__(self, file: Any, on_disk: Any, encoding: str, where: str, start: bytes) -> None:
        super().__init__(file, on_disk)
        self._where, self._encoding, self._start = where, encoding, start
        try:
            self._decoder = codecs.getincrementaldecoder(encoding)()
        except LookupError:
            raise InvalidInputError(f"{where}: encoding {encoding!r} is not known") from None
        # until a block is not ASCII: how the file is read as UTF-8, which ends where it is not
        self._as_utf8: codecs.IncrementalDecoder | None = codecs.getincrementaldecoder("utf-8")()

    def read(self, size: int) -> bytes:
        """Return the next text in UTF-8."""
        while True:
            data = self._start or super().read(size)
            self._start = b""
            self._refuse_utf8(data)
            try:
                text = self._decoder.decode(data, final=not data)
            except UnicodeDecodeError:
                raise InvalidInputError(
                    f"{self._where} is not in the encoding {self._encoding}; name another one"
                ) from None
            if text or not data:
                return text.encode()

    def _refuse_utf8(self, data: bytes) -> None:
        if self._as_utf8 is None:
            return
        try:
            text = self._as_utf8.decode(data)
        except UnicodeDecodeError:
            self._as_utf8 = None
            return
        if not text.isascii():
            refuse_utf8(text.encode(), self._where, self._encoding)
            self._as_utf8 = None


def _content(path: Path) -> int:
    """Return a number of a file's bytes."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=8))
    except FileNotFoundError:
        raise InvalidInputError(f"{path} does not exist; check the name and the folder") from None
    return int.from_bytes(digest.digest(), "little")


def _mask(part: RawTable, name: str) -> pl.Series:
    none = pl.repeat(False, len(part.frame), dtype=pl.Boolean, eager=True)
    return part.quoted.get(name, none)


def _check_alike(part: RawTable, first: RawTable) -> None:
    for one, other in ((part, first), (first, part)):
        for name in other.frame.columns:
            if name not in one.frame.columns:
                raise InvalidInputError(
                    f"{one.where} has no column {name!r}, which {other.where} has; all files must "
                    "have the same columns"
                )


def _as_wide(frame: pl.DataFrame) -> pl.DataFrame:
    """Return whole numbers as floats, and days as moments: another part may have others."""
    days = [name for name, dtype in frame.schema.items() if dtype == pl.Date]
    frame = frame.with_columns(pl.col(days).cast(pl.Datetime("us")))
    whole = [name for name, dtype in frame.schema.items() if dtype.is_integer()]
    for name in whole:
        largest = frame[name].abs().max()
        if isinstance(largest, int) and largest > 1 << 53:
            raise InvalidInputError(
                f"column {name!r} holds whole numbers above 2 to the power of 53, which lose "
                f"digits; read them as text (--column {name}=text)"
            )
    return frame.with_columns(pl.col(whole).cast(pl.Float64)) if whole else frame
