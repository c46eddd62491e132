import datetime as dt

import polars as pl
import pytest

from jointrain.data import (
    RawTable,
    ReadingOptions,
    SupervisedTable,
    TableSchema,
    read_raw,
    type_table,
)
from jointrain.data._missing_codes import missing_code
from jointrain.data._table_schema import without_numbers
from jointrain.errors import InvalidInputError


@pytest.mark.parametrize(
    "values, row, count",
    [
        ([0.5, -999.0, -1.5, 2.0, -999.0], 1, 2),
        ([20, 45, 80, 999, None, 999, 999], 3, 3),
        ([-99, 1, 2, 3, -99], 0, 2),
        ([40_000, 99_999, 12, 99_999, 700], 1, 2),
    ],
)
def test_nines_beyond_the_scale_of_all_others_may_mean_missing(values, row, count):
    assert missing_code(pl.Series(values)) == (row, count)


@pytest.mark.parametrize(
    "values",
    [
        [20, 45, 80, 99, 99],  # within the scale of the others
        [0.5, -999.0, -1.5, 2.0],  # once is an outlier
        [0.5, -1000.0, -1.5, 2.0, -1000.0],
        [9, 1, 9, 1],  # two values
        [1, 5, 9, 9, 3],  # a rating
        [90, 95, 99, 99, 93],
        [None, None],
        [-999, -999],
    ],
)
def test_other_numbers_mean_themselves(values):
    assert missing_code(pl.Series(values, dtype=pl.Float64)) is None


def test_the_last_day_of_a_system_may_mean_missing():
    days = [dt.date(2020, 1, 1), dt.date(9999, 12, 31), dt.date(2021, 6, 1), dt.date(2022, 1, 1)]
    assert missing_code(pl.Series([*days, days[1]])) == (1, 2)
    assert missing_code(pl.Series([*days, days[1]], dtype=pl.Datetime("us"))) == (1, 2)
    early = [dt.date(1900, 1, 1), *days[2:], dt.date(2023, 1, 1), dt.date(1900, 1, 1)]
    assert missing_code(pl.Series(early)) == (0, 2)
    centuries = [dt.date(1900, 1, 1), dt.date(1901, 1, 1), dt.date(2022, 1, 1), dt.date(1990, 1, 1)]
    assert missing_code(pl.Series([*centuries, centuries[0]])) is None


def test_the_flag_that_is_named_reads_it_as_missing(tmp_path):
    path = tmp_path / "table.csv"
    cells = ["-999.0", "1,5", "0,2", "-999.0", "-0,7"]
    path.write_text(
        "x;y\n" + "".join(f"{cell.replace('.', ',')};{i}\n" for i, cell in enumerate(cells))
    )
    typed = type_table(read_raw(path))
    (note,) = [note for note in typed.notes if "code for a missing value" in note]
    assert "x (2 -999,0)" in note
    assert "--missing '\"-999,0\"' reads it so" in note
    read = type_table(read_raw(path), ReadingOptions(missing=("-999,0",)))
    assert read.frame["x"].to_list() == [None, 1.5, 0.2, None, -0.7]
    assert not any("code for" in note for note in read.notes)


def test_a_table_with_types_is_looked_at_too():
    frame = pl.DataFrame({"x": [0.1, 0.2, -999.0, 0.4, -999.0], "y": [1.0, 2, 3, 4, 5]})
    notes = SupervisedTable.prepare(frame, ["y"]).notes
    assert any("x (2 -999.0); leave those cells empty if it does" in note for note in notes)


SAID = ReadingOptions(missing=("-999", "n/a"))


@pytest.mark.parametrize(
    "cells", [["-999", "1", "2"], ["-999.00", "1.5", "2"], ["n/a", "1", "-999"]]
)
def test_a_number_that_is_said_to_mean_missing_is_no_number(tmp_path, cells):
    path = tmp_path / "table.csv"
    path.write_text("x,y\n" + "".join(f"{cell},1\n" for cell in cells))
    typed = type_table(read_raw(path), SAID)
    expected = [None if cell in ("n/a", "-999", "-999.00") else float(cell) for cell in cells]
    assert typed.frame["x"].to_list() == expected
    # and so it is for rows that come later, from a file or a table with types
    assert typed.schema.read(read_raw(path))["x"].to_list() == expected
    later = pl.DataFrame({"x": [-999.0, 3.0], "y": [1, 1]})
    assert typed.schema.conform(later)["x"].to_list() == [None, 3.0]


