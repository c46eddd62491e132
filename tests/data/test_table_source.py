"""Which reader a source gets: by its name, by its content, from standard input."""

import bz2
import decimal
import gzip
import io
import os
import sys
import zipfile

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from jointrain.data import (
    ColumnReading,
    ReadingOptions,
    SupervisedTable,
    TableSchema,
    _compression as compression,
    as_table,
    load_penguins,
    read_raw,
    read_table,
    table_files,
    write_table,
)
from jointrain.errors import InvalidInputError

TEXT = b"a,b\n1,x\n2,y\n"
ROWS = [("1", "x"), ("2", "y")]


def zstd(data):
    return pa.Codec("zstd").compress(data, asbytes=True)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstd])
@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.csv.zst", "t.dat", "t", "T.CSV"])
def test_packing_is_recognised_by_content(tmp_path, pack, name):
    path = tmp_path / name
    path.write_bytes(pack(TEXT))
    if pack is bytes and name.endswith((".gz", ".zst")):
        with pytest.raises(InvalidInputError, match=r"is no whole (gzip|Zstandard) file"):
            read_raw(path)
    else:
        assert read_raw(path).frame.rows() == ROWS


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
def test_packed_in_several_pieces(tmp_path, pack):
    (tmp_path / "t.csv.gz").write_bytes(pack(TEXT[:5]) + pack(TEXT[5:]))
    assert read_raw(tmp_path / "t.csv.gz").frame.rows() == ROWS


@pytest.mark.parametrize("pack, name", [(gzip.compress, "t.csv.gz"), (zstd, "t.csv.zst")])
def test_packing_out_of_proportion_is_refused(tmp_path, monkeypatch, pack, name):
    monkeypatch.setattr(compression, "_ALWAYS_ALLOWED", 1 << 12)
    (tmp_path / name).write_bytes(pack(b"a,b\n" + b"1,2\n" * 1_000_000))
    with pytest.raises(InvalidInputError, match=r"grows from .* to more than .*unpack it first"):
        read_raw(tmp_path / name)


@pytest.mark.parametrize("name", ["t.csv", "t", "t.parquet", "t.data.bin"])
def test_parquet_under_any_name(tmp_path, name):
    load_penguins().write_parquet(tmp_path / name)
    table = read_raw(tmp_path / name)
    assert not table.is_text
    assert table.frame.shape == (344, 8)
    assert [("in spite of its name" in note) for note in table.notes] == [True] * (name == "t.csv")


def test_text_under_the_name_of_a_typed_file(tmp_path):
    for name in ("t.parquet", "t.arrow", "t.xlsx"):
        (tmp_path / name).write_bytes(TEXT)
        with pytest.raises(InvalidInputError, match=r"is no whole (Parquet|Arrow|Excel) file"):
            read_raw(tmp_path / name)


def test_what_is_no_table_is_refused(tmp_path):
    path = tmp_path / "t.bin"
    path.write_bytes(bytes(range(256)))
    with pytest.raises(InvalidInputError, match=r"ending \.bin and no content .* known are \.csv"):
        read_raw(path)
    path.write_bytes(bz2.compress(TEXT))
    with pytest.raises(InvalidInputError, match="is packed with bzip2; unpack it first"):
        read_raw(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("t.csv", TEXT)
    with pytest.raises(InvalidInputError, match="is a zip archive without an Excel workbook"):
        read_raw(path)
    path = tmp_path / "page.csv"
    path.write_bytes(TEXT)
    with pytest.raises(InvalidInputError, match="is no Excel file, so it has no sheet 'x'"):
        read_raw(f"{tmp_path / 'page.csv'}#x")


@pytest.mark.parametrize(
    "data", [b"\n<!DOCTYPE html><html>", b"<?xml version='1.0'?>", b"%PDF-1.7"]
)
def test_other_documents_are_refused(tmp_path, data):
    (tmp_path / "t.csv").write_bytes(data + b"\na,b\n1,2\n")
    with pytest.raises(InvalidInputError, match="is a web page, XML or PDF, not a table"):
        read_raw(tmp_path / "t.csv")


def test_an_existing_path_wins_over_a_sheet(tmp_path):
    (tmp_path / "t.csv#1").write_bytes(TEXT)
    assert read_raw(tmp_path / "t.csv#1").frame.rows() == ROWS


class Stream(io.TextIOWrapper):
    def __init__(self, data):
        super().__init__(io.BytesIO(data))


def parquet():
    file = io.BytesIO()
    pl.DataFrame({"a": ["1", "2"], "b": ["x", "y"]}).write_parquet(file)
    return file.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        TEXT,
        gzip.compress(TEXT, mtime=0),
        zstd(TEXT),
        TEXT.replace(b",", b";"),
        TEXT.decode().encode("utf-16"),
        b'{"a":"1","b":"x"}\n{"a":"2","b":"y"}\n',
        b'[{"a":"1","b":"x"},{"a":"2","b":"y"}]',
        parquet(),
    ],
)
def test_standard_input_by_its_content(monkeypatch, data):
    monkeypatch.setattr(sys, "stdin", Stream(data))
    table = read_raw("-")
    assert table.frame.rows() == ROWS
    assert table.where == "standard input"


