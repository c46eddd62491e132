"""Rows that come one after the other, as a table."""

import io
import json
import os
import tarfile

import polars as pl
import pytest

from jointrain.data.streaming import _row_sources, table_files
from jointrain.errors import InvalidInputError
from tests.data.streaming.tables import mixed_frame


def everything(files):
    return pl.concat([frame for _, frame in files.frames()])


def test_mappings_are_rows(monkeypatch):
    monkeypatch.setattr(_row_sources, "_AT_ONCE", 3)
    rows = [{"a": i, "b": f"t{i}", "c": i % 2 == 0, "d": None if i < 4 else "x"} for i in range(8)]
    found = everything(table_files(iter(rows)))
    assert found["a"].to_list() == [float(i) for i in range(8)]
    assert found["b"].to_list() == [f"t{i}" for i in range(8)]
    assert found["d"].to_list() == [None] * 4 + ["x"] * 4


def test_a_stream_of_hugging_face():
    datasets = pytest.importorskip("datasets")
    frame = mixed_frame(300).select("row", "x0", "letter", "y")
    whole = datasets.Dataset.from_dict(frame.to_dict(as_series=False))
    for source in (whole, whole.to_iterable_dataset()):
        assert everything(table_files(source)).equals(frame)


def shard(path, samples):
    with tarfile.open(path, "w") as tar:
        for key, files in samples.items():
            for ending, content in files.items():
                member = tarfile.TarInfo(f"{key}.{ending}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def test_shards_of_webdataset(tmp_path):
    samples = {
        f"s{i:03d}": {
            "jpg": b"\0" * 50,
            "json": json.dumps({"width": i, "name": f"n{i}"}).encode(),
            "cls": str(i % 3).encode(),
        }
        for i in range(60)
    }
    pairs = list(samples.items())
    shard(tmp_path / "0.tar", dict(pairs[:40]))
    shard(tmp_path / "1.tar", dict(pairs[40:]))
    found = everything(table_files(tmp_path)).sort("width")
    assert found["name"].to_list() == [f"n{i}" for i in range(60)]
    assert found["cls"].to_list() == [i % 3 for i in range(60)]
    (tmp_path / "1.tar").write_bytes((tmp_path / "1.tar").read_bytes()[:3000])
    with pytest.raises(InvalidInputError, match=r"1\.tar is no whole shard"):
        table_files(tmp_path)


@pytest.mark.parametrize("ending", ["csv", "parquet", "tar"])
def test_a_pipe_that_a_pattern_names_is_not_waited_for(tmp_path, ending):
    os.mkfifo(tmp_path / f"a.{ending}")
    with pytest.raises(InvalidInputError, match="is no regular file"):
        table_files(f"{tmp_path}/*.{ending}")


@pytest.mark.parametrize(
    "files",
    [
        {"json": b"{"}, {"json": b"[" * 100_000}, {"json": b"9" * 5000}, {"json": b"\xff"},
        {"cls": b"one"}, {"cls": b"9" * 5000}, {"txt": b"\xff"},
        {"json": b'{"a": 1, "a": 2}'}, {"json": b'{"a": "\\ud800"}'},
    ],
    ids=range(9),
)  # fmt: skip
def test_a_sample_that_can_not_be_read_is_one_line(tmp_path, files):
    shard(tmp_path / "0.tar", {"s": files})
    with pytest.raises(InvalidInputError, match=r"a sample of .*0\.tar can't be read") as caught:
        table_files(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_text_that_a_packed_shard_grows_to_is_bounded(tmp_path):
    with tarfile.open(tmp_path / "0.tar", "w:gz", compresslevel=1) as tar:
        member = tarfile.TarInfo("s.txt")
        member.size = 2**25
        tar.addfile(member, io.BytesIO(b"0" * 2**25))
    with pytest.raises(InvalidInputError, match=r"s\.txt' in .*0\.tar has more than 16,777,216"):
        table_files(tmp_path)


def test_a_dataset_of_webdataset_gives_the_same_rows(tmp_path):
    webdataset = pytest.importorskip("webdataset")
    shard(
        tmp_path / "0.tar",
        {f"s{i}": {"json": b'{"a": %d}' % i, "txt": b"t%d" % i} for i in range(9)},
    )
    source = webdataset.WebDataset(str(tmp_path / "0.tar"), shardshuffle=False)
    found = everything(table_files(source))
    assert found.equals(everything(table_files(tmp_path / "0.tar")))
    assert found["txt"].to_list() == [f"t{i}" for i in range(9)]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"a": 1}, {"a": "x"}], "'a' holds 'x' in row 2 of"),
        ([{"a": 1}, {"b": 1}], "row 2 of .* lacks 'a'"),
        ([1, 2], "gives int"),
        ([], "gave no row"),
        ([{"__key__": "s", "jpg": b""}], "none of json, cls and txt"),
    ],
)
def test_what_is_no_row_is_refused(rows, said):
    with pytest.raises(InvalidInputError, match=said):
        table_files(iter(rows))
    with pytest.raises(InvalidInputError, match="got int"):
        table_files(3)
