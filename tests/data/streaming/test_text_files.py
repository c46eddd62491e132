"""CSV files that are one table, read in parts."""

import gzip

import polars as pl
import pytest

from jointrain.data import ReadingOptions, SupervisedTable, read_raw
from jointrain.data.streaming import StreamedTable, TextFiles, _text_files, table_files
from jointrain.errors import InvalidInputError
from tests.data.streaming.tables import mixed_frame

LINES = (
    'n,t,d\n1,"a, ""b""",2024-01-31\n2.5,"two\nlines",2024-02-01 10:30\n,"NA",\n-7,NA,2024-03-01\n'
)


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch):
    monkeypatch.setattr(_text_files, "_PART_BYTES", 700)


def read(files, **said):
    """Return all rows of text files, read as their first rows show."""
    from jointrain.data import type_table

    schema = type_table(files.sample(), **said).schema
    return pl.concat([frame for _, frame in files.as_parquet(schema).frames()])


def test_rows_are_those_of_a_file_read_as_a_whole(tmp_path):
    frame = mixed_frame(300).drop("clock")
    frame[:150].write_csv(tmp_path / "a.csv")
    frame[150:].write_csv(tmp_path / "b.csv")
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress((tmp_path / "b.csv").read_bytes()))
    (tmp_path / "b.csv").unlink()
    found = read(table_files(tmp_path)).sort("row")
    frame.write_csv(tmp_path / "whole.csv")
    whole = SupervisedTable.prepare(
        read_raw(tmp_path / "whole.csv"), ["y"], id_column="row", duplicates="apart"
    )
    common = [column.name for column in whole.columns]
    expected = whole.frame.sort("row").select(common)
    found = found.filter(pl.col("y").is_not_null()).select(common)
    assert found.cast(expected.schema).equals(expected)


def test_what_was_decided_about_cells_is_told_as_of_one_file(tmp_path, monkeypatch):
    monkeypatch.setattr(_text_files, "_PART_BYTES", 1 << 20)
    frame = mixed_frame(300).select("x0", "x1", "y").drop_nulls()
    words = frame.with_columns(x0="w" + pl.col("x0").cast(pl.String))
    (tmp_path / "t").mkdir()
    frame.write_csv(tmp_path / "t" / "a.csv")
    words[:60].write_csv(tmp_path / "t" / "b.csv")
    both = pl.concat([frame.with_columns(pl.col("x0").cast(pl.String)), words[:60]])
    both.write_csv(tmp_path / "whole.csv")
    found = StreamedTable.prepare(table_files(tmp_path / "t"), ["y"]).sample
    whole = SupervisedTable.prepare(read_raw(tmp_path / "whole.csv"), ["y"])
    (note,) = [note for note in whole.notes if "x0" in note]
    (told,) = [note for note in found.notes if "x0" in note]
    start = "column x0 is read as text: 'w"
    assert note.startswith(start)
    assert told.startswith(start)
    assert f"in row 1 (line 2) of {tmp_path}/t/b.csv is no number" in told


def test_quotes_missing_words_and_dates_are_read_as_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(_text_files, "_PART_BYTES", 20)
    (tmp_path / "a.csv").write_text(LINES)
    found = read(TextFiles([tmp_path / "a.csv"]))
    # the first part decides that t is text, in which a quoted NA is a value
    assert found["n"].to_list() == [1, 2.5, None, -7]
    assert found["t"].to_list()[:3] == ['a, "b"', "two\nlines", "NA"]
    assert [str(one)[:16] for one in found["d"].drop_nulls()] == [
        "2024-01-31 00:00",
        "2024-02-01 10:30",
        "2024-03-01 00:00",
    ]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_other_encodings(tmp_path, encoding):
    rows = "".join(f"straße{i},{i}\n" for i in range(200))
    (tmp_path / "a.csv").write_bytes(f"größe,n\n{rows}".encode(encoding))
    options = ReadingOptions(encoding="cp1252") if encoding == "cp1252" else None
    found = read(TextFiles([tmp_path / "a.csv"], options))
    assert found.columns == ["größe", "n"]
    assert found["größe"].to_list() == [f"straße{i}" for i in range(200)]


def test_faults_are_named_with_file_and_line(tmp_path):
    good = "".join(f"{i},{i % 7}\n" for i in range(500))
    path = tmp_path / "a.csv"
    path.write_text("x,y\n" + good + "1,2,3\n")
    with pytest.raises(InvalidInputError, match=r"a.csv has 3 fields in line 502"):
        read(TextFiles([path]))
    path.write_text("x,y\n" + good + "1,many\n")
    with pytest.raises(InvalidInputError, match=r"'many' in row 501 \(line 502\) of .*a.csv"):
        read(TextFiles([path]))
    path.write_text("x,y\n" + good)
    (tmp_path / "b.csv").write_text("x,z\n1,2\n")
    with pytest.raises(InvalidInputError, match=r"b.csv has no column 'y', which .*a.csv has"):
        read(TextFiles([path, tmp_path / "b.csv"]))
    (tmp_path / "b.csv").write_text("x,y\n")
    with pytest.raises(InvalidInputError, match=r"b.csv has (no rows|a header but no rows)"):
        read(TextFiles([path, tmp_path / "b.csv"]))


