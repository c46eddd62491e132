"""What the user named as a table, and which reader is for it."""

from __future__ import annotations

import io
import re
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

from jointrain.data._arrow_files import read_arrow
from jointrain.data._column_names import alike_notes
from jointrain.data._compression import packing_of, refuse_other_packing, unpacked
from jointrain.data._raw_table import RawTable, ReadingOptions
from jointrain.data._separated_text import read_separated
from jointrain.errors import InvalidInputError, closest

SEPARATORS = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".psv": "|", ".txt": ","}
JSON_ENDINGS = (".jsonl", ".ndjson", ".json")
ARROW_ENDINGS = (".arrow", ".feather", ".ipc")
_WORKBOOKS = (".xlsx",)
PACKINGS = {".gz": "gzip", ".zst": "Zstandard"}
KNOWN_ENDINGS = (*SEPARATORS, *JSON_ENDINGS, ".parquet", *ARROW_ENDINGS, *_WORKBOOKS)

_OTHER_DOCUMENTS = (b"<!doctype html", b"<html", b"<?xml", b"%pdf-")
HEAD_BYTES = 1 << 10
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_KINDS = {
    **dict.fromkeys(SEPARATORS, "text"),
    **dict.fromkeys(JSON_ENDINGS, "JSON"),
    **dict.fromkeys(ARROW_ENDINGS, "Arrow"),
    **dict.fromkeys(_WORKBOOKS, "Excel"),
    ".parquet": "Parquet",
}


def ending_of(path: str | Path) -> tuple[str, str]:
    """Return a file's ending without its packing, and the packing's ending; "" for none."""
    name = Path(path).name.lower()
    packing = next((ending for ending in PACKINGS if name.endswith(ending)), "")
    return Path(name.removesuffix(packing)).suffix, packing


def is_address(source: str) -> bool:
    """Say whether a source is an address such as ``postgresql://host/name``."""
    return _SCHEME.match(source) is not None


def read_raw(source: str | Path, options: ReadingOptions | None = None) -> RawTable:
    """Read a table as it is written.

    Args:
        source: A file (``table.xlsx#SHEET`` names a sheet of a workbook), ``-`` for standard
            input, or the address of a database.
        options: How to read it; default as the file shows.

    Raises:
        InvalidInputError: There is none, or it can't be read.
        MissingDependencyError: An extra must be installed to read it.
    """
    source, options = str(source), options or ReadingOptions()
    if is_address(source):
        from jointrain.data._database import read_database

        raw = read_database(source)
    elif source == "-":
        raw = _read_content(_standard_input(), "standard input", ("", ""), None, options)
    else:
        raw = _read_file(source, options)
    if raw.frame.width == 0 or raw.frame.height == 0:
        raise InvalidInputError(
            f"{raw.where} has column names but no rows; it needs at least one row"
        )
    said = [name for name in ("encoding", "separator", "comment") if getattr(options, name)]
    if not raw.is_text and said:
        flags = " and ".join(f"--{name}" for name in said)
        note = f"{raw.where} is no text with separators: {flags} is not used"
        raw = _with_notes(raw, note)
    return raw if raw.is_text else _with_notes(raw, *alike_notes(raw.frame.columns, raw.where))


def _with_notes(raw: RawTable, *notes: str) -> RawTable:
    return replace(raw, notes=(*raw.notes, *notes))


def _standard_input() -> bytes:
    if sys.stdin.isatty():
        raise InvalidInputError(
            "standard input is a terminal; send a table to it, as in: jointrain ... - < table.csv"
        )
    return sys.stdin.buffer.read()


def _read_file(source: str, options: ReadingOptions) -> RawTable:
    path, sheet = Path(source), None
    if not path.exists() and "#" in source:
        workbook, _, name = source.rpartition("#")
        if Path(workbook).is_file() or ending_of(workbook)[0] in _WORKBOOKS:
            path, sheet = Path(workbook), name
    _check_exists(path)
    try:
        if not path.is_file():  # a pipe can be read once only
            return _read_content(path.read_bytes(), source, ending_of(path), sheet, options)
        if path.stat().st_size == 0:
            raise InvalidInputError(f"{path} is empty; it needs a header and at least one row")
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        ending = ending_of(path)
        kind = kind_by_content(head) or (ending[1] == "" and _KINDS.get(ending[0]))
        if kind in ("Parquet", "Arrow"):
            return _typed(path, source, ending, kind)
        return _read_content(path.read_bytes(), source, ending, sheet, options)
    except OSError as error:
        raise InvalidInputError(f"{path} can't be read: {error.strerror or error}") from None


