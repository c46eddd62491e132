"""Files that change while they are read are refused."""

import gzip
import io
import os
import tarfile
from itertools import islice

import numpy as np
import polars as pl
import pytest

from jointrain import Recipe, fit_streamed, predict_streamed
from jointrain.data.streaming import StreamedTable, TableFiles, TextFiles, _text_files, table_files
from jointrain.data.streaming._row_sources import kept_rows
from jointrain.errors import InvalidInputError

CHANGED = r"{} has changed; files must stay as they are while they are read"


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch):
    monkeypatch.setattr(_text_files, "_PART_BYTES", 700)


def frame(rows=400, sign=1):
    x = np.random.default_rng(0).normal(size=rows)
    return pl.DataFrame({"x": x, "y": sign * 3 * x})


def write_again(path, content):
    """Write a file so that its time differs, also where the clock of the disk is coarse."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_bytes(content)
    os.utime(path, ns=(before + 10**9, before + 10**9))


def as_parquet(rows):
    """Return Parquet whose layout does not depend on the values."""
    from pyarrow import parquet

    out = io.BytesIO()
    parquet.write_table(
        rows.to_arrow(),
        out,
        row_group_size=100,
        compression="none",
        use_dictionary=False,
        write_statistics=False,
    )
    return out.getvalue()


def test_other_labels_in_the_same_layout_are_refused_in_training(tmp_path):
    path = tmp_path / "a.parquet"
    path.write_bytes(as_parquet(frame()))
    table = StreamedTable.prepare(table_files(tmp_path), ["y"])
    other = as_parquet(frame(sign=-1))
    assert len(other) == path.stat().st_size
    write_again(path, other)
    with pytest.raises(InvalidInputError, match=CHANGED.format(r"a\.parquet")):
        fit_streamed(table, Recipe(epochs=1))


def test_files_that_change_between_two_row_groups_or_at_the_end_are_refused(tmp_path):
    path = tmp_path / "a.parquet"
    path.write_bytes(as_parquet(frame()))
    files = table_files(tmp_path)
    model = fit_streamed(StreamedTable.prepare(files, ["y"]), Recipe(epochs=1))
    for passed in (1, len(files.pieces)):
        for passing_of in (lambda files: predict_streamed(model, files), TableFiles.frames):
            path.write_bytes(as_parquet(frame()))
            passing = passing_of(table_files(tmp_path))
            list(islice(passing, passed))
            write_again(path, as_parquet(frame(sign=-1)))
            with pytest.raises(InvalidInputError, match=CHANGED.format(r"a\.parquet")):
                list(passing)


def test_a_file_that_can_not_be_read_since_it_changed_is_told_so(tmp_path):
    path = tmp_path / "a.parquet"
    path.write_bytes(as_parquet(frame()))
    files = table_files(tmp_path)
    write_again(path, bytes(path.stat().st_size))
    with pytest.raises(InvalidInputError, match=CHANGED.format(r"a\.parquet")):
        list(files.frames())
    path.unlink()
    with pytest.raises(InvalidInputError, match=r"a\.parquet is gone; files must stay"):
        list(files.frames())


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("after", [bytes, lambda text: b"\xff\x00,,,\n" * (len(text) // 6)])
def test_text_files_that_change_between_two_parts_are_refused(tmp_path, pack, after):
    path = tmp_path / ("a.csv.gz" if pack is gzip.compress else "a.csv")
    text = frame(2000).write_csv().encode()
    path.write_bytes(pack(text))
    files = TextFiles([path])
    parts = files.parts()
    next(parts)
    write_again(path, after(pack(text)))
    with pytest.raises(InvalidInputError, match=CHANGED.format(path.name)):
        list(parts)


def test_text_files_that_change_after_the_sample_are_refused(tmp_path):
    for name in "ab":
        frame(200).write_csv(tmp_path / f"{name}.csv")
    files = table_files(tmp_path)
    files.sample()
    write_again(tmp_path / "b.csv", frame(200, sign=-1).write_csv().encode())
    with pytest.raises(InvalidInputError, match=CHANGED.format(r"b\.csv")):
        StreamedTable.prepare(files, ["y"])


def test_a_text_file_that_changes_after_its_own_rows_is_refused_at_the_end(tmp_path):
    for name in "ab":
        frame(200).write_csv(tmp_path / f"{name}.csv")
    rows = table_files(tmp_path).parts()
    passed = 0
    while passed < 400:
        passed += len(next(rows).frame)
    write_again(tmp_path / "a.csv", frame(200, sign=-1).write_csv().encode())
    with pytest.raises(InvalidInputError, match=CHANGED.format(r"a\.csv")):
        next(rows)


def test_shards_that_change_while_they_are_read_are_refused(tmp_path, monkeypatch):
    from jointrain.data.streaming import _row_sources

    monkeypatch.setattr(_row_sources, "_AT_ONCE", 10)
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as shard:
        for number in range(50):
            member = tarfile.TarInfo(f"{number}.cls")
            member.size = 1
            shard.addfile(member, io.BytesIO(b"1"))
    real = _row_sources._as_row

    def changing(row, name):
        if row["__key__"].endswith("30"):
            write_again(path, path.read_bytes())
        return real(row, name)

    monkeypatch.setattr(_row_sources, "_as_row", changing)
    with pytest.raises(InvalidInputError, match=CHANGED.format(r"a\.tar")):
        table_files(tmp_path)


def test_a_table_made_again_takes_copied_files(tmp_path):
    path = tmp_path / "a.parquet"
    path.write_bytes(as_parquet(frame()))
    first = table_files(tmp_path)
    write_again(path, path.read_bytes())
    again = table_files(tmp_path)
    assert [file.content for file in again.files] == [file.content for file in first.files]
    assert sum(len(rows) for _, rows in again.frames()) == 400


def test_rows_without_a_file_are_read_as_often_as_wanted():
    files = kept_rows([{"x": float(number)} for number in range(20)])
    assert [len(rows) for _, rows in [*files.frames(), *files.frames()]] == [20, 20]
