import datetime as dt

import polars as pl
import pytest

from jointrain.data import ReadingOptions, SupervisedTable, read_raw, read_table, type_table
from jointrain.errors import InvalidInputError


def raw_of(tmp_path, cells, *, name="table.csv", header="x", separator=","):
    """Return a file of one column beside a column of numbers, quoted where needed."""
    path = tmp_path / name
    quoted = ['"' + cell.replace('"', '""') + '"' if separator in cell else cell for cell in cells]
    rows = "".join(f"{cell}{separator}{i}\n" for i, cell in enumerate(quoted))
    path.write_text(f"{header}{separator}n\n{rows}", encoding="utf-8")
    return read_raw(path)


def column(tmp_path, cells, options=None, **settings):
    raw = raw_of(tmp_path, cells, separator=settings.pop("separator", ","))
    typed = type_table(raw, options, **settings)
    return typed.frame["x"], typed


@pytest.mark.parametrize(
    "cells, values, note",
    [
        (["1,234.50", "12"], [1234.5, 12.0], "',' between thousands: x (1,234.50)"),
        (["1.234,50", "0,5"], [1234.5, 0.5], "decimal comma: x"),
        (["1.234.567", "1.000.000"], [1234567, 1000000], "'.' between thousands"),
        (["1 234,5", "2"], [1234.5, 2.0], "spaces between thousands"),
        (["1\u202f234", "12\u00a0345"], [1234, 12345], "spaces between thousands"),
        (["1,00,000", "2,34,567.5"], [100000.0, 234567.5], "',' between thousands"),
        (["1'234.5", "1\u2019000"], [1234.5, 1000.0], "between thousands"),
        (["1_000", "5"], [1000, 5], "'_' between thousands"),
        (["$12.5", "$3", "-$1"], [12.5, 3.0, -1.0], "unit '$'"),
        (["45 %", "5%"], [45, 5], "unit '%'"),
        (["3 kg", "2.5 kg"], [3.0, 2.5], "unit 'kg'"),
        (["12 €", "1.5 €"], [12.0, 1.5], "unit '€'"),
        (["(12.5)", "3"], [-12.5, 3.0], "in brackets, read as negative: x (12.5)"),
        (["12.5-", "3"], [-12.5, 3.0], None),
        (["120-", "3"], [-120, 3], "with a minus behind them, read as negative: x 120-"),
        (["5.-", "7.\u2013", "-3.-"], [5.0, 7.0, -3.0], None),
        (["€ 5,-", "€ 12,50"], [5.0, 12.5], "decimal comma: x"),
        (["\u22123.5", "+2"], [-3.5, 2.0], None),
        (
            ["<0.5", "1.5", "2"],
            [0.5, 1.5, 2.0],
            "1 of 3 values are limits or estimates such as '<0.5'",
        ),
        (
            ["~0.5", "≈2", "1"],
            [0.5, 2.0, 1.0],
            "2 of 3 values are limits or estimates such as '~0.5'",
        ),
        (["\u0661\u066b\u0665", "-\u0662"], [1.5, -2.0], None),
        (["\uff11\uff0e\uff15", "\uff12"], [1.5, 2.0], None),
        (["1e3", "1E-2"], [1000.0, 0.01], None),
        (["1.", ".5"], [1.0, 0.5], None),
    ],
)
def test_numbers_as_people_write_them(tmp_path, cells, values, note):
    found, typed = column(tmp_path, cells)
    assert found.to_list() == values
    assert found.dtype.is_numeric()
    if note is None:
        assert typed.notes == ()
    else:
        assert any(note in sentence for sentence in typed.notes)


def test_what_may_be_grades_is_text(tmp_path):
    grades = ["1", "1-", "2", "2-", "3"]
    found, typed = column(tmp_path, grades)
    assert found.to_list() == grades
    (note,) = typed.notes
    assert "'1-' in row 2 (line 3) looks like a grade, or a number below 0" in note
    said = column(tmp_path, grades, ReadingOptions(columns={"x": "number"}))[0]
    assert said.to_list() == [1, -1, 2, -2, 3]


def test_different_powers_of_ten_get_a_word(tmp_path):
    cells = ["1.5k", "2M", "3k", "700", "1M"]
    found, typed = column(tmp_path, cells)
    assert found.to_list() == cells
    (note,) = typed.notes
    assert note.startswith(
        "column x is read as text: '1.5k' in row 1 (line 2) looks like a number,"
    )
    assert "other powers of ten (k, M)" in note
    streets = ["1 Elm St", "2 Oak St", "12 Ash Rd", "9 Fir Rd", "4 Bay Av", "5 Low Av"]
    assert column(tmp_path, streets)[1].notes == ()


