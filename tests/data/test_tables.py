import contextlib
import datetime as dt
import gzip
import math

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from polars.testing import assert_frame_equal

from jointrain.data import (
    ReadingOptions,
    as_table,
    check_writable_ending,
    load_penguins,
    read_table,
    write_table,
)
from jointrain.data._table_schema import MISSING_NUMBERS
from jointrain.errors import InvalidInputError

pandas = pytest.importorskip("pandas")

SEPARATED = [".csv", ".tsv", ".csv.gz", ".tsv.gz", ".csv.zst"]
TYPED = [".parquet", ".arrow", ".feather", ".ipc"]
SLOW_FOLDER = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def read_text(tmp_path, text, name="table.csv"):
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_table(path)


def test_penguins_have_their_types_and_missing_values():
    frame = load_penguins()
    assert frame.shape == (344, 8)
    assert frame["sex"].null_count() == 11
    assert frame["body_mass_g"].dtype == pl.Int64
    assert frame["bill_length_mm"].dtype == pl.Float64


def test_types_are_inferred(tmp_path):
    frame = read_text(
        tmp_path,
        "i,f,b,s,d,t,dt,z,big\n"
        "1,1,true,a,2024-01-31,12:30:00,2024-01-31T12:30:00,2024-01-31T12:30:00Z,1\n"
        "-2,2.5e3,FALSE,b,2024-02-01,12:31:00.5,2024-01-31 12:30:01.25,2024-01-31T13:30:00+01:00,"
        "99999999999999999999\n",
    )
    assert frame.schema == {
        "i": pl.Int64,
        "f": pl.Float64,
        "b": pl.Boolean,
        "s": pl.String,
        "d": pl.Date,
        "t": pl.Time,
        "dt": pl.Datetime("us"),
        "z": pl.Datetime("us", "UTC"),
        "big": pl.Int128,
    }
    assert frame["z"].n_unique() == 1
    assert frame["t"][1] == dt.time(12, 31, 0, 500000)
    assert frame["dt"][1] == dt.datetime(2024, 1, 31, 12, 30, 1, 250000)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("12:30", dt.time(12, 30)),
        ("2024-01-31 12:30", dt.datetime(2024, 1, 31, 12, 30)),
        ("2024-01-31T12:30:15,5", dt.datetime(2024, 1, 31, 12, 30, 15, 500000)),
        ("2024-01-31T12:30Z", dt.datetime(2024, 1, 31, 12, 30, tzinfo=dt.UTC)),
        ("2024-01-31T12:30:00-0200", dt.datetime(2024, 1, 31, 14, 30, tzinfo=dt.UTC)),
        ("tRue", True),
        (" 7 ", 7),
        (" 7.5", 7.5),
        ("2024-13-01", "2024-13-01"),
        ("25:00", "25:00"),
        (" Private ", "Private"),
    ],
)
def test_one_value(tmp_path, text, expected):
    value = read_text(tmp_path, f'a\tb\n"{text}"\tx\n', "table.tsv")["a"][0]
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize("token", ["", *MISSING_NUMBERS])
@pytest.mark.parametrize("space", ["", " "])
def test_missing_tokens(tmp_path, token, space):
    rows = "1.5,a\n" * 5
    frame = read_text(tmp_path, f"number,text\n{rows}{space}{token}{space},{space}{token}\n")
    assert frame["number"].to_list() == [1.5] * 5 + [None]
    # in text only the empty cell and a rare NA are missing
    assert frame["text"][-1] == (None if token in ("", "NA") else token)


def test_type_is_inferred_over_the_whole_file(tmp_path):
    # the last row is beyond the first block of a streaming parser
    rows = 1_500_000
    text = "a,b\n" + "1,12345678\n" * rows + "x,2.5\n"
    with pytest.raises(InvalidInputError, match=r"'a' holds numbers, but 'x' in row 1500001"):
        read_text(tmp_path, text)
    frame = read_table(tmp_path / "table.csv", ReadingOptions(columns={"a": "text"}))
    assert frame.schema == {"a": pl.String, "b": pl.Float64}
    assert frame.height == rows + 1


