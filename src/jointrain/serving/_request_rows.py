"""From the body of a request to a table as it is written: JSON, CSV or Arrow."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import polars as pl
from pydantic import TypeAdapter, ValidationError

from jointrain.data import (
    Column,
    ColumnReading,
    RawTable,
    ReadingOptions,
    json_fault,
    number_text,
    read_arrow,
    read_separated,
)
from jointrain.errors import InvalidInputError
from jointrain.serving._compressed_arrow import refuse_compressed
from jointrain.serving._row_types import body_type, readings, row_type
from jointrain.tables import BlendedModel, TableModel

JSON, CSV = "application/json", "text/csv"
ARROW = "application/vnd.apache.arrow.stream"
KINDS = (JSON, CSV, ARROW)
"""The kinds of body that are read."""

WHERE = "the request"

_MOST_ERRORS = 10
_MOST_COLUMNS = 10_000


class RowsError(InvalidInputError):
    """Rows that don't fit the model.

    Args:
        details: What is wrong, an entry for each fault: ``loc``, the way to it in the body,
            ``msg`` and ``type``.
    """

    def __init__(self, details: list[dict[str, Any]]) -> None:
        super().__init__("; ".join(one["msg"] for one in details))
        self.details = details


class RowReader:
    """Reads the rows of requests for a model.

    Args:
        model: Whose columns are expected.
        names: A further column that is kept, such as that of names.
        options: How CSV is written, where not as the table of training was.
        most_rows: In a request.
        most_bytes: Of the text in an Arrow stream, which may name one text many times.
    """

    def __init__(
        self,
        model: TableModel | BlendedModel,
        names: str | None,
        options: ReadingOptions,
        most_rows: int,
        most_bytes: int,
    ) -> None:
        self.columns = model.columns
        self.readings = readings(model)
        self.kept = names
        self.options = options if model.schema is None else model.schema.quoted_words(options)
        self.most_rows = most_rows
        self.most_bytes = most_bytes
        row = row_type(model)
        self.body_type = body_type(row, most_rows)
        self._adapter = TypeAdapter(self.body_type)
        # a fault in each cell of many rows would take seconds to be told
        self._fast = TypeAdapter(body_type(row, most_rows, fail_fast=True))

    def read(self, body: bytes, kind: str) -> tuple[RawTable, list[str]]:
        """Return the table in a body, and the names of all columns that the rows have.

        Args:
            body: Its bytes.
            kind: One of `KINDS`.

        Raises:
            RowsError: A column is missing in JSON, or a value is of another type.
            InvalidInputError: It is no such table, or has too many rows.
        """
        if kind == JSON:
            raw, names = self._from_json(body)
        else:
            raw = self._from_csv(body) if kind == CSV else self._from_arrow(body)
            names = raw.frame.columns
        self._check_rows(raw.frame.height)
        if not raw.frame.height:
            raise InvalidInputError(f"{WHERE} has no rows; send at least one")
        return raw, names

    def _check_rows(self, count: int) -> None:
        if count > self.most_rows:
            self._refuse_more(str(count))

    def _refuse_more(self, count: str) -> NoReturn:
        raise InvalidInputError(
            f"{WHERE} has {count} rows, and at most {self.most_rows} are taken; send fewer at a "
            "time"
        )

    def _from_csv(self, body: bytes) -> RawTable:
        # each row ends a line; so nothing large is read that would be refused then
        self._check_rows(max(0, body.count(b"\n") - 1) if b'"' not in body else 0)
        raw = read_separated(body, WHERE, ",", self.options)
        _check_width(raw.frame.width)
        return raw

    def _from_arrow(self, body: bytes) -> RawTable:
        if not body:
            raise InvalidInputError(f"{WHERE} is empty; send an Arrow stream")
        if body.startswith(b"ARROW1"):
            raise InvalidInputError(f"{WHERE} is an Arrow file; send an Arrow stream")
        refuse_compressed(body)
        self._check_rows(_rows_of_stream(body))
        raw = read_arrow(body, WHERE, parquet=False)
        _check_width(raw.frame.width)
        size = sum(map(_text_size, raw.frame))
        if size > self.most_bytes:
            raise InvalidInputError(
                f"the text of {WHERE} has {size:,} bytes over all rows, and at most "
                f"{self.most_bytes:,} are taken; send fewer rows at a time"
            )
        return raw

    def _from_json(self, body: bytes) -> tuple[RawTable, list[str]]:
        try:
            rows: list[dict[str, Any]] = self._fast.validate_json(body)["rows"]
        except ValidationError as error:
            told = error.errors(include_input=False)
            if any(one["type"] == "too_long" for one in told):
                self._refuse_more(f"more than {self.most_rows}")
            faulty = [int(one["loc"][1]) for one in told if len(one["loc"]) > 1]
            found = self._details_from(body, min(faulty), error) if faulty else _details(error)
            raise RowsError(found) from None
        _refuse_twice(body, rows)
        names = list(dict.fromkeys(name for row in rows for name in row))
        _check_width(len(names))
        series = [
            _series(column, self.readings[column.name], [row[column.name] for row in rows])
            for column in self.columns
        ]
        if self.kept is not None and self.kept in names and self.kept not in self.readings:
            kept = [_plain(self.kept, place, row.get(self.kept)) for place, row in enumerate(rows)]
            series.append(pl.Series(self.kept, kept, dtype=pl.String))
        return RawTable(pl.DataFrame(series), is_text=False, where=WHERE), names

    def _details_from(
        self, body: bytes, first: int, error: ValidationError
    ) -> list[dict[str, Any]]:
        """Return what is wrong with a row (from 0), as `error` tells, and with some after it."""
        try:
            whole = json.loads(body)
            whole["rows"] = whole["rows"][first : first + _MOST_ERRORS]
            self._adapter.validate_json(json.dumps(whole))
        except ValidationError as again:
            return _details(again, first)
        except (ValueError, RecursionError):  # numbers that are too long for Python, or depth
            pass
        return _details(error)


def _text_size(column: pl.Series) -> int:
    """Return how many bytes the text of a column has, each row's counted."""
    dtype = column.dtype
    if isinstance(dtype, (pl.List, pl.Array)):
        return _text_size(column.explode())
    if isinstance(dtype, pl.Enum | pl.Categorical):
        return int(column.cast(pl.Categorical).cat.len_bytes().sum())
    return int(column.str.len_bytes().sum()) if dtype == pl.String else 0


