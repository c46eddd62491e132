import datetime as dt
import math

import polars as pl
import pytest

from jointrain.data import Column, as_table, dropped_columns, infer_columns, load_penguins
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
    [
        (40, 40, "category"),
        (41, 41, "text"),
        (41, 82, "category"),
        (100, 200, "category"),
        (101, 202, "id"),
        (1001, 30_030, "id"),
    ],
)
def test_strings_are_text_by_number_of_values(distinct, rows, kind):
    frame = pl.DataFrame({"s": [f"value {i % distinct}" for i in range(rows)]})
    assert kinds(frame) == {"s": kind}


@pytest.mark.parametrize(
    "value, distinct, kind",
    [
        ("the number is {}", 60, "text"),
        ("the number is {}", 10, "category"),
        ("https://example.org/{}", 400, "text"),
        ("u{}", 400, "id"),
        ("{:05}", 400, "id"),
        ("{:032x}", 1000, "id"),
        ("C{}", 1000, "text"),
    ],
)
def test_strings_are_what_their_values_look_like(value, distinct, kind):
    frame = pl.DataFrame({"s": [value.format(i % distinct) for i in range(1000)]})
    assert kinds(frame) == {"s": kind}


def test_values_with_bars_between_them_are_bags():
    genres = ["action", "drama", "family", "news", "sport", "music", "travel"]
    cells = [f"{a}|{b}" for a in genres for b in genres]
    assert infer_columns(pl.DataFrame({"s": cells}), ["s"]) == [Column("s", "bag", "String", "|")]


@pytest.mark.parametrize(
    "name, values, looks",
    [
        ("user_id", range(50), True),
        ("userId", range(50), True),
        ("ID", range(50), True),
        ("zip", range(10_000, 10_060), True),
        ("user_id", range(30), False),
        ("paid", range(50), False),
        ("n", [*range(1100), *range(1100)], True),
        ("n", range(2200), False),
        ("n", [*range(0, 2200, 2), *range(0, 2200, 2)], False),
        ("weight_id", [n + 0.5 for n in range(50)], False),
    ],
)
def test_numbers_that_look_like_ids(name, values, looks):
    from jointrain.data._columns import looks_like_ids

    assert looks_like_ids(pl.Series(name, list(values))) is looks


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
    with pytest.raises(InvalidInputError, match=r"'islnd' is not in the table.*did you mean 'isla"):
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


def test_a_column_called_as_all_columns_are_in_polars_is_refused():
    with pytest.raises(InvalidInputError, match=r"^the table names a column '\*'"):
        as_table({"*": [1], "a": [2]})