@pytest.mark.parametrize("text", ["a;b\n1,5;x\n-2;y\n", "\ufeffa;b\r\n1,5;x\r\n-2;y\r\n"])
def test_semicolons_and_decimal_commas(tmp_path, text):
    assert read_text(tmp_path, text).rows() == [(1.5, "x"), (-2.0, "y")]


def test_tabs_in_csv(tmp_path):
    assert read_text(tmp_path, "a\tb\n1\t2\n").rows() == [(1, 2)]


def test_quoted_fields_and_names(tmp_path):
    frame = read_text(
        tmp_path, '"größe, cm", na me ,"li\nne"\n"1,5","say ""x""","two\nlines"\n2,,z\n'
    )
    assert frame.columns == ["größe, cm", "na me", "li\nne"]
    assert frame.rows() == [(1.5, 'say "x"', "two\nlines"), (2.0, None, "z")]


def test_quote_inside_a_field_is_a_character(tmp_path):
    assert read_text(tmp_path, "a,b\n5'10\",x\n2,y\n").rows() == [("5'10\"", "x"), ("2", "y")]


def test_column_without_name_gets_one(tmp_path):
    assert read_text(tmp_path, ",a\n0,1\n").columns == ["unnamed_1", "a"]


def test_blank_lines_are_skipped(tmp_path):
    assert read_text(tmp_path, "\n\na,b\n\n1,2\n\n").rows() == [(1, 2)]


def test_single_column_with_missing_value(tmp_path):
    assert read_text(tmp_path, "a\n1\n\n3\n")["a"].to_list() == [1, None, 3]


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "table.csv is empty; it needs a header"),
        ("\n \n", "table.csv is empty; it needs a header"),
        ("a,b\n", "table.csv has a header but no rows"),
        ("a,b\n1,2\n1\n3,4\n", "has 1 fields in line 3 where the header has 2"),
        ("a,b\n1,2\n1,2,3\n", "has 3 fields in line 3 where the header has 2"),
        ('a,b\n"x\ny",2\n\n1,2,3\n', "has 3 fields in line 5 where the header has 2"),
        ("a,b,a,c,c\n1,2,3,4,5\n", "the header of .*names column 'a', 'c' more than once"),
        ("a, a\n1,2\n", "names column 'a' more than once"),
        ('a,"b\n1,2\n', "header of .*has a quote that does not close"),
        ('a,b\n1,"2\n3,4\n', "has a quote in line 2 that does not close"),
        ('a,b\n1,"2"3\n3,"4\n', "has a quote in line 2 that does not close"),
        (b"a,b\n1,2\n1,\xe9\n", "not UTF-8: line 3 holds the byte 0xe9"),
        (b"a,\xe9\n1,2\n", "not UTF-8: line 1 holds the byte 0xe9"),
    ],
)
def test_faulty_text(tmp_path, text, message):
    with pytest.raises(InvalidInputError, match=message):
        read_text(tmp_path, text)


def test_missing_file_names_the_closest(tmp_path):
    (tmp_path / "penguins.csv").write_text("a\n1\n")
    with pytest.raises(InvalidInputError, match=r"did you mean 'penguins\.csv'\?"):
        read_table(tmp_path / "pengiuns.csv")
    with pytest.raises(InvalidInputError, match="does not exist; check the name"):
        read_table(tmp_path / "zzzz.parquet")
    with pytest.raises(InvalidInputError, match="there is no folder"):
        read_table(tmp_path / "nowhere" / "penguins.csv")


def test_folder_instead_of_file(tmp_path):
    (tmp_path / "x.csv").mkdir()
    with pytest.raises(InvalidInputError, match="is a folder; name a file in it"):
        read_table(tmp_path / "x.csv")


