"""JSON: one object a line, or one list of objects; the keys are the columns."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from itertools import accumulate
from typing import Any, NoReturn

import numpy as np
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

_DEEPEST = 100
"""How many objects and lists may lie within each other; Polars ends the process at some 400."""

_STRING = rb'"(?:[^"\\]|\\.)*"'

Hook = Callable[[list[tuple[str, Any]]], Any]

_KINDS = {bool: "true or false", float: "a number", str: "text", list: "a list"}


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
    if not is_list and b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    _refuse_deep(data, where, is_list=is_list)
    try:
        if is_list:
            frame = pl.read_json(data, infer_schema_length=None)
        else:
            frame = pl.read_ndjson(data, infer_schema_length=None)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        _refuse(data, where, str(error).splitlines()[0], is_list=is_list)
    text = data.decode(errors="replace")
    lines = pl.Series([text] if is_list else text.split("\n"))
    keys = lines.str.extract_all(_KEY)
    _refuse_unclear(data, where, lines, keys, is_list=is_list)
    spellings = _spellings(keys)
    # of more than some 30 keys, Polars gives the columns in another order in each process
    there = dict.fromkeys(frame.columns)
    frame = frame.select([name for name in dict.fromkeys([*spellings, *there]) if name in there])
    check_names(frame.columns, where)

    def holds(name: str, values: bytes) -> bool:
        key = b"|".join(re.escape(one) for one in spellings.get(name, ()))
        return re.search(b"(?:%b)(?:%b)" % (key, values), data) is not None

    numbers = [name for name, dtype in frame.schema.items() if dtype.is_numeric()]
    truths = {name for name in numbers if holds(name, rb"\s*(?:true|false)")}
    if truths:
        _refuse_mixed(data, where, truths, is_list=is_list)
    texts = [name for name, dtype in frame.schema.items() if dtype == pl.String]
    mixed = [name for name in texts if holds(name, rb"\s*(?:[-\d\[{]|true|false)")]
    if mixed:
        shown = ", ".join(map(repr, mixed))
        notes += (
            f"{where} has keys with text and other values, which are read as text: {shown}; "
            "--column NAME=number reads numbers",
        )
    return RawTable(frame, is_text=False, where=where, notes=notes)


def _refuse_deep(data: bytes, where: str, *, is_list: bool) -> None:
    """Refuse objects and lists that lie too deep within each other.

    Raises:
        InvalidInputError: The line is named, if the file is one of lines.
    """
    if _depth_at_most(data) <= _DEEPEST:
        return
    for number, text in enumerate([data] if is_list else data.split(b"\n"), start=1):
        marks = re.findall(rb"[\[\]{}]", re.sub(_STRING, b"", text))
        depths = accumulate(1 if mark in b"[{" else -1 for mark in marks)
        if max(depths, default=0) > _DEEPEST:
            raise _too_deep(where, "" if is_list else f" in line {number}")


def _depth_at_most(data: bytes) -> int:
    """Return how deep brackets lie within each other at most, those in text included."""
    # a row is mostly one object without lists, and needs no closer look
    rows = data.count(b"\n{") + data.startswith(b"{")
    further = data.count(b"{") - rows + data.count(b"[")
    if further < _DEEPEST:
        return further + 1
    written = np.frombuffer(data, np.uint8)
    opens = (written == ord("[")) | (written == ord("{"))
    closes = (written == ord("]")) | (written == ord("}"))
    depths = np.cumsum(np.where(opens[opens | closes], 1, -1))
    # those in text may have no other half: what counts is how far it rises
    return int((depths - np.minimum.accumulate(depths)).max(initial=0)) + 1


def _too_deep(where: str, place: str = "") -> InvalidInputError:
    return InvalidInputError(
        f"{where} holds lists or objects too deep within each other{place}; give plain values"
    )


def _spellings(keys: pl.Series) -> dict[str, list[bytes]]:
    """Return how each key is written in the file, colon included, in the order of the keys."""
    found: dict[str, list[bytes]] = {}
    for written in keys.explode().drop_nulls().unique(maintain_order=True):
        with suppress(ValueError):  # what only looks like a key
            found.setdefault(json.loads(written[:-1]), []).append(written.encode())
    return found


def _refuse_unclear(
    data: bytes, where: str, lines: pl.Series, keys: pl.Series, *, is_list: bool
) -> None:
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
        doubtful = (keys.list.n_unique() != keys.list.len()) | lines.str.contains(_ODD)
        numbers = doubtful.arg_true().to_list()
        faults = (
            (row + 1, _parsed_line(lines[row], where, row + 1, json_fault)) for row in numbers
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


def _refuse(data: bytes, where: str, reason: str, *, is_list: bool) -> NoReturn:
    """Find what can't be read, and raise."""
    refuse_not_utf8(data, where)
    _refuse_mixed(data, where, None, is_list=is_list)
    text = data.decode(errors="replace")
    lines = pl.Series([text] if is_list else text.split("\n"))
    _refuse_unclear(data, where, lines, lines.str.extract_all(_KEY), is_list=is_list)
    raise InvalidInputError(f"{where} can't be read: {reason}; mend the file")


