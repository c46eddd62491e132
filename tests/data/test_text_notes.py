import json

import polars as pl
import pytest

from jointrain.data import ReadingOptions, SupervisedTable, read_raw, read_table, type_table
from jointrain.data._text_notes import group_notes
from jointrain.errors import InvalidInputError


def notes_of(tmp_path, cells, options=None):
    path = tmp_path / "table.csv"
    path.write_text("x,n\n" + "".join(f"{cell},{i}\n" for i, cell in enumerate(cells * 5)))
    typed = type_table(read_raw(path), options)
    return typed.frame["x"], " ".join(typed.notes)


@pytest.mark.parametrize(
    "cells, note",
    [
        (["True", "False", "1", "0"], "writes truth values in several ways, 'True' and 'False'"),
        (["yes", "no", "Y"], "--column x=boolean reads them as true and false"),
        (["Yes", "yes", "no"], "truth values in several ways"),
        (["Red", "blue", "red"], "differ only by upper and lower case are different values: x"),
        (["0x1F", "0xA0"], "each is a number in base 16: x (0x1F)"),
        (["1.5D+00", "-2.25D-01"], "each has the exponent of Fortran: x (1.5D+00)"),
        (["1/2", "3 1/4"], "each is a fraction: x (1/2)"),
        (["PT10M", "PT2H30M"], "each is a duration: x (PT10M)"),
    ],
)
def test_text_that_seems_to_mean_something_else_is_noted(tmp_path, cells, note):
    found, notes = notes_of(tmp_path, cells)
    assert found.dtype == pl.String
    assert note in notes


@pytest.mark.parametrize("cells", [["yes", "no"], ["t", "f"], ["Red", "blue"], ["a1", "0x"]])
def test_text_that_means_itself_is_not_noted(tmp_path, cells):
    assert notes_of(tmp_path, cells)[1] == ""


def test_mixed_truth_values_are_read_as_such_where_it_is_said(tmp_path):
    options = ReadingOptions(columns={"x": "boolean"})
    found, notes = notes_of(tmp_path, ["True", "no", "1", "F"], options)
    assert found[:4].to_list() == [True, False, True, False]
    assert notes == ""


@pytest.mark.parametrize("cells", [["1e400", "2.5"], ["1e400", "7"], ["$1e400", "$2"]])
def test_a_number_too_large_is_refused_as_it_is_written(tmp_path, cells):
    with pytest.raises(InvalidInputError, match=r"1e400' in row 1 \(line 2\)"):
        notes_of(tmp_path, cells)


def test_empty_text_of_tables_with_types_is_missing(tmp_path):
    frame = pl.DataFrame(
        {"c": ["a", "", "b", " "] * 5, "f": ["x", "y", "", "z"] * 5, "n": range(20)}
    )
    table = SupervisedTable.prepare(frame, ["c"])
    assert table.tasks[0].classes == ("a", "b")
    assert table.frame["f"].null_count() == 5
    later = table.schema.conform(pl.DataFrame({"f": ["", "x"], "n": [1, 2]}))
    assert later["f"].to_list() == [None, "x"]


def test_empty_text_is_missing_in_all_containers(tmp_path):
    lines = "".join(
        json.dumps({"c": "ab"[i % 2] if i % 3 else "", "n": i}) + "\n" for i in range(12)
    )
    (tmp_path / "t.jsonl").write_text(lines)
    assert read_table(tmp_path / "t.jsonl")["c"].null_count() == 4


def test_words_for_missing_among_classes_are_noted_in_tables_with_types():
    frame = pl.DataFrame({"c": ["None", "a", "b"] * 5, "n": range(15)})
    table = SupervisedTable.prepare(frame, ["c"])
    assert "'None' (5 rows) is a class; --missing None reads it as missing" in " ".join(table.notes)


def rows_with(last, *, head="k,x,y"):
    rows = [f"k{i % 3},{i + 1.5},{2 * i + 1}" for i in range(8)]
    return "\n".join([head, *rows, last]) + "\n"


