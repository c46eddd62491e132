import datetime as dt
import random
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from polars.testing import assert_frame_equal, assert_series_equal

from jointrain.data import (
    RawTable,
    ReadingOptions,
    TableSchema,
    read_raw,
    read_table,
    type_raw,
    type_table,
)
from jointrain.data._table_schema import ColumnReading, conform_column, number_text
from jointrain.errors import InvalidInputError


def raw(**columns):
    return RawTable(pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String)), True, "it")


FEW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
CELLS = {
    "numbers": st.floats(-1e6, 1e6).map(repr) | st.integers(-(10**6), 10**6).map(str),
    "money": st.integers(0, 10**7).map(lambda cents: f"${cents / 100:,.2f}"),
    "commas": st.integers(-(10**7), 10**7).map(lambda n: f"{n / 1000}".replace(".", ",")),
    "versions": st.sampled_from(["1.1", "1.10", "1.2", "2.0rc", "1E5", "00123"]),
    "truths": st.sampled_from(["True", "false", "TRUE"]),
    "words": st.sampled_from(["True", "False", "Maybe", "NA", "7", "2020-01-01"]),
    "days": st.dates(dt.date(1900, 1, 1)).map(lambda day: day.strftime("%d.%m.%Y")),
    "moments": st.datetimes(dt.datetime(1900, 1, 1)).map(lambda t: t.isoformat() + "+02:00"),
    "times": st.times().map(lambda time: time.strftime("%I:%M %p")),
    "whole": st.integers(0, 5).map(str),
    "sometimes": st.sampled_from(["1.5", "n/a", "", "2"]),
}


