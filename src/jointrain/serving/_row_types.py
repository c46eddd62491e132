"""What a row of a request and of an answer holds, as pydantic types made from a model."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Annotated, Any, NotRequired

import polars as pl
from pydantic import AfterValidator, ConfigDict, FailFast, Field, StrictBool, StrictStr
from pydantic.config import JsonDict
from typing_extensions import TypedDict

from jointrain.data import Column, ColumnReading, TableEncoder
from jointrain.tables import BlendedModel, TableModel

_LARGEST = 1.7976931348623157e308
_WHOLE = 2**63 - 1

_Number = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=-_LARGEST, le=_LARGEST)]
_Whole = Annotated[int, Field(strict=True, ge=-_WHOLE, le=_WHOLE)]


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("nothing is written; give null where there is no value")
    return text


_Written = Annotated[StrictStr, AfterValidator(_not_blank)]

_KINDS = {
    "numeric": "number",
    "boolean": "boolean",
    "datetime": "date",
    "calendar": "date",
    "time": "time",
}
"""What columns hold by their kind as features, where it is not kept how they were read."""


def readings(model: TableModel | BlendedModel) -> dict[str, ColumnReading]:
    """Return how each feature column is read, by name."""
    known: Mapping[str, ColumnReading] = {} if model.schema is None else model.schema.columns
    return {
        column.name: known.get(column.name) or ColumnReading(_KINDS.get(column.kind, "text"))  # type: ignore[arg-type]
        for column in model.columns
    }


def body_type(row: Any, most_rows: int, *, fail_fast: bool = False) -> Any:
    """Return the type of a request's body in JSON, which may be checked up to a faulty row only."""
    rows = Annotated[list[row], Field(min_length=1, max_length=most_rows)]
    return _dict_type("Rows", {"rows": Annotated[rows, FailFast()] if fail_fast else rows})


def row_type(model: TableModel | BlendedModel) -> Any:
    """Return the type of a row in JSON: a key for each feature column, null where missing.

    Other keys may be there.
    """
    read = readings(model)
    fields = {
        column.name: Annotated[
            _type_of(column, read[column.name]) | None,
            Field(description=_description(column, read[column.name])),
        ]
        for column in model.columns
    }
    return _dict_type("Row", fields, others=True)


def _dict_type(name: str, fields: Mapping[str, Any], *, others: bool = False) -> Any:
    """Return a type of dictionaries with these keys, which no class could have as attributes."""
    # by a name that is no class's, which a type checker would take for one
    make: Any = TypedDict
    made = make(name, dict(fields))
    made.__pydantic_config__ = ConfigDict(extra="allow" if others else "forbid")
    return made


def _type_of(column: Column, reading: ColumnReading) -> Any:
    match reading.kind:
        case "number":
            return _Number
        case "duration":
            # in microseconds, durations have 64 bits
            return Annotated[float, Field(strict=True, ge=-9e12, le=9e12)]
        case "boolean":
            return StrictBool
        case "date" if reading.date_form == "%Y-%m-%d" and reading.zone is None:
            known: JsonDict = {"format": "date" if reading.midnight else "date-time"}
            return Annotated[_Written, Field(json_schema_extra=known)]
        case "date" | "time":
            return _Written
    if reading.lists:
        return list[StrictStr]
    if column.kind == "bag":
        return StrictStr | list[StrictStr]
    if reading.kind == "text" and reading.plain_numbers:
        return StrictStr | _Whole | _Number
    return StrictStr


def _description(column: Column, reading: ColumnReading) -> str:
    match reading.kind:
        case "duration":
            return "A duration in seconds."
        case "date":
            zone = "" if reading.zone is None else f"; hours are counted in {reading.zone}"
            clock = "may follow" if reading.midnight else "follows"
            return f"A date written {reading.date_form}; a time of day {clock}{zone}."
        case "time":
            return "A time of day, such as 13:30:00."
        case "number" | "boolean":
            return f"A {'number' if reading.kind == 'number' else 'truth value'}."
    if reading.lists:
        return "Several values: a list."
    if column.kind == "bag":
        return f"Several values: a list, or text with {column.separator!r} between them."
    return {"category": "A category.", "id": "An id."}.get(column.kind, "Text.")


def predictions_type(predicted: pl.DataFrame, plain: pl.DataFrame) -> Any:
    """Return the type of an answer in JSON.

    Args:
        predicted: Predictions with intervals, if the model has any.
        plain: Predictions without.
    """
    fields: dict[str, Any] = {}
    for name, dtype in predicted.schema.items():
        of_values: Any = str
        if dtype == pl.Boolean:
            of_values = bool
        elif dtype.is_integer():
            of_values = int
        elif dtype.is_float():
            of_values = float
        # the end of an interval that has none is null
        fields[name] = of_values if name in plain.columns else NotRequired[of_values | None]
    row = _dict_type("Prediction", fields, others=True)
    rows: Any = list[row]  # type: ignore[valid-type]
    return _dict_type("Predictions", {"predictions": rows, "notes": list[str]})


def example_row(model: TableModel | BlendedModel) -> dict[str, Any]:
    """Return a row such as the model was fitted to: middle values, and known categories."""
    encoders: list[TableEncoder] = [model.encoder]
    if isinstance(model, BlendedModel):
        encoders = [component.encoder for component in model.components.values()]
    centers: dict[str, float] = {}
    categories: dict[str, list[str]] = {}
    for encoder in encoders:
        categories = {**encoder.categories, **categories}
        centers = {**encoder.centers, **centers}
    read = readings(model)
    return {
        column.name: _example(
            column,
            read[column.name],
            centers.get(column.name),
            categories.get(column.name, []),
        )
        for column in model.columns
    }


def _example(
    column: Column, reading: ColumnReading, center: float | None, categories: list[str]
) -> Any:
    match reading.kind:
        case "number" | "duration":
            value = float(f"{center or 0.0:.6g}")
            return int(value) if column.dtype.startswith(("Int", "UInt")) else value
        case "boolean":
            return True
        case "date":
            return _date(reading, center or 0.0)
        case "time":
            seconds = int(center or 0.0) % 86400
            return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    if column.kind == "bag":
        return categories[:1]
    return categories[0] if categories else "text"


def _date(reading: ColumnReading, seconds: float) -> str:
    moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=int(seconds))
    written = moment.strftime(reading.date_form)
    if not reading.midnight or reading.zone is not None:
        if "%H" not in reading.date_form:
            written += f" {moment:%H:%M:%S}"
        if reading.zone is not None and "%z" not in reading.date_form:
            written += "Z"
    return written