@pytest.mark.parametrize(
    "last, why",
    [
        (",40,64", "its numbers are the sums of those above (columns x, y)"),
        ("Average,5,8", "called 'Average' in column k, and column x holds the mean of the others"),
        (",40,7", None),
        ("Average,9,9", None),
        ("k1,40,64", None),
    ],
)
def test_a_last_row_that_sums_up_the_others_without_saying_total(tmp_path, last, why):
    (tmp_path / "t.csv").write_text(rows_with(last))
    typed = type_table(read_raw(tmp_path / "t.csv"))
    notes = " ".join(typed.notes)
    assert len(typed.frame) == (8 if why else 9)
    assert (why in notes) if why else ("left out" not in notes)


def test_words_in_numbers_of_a_workbook_are_noted(tmp_path):
    xlsxwriter = pytest.importorskip("xlsxwriter")
    pytest.importorskip("fastexcel")
    with xlsxwriter.Workbook(tmp_path / "t.xlsx") as book:
        sheet = book.add_worksheet("S")
        sheet.write_row(0, 0, ["x", "c"])
        for row in range(1, 13):
            sheet.write_row(row, 0, ["n/a" if row % 5 == 0 else row / 4, "NA" if row % 2 else "b"])
    raw = read_raw(tmp_path / "t.xlsx")
    assert raw.frame["x"].null_count() == 2
    assert "words in columns of numbers or dates, read as missing: x (2 'n/a')" in raw.notes[0]


def test_dates_that_a_table_with_types_holds_as_text_are_noted():
    frame = pl.DataFrame(
        {"d": [f"2024-01-{i:02d}" for i in range(1, 13)], "y": [1.5 * i for i in range(12)]}
    )
    table = SupervisedTable.prepare(frame, ["y"])
    assert "text that looks like dates: d (2024-01-01); --column d=date reads" in " ".join(
        table.notes
    )
    said = SupervisedTable.prepare(frame, ["y"], reading=ReadingOptions(columns={"d": "date"}))
    assert said.frame["d"].dtype == pl.Date


def test_dates_of_several_forms_are_noted(tmp_path):
    found, notes = notes_of(tmp_path, ["2024-01-30", "30.01.2024"])
    assert found.dtype == pl.String
    assert "'30.01.2024' in row 2 (line 3) is a date, but others are like %Y-%m-%d" in notes


def test_values_that_differ_only_by_outer_spaces_are_noted_in_tables_with_types():
    frame = pl.DataFrame({"c": ["  a", "a", "b "] * 10, "d": ["a ", "b ", " "] * 10})
    table = SupervisedTable.prepare(frame.with_columns(y=pl.Series(range(30))), ["y"])
    [note] = [note for note in table.notes if "spaces around them" in note]
    assert "are read as the same from text files: c ('  a' and 'a'); write them alike" in note


def test_text_with_outer_spaces_that_comes_again_is_noted_in_tables_with_types():
    frame = pl.DataFrame({"c": ["a   ", "bb  ", None] * 10, "d": ["a ", "b", " "] + ["c"] * 27})
    table = SupervisedTable.prepare(frame.with_columns(y=pl.Series(range(30))), ["y"])
    [note] = [note for note in table.notes if "spaces" in note]
    assert "values are unknown there: c ('a   '); remove the spaces to predict from text" in note


@pytest.mark.parametrize(
    "groups, said",
    [
        (["p1", "p1 ", "q"], "2 groups of column g differ from others only by spaces, case"),
        (["p1", "P1", "q"], "such as 'p1' and 'P1'"),
        (["1", "1.0", "q"], "such as '1' and '1.0'"),
        (["7", "007", "q"], "such as '7' and '007'"),
        (["NA", "q", "-"], "2 rows hold 'NA' or the like in group column g"),
        (["1", "10", "1.5", "NA"], None),
    ],
)
def test_groups_that_look_alike_or_lack_a_name(groups, said):
    notes = group_notes(pl.Series("g", groups))
    assert len(notes) == (said is not None)
    assert said is None or said in notes[0]
    assert group_notes(pl.Series("g", [1, 1])) == ()