def test_a_target_that_looks_like_numbers_is_no_class_for_each_value(tmp_path):
    cells = [f"{index}.5 Stück" for index in range(12)]
    with pytest.raises(InvalidInputError, match=r"'0.5 Stück' in row 1 .* --column x=number reads"):
        column(tmp_path, cells, targets=["x"])
    with pytest.raises(InvalidInputError, match=r"powers of ten .*--task x=multiclass takes them"):
        column(tmp_path, [*(f"{index}k" for index in range(9)), "1M", "2M"], targets=["x"])
    said = column(tmp_path, cells, targets=["x"], classes=["x"])[0]
    assert said.to_list() == cells
    assert column(tmp_path, ["1 Stück", "2 Stück"], targets=["x"])[0].dtype == pl.String


def test_a_point_between_semicolons_follows_the_other_columns(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("a;b\n987;0,5\n1.234;1,5\n", encoding="utf-8")
    assert read_table(path).rows() == [(987, 0.5), (1234, 1.5)]
    path.write_text("a;b\n987;0.5\n1.234;1.5\n", encoding="utf-8")
    assert read_table(path).rows() == [(987.0, 0.5), (1.234, 1.5)]
    path.write_text("a;b\n987;5\n1.234;1\n", encoding="utf-8")
    with pytest.raises(InvalidInputError, match=r"'a' holds '1.234' in row 2 .*--decimal , or"):
        read_table(path)
    assert read_table(path, ReadingOptions(decimal=","))["a"].to_list() == [987, 1234]
    assert read_table(path, ReadingOptions(decimal="."))["a"].to_list() == [987.0, 1.234]


def test_a_comma_that_may_be_either_is_refused(tmp_path):
    with pytest.raises(InvalidInputError, match=r"holds '1,234' in row 1 .*may stand between"):
        column(tmp_path, ["1,234", "987"])
    found, _ = column(tmp_path, ["1,234", "987"], ReadingOptions(decimal="."))
    assert found.to_list() == [1234, 987]
    found, _ = column(tmp_path, ["1,234", "987"], ReadingOptions(decimal=","))
    assert found.to_list() == [1.234, 987.0]


@pytest.mark.parametrize(
    "cells, message",
    [
        (["1.5", "1,5"], "a comma and a point can't both be decimal"),
        (["3 kg", "200 g"], "holds '200 g' in row 2.*'3 kg' in row 1.*different units"),
        (["45 %", "0.45"], "different units"),
        ([*map(str, range(19)), "n.v."], r"but 'n.v.' in row 20 .* is none: 1 of 20 values"),
        ([*["2024-01-01"] * 19, "2024-02-30"], r"but '2024-02-30' in row 20"),
        (["05/06/2024", "07/08/2024"], r"'05/06/2024' in row 1.*--date-format %d/%m/%Y or"),
        (["2024-01-01T10:00Z", "2024-01-01T11:00Z", "2024-01-01T12:00"], "has no time zone"),
        ([*map(str, range(19)), "inf"], "'inf' in row 20"),
    ],
)
def test_refused_with_the_offending_cell(tmp_path, cells, message):
    with pytest.raises(InvalidInputError, match=message):
        column(tmp_path, cells)


@pytest.mark.parametrize(
    "cells, note",
    [
        (["1.10", "1.2", "2.0rc"], "'2.0rc' in row 3 (line 4) is no number"),
        (["00123", "00456", "A12"], "begins with 0 as codes do"),
        (["00501", "90210"], "begins with 0 as codes do"),
        (["3 Stück", "5 Stück"], "the unit 'Stück', which is not known"),
        (["31.12.26", "01.02.25"], "looks like a date of a form that is not known"),
        (["2020-01-01", "2021-01-01", "never"], "'never' in row 3 (line 4) is no date"),
        (["True", "False", "Maybe"], None),
        (["5. Januar 2024", "6. März 2024"], "looks like a date of a form that is not known"),
        (["Jan-18", "Feb-19"], "looks like a date of a form that is not known"),
        (["March 2024", "June 2025"], "looks like a date of a form that is not known"),
        (["2024-01", "2024-02"], "looks like a date of a form that is not known"),
        (["1.2.3.4", "10.0.0.1"], None),
        (["1.2.3", "1.10.0"], None),
        (["may 1", "mar 12x"], None),
        (["A12", "B7"], None),
        (["12B", "13A"], None),
        (["yes", "no"], None),
    ],
)
def test_text_stays_text_and_says_so_where_it_could_be_more(tmp_path, cells, note):
    found, typed = column(tmp_path, cells)
    assert found.to_list() == cells
    assert (typed.notes == ()) if note is None else note in typed.notes[0]


@pytest.mark.parametrize(
    "cells, values",
    [
        (["31.12.2026", "1.2.2026"], [dt.date(2026, 12, 31), dt.date(2026, 2, 1)]),
        (["12/31/2026", "01/02/2026"], [dt.date(2026, 12, 31), dt.date(2026, 1, 2)]),
        (["31/12/2026", "01/02/2026"], [dt.date(2026, 12, 31), dt.date(2026, 2, 1)]),
        (["31 Dec 2026", "1 March 2026"], [dt.date(2026, 12, 31), dt.date(2026, 3, 1)]),
        (["Dec 31, 2026", "May 1, 2026"], [dt.date(2026, 12, 31), dt.date(2026, 5, 1)]),
        (["2026/12/31", "2026/01/02"], [dt.date(2026, 12, 31), dt.date(2026, 1, 2)]),
        (["10:30 PM", "12:05 am"], [dt.time(22, 30), dt.time(0, 5)]),
        (
            ["12/31/2026 10:30 PM", "1/2/2026 9:00 AM"],
            [dt.datetime(2026, 12, 31, 22, 30), dt.datetime(2026, 1, 2, 9)],
        ),
        (["True", "FALSE", "true"], [True, False, True]),
    ],
)
def test_dates_times_and_truths(tmp_path, cells, values):
    assert column(tmp_path, cells)[0].to_list() == values


def test_digits_are_dates_only_on_request(tmp_path):
    cells = [f"202601{day:02}" for day in range(1, 13)]
    found, typed = column(tmp_path, cells)
    assert found.dtype == pl.Int64
    assert "--date-format x=%Y%m%d reads dates" in typed.notes[0]
    found, _ = column(tmp_path, cells, ReadingOptions(date_format={"x": "%Y%m%d"}))
    assert found[0] == dt.date(2026, 1, 1)


def test_zone_of_all_cells_counts_the_hours(tmp_path):
    found, _ = column(tmp_path, ["2024-06-03T10:00:00+02:00", "2024-06-03T11:00:00+02:00"])
    assert found.dt.hour().to_list() == [10, 11]
    cells = ["2024-01-03T10:00:00+01:00", "2024-06-03T10:00:00+02:00"]
    found, typed = column(tmp_path, cells)
    assert found.dt.hour().to_list() == [9, 8]
    assert "offsets +01:00, +02:00: hours are counted in UTC" in typed.notes[0]
    found, typed = column(tmp_path, cells, ReadingOptions(time_zone="Europe/Berlin"))
    assert found.dt.hour().to_list() == [10, 10]
    assert typed.notes == ()


def test_naive_dates_of_a_named_zone(tmp_path):
    options = ReadingOptions(time_zone="Europe/Berlin")
    found, _ = column(tmp_path, ["2024-06-03 10:00", "2024-06-03T08:00Z"], options)
    assert found.n_unique() == 1
    with pytest.raises(InvalidInputError, match=r"'2024-03-31 02:30' in row 1 .*no clock showed"):
        column(tmp_path, ["2024-03-31 02:30", "2024-06-03 10:00"], options)
    with pytest.raises(InvalidInputError, match=r"'Europe/Berlim' is not known.*did you mean"):
        column(tmp_path, ["2024-06-03 10:00"] * 2, ReadingOptions(time_zone="Europe/Berlim"))


# ---------------------------------------------------------------------------- missing values


def test_words_are_missing_in_numbers_and_values_in_text(tmp_path):
    numbers = [*map(str, range(292)), *["n/a"] * 8]
    found, typed = column(tmp_path, numbers)
    assert (found.dtype, found.null_count()) == (pl.Int64, 8)
    assert "words read as missing: x (8 'n/a'); --missing '' keeps them as they are" in typed.notes
    with pytest.raises(InvalidInputError, match="'n/a' in row 293"):
        column(tmp_path, numbers, ReadingOptions(missing=()))
    found, _ = column(tmp_path, ["None", "?", "-", "a"])
    assert found.to_list() == ["None", "?", "-", "a"]


def test_na_is_missing_in_text_where_it_is_rare_and_unquoted(tmp_path):
    assert column(tmp_path, [*"aabbcc", "NA"])[0].to_list()[-1] is None
    frequent = [*["NA"] * 3, *"aabbcc"]
    assert column(tmp_path, frequent)[0].null_count() == 0
    countries = ["NA", *"abcdef"]
    assert column(tmp_path, countries)[0].null_count() == 1
    path = tmp_path / "quoted.csv"
    path.write_text('x,n\n"NA",1\na,2\nb,3\nc,4\nd,5\ne,6\n', encoding="utf-8")
    assert read_table(path)["x"][0] == "NA"


def test_missing_says_what_is_missing_everywhere(tmp_path):
    options = ReadingOptions(missing=("-999", "unknown"))
    assert column(tmp_path, ["1", "-999", "n/a", "unknown"], options)[0].to_list() == [
        1, None, None, None,
    ]  # fmt: skip
    assert column(tmp_path, ["a", "NA", "unknown"], options)[0].to_list() == ["a", "NA", None]


def test_a_target_that_loses_labels_to_a_word_is_refused(tmp_path):
    cells = [*map(str, range(80)), *["n/a"] * 20]
    with pytest.raises(
        InvalidInputError, match=r"would lose 20 of 100 labels to 'n/a' \(first in row 81"
    ):
        column(tmp_path, cells, targets=["x"])
    found, _ = column(tmp_path, cells, ReadingOptions(missing=("n/a",)), targets=["x"])
    assert found.null_count() == 20
    found, typed = column(tmp_path, cells[:85], targets=["x"])
    assert "target x: 5 of 85 labels are 'n/a', read as missing" in typed.notes[0]


def test_a_class_that_may_mean_missing_is_said(tmp_path):
    found, typed = column(tmp_path, [*["a"] * 5, *["n/a"] * 5], targets=["x"])
    assert found.null_count() == 0
    assert typed.notes == (
        "target x: 'n/a' (5 rows) is a class; --missing n/a reads it as missing",
    )


def test_penguins_keep_their_labels():
    from pathlib import Path

    import jointrain.data

    raw = read_raw(Path(jointrain.data.__file__).parent / "penguins.csv")
    table = SupervisedTable.prepare(raw, ["sex"])
    assert len(table.frame) == 333
    assert "11 of 344 labels are 'NA', read as missing" in " ".join(table.notes)


# ---------------------------------------------------------------------------- rows of totals


def test_a_last_row_of_totals_is_left_out(tmp_path):
    found, typed = column(tmp_path, ["1", "2", "Total"])
    assert found.to_list() == [1, 2]
    assert "the last row is left out: it holds 'Total' in column x" in typed.notes[0]
    found, _ = column(tmp_path, ["1", "2", "Total"], ReadingOptions(missing=("Total",)))
    assert found.to_list() == [1, 2, None]
    path = tmp_path / "sums.csv"
    path.write_text("region,sold\nnorth,3\nsouth,4\nTotal,7\n", encoding="utf-8")
    assert read_table(path)["sold"].to_list() == [3, 4]
    path.write_text("region,sold\nnorth,3\nsouth,4\nTotal,5\n", encoding="utf-8")
    assert read_table(path)["sold"].to_list() == [3, 4, 5]


# ---------------------------------------------------------------------------- what is said


def test_what_a_column_holds_can_be_said(tmp_path):
    cells = ["1", "2", "x"]
    assert column(tmp_path, cells, ReadingOptions(columns={"x": "text"}))[0].to_list() == cells
    with pytest.raises(InvalidInputError, match="'x' is said to hold numbers, but 'x' in row 3"):
        column(tmp_path, cells, ReadingOptions(columns={"x": "number"}))
    odd = ["3 Stück", "5 Stück"]
    found, _ = column(tmp_path, odd, ReadingOptions(columns={"x": "number"}))
    assert found.to_list() == [3, 5]
    codes = ["007", "012"]
    assert column(tmp_path, codes, ReadingOptions(columns={"x": "number"}))[0].to_list() == [7, 12]
    found, _ = column(tmp_path, ["yes", "no"], ReadingOptions(columns={"x": "boolean"}))
    assert found.to_list() == [True, False]
    with pytest.raises(InvalidInputError, match=r"said to hold 'nummer'.*did you mean 'number'"):
        column(tmp_path, cells, ReadingOptions(columns={"x": "nummer"}))
    with pytest.raises(InvalidInputError, match="column 'z' is to be read, but it is not in"):
        column(tmp_path, cells, ReadingOptions(columns={"z": "text"}))


def test_ids_stay_byte_for_byte(tmp_path):
    cells = ["00001", " NA ", "1E5", "12345678901234567890", "None"]
    assert column(tmp_path, cells, verbatim=["x"])[0].to_list() == cells


def test_limits_are_no_labels(tmp_path):
    with pytest.raises(
        InvalidInputError, match=r"'<0.5' in row 1 .*a limit or an estimate and no value"
    ):
        column(tmp_path, ["<0.5", "1", "2"], targets=["x"])


def test_classes_with_fractions_stay_text_when_they_are_said_to_be_classes(tmp_path):
    found, _ = column(tmp_path, ["1.1", "1.10", "1.2"], classes=["x"], targets=["x"])
    assert found.to_list() == ["1.1", "1.10", "1.2"]


def test_integers_beyond_64_bits_stay_exact(tmp_path):
    found, _ = column(tmp_path, ["100000000000000000001", "5"])
    assert found.to_list() == [100000000000000000001, 5]


def test_numbers_that_may_be_classes_are_noted():
    frame = pl.DataFrame({"x": [0.1 * i for i in range(40)], "stage": [1, 2, 3, 4] * 10})
    notes = SupervisedTable.prepare(frame, ["stage"]).notes
    assert "holds 4 different whole numbers" in notes[0]
    assert "--task stage=multiclass" in notes[0]


def test_a_form_of_dates_for_all_columns_leaves_others_alone(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("a,b\n05/06/2024,2024-01-01\n07/08/2024,2024-01-02\n", encoding="utf-8")
    frame = read_table(path, ReadingOptions(date_format="%d/%m/%Y"))
    assert frame.row(0) == (dt.date(2024, 6, 5), dt.date(2024, 1, 1))


def test_a_name_that_is_a_pattern_is_refused(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("^a$,b\n1,2\n", encoding="utf-8")
    with pytest.raises(InvalidInputError, match=r"names a column '\^a\$', which stands for"):
        read_table(path)


def test_whole_numbers_of_more_digits_than_can_be_kept_are_text(tmp_path):
    cells = [str(10**40 + row) for row in range(12)]
    found, typed = column(tmp_path, cells)
    assert found.to_list() == cells
    assert "has more digits than whole numbers can" in typed.notes[0]
    with pytest.raises(InvalidInputError, match="has more digits than whole numbers can"):
        column(tmp_path, cells, targets=["x"])
    kept = [str(10**37), str(10**37 + 1)]
    assert column(tmp_path, kept)[0].to_list() == [10**37, 10**37 + 1]
    assert column(tmp_path, [str(10**40), "1.5"])[0].to_list() == [1e40, 1.5]


def test_digits_that_begin_with_0_are_codes_beside_fractions_too(tmp_path):
    found, typed = column(tmp_path, ["007", "1.5", "012"])
    assert found.to_list() == ["007", "1.5", "012"]
    assert "'007' in row 1 (line 2) begins with 0 as codes do" in typed.notes[0]
    assert column(tmp_path, ["0.7", "00.5", "0"])[0].to_list() == [0.7, 0.5, 0.0]


@pytest.mark.parametrize("cells", [["1.10", "1.1", "1.2"], ["1,10", "1,1", "1,2"]])
def test_a_target_of_few_numbers_that_are_written_in_two_ways_gets_a_note(tmp_path, cells):
    notes = column(tmp_path, cells, separator=";", targets=["x"])[1].notes
    one, other = cells[:2]
    assert notes[0] == (
        f"target x: {one!r} and {other!r} are one number; --column x=text keeps them apart"
    )
    assert not any("one number" in note for note in column(tmp_path, cells, separator=";")[1].notes)


def test_an_odd_unit_beside_plain_numbers_gets_a_word(tmp_path):
    cells = ["1.5k", "900", "1.2k", "800", "1.7k"]
    found, typed = column(tmp_path, cells)
    assert found.to_list() == cells
    (note,) = typed.notes
    assert "'1.5k' in row 1 (line 2) looks like a number with the unit 'k'" in note
    many = [f"{row}k" if row % 5 < 3 else f"{row}00" for row in range(20)]
    with pytest.raises(InvalidInputError, match="others have no unit; write all digits"):
        column(tmp_path, many, targets=["x"])
