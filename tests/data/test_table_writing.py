"""Tables written to files: whole or not at all, and nothing is replaced unasked."""

import datetime as dt
import os

import polars as pl
import pytest

from jointrain.data import read_raw, write_parts, write_table
from jointrain.errors import InvalidInputError

FRAME = pl.DataFrame({"a": [1, 2]})


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_appeared_meanwhile_stays(tmp_path, monkeypatch, links):
    def refuse(*arguments):
        raise PermissionError

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "p.csv"
    assert write_table(FRAME, path, replace=False) == path
    path.write_text("mine")
    (tmp_path / "p-2.csv").write_text("mine, too")
    assert write_table(FRAME, path, replace=False) == tmp_path / "p-3.csv"
    assert path.read_text() == "mine"
    assert (tmp_path / "p-2.csv").read_text() == "mine, too"
    assert (tmp_path / "p-3.csv").read_text() == "a\n1\n2\n"
    assert write_table(FRAME, path) == path
    assert sorted(one.name for one in tmp_path.iterdir()) == ["p-2.csv", "p-3.csv", "p.csv"]


UNFIT = {
    "durations": (dt.timedelta(hours=1), "csv tsv -"),
    "lists of whole numbers": ([1], "csv tsv.gz -"),
    "bytes": (b"x", "csv jsonl"),
    "lists of bytes": ([b"x"], "csv jsonl"),
    "structs with the fields a": ({"a": b"x"}, "csv jsonl"),
}


@pytest.mark.parametrize("what", UNFIT)
def test_what_a_file_has_no_form_for_is_refused(tmp_path, what):
    value, endings = UNFIT[what]
    frame = pl.DataFrame({"a": [value]})
    for ending in endings.split():
        path = "-" if ending == "-" else tmp_path / f"p.{ending}"
        for write in (write_table, lambda frame, path: write_parts([frame], path)):
            with pytest.raises(InvalidInputError, match=f"'a' holds {what}, .* choose .parquet"):
                write(frame, path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="asks the system for processes as POSIX does")
def test_what_killed_processes_left_is_removed(tmp_path):
    gone, here = 2**22 + 1, os.getppid()
    for process in (gone, here):
        (tmp_path / f".p.csv.{process}.tmp").write_text("a")
    (tmp_path / ".p.csv.mine.tmp").write_text("mine")
    write_table(FRAME, tmp_path / "p.csv")
    left = sorted(one.name for one in tmp_path.iterdir())
    assert left == sorted([f".p.csv.{here}.tmp", ".p.csv.mine.tmp", "p.csv"])


@pytest.mark.parametrize("name", ["n" * 300 + ".csv", "p.csv"])
def test_places_that_can_not_be_written(tmp_path, monkeypatch, name):
    if name == "p.csv":

        def full(*arguments):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InvalidInputError, match=r"written: (File name|No space)"):
        write_table(FRAME, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="devices and pipes of POSIX")
def test_devices_and_pipes_are_no_tables(tmp_path):
    with pytest.raises(InvalidInputError, match="is a device"):
        read_raw("/dev/zero")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidInputError, match="is a pipe"):
        read_raw(str(tmp_path / "pipe"))


def test_a_name_with_a_line_break_is_one_header(tmp_path):
    frame = pl.DataFrame({"a\nb": [1, 2], "c": [3, 4]})
    write_parts([frame, frame], tmp_path / "parts.csv")
    write_table(pl.concat([frame, frame]), tmp_path / "whole.csv")
    assert (tmp_path / "parts.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_a_date_that_no_calendar_has_is_refused(tmp_path, ending):
    days = pl.Series("d", [0, 2**31 - 1], dtype=pl.Int32).cast(pl.Date)
    with pytest.raises(InvalidInputError, match=r"column 'd' holds 2147483647 days .* in row 2"):
        write_table(pl.DataFrame([days]), tmp_path / f"t.{ending}")


@pytest.mark.parametrize("ending", [".parquet", ".arrow", ".csv"])
@pytest.mark.parametrize("parts", [False, True])
def test_a_full_disk_is_said_in_words_and_leaves_nothing(tmp_path, ending, parts):
    resource = pytest.importorskip("resource")
    frame = pl.DataFrame({"a": range(100_000)}).select(pl.col("a").hash(0))
    path, limits = tmp_path / f"a{ending}", resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(InvalidInputError, match=r"can't be written: File too large; choose"):
            write_parts([frame], path) if parts else write_table(frame, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="names are text there")
@pytest.mark.parametrize("ending", [".parquet", ".arrow", ".csv"])
@pytest.mark.parametrize("parts", [False, True])
def test_a_name_need_not_be_utf_8(tmp_path, ending, parts):
    frame, path = pl.DataFrame({"a": [1]}), tmp_path / os.fsdecode(b"en\xe9rgie" + ending.encode())
    made = write_parts([frame], path) if parts else write_table(frame, path)
    assert made.is_file()
    assert os.listdir(os.fsencode(tmp_path)) == [os.fsencode(path.name)]