def test_other_spellings_of_a_number_are_no_word_for_missing(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("x\n0\n7\n1\n")
    typed = type_table(read_raw(path), ReadingOptions(missing=("00", "7.", "1e0", "nan")))
    assert typed.frame["x"].to_list() == [0, 7, 1]


def test_words_for_missing_are_obeyed_in_tables_with_types(tmp_path):
    path = tmp_path / "table.parquet"
    frame = pl.DataFrame({"x": [1, -999, 3], "c": ["a", "n/a", "NA"], "y": [0.5, -999.0, 2.0]})
    frame.write_parquet(path)
    table = SupervisedTable.prepare(read_raw(path), ["y"], reading=SAID)
    assert table.frame["y"].to_list() == [0.5, 2.0]
    assert table.frame["x"].to_list() == [1, 3]
    assert table.frame["c"].to_list() == ["a", "NA"]
    assert table.schema is not None
    later = table.schema.conform(frame)
    assert later["x"].to_list() == [1, None, 3]
    assert later["c"].to_list() == ["a", None, "NA"]


@pytest.mark.parametrize("name", ["rows of value", "count", "value"])
def test_a_column_may_be_called_as_counts_are(name):
    cells = ["few", "many", "NA", "many", "many", "few"]
    raw = RawTable(pl.DataFrame({name: cells}), True, "t.csv")
    assert type_table(raw).frame[name].to_list() == [None if c == "NA" else c for c in cells]


def test_dates_that_python_has_not():
    day = pl.Series([-719528, 19723, 19724, 3_000_000], dtype=pl.Int32).cast(pl.Date)
    assert missing_code(day) is None
    last = 4102444799999999999  # of 2099, in nanoseconds
    moments = pl.Series([last, 1704067200 * 10**9, 1704067201 * 10**9, 1704067202 * 10**9, last])
    assert missing_code(moments.cast(pl.Datetime("ns"))) == (0, 2)
    prices = pl.Series(["9.99", "1.50", "9.99", "2.00", "1.60"]).cast(pl.Decimal(6, 2))
    assert missing_code(prices) is None


def test_dates_of_all_years_are_read():
    days = pl.Series("d", [-719528, 19723, 19724, 3_000_000] * 5, dtype=pl.Int32).cast(pl.Date)
    frame = pl.DataFrame([days, pl.Series("y", range(20)), pl.Series("x", [1, 2] * 10)])
    columns = SupervisedTable.prepare(frame, "y").columns
    assert [(one.name, one.kind) for one in columns] == [("d", "datetime"), ("x", "numeric")]


@pytest.mark.parametrize("unit, stored", [("ms", 2**55), ("us", 9223371331200000000)])
def test_dates_that_no_calendar_has_are_refused_with_their_row(unit, stored):
    moments = pl.Series("d", [0, stored]).cast(pl.Datetime(unit))
    wrong = f"column 'd' holds {stored} {unit} since 1970 in row 2"
    with pytest.raises(InvalidInputError, match=wrong):
        TableSchema.of(moments.to_frame())
    with pytest.raises(InvalidInputError, match=wrong):
        TableSchema.of(moments.head(1).to_frame()).conform(moments.to_frame())


def test_a_whole_number_that_means_missing_is_compared_with_all_its_digits():
    values = pl.Series("x", [2**53, 2**53 + 1, None])
    found = without_numbers(values, [str(2**53 + 1), "-999.5"])
    assert found.to_list() == [2**53, None, None]
    large = pl.Series("x", [10**30, 10**30 + 1], dtype=pl.Int128)
    assert without_numbers(large, [str(10**30)]).to_list() == [None, 10**30 + 1]
    short = pl.Series("x", [-99.9, 1.5], dtype=pl.Float32)
    assert without_numbers(short, ["-99.9"]).to_list() == [None, 1.5]
