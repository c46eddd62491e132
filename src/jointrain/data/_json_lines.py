"""JSON: one object a line, or one list of objects; the keys are the columns."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

import polars as pl

from jointrain.data._column_names import check_names
from jointrain.data._raw_table import RawTable, ReadingOptions
from jointrain.data._text_encoding import refuse_not_utf8, to_utf8
from jointrain.errors import InvalidInputError

_KEY = r'"(?:[^"\\]|\\.)*"\s*:'
"""A key, or what looks like one from the end of a text to the next: a doubt more."""

_ODD = r'\\(?:[^"\\]|\\.)*"\s*:|"\s+:|\\u[dD][89a-fA-F]'
"""What may be a key in another spelling, or half a letter."""

_HALF = re.compile("[\ud800-\udfff]")

_KINDS = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list"}


def read_json(data: bytes, where: str, options: ReadingOptions) -> RawTable:
    """Read JSON; a key that a row lacks is a missing value there.

    Args:
        data: The file's bytes, unpacked.
        where: What messages call it.
        options: What the user said.

    Raises:
        InvalidInputError: A line is no JSON object, or a key holds values that fit no one type.
    """
    data, notes = to_utf8(data, where, options.encoding)
    if not data.strip():
        raise InvalidInputError(f"{where} is empty; it needs at least one row")
    is_list = data.lstrip().startswith(b"[")
    try:
        if is_list:
            frame = pl.read_json(data, infer_schema_length=None)
        else:
            frame = pl.read_ndjson(data, infer_schema_length=None)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        _refuse(data, where, str(error).splitlines()[0], is_list=is_list)
    _refuse_unclear(data, where, is_list=is_list)
    check_names(frame.columns, where)
    texts = [name for name, dtype in frame.schema.items() if dtype == pl.String]
    mixed = [name for name in texts if _holds_bare_values(data, name)]
    if mixed:
        shown = ", ".join(map(repr, mixed))
        notes += (
            f"{where} has keys with text and other values, which are read as text: {shown}; "
            "--column NAME=number reads numbers",
        )
    return RawTable(frame, is_text=False, where=where, notes=notes)


def _refuse_unclear(data: bytes, where: str, *, is_list: bool) -> None:
    """Refuse keys that a row holds twice, and halves of letters: Polars takes one, and drops them.

    Raises:
        InvalidInputError: The row, and what it holds, are named.
    """
    if is_list:
        faults: Iterable[tuple[int, str | None]] = enumerate(
            _parsed_list(data, where, json_fault), start=1
        )
    else:
        # in Python, each line would take three times as long as Polars takes to read it
        lines = pl.Series(data.decode(errors="replace").split("\n"))
        keys = lines.str.extract_all(_KEY)
        doubtful = (keys.list.n_unique() != keys.list.len()) | lines.str.contains(_ODD)
        numbers = doubtful.arg_true().to_list()
        faults = (
            (row + 1, json.loads(lines[row], object_pairs_hook=json_fault)) for row in numbers
        )
    for number, fault in faults:
        if fault is not None:
            unit = "row" if is_list else "line"
            raise InvalidInputError(f"{where} holds {fault} in {unit} {number}; mend it")


def json_fault(pairs: list[tuple[str, Any]]) -> str | None:
    """Return what in an object of JSON has no one meaning, None if nothing."""
    names = [name for name, _ in pairs]
    if len({*names}) < len(names):
        return f"the key {next(name for name in names if names.count(name) > 1)!r} twice"
    for name, value in pairs:
        for text in (name, *(value if isinstance(value, list) else [value])):
            if isinstance(text, str) and not text.isascii() and _HALF.search(text):
                return f"half a letter (a lone surrogate) under the key {name!a}"
    return None


def _holds_bare_values(data: bytes, name: str) -> bool:
    key = re.escape(json.dumps(name, ensure_ascii=False).encode())
    return re.search(key + rb"\s*:\s*(?:[-\d\[{]|true|false)", data) is not None


def _refuse(data: bytes, where: str, reason: str, *, is_list: bool) -> NoReturn:
    """Find what can't be read, and raise."""
    refuse_not_utf8(data, where)
    kinds: dict[str, tuple[str, str]] = {}
    for place, row in _rows(data, where, is_list=is_list):
        if not isinstance(row, dict):
            raise InvalidInputError(f"{where} holds no JSON object in {place}; mend it")
        for name, value in row.items():
            kind = _KINDS.get(type(value), "an object")
            before = kinds.setdefault(name, (kind, place)) if value is not None else (kind, place)
            if before[0] != kind:
                raise InvalidInputError(
                    f"key {name!r} of {where} is {before[0]} in {before[1]} and {kind} in {place}; "
                    "give it values of one type"
                )
    _refuse_unclear(data, where, is_list=is_list)
    raise InvalidInputError(f"{where} can't be read: {reason}; mend the file")


def _rows(data: bytes, where: str, *, is_list: bool) -> list[tuple[str, Any]]:
    if is_list:
        return [(f"row {i}", row) for i, row in enumerate(_parsed_list(data, where), start=1)]
    found = []
    for number, line in enumerate(data.splitlines(), start=1):
        try:
            if line.strip():
                found.append((f"line {number}", json.loads(line, parse_constant=_refuse_constant)))
        except ValueError:
            shown = line[:40].decode(errors="replace").strip()
            raise InvalidInputError(
                f"{where} holds no JSON object in line {number}: {shown!r}; write one object a line"
            ) from None
    return found


def _parsed_list(
    data: bytes, where: str, hook: Callable[[list[tuple[str, Any]]], Any] | None = None
) -> list[Any]:
    try:
        return list(json.loads(data, object_pairs_hook=hook))
    except ValueError as error:
        raise InvalidInputError(f"{where} is not JSON: {error}; mend the file") from None


def _refuse_constant(name: str) -> None:
    raise ValueError(name)  # NaN and Infinity are no JSON