def _refuse_mixed(data: bytes, where: str, names: Collection[str] | None, *, is_list: bool) -> None:
    """Refuse what is no object, numbers that are too large, and values of several types.

    Args:
        data: The file's bytes.
        where: What messages call it.
        names: The keys that are looked at, None for all.
        is_list: Whether the file is one list.

    Raises:
        InvalidInputError: Key, place and value are named.
    """
    kinds: dict[str, tuple[str, str]] = {}
    for place, row in _rows(data, where, is_list=is_list):
        if not isinstance(row, dict):
            raise InvalidInputError(f"{where} holds no JSON object in {place}; mend it")
        for name, value in row.items():
            if names is not None and name not in names:
                continue
            for number in value if isinstance(value, list) else [value]:
                if isinstance(number, float) and math.isinf(number):
                    raise InvalidInputError(
                        f"key {name!r} of {where} holds a number in {place} that is too large to "
                        "be read (beyond 1.8e308, or a whole one beyond 1.7e38); write ids as text"
                    )
            kind = _KINDS.get(type(value), "an object")
            before = kinds.setdefault(name, (kind, place)) if value is not None else (kind, place)
            if before[0] != kind:
                raise InvalidInputError(
                    f"key {name!r} of {where} is {before[0]} in {before[1]} and {kind} in {place}; "
                    "give it values of one type"
                )


def _rows(data: bytes, where: str, *, is_list: bool) -> list[tuple[str, Any]]:
    if is_list:
        return [(f"row {i}", row) for i, row in enumerate(_parsed_list(data, where), start=1)]
    return [
        (f"line {number}", _parsed_line(line.decode(), where, number))
        for number, line in enumerate(data.split(b"\n"), start=1)
        if line.strip()
    ]


def _parsed_line(line: str, where: str, number: int, hook: Hook | None = None) -> Any:
    try:
        return _parsed(line, hook)
    except RecursionError:
        raise _too_deep(where, f" in line {number}") from None
    except ValueError:
        raise InvalidInputError(
            f"{where} holds no JSON object in line {number}: {line[:40].strip()!r}; write one "
            "object a line"
        ) from None


def _parsed_list(data: bytes, where: str, hook: Hook | None = None) -> list[Any]:
    try:
        return list(_parsed(data, hook))
    except RecursionError:
        raise _too_deep(where) from None
    except ValueError as error:
        raise InvalidInputError(f"{where} is not JSON: {error}; mend the file") from None


def _parsed(text: str | bytes, hook: Hook | None) -> Any:
    # with a hook, keys count and not numbers
    whole = _number if hook is None else None
    return json.loads(
        text, object_pairs_hook=hook, parse_int=whole, parse_constant=_refuse_constant
    )


def _number(digits: str) -> float:
    """Return a whole number, infinity where Polars has none: beyond 128 bits."""
    # Python itself refuses to convert thousands of digits
    return float(digits) if len(digits) < 39 or -(2**127) <= int(digits[:41]) < 2**127 else math.inf


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")