@pytest.mark.parametrize("ending", [".csv.gz", ".csv.zst", *TYPED])
def test_cut_or_changed_file_is_an_error_or_a_table(tmp_path, ending):
    path = tmp_path / f"table{ending}"
    write_table(load_penguins(), path)
    whole = path.read_bytes()
    for length in [1, 5, 8, len(whole) // 3, len(whole) - 20, len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(InvalidInputError, match=r"is no whole .* file"):
            read_table(path)
    rng = np.random.default_rng(0)
    for position in rng.integers(0, len(whole), 60):
        changed = bytearray(whole)
        changed[position] ^= 0xFF
        path.write_bytes(changed)
        with contextlib.suppress(InvalidInputError):
            read_table(path)


@pytest.mark.parametrize("ending", TYPED)
def test_typed_files_refuse_empty_and_repeated(tmp_path, ending):
    path = tmp_path / f"table{ending}"
    path.write_bytes(b"")
    with pytest.raises(InvalidInputError, match="is empty"):
        read_table(path)
    write_table(pl.DataFrame({"a": []}, schema={"a": pl.Int64}), path)
    with pytest.raises(InvalidInputError, match="has column names but no rows"):
        read_table(path)


def test_arrow_file_with_repeated_names(tmp_path):
    path = tmp_path / "table.arrow"
    table = pa.table([pa.array([1]), pa.array([2])], names=["a", "a"])
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(InvalidInputError, match="names column 'a' more than once"):
        read_table(path)


def test_arrow_stream_is_read(tmp_path):
    path = tmp_path / "table.arrow"
    table = pa.table({"a": [1.0, math.nan]})
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    assert read_table(path)["a"].to_list() == [1.0, None]


NAMES = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp", "Cs"]), min_size=1
).filter(lambda name: name == name.strip() and not name.startswith("^"))  # Polars: a pattern
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=8)
VALUES = {
    "integer": (pl.Int64, st.integers(-(2**63), 2**63 - 1)),
    "number": (pl.Float64, st.floats(allow_nan=False, allow_infinity=False)),
    "boolean": (pl.Boolean, st.booleans()),
    # a letter in front keeps text from looking like a number or a missing value
    "text": (pl.String, TEXT.map(lambda value: "x" + value + "x")),
    "date": (pl.Date, st.dates(dt.date(1, 1, 1), dt.date(9999, 12, 31))),
    "datetime": (pl.Datetime("us"), st.datetimes(dt.datetime(1000, 1, 1))),
    "time": (pl.Time, st.times()),
}


@st.composite
def tables(draw):
    names = draw(st.lists(NAMES, min_size=1, max_size=5, unique=True))
    height = draw(st.integers(1, 6))
    columns = []
    for name in names:
        dtype, values = VALUES[draw(st.sampled_from(sorted(VALUES)))]
        column = draw(st.lists(st.none() | values, min_size=height, max_size=height))
        if column.count(None) == height:
            column[0] = draw(values)
        columns.append(pl.Series(name, column, dtype=dtype))
    return pl.DataFrame(columns)


@SLOW_FOLDER
@given(frame=tables(), ending=st.sampled_from(TYPED))
def test_typed_round_trip(tmp_path, frame, ending):
    path = tmp_path / f"table{ending}"
    write_table(frame, path)
    assert_frame_equal(read_table(path), frame)


@SLOW_FOLDER
@given(frame=tables(), ending=st.sampled_from(SEPARATED))
def test_separated_round_trip(tmp_path, frame, ending):
    path = tmp_path / f"table{ending}"
    write_table(frame, path)
    found = read_table(path)
    # whole numbers may come back as integers from a column of numbers written without fraction
    assert_frame_equal(found, frame, check_exact=True)