def _check_exists(path: Path) -> None:
    """Refuse what is no file, with the closest name in its folder."""
    if path.is_dir():
        raise InvalidInputError(f"{path} is a folder; name a file in it")
    if path.is_char_device() or path.is_block_device() or path.is_socket():
        raise InvalidInputError(f"{path} is a device, not a file; name a file, or - and send it")
    if path.is_fifo() and not str(path).startswith(("/dev/", "/proc/")):
        raise InvalidInputError(
            f"{path} is a pipe, which may never end; send it to standard input: - < {path}"
        )
    if path.exists():
        return
    folder = path.parent
    if not folder.is_dir():
        raise InvalidInputError(f"{path} does not exist: there is no folder {folder}")
    try:
        hint = closest(path.name, [entry.name for entry in folder.iterdir() if entry.is_file()])
    except OSError:
        hint = ""
    raise InvalidInputError(f"{path} does not exist{hint or '; check the name and the folder'}")


def kind_by_content(data: bytes) -> str | None:
    """Return what bytes are by how they begin, None if that says nothing."""
    # a header of text may begin so, too
    if re.match(rb"PAR1[^\t\r\n -\xff]", data):
        return "Parquet"
    if data.startswith(b"ARROW1\0"):
        return "Arrow"
    if data.startswith(b"PK\x03\x04"):
        return "Excel"
    return None


def _read_content(
    data: bytes, where: str, ending: tuple[str, str], sheet: str | None, options: ReadingOptions
) -> RawTable:
    packing = packing_of(data) or PACKINGS.get(ending[1])
    if packing:
        data = unpacked(data, where, packing)
    if not data:
        raise InvalidInputError(f"{where} is empty; it needs a header and at least one row")
    refuse_other_packing(data, where)
    start = data[:HEAD_BYTES].lstrip().lower()
    if start.startswith(_OTHER_DOCUMENTS):
        raise InvalidInputError(
            f"{where} is a web page, XML or PDF, not a table; the download may have failed"
        )
    if data.startswith(b"SQLite format 3\0"):
        raise InvalidInputError(
            f"{where} is an SQLite database; name a table in it: sqlite:///{where}?table=NAME"
        )
    said = _KINDS.get(ending[0])
    kind = kind_by_content(data) or said or _kind_of_unknown(data, where, ending)
    if kind in ("Parquet", "Arrow"):
        return _typed(data, where, ending, kind)
    if kind == "Excel":
        _check_workbook(data, where)
        from jointrain.data._spreadsheet import read_workbook

        return _noted(read_workbook(data, where, sheet), kind, ending)
    if sheet is not None:
        raise InvalidInputError(f"{where} is no Excel file, so it has no sheet {sheet!r}")
    if kind == "JSON":
        from jointrain.data._json_lines import read_json

        return read_json(data, where, options)
    return read_separated(data, where, SEPARATORS.get(ending[0], ","), options)


def _kind_of_unknown(data: bytes, where: str, ending: tuple[str, str]) -> str:
    """Return what a file without known ending is; a table may have any name."""
    start = data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if start in (b"{", b"["):
        return "JSON"
    binary = data[:HEAD_BYTES].translate(None, b"\t\n\r\x0c")
    if any(byte < 32 for byte in binary) and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
        name = f"has the ending {ending[0]}" if ending[0] else "has no ending"
        raise InvalidInputError(
            f"{where} {name} and no content that jointrain can read; known are "
            f"{', '.join(KNOWN_ENDINGS)}, text also with .gz or .zst"
        )
    return "text"


def _typed(data: bytes | Path, where: str, ending: tuple[str, str], kind: str) -> RawTable:
    return _noted(read_arrow(data, where, parquet=kind == "Parquet"), kind, ending)


def _noted(raw: RawTable, kind: str, ending: tuple[str, str]) -> RawTable:
    """Add a note if a file's name says something else than its content."""
    said = _KINDS.get(ending[0])
    if said in (None, kind):
        return raw
    return _with_notes(raw, f"{raw.where} holds {kind} in spite of its name, and was read so")


def _check_workbook(data: bytes, where: str) -> None:
    try:
        names = zipfile.ZipFile(io.BytesIO(data)).namelist()
    except zipfile.BadZipFile:
        raise InvalidInputError(
            f"{where} is no whole Excel file; fetch or write it again"
        ) from None
    if "xl/workbook.xml" not in names:
        raise InvalidInputError(
            f"{where} is a zip archive without an Excel workbook (.xlsx) in it; unpack it first"
        )