def _rows_of_stream(body: bytes) -> int:
    """Return the rows of an Arrow stream, 0 where it can't be read: columns may hold no bytes."""
    import pyarrow as pa
    from pyarrow import ipc

    try:
        with ipc.open_stream(pa.BufferReader(body)) as stream:
            return sum(batch.num_rows for batch in stream)
    except (pa.ArrowException, OSError, ValueError):
        return 0


def _refuse_twice(body: bytes, rows: Sequence[Mapping[str, Any]]) -> None:
    """Refuse a key that the body or a row holds twice, of which pydantic takes the last.

    Raises:
        RowsError: There is one; row and key are named.
    """
    # each key ends so; text and unused columns may hold more of them, and are looked at closely
    if len(re.findall(rb'"\s*:', body)) <= 1 + sum(map(len, rows)):
        return
    found = json.loads(
        body, parse_int=float, object_pairs_hook=lambda pairs: json_fault(pairs) or dict(pairs)
    )
    told: list[tuple[list[Any], str]]
    told = [] if isinstance(found, dict) else [(["body"], f"the body holds {found}")]
    if not told:
        told = [
            (["body", "rows", index], f"row {index + 1} holds {row}")
            for index, row in enumerate(found["rows"])
            if isinstance(row, str)
        ]
    if told:
        raise RowsError(
            [{"loc": loc, "msg": msg, "type": "key_twice"} for loc, msg in told[:_MOST_ERRORS]]
        )


def _check_width(width: int) -> None:
    if width > _MOST_COLUMNS:
        raise InvalidInputError(
            f"{WHERE} has {width} columns, and at most {_MOST_COLUMNS} are read"
        )


def _plain(name: str, place: int, value: Any) -> str | None:
    """Return the value of the column that comes back, as text; its row is from 0."""
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidInputError(
            f"column {name!r} holds {value} in row {place + 1}; give text or a finite number"
        )
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if value is None or isinstance(value, float):
        return _text(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _series(column: Column, reading: ColumnReading, values: Sequence[Any]) -> pl.Series:
    """Return the values of a column, which are of its type in JSON."""
    match reading.kind:
        case "number":
            return pl.Series(column.name, values, dtype=pl.Float64, strict=False)
        case "boolean":
            return pl.Series(column.name, values, dtype=pl.Boolean)
        case "duration":
            seconds = pl.Series(column.name, values, dtype=pl.Float64, strict=False)
            return (seconds * 1e6).round().cast(pl.Int64).cast(pl.Duration("us"))
    if any(isinstance(value, list) for value in values):
        if any(isinstance(value, str) for value in values):
            raise InvalidInputError(
                f"column {column.name!r} holds lists and text; give one of them in all rows"
            )
        return pl.Series(column.name, values, dtype=pl.List(pl.String))
    return pl.Series(column.name, [_text(value) for value in values], dtype=pl.String)


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return str(number_text(pl.Series([value]))[0])


def _details(error: ValidationError, first: int = 0) -> list[dict[str, Any]]:
    """Return what is wrong, of rows that are counted from `first` on."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for one in error.errors(include_url=False, include_context=False, include_input=False):
        # of a choice of types, each is an error of its own
        loc = one["loc"][:3]
        place = ""
        if len(loc) > 1:
            row = int(loc[1]) + first
            loc = (loc[0], row, *loc[2:])
            place = f"row {row + 1}"
        if len(loc) > 2:
            place += f", column {loc[2]!r}"
        message = one["msg"]
        if one["type"] == "extra_forbidden":
            message = f"the key {loc[0]!r} is not known; the body has the key 'rows' alone"
        if one["type"] == "missing" and len(loc) > 2:
            message = "is missing; give null where there is no value"
        text = f"{place}: {message}" if place else message
        if loc in found:
            found[loc]["msg"] += f"; or {one['msg']}"
        elif len(found) < _MOST_ERRORS:
            found[loc] = {"loc": ["body", *loc], "msg": text, "type": one["type"]}
    return list(found.values())


def content_type(headers: Mapping[str, str]) -> str | None:
    """Return which of `KINDS` a request's body is of, None if none; JSON if nothing is said."""
    said = headers.get("content-type", JSON).partition(";")[0].strip().lower()
    return said if said in KINDS else None