def test_written_bytes_are_the_same_each_time(tmp_path):
    for ending in SEPARATED + TYPED:
        first, second = tmp_path / f"a{ending}", tmp_path / f"b{ending}"
        write_table(load_penguins(), first)
        write_table(load_penguins(), second)
        assert first.read_bytes() == second.read_bytes()
    assert gzip.decompress((tmp_path / "a.csv.gz").read_bytes()).startswith(b"species,")


def test_writing_leaves_nothing_else_behind(tmp_path):
    write_table(load_penguins(), tmp_path / "a.csv")
    nested = pl.DataFrame({"a": [[1]]})
    with pytest.raises(InvalidInputError, match=r"column 'a' .*can't be written to .*\.parquet"):
        write_table(nested, tmp_path / "b.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_writing_to_standard_output(capsys):
    write_table(pl.DataFrame({"a": [1, None]}), "-")
    assert capsys.readouterr().out == "a\n1\n\n"


def test_endings_are_checked_before_writing(tmp_path):
    check_writable_ending("-")
    check_writable_ending(tmp_path / "a.parquet")
    with pytest.raises(InvalidInputError, match="can't write; known are"):
        check_writable_ending("a.xlsx")
    with pytest.raises(InvalidInputError, match="there is no folder"):
        check_writable_ending(tmp_path / "x" / "a.csv")
    (tmp_path / "d.csv").mkdir()
    with pytest.raises(InvalidInputError, match="is a folder"):
        check_writable_ending(tmp_path / "d.csv")


EXPECTED = pl.DataFrame({"a": [1.5, None], "b": ["x", None], "c": [True, False]})
COLUMNS = {"a": [1.5, math.nan], "b": ["x", None], "c": [True, False]}


@pytest.mark.parametrize(
    "frame",
    [
        EXPECTED,
        EXPECTED.lazy(),
        EXPECTED.to_arrow(),
        EXPECTED.to_arrow().to_batches()[0],
        pandas.DataFrame(COLUMNS),
        pandas.DataFrame(COLUMNS).convert_dtypes(),
        COLUMNS,
        {name: np.array(values) for name, values in COLUMNS.items()},
        {name: pandas.Series(values) for name, values in COLUMNS.items()},
        {name: pa.chunked_array([values]) for name, values in COLUMNS.items()},
        {name: pl.Series(values, strict=False) for name, values in COLUMNS.items()},
    ],
    ids=lambda frame: type(frame).__module__ + "." + type(frame).__name__,
)
def test_as_table_takes_all_kinds(frame):
    assert_frame_equal(as_table(frame), EXPECTED)


def test_as_table_makes_names_strings():
    assert as_table(pandas.DataFrame({0: [1], 1: [2]})).columns == ["0", "1"]
    assert as_table({0: [1]}).columns == ["0"]


def test_as_table_takes_numpy_dates_and_durations():
    frame = as_table(
        {
            "date": np.array(["2024-01-31", "NaT"], dtype="datetime64[D]"),
            "span": np.array([1, 60], dtype="timedelta64[m]"),
        }
    )
    assert frame["date"].to_list() == [dt.datetime(2024, 1, 31), None]
    assert frame["span"].to_list() == [dt.timedelta(minutes=1), dt.timedelta(hours=1)]


def test_as_table_takes_numpy_columns_of_pandas_with_an_index():
    frame = pandas.DataFrame({"a": [1, 2]}, index=[5, 7])
    assert as_table(frame).to_dict(as_series=False) == {"a": [1, 2]}


@pytest.mark.parametrize(
    "frame, message",
    [
        (np.zeros((2, 2)), "must be a Polars, pandas or Arrow table.*got numpy.ndarray"),
        ([1, 2], "must be a Polars, pandas or Arrow table.*got builtins.list"),
        (pl.Series([1]), "must be a Polars, pandas or Arrow table"),
        (None, "must be a Polars, pandas or Arrow table"),
        ({"a": np.zeros((2, 2))}, "column 'a' must be one-dimensional, got 2 dimensions"),
        ({"a": [[1], [2, 3]]}, "column 'a' holds lists of unequal length"),
        ({"a": 3}, "column 'a' must be one-dimensional, got 0 dimensions"),
        ({"a": [1, 2], "b": [1]}, "column 'b' has 1 rows, column 'a' has 2"),
        ({"a": [1, "x"]}, r"column 'a' holds 1 in row 1 and 'x' in row 2"),
        (pandas.DataFrame([[1, 2]], columns=["a", "a"]), "names column 'a' more than once"),
        (
            pandas.DataFrame({"b": [1, 2], "a": [1, "x"]}),
            r"column 'a' holds 1 in row 1 and 'x' in row 2",
        ),
        (pandas.DataFrame([[1, 2]], columns=[1, "1"]), "names column '1' more than once"),
        (pa.table([pa.array([1]), pa.array([2])], names=["a", "a"]), "names column 'a' more"),
    ],
    ids=str,
)
def test_as_table_refuses(frame, message):
    with pytest.raises(InvalidInputError, match=message):
        as_table(frame)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    data=st.binary(max_size=60)
    | st.text(st.sampled_from('ab1,;\t\n\r" .é\0\ufeff'), max_size=60).map(str.encode),
    ending=st.sampled_from([*SEPARATED[:2], *TYPED]),
)
def test_any_bytes_are_a_table_or_a_clear_error(tmp_path, data, ending):
    path = tmp_path / f"table{ending}"
    path.write_bytes(data)
    with contextlib.suppress(InvalidInputError):
        assert read_table(path).height > 0