def test_empty_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", Stream(b""))
    with pytest.raises(InvalidInputError, match="standard input is empty"):
        read_raw("-")
    monkeypatch.setattr(Stream, "isatty", lambda self: True)
    with pytest.raises(InvalidInputError, match="standard input is a terminal"):
        read_raw("-")


def test_a_named_pipe_is_read_once(tmp_path):
    read, write = os.pipe()
    os.write(write, TEXT)
    os.close(write)
    try:
        assert read_raw(f"/dev/fd/{read}").frame.rows() == ROWS
    finally:
        os.close(read)


def test_text_options_for_a_typed_file_get_a_note(tmp_path):
    write_table(load_penguins(), tmp_path / "t.parquet")
    (note,) = read_raw(tmp_path / "t.parquet", ReadingOptions(encoding="cp1252")).notes
    assert "is no text with separators: --encoding is not used" in note


@pytest.mark.parametrize("address", ["https://x.org/t.csv", "s3://bucket/t.parquet"])
def test_addresses_of_files_are_refused(address):
    with pytest.raises(InvalidInputError, match=r"can't be read: .*; download the file first"):
        read_raw(address)


def test_categories_of_numbers_are_categories_in_files_as_in_frames(tmp_path):
    frame = pd.DataFrame(
        {
            "c": pd.Categorical([3, 1, None] * 20),
            "f": pd.Categorical([1.0, 2.5, None] * 20),
            "b": pd.Categorical([True, False, None] * 20),
            "x": np.arange(60),
            "y": np.arange(60.0),
        }
    )
    frame.to_parquet(tmp_path / "t.parquet")
    frame.to_feather(tmp_path / "t.feather")
    expected = as_table(frame).select("c", "f").cast(pl.String)
    assert expected["c"].to_list()[:3] == ["3", "1", None]
    tables = [read_table(tmp_path / name) for name in ("t.parquet", "t.feather")]
    tables.append(as_table(pa.Table.from_pandas(frame)))
    for table in tables:
        assert table.select("c", "f").equals(expected)
        assert table["x"].dtype == pl.Int64
        assert table["b"].dtype == pl.Boolean
    prepared = SupervisedTable.prepare(read_raw(tmp_path / "t.parquet"), ["y"])
    assert {column.name: column.kind for column in prepared.columns}["c"] == "category"
    # what is a number to a model stays one
    numbers = TableSchema({"c": ColumnReading("number")})
    assert numbers.conform(tables[0])["c"].to_list()[:3] == [3, 1, None]
    (tmp_path / "parts").mkdir()
    frame.to_parquet(tmp_path / "parts" / "t.parquet")
    [(_, piece)] = list(table_files(str(tmp_path / "parts")).frames())
    assert piece.select("c", "f").equals(expected)


@pytest.mark.parametrize("name", ["PAR1", "PAR1_x", "ARROW1", "ARROW12", "BZh", "BZh9"])
def test_a_header_that_begins_as_a_binary_file_does(tmp_path, name):
    for separator in ",\t":
        (tmp_path / "t.csv").write_text(f"{name}{separator}y\n1{separator}2\n")
        assert read_raw(tmp_path / "t.csv").frame.rows() == [("1", "2")]


def test_the_index_of_a_pandas_table_is_no_feature(tmp_path):
    frame = pd.DataFrame({"x": range(20), "y": [0.5, 1.5] * 10}, index=[*"abcde"] * 4)
    frame.to_parquet(tmp_path / "t.parquet")
    raw = read_raw(tmp_path / "t.parquet")
    table = SupervisedTable.prepare(raw, "y")
    assert [column.name for column in table.columns] == ["x"]
    assert "__index_level_0__: the index of a pandas table, left out" in table.notes
    # with a role, or a name of its own, it is a column
    SupervisedTable.prepare(raw, "y", group_column="__index_level_0__")
    frame.rename_axis("letter").to_parquet(tmp_path / "t.parquet")
    named = SupervisedTable.prepare(read_raw(tmp_path / "t.parquet"), "y")
    assert [column.name for column in named.columns] == ["x", "letter"]


def test_decimals_of_256_bits_are_refused_without_lines_of_others(tmp_path, capfd):
    column = pa.array([decimal.Decimal("1.5")], pa.decimal256(50, 2))
    pq.write_table(pa.table({"a": column}), tmp_path / "t.parquet")
    with pytest.raises(InvalidInputError, match=r"^column 'a' of .* has the type decimal256"):
        read_raw(tmp_path / "t.parquet")
    assert capfd.readouterr().err == ""