def test_validation_rows_stay_when_files_are_renamed(tmp_path):
    frame = mixed_frame(200).select("x0", "x1", "z")
    kept = []
    for names in (("a", "b"), ("z", "c")):
        folder = tmp_path / names[0]
        folder.mkdir()
        frame[:90].write_csv(folder / f"{names[0]}.csv")
        frame[90:].write_csv(folder / f"{names[1]}.csv")
        table = StreamedTable.prepare(table_files(folder), ["z"])
        kept.append(table.validation.frame)
    assert kept[0].equals(kept[1])
    assert "text" not in str(table.schema.columns["x0"].kind)


STRAY = {
    "one": '5" nail',
    "two": 'a "b" c',
    "at the end": '7"',
    "doubled": 'a""b',
    "quoted beside it": '5" nail,"a ""b""\nc"',
    "escaped in a quoted cell": '"say ""hi"",\n ""5"""',
}


@pytest.mark.parametrize("stray", STRAY.values(), ids=STRAY)
@pytest.mark.parametrize("separator", [",", ";", "\t", "^"])
@pytest.mark.parametrize("part", [30, 700, 1 << 20])
def test_a_quote_counts_only_at_the_beginning_of_a_cell(
    tmp_path, monkeypatch, stray, separator, part
):
    monkeypatch.setattr(_text_files, "_PART_BYTES", part)
    rows = [["x", "t", "u", "y"]]
    for number in range(200):
        own = [stray, "b"] if number in (3, 90) else [f'"line {number}\nsecond, ""third"""', "b"]
        own = own[:1] if number in (3, 90) and stray.endswith('c"') else own
        rows.append([str(number), *own, str(number % 7)])
    # cells of the table above with a comma in them hold their own separator
    text = "".join(separator.join(row).replace(",", separator) + "\n" for row in rows)
    (tmp_path / "a.csv").write_text(text, newline="")
    options = ReadingOptions(separator="^" if separator == "^" else None)
    whole = read_raw(tmp_path / "a.csv", options)
    parts = list(TextFiles([tmp_path / "a.csv"], options).parts())
    assert pl.concat([one.frame for one in parts]).equals(whole.frame)
    assert len(parts) > 1 or part > 700


@pytest.mark.parametrize("part", [60, 700])
def test_quotes_of_comment_lines_count_nothing(tmp_path, monkeypatch, part):
    monkeypatch.setattr(_text_files, "_PART_BYTES", part)
    lines = [f'{n},"line {n}\n%, second",{n % 7}\n' for n in range(200)]
    lines[20] = '% 5" and,"more\n' + lines[20]
    lines[40] = '%,"a\n' + lines[40]
    text = '% 7" above\n%,"b\nx,t,y\n' + "".join(lines)
    (tmp_path / "a.csv").write_text(text, newline="")
    options = ReadingOptions(comment="%")
    whole = read_raw(tmp_path / "a.csv", options)
    parts = list(TextFiles([tmp_path / "a.csv"], options).parts())
    assert len(whole.frame) == 200
    assert pl.concat([one.frame for one in parts]).equals(whole.frame)
    assert len(parts) > 1


def test_spaces_may_stand_between_separators_and_quotes(tmp_path):
    rows = "".join(f'{n}, "line {n}\nsecond, third" , {n % 7}\n' for n in range(200))
    (tmp_path / "a.csv").write_text("x,t,y\n" + rows, newline="")
    whole = read_raw(tmp_path / "a.csv")
    parts = list(TextFiles([tmp_path / "a.csv"]).parts())
    assert pl.concat([one.frame for one in parts]).equals(whole.frame)
    assert len(parts) > 1


@pytest.mark.parametrize("before", [0, 3000])
def test_utf8_that_is_said_to_be_in_another_encoding_is_refused(tmp_path, before):
    rows = "1,plain\n" * before + "2,grün\n3,weiß\n"
    (tmp_path / "a.csv").write_bytes(("n,t\n" + rows).encode())
    options = ReadingOptions(encoding="cp1252")
    with pytest.raises(InvalidInputError, match=r"a.csv is UTF-8 with words such as 'grün', which"):
        list(TextFiles([tmp_path / "a.csv"], options).parts())
    (tmp_path / "a.csv").write_bytes(("n,t\n" + rows).encode("cp1252"))
    parts = list(TextFiles([tmp_path / "a.csv"], options).parts())
    assert parts[-1].frame["t"].to_list()[-2:] == ["grün", "weiß"]


@pytest.mark.parametrize("end", ["", "\n"])
def test_the_end_of_file_of_dos_is_no_row(tmp_path, end):
    (tmp_path / "a.csv").write_text(f"a,b\n1,2\n3,4{end}\x1a", newline="")
    parts = TextFiles([tmp_path / "a.csv"]).parts()
    assert pl.concat([one.frame for one in parts]).rows() == [("1", "2"), ("3", "4")]


def test_gzip_with_zeros_behind_it_is_read_and_cut_gzip_refused(tmp_path):
    packed = gzip.compress(b"a,b\n1,2\n")
    (tmp_path / "a.csv.gz").write_bytes(packed + b"\0" * 600)
    (part,) = TextFiles([tmp_path / "a.csv.gz"]).parts()
    assert part.frame.rows() == [("1", "2")]
    for damaged in (packed[:-9], packed[:12] + b"xxxx" + packed[16:]):
        (tmp_path / "a.csv.gz").write_bytes(damaged)
        with pytest.raises(InvalidInputError, match=r"a.csv.gz can't be read"):
            list(TextFiles([tmp_path / "a.csv.gz"]).parts())