@pytest.mark.parametrize("values", [[1, 2.5, True], [1, "1"], ["a", None, False]])
def test_objects_of_different_kinds_are_refused(values):
    for frame in ({"x": values}, pandas.DataFrame({"x": pandas.Series(values, dtype=object)})):
        with pytest.raises(InvalidInputError, match=r"column 'x' holds .* in row 1 and .* in row"):
            as_table(frame)
    assert as_table({"x": [1, 2.5, None]})["x"].to_list() == [1.0, 2.5, None]


@pytest.mark.parametrize("notes", [{b"a\xff": b"b"}, {b"a": b"\xff"}])
@pytest.mark.parametrize("of_column", [True, False])
def test_a_parquet_file_with_notes_that_are_no_text_is_refused(tmp_path, notes, of_column):
    import pyarrow as pa
    from pyarrow import parquet

    field = pa.field("x", pa.int64(), metadata=notes if of_column else None)
    schema = pa.schema([field], metadata=None if of_column else notes)
    path = tmp_path / "table.parquet"
    parquet.write_table(pa.Table.from_arrays([pa.array([1])], schema=schema), path)
    with pytest.raises(InvalidInputError, match="is no whole Parquet file"):
        read_table(path)


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize(
    "frame", [lambda c: pandas.DataFrame({"a": pandas.Series(c, dtype=object)}), lambda c: {"a": c}]
)
def test_dates_with_and_without_zone_are_not_mixed(frame, first):
    clock = dt.datetime(2024, 1, 1, 10)
    here = clock.replace(tzinfo=dt.timezone(dt.timedelta(hours=-5)))
    cells = [None, clock, here, clock] if first else [None, here, clock, here]
    with pytest.raises(
        InvalidInputError, match=r"column 'a' holds .* in row 2 and .* in row 3; gi"
    ):
        as_table(frame(cells))
    later = here.astimezone(dt.UTC)
    assert [value.timestamp() for value in as_table(frame([here, later]))["a"]] == [
        here.timestamp()
    ] * 2


def test_times_with_and_without_zone_are_not_mixed():
    cells = [dt.time(10), dt.time(10, tzinfo=dt.UTC)]
    with pytest.raises(InvalidInputError, match=r"in row 1 and .* in row 2"):
        as_table({"a": cells})
