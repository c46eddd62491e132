"""Excel workbooks."""

import datetime as dt
import sys

import polars as pl
import pytest

from jointrain.data import ReadingOptions, read_raw
from jointrain.data._type_inference import type_frame
from jointrain.errors import InvalidInputError, MissingDependencyError

xlsxwriter = pytest.importorskip("xlsxwriter")
pytest.importorskip("fastexcel")

FORMATS = {dt.datetime: "yyyy-mm-dd hh:mm", dt.time: "hh:mm"}


def workbook(path, **sheets):
    with xlsxwriter.Workbook(path) as book:
        formats = {kind: book.add_format({"num_format": form}) for kind, form in FORMATS.items()}
        for name, rows in sheets.items():
            sheet = book.add_worksheet(name)
            for y, row in enumerate(rows):
                for x, value in enumerate(row):
                    if value == "#N/A":
                        sheet.write_formula(y, x, "=NA()", None, "#N/A")
                    elif type(value) in formats:
                        sheet.write_datetime(y, x, value, formats[type(value)])
                    elif value is not None:
                        sheet.write(y, x, value)
    return path


DAY = dt.datetime(2024, 1, 2, 10, 30)
ROWS = [
    ["id", "n", "x", "when", "at", "bad", " name "],
    ["007", 1, 1.5, DAY, dt.time(10, 30), "#N/A", " k "],
    ["1E5", 2, 2, DAY, dt.time(11, 0), 2.5, None],
]


def test_cells_keep_their_types(tmp_path):
    table = read_raw(workbook(tmp_path / "t.xlsx", One=ROWS))
    assert table.frame.schema == {
        "id": pl.String,
        "n": pl.Int64,
        "x": pl.Float64,
        "when": pl.Datetime("us"),
        "at": pl.Time,
        "bad": pl.Float64,
        "name": pl.String,
    }
    assert table.frame.row(0) == ("007", 1, 1.5, DAY, dt.time(10, 30), None, " k ")
    assert table.frame.row(1) == ("1E5", 2, 2.0, DAY, dt.time(11, 0), 2.5, None)
    assert table.notes == ()


def test_type_is_found_over_the_whole_sheet(tmp_path):
    rows = [["a"], *[[i] for i in range(2000)], ["late text"]]
    table = read_raw(workbook(tmp_path / "t.xlsx", One=rows))
    assert table.frame["a"][[0, -1]].to_list() == ["0", "late text"]
    (note,) = table.notes
    assert "columns with text and other values, read as text: 'a'" in note


def test_text_that_looks_like_numbers_is_no_mixture(tmp_path):
    path = workbook(tmp_path / "t.xlsx", One=[["a"], ["7"], ["x"]])
    assert read_raw(path).notes == ()


def test_sheets_by_name(tmp_path):
    path = workbook(tmp_path / "t.xlsx", One=[["a"], [1]], Two=[["b"], [2]])
    table = read_raw(path)
    assert table.frame.rows() == [(1,)]
    assert "several sheets; 'One' was read" in table.notes[0]
    assert read_raw(f"{path}#Two").frame.rows(named=True) == [{"b": 2}]
    assert read_raw(f"{path}#Two").notes == ()
    with pytest.raises(InvalidInputError, match=r"has no sheet 'Twoo'.*did you mean 'Two'"):
        read_raw(f"{path}#Twoo")
    with pytest.raises(InvalidInputError, match="does not exist"):
        read_raw(f"{tmp_path}/u.xlsx#Two")


def test_a_first_sheet_without_rows_names_another(tmp_path):
    path = workbook(tmp_path / "t.xlsx", Notes=[["made by me"]], Data=[["b"], [2]])
    with pytest.raises(InvalidInputError, match=r"sheet 'Notes' of .* no rows; say .*#Data"):
        read_raw(path)


def test_empty_rows_and_columns(tmp_path):
    rows = [["a", None, None], [1, "x", None], [None, None, None], [2, "y", None], [None, None, ""]]
    table = read_raw(workbook(tmp_path / "t.xlsx", One=rows))
    assert table.frame.rows(named=True) == [
        {"a": 1, "unnamed_2": "x"},
        {"a": 2, "unnamed_2": "y"},
    ]
    assert "has 1 empty row, left out" in table.notes[0]


def test_a_row_of_words_or_errors_is_no_empty_row(tmp_path):
    rows = [["a", "b"], [1.5, True], ["NA", "NA"], ["#N/A", "#N/A"], [None, None], [3.5, False]]
    table = read_raw(workbook(tmp_path / "t.xlsx", One=rows))
    missing = (None, None)
    assert table.frame.rows() == [(1.5, True), missing, missing, (3.5, False)]
    assert "has 1 empty row, left out" in table.notes[0]
    assert "read as missing: a (1 'NA'), b (1 'NA')" in table.notes[1]


def test_true_among_numbers_makes_text(tmp_path):
    rows = [["z", "i", "b", "n"], [1.5, True, True, 1], [2, 2, None, "NA"], [], [3, 0, False, 2]]
    table = read_raw(workbook(tmp_path / "t.xlsx", One=rows))
    assert table.frame.to_dict(as_series=False) == {
        "z": [1.5, 2.0, 3.0],
        "i": ["true", "2", "0"],
        "b": [True, None, False],
        "n": [1, None, 2],
    }
    assert "columns with true or false among numbers, read as text: 'i'" in table.notes[1]


@pytest.mark.parametrize(
    "rows, message",
    [
        ([["a", "a"], [1, 2]], "names column 'a' more than once"),
        ([["a", "b"]], "has column names but no rows"),
        ([], "sheet 'One' of .* is empty"),
    ],
)
def test_faults(tmp_path, rows, message):
    with pytest.raises(InvalidInputError, match=message):
        read_raw(workbook(tmp_path / "t.xlsx", One=rows))


def test_damaged(tmp_path):
    path = workbook(tmp_path / "t.xlsx", One=ROWS)
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(InvalidInputError, match="is no whole Excel file"):
        read_raw(path)


def test_missing_package_is_named(tmp_path, monkeypatch):
    path = workbook(tmp_path / "t.xlsx", One=ROWS)
    monkeypatch.setitem(sys.modules, "fastexcel", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'jointrain\[excel\]'"):
        read_raw(path)


def test_a_target_that_loses_much_to_words_is_refused_as_in_text(tmp_path):
    rows = [["x", "y"], *[[i, "n/a" if i % 3 == 0 else i / 2] for i in range(30)]]
    raw = read_raw(workbook(tmp_path / "t.xlsx", One=rows))
    with pytest.raises(InvalidInputError, match=r"^target 'y' would lose 10 of 30 labels to 'n/a'"):
        type_frame(raw, targets=["y"])
    options = ReadingOptions(missing=("n/a",))
    assert type_frame(raw, options, targets=["y"]).frame["y"].count() == 20
    assert type_frame(raw, targets=["x"]).frame["y"].count() == 20