@FEW
@given(data=st.data(), seed=st.integers(0, 1000))
def test_a_row_means_the_same_whatever_rows_stand_beside_it(data, seed):
    kinds = data.draw(st.lists(st.sampled_from(sorted(CELLS)), min_size=1, max_size=4, unique=True))
    height = data.draw(st.integers(2, 12))
    table = raw(**{kind: data.draw(st.lists(CELLS[kind], min_size=height, max_size=height))
                   for kind in kinds})  # fmt: skip
    try:
        typed = type_table(table)
    except InvalidInputError:
        return  # refused: nothing is learned from such a table
    whole = typed.schema.read(table)
    assert_frame_equal(whole, typed.frame, check_dtypes=False)
    chosen = sorted(random.Random(seed).sample(range(height), k=max(1, height // 2)))
    part = typed.schema.read(RawTable(table.frame[chosen], True, "part"))
    assert_frame_equal(part, whole[chosen], check_dtypes=False)


@pytest.mark.parametrize(
    "cells, alone",
    [
        (["1.1", "1.10", "1.2rc"], "1.10"),
        (["True", "False", "Maybe"], "True"),
        (["00123", "00456", "A12"], "00123"),
        (["1E5", "2E5", "xx"], "1E5"),
        (["2020-01-01", "2021-01-01", "never", "later"], "2020-01-01"),
    ],
)
def test_text_stays_text_byte_for_byte(cells, alone):
    schema = type_table(raw(x=cells)).schema
    assert schema.read(raw(x=[alone]))["x"].to_list() == [alone]


@pytest.mark.parametrize(
    "training, scoring, values",
    [
        (["1", "2", "3"], ["1.0", "2"], [1, 2]),
        (["true", "false"], ["1", "yes", "FALSE", "n", "0.0"], [True, True, False, False, False]),
        (["1.234,5", "0,5"], ["2.000", "3,5"], [2000.0, 3.5]),
        (["$5", "$6"], ["$1,000"], [1000]),
        (["31.12.2026"], ["01.02.2026"], [dt.date(2026, 2, 1)]),
        (["7", "x", "y"], ["7", "7.0"], ["7", "7.0"]),
    ],
)
def test_cells_are_read_as_in_training(training, scoring, values):
    schema = type_table(raw(x=training)).schema
    assert schema.read(raw(x=scoring))["x"].to_list() == values


@pytest.mark.parametrize(
    "training, cell, message",
    [
        (["1", "2"], "x", "column 'x' holds 'x' in row 2, which is not read as a number; mend"),
        (["1", "2"], "true", "holds 'true' in row 2"),
        (["1.5", "2"], "1,5", "how numbers are written"),
        (["$5", "$6"], "5", "holds '5' in row 2"),
        (["1", "2"], "Total", "row of totals, which must be removed"),
        (["true", "false"], "maybe", "not read as a truth value"),
        (["2024-01-05"], "05.01.2024", "not read as a date.*--date-format"),
        (["2024-01-05"], "2024-02-30", "holds '2024-02-30' in row 2"),
        (["2024-01-05 10:00"], "2024-01-05T10:00+02:00", "has a time zone, but the dates"),
        (["2024-01-05T10:00Z"], "2024-01-05T10:00", "has no time zone, but the dates"),
        (["2024-01-05 10:00"], "2024-01-05", "no time of day"),
        (["10:30"], "25:00", "not read as a time of day"),
    ],
)
def test_what_the_schema_can_not_read_is_named(training, cell, message):
    schema = type_table(raw(x=training)).schema
    with pytest.raises(InvalidInputError, match=message):
        schema.read(raw(x=[training[0], cell]))


def test_zones_are_converted_on_request():
    naive = type_table(raw(x=["2024-06-03 10:00:00", "2024-06-03 11:00:00"])).schema
    asked = naive.with_options(ReadingOptions(time_zone="Europe/Berlin"))
    assert asked.read(raw(x=["2024-06-03T08:00:00Z"]))["x"][0] == dt.datetime(2024, 6, 3, 10)
    aware = type_table(raw(x=["2024-06-03T10:00+02:00"])).schema
    assert aware.read(raw(x=["2024-06-03T08:00Z"]))["x"].dt.hour()[0] == 10
    asked = aware.with_options(ReadingOptions(time_zone="UTC"))
    assert asked.read(raw(x=["2024-06-03 08:00"]))["x"].dt.hour()[0] == 10


def test_a_table_written_in_another_way_is_read_with_options():
    schema = type_table(raw(x=["1234.5", "2"], y=["a", "b"])).schema
    german = schema.with_options(ReadingOptions(decimal=",", missing=("-",)))
    found = german.read(raw(x=["1.234,5", "n/a"], y=["-", "NA"]))
    assert found.rows() == [(1234.5, None), (None, "NA")]


def test_columns_that_the_schema_does_not_know_stay_text():
    schema = TableSchema({"x": ColumnReading("number")})
    assert schema.read(raw(x=["1"], more=["1"])).rows() == [(1, "1")]
    assert schema.only(["more"]).read(raw(x=["1"])).rows() == [("1",)]


# ---------------------------------------------------------------------------- frames


def place(row):
    return f"row {row + 1}"


@pytest.mark.parametrize(
    "column, reading, values",
    [
        (pl.Series([7, 8]), ColumnReading("text", plain_numbers=True), ["7", "8"]),
        (pl.Series([7.0, 7.5]), ColumnReading("text", plain_numbers=True), ["7", "7.5"]),
        (pl.Series(["7", "1,5"]), ColumnReading("number"), None),
        (pl.Series(["7", "1.5"]), ColumnReading("number"), [7.0, 1.5]),
        (pl.Series([0, 1]), ColumnReading("boolean"), [False, True]),
        (pl.Series([0.0, 1.0, None]), ColumnReading("boolean"), [False, True, None]),
        (pl.Series([1.0, float("nan")]), ColumnReading("boolean"), [True, None]),
        (pl.Series([Decimal("0.00"), Decimal(1)]), ColumnReading("boolean"), [False, True]),
        (pl.Series([0.5, 1.0]), ColumnReading("boolean"), None),
        (pl.Series(["yes", None]), ColumnReading("boolean"), [True, None]),
        (pl.Series([7, 8]), ColumnReading("text"), None),
        (pl.Series([True]), ColumnReading("number"), None),
        (pl.Series([2, 1]), ColumnReading("boolean"), None),
        (pl.Series([dt.date(2024, 1, 1)]), ColumnReading("number"), None),
        (pl.Series([dt.date(2024, 1, 1)]), ColumnReading("date", midnight=False), None),
        (pl.Series([dt.datetime(2024, 1, 1)]), ColumnReading("date", zone="UTC"), None),
        (pl.Series([None, None]), ColumnReading("number"), [None, None]),
        (pl.Series(["a"], dtype=pl.Categorical), ColumnReading("text"), ["a"]),
    ],
)
def test_a_column_with_a_type_gets_that_of_its_reading(column, reading, values):
    if values is None:
        with pytest.raises(InvalidInputError, match=r"in row \d"):
            conform_column(column, reading, place)
    else:
        assert conform_column(column, reading, place).to_list() == values


def test_zones_of_frames_are_converted():
    column = pl.Series([dt.datetime(2024, 6, 3, 10)]).dt.replace_time_zone("Europe/Berlin")
    found = conform_column(column, ColumnReading("date", zone="UTC"), place)
    assert found.dt.hour()[0] == 8


def test_numbers_become_text_each_by_itself():
    column = pl.Series("x", [7.0, 7.5, None, 1e300])
    assert number_text(column).to_list() == ["7", "7.5", None, "1e+300"]
    assert_series_equal(number_text(column[:1]), number_text(column)[:1])


def test_decimals_become_the_text_that_the_same_numbers_become():
    written = ["5", "100", "0", "-7", "1.5", "0.25", "12345678901234567890.01"]
    column = pl.Series("x", [Decimal(one) for one in written] + [None], dtype=pl.Decimal(38, 4))
    assert number_text(column).to_list() == [*written, None]
    whole = pl.Series([Decimal(500)], dtype=pl.Decimal(9, 0))
    assert number_text(whole).to_list() == ["500"]
    reading = ColumnReading("text", plain_numbers=True)
    assert conform_column(column[:2], reading, place).to_list() == ["5", "100"]


def test_readings_that_can_not_be_are_refused():
    with pytest.raises(ValueError, match="no such time zone"):
        ColumnReading("date", zone="Nowhere/Land")


def test_a_file_is_read_by_the_schema_of_another(tmp_path):
    one, two = tmp_path / "one.csv", tmp_path / "two.csv"
    one.write_text("v,n\n1.1,1\n1.10,2\n1.2rc,3\n", encoding="utf-8")
    two.write_text("v,n\n1.10,4\n", encoding="utf-8")
    from jointrain.data import read_raw

    schema = type_table(read_raw(one)).schema
    assert read_table(two, schema=schema).rows() == [("1.10", 4)]
    pl.DataFrame({"v": ["1.10"], "n": [4.0]}).write_parquet(tmp_path / "two.parquet")
    assert read_table(tmp_path / "two.parquet", schema=schema).rows() == [("1.10", 4.0)]
    pl.DataFrame({"v": [1.1], "n": [4]}).write_parquet(tmp_path / "two.parquet")
    with pytest.raises(InvalidInputError, match=r"'v' must be text.*may have lost zeros"):
        read_table(tmp_path / "two.parquet", schema=schema)


def test_a_point_in_a_column_of_decimal_commas_is_no_mark_of_thousands_by_itself(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("x;z\n0,126;987\n-1,5;1.234\n", encoding="utf-8")
    schema = type_table(read_raw(path)).schema

    def read(cells, options=None):
        path.write_text(f"x;z\n{cells}\n", encoding="utf-8")
        return (schema.with_options(options) if options else schema).read(read_raw(path)).row(0)

    assert read("1.234,5;2.345") == (1234.5, 2345)
    assert read("1.234.567;1") == (1234567, 1)
    # a file with decimal points
    for cell in ("0.126", "-1.126", "0.1"):
        with pytest.raises(InvalidInputError, match=f"'{cell}' in row 1 .*--decimal, --thousands"):
            read(f"{cell};1")
    with pytest.raises(InvalidInputError, match=r"'0\.345' in row 1"):
        read("1;0.345")
    assert read("1.126;2.345", ReadingOptions(decimal=".")) == (1.126, 2.345)
    assert read("1.126;2.345", ReadingOptions(decimal=",")) == (1126, 2345)


@pytest.mark.parametrize("dtype", [pl.Float16, pl.Float32, pl.Float64])
def test_numbers_of_any_precision_stand_for_text(dtype):
    reading = ColumnReading("text", plain_numbers=True)
    column = pl.Series("x", [0.1, 2.0, None], dtype=dtype)
    found = TableSchema({"x": reading}).conform(column.to_frame())["x"]
    assert found.to_list() == ["0.1", "2", None]


def test_marks_that_can_not_be_are_refused_at_scoring():
    schema = TableSchema({"x": ColumnReading("number"), "t": ColumnReading("text")})
    with pytest.raises(InvalidInputError, match=r"--thousands . can't be: .* column 'x', .*--deci"):
        schema.with_options(ReadingOptions(thousands="."))
    options = ReadingOptions(decimal=",", thousands=".")
    assert schema.with_options(options).columns["x"].number.decimal == ","


def test_options_of_columns_that_are_not_there_are_refused_at_scoring():
    raw = RawTable(pl.DataFrame({"x": ["1"]}), True, "t.csv")
    schema = TableSchema({"x": ColumnReading("number")})
    with pytest.raises(InvalidInputError, match="column 'zz' is to be read, but it is not in the"):
        type_raw(raw, ReadingOptions(date_format={"zz": "%Y"}), schema)
