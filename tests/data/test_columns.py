import datetime as dt
import math

import polars as pl
import pytest

from jointrain.data import Column, dropped_columns, infer_columns, load_penguins
from jointrain.errors import InvalidInputError


def kinds(frame):
    return {column.name: column.kind for column in infer_columns(frame, frame.columns)}


def test_penguins():
    assert infer_columns(load_penguins(), ["island", "flipper_length_mm"]) == [
        Column("island", "category", "String"),
        Column("flipper_length_mm", "numeric", "Int64"),
    ]


def test_every_type_has_a_kind():
    frame = pl.DataFrame(
        {
            "i": pl.Series([1, 2], dtype=pl.UInt8),
            "f": [0.5, None],
            "decimal": pl.Series(["1.5", "2"]).cast(pl.Decimal(10, 2)),
            "span": [dt.timedelta(1), dt.timedelta(2)],
            "b": [True, False],
            "s": ["a", "b"],
            "c": pl.Series(["a", "b"], dtype=pl.Categorical),
            "e": pl.Series(["a", "b"], dtype=pl.Enum(["a", "b"])),
            "d": [dt.date(2020, 1, 1), dt.date(2020, 1, 2)],
            "dt": [dt.datetime(2020, 1, 1), None],
            "t": [dt.time(1), dt.time(2)],
        }
    )
    assert kinds(frame) == {
        "i": "numeric",
        "f": "numeric",
        "decimal": "numeric",
        "span": "numeric",
        "b": "boolean",
        "s": "category",
        "c": "category",
        "e": "category",
        "d": "datetime",
        "dt": "datetime",
        "t": "time",
    }


@pytest.mark.parametrize(
    "distinct, rows, kind",
    [(40, 40, "category"), (41, 41, "text"), (41, 820, "category"), (1001, 30_030, "text")],
)
def test_strings_are_text_by_number_of_values(distinct, rows, kind):
    frame = pl.DataFrame({"s": [f"value {i % distinct}" for i in range(rows)]})
    assert kinds(frame) == {"s": kind}


def test_columns_that_carry_nothing_are_dropped():
    frame = pl.DataFrame(
        {
            "null": [None, None],
            "empty": pl.Series([None, None], dtype=pl.Float64),
            "nan": [math.nan, math.nan],
            "constant": [1, 1],
            "constant text": ["a", "a"],
            "constant or missing": [1, None],
            "good": [1, 2],
        }
    )
    assert list(kinds(frame)) == ["constant or missing", "good"]
    assert dropped_columns(frame, frame.columns) == {
        "null": "no values",
        "empty": "no values",
        "nan": "no values",
        "constant": "one value only",
        "constant text": "one value only",
    }


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_infinite_value_names_column_and_row(value):
    frame = pl.DataFrame({"a": [1.0, 2.0, 3.0], "b c": [1.0, None, value]})
    with pytest.raises(InvalidInputError, match=rf"column 'b c' holds {value} in row 3; put"):
        infer_columns(frame, frame.columns)


def test_unknown_column_names_the_closest():
    with pytest.raises(InvalidInputError, match="'islnd' is not in the table; did you mean 'isla"):
        infer_columns(load_penguins(), ["islnd"])
    with pytest.raises(InvalidInputError, match="'islnd' is not in the table"):
        dropped_columns(load_penguins(), ["islnd"])


@pytest.mark.parametrize("values", [[[1], [2]], [{"a": 1}, {"a": 2}], [b"a", b"b"]])
def test_types_that_are_no_feature(values):
    frame = pl.DataFrame({"x": values})
    with pytest.raises(InvalidInputError, match=r"column 'x' holds .*can't be a feature"):
        infer_columns(frame, ["x"])


def test_no_columns_at_all():
    assert infer_columns(load_penguins(), []) == []
