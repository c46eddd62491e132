"""Files of a table that is larger than memory."""

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from jointrain.data.streaming import TableFiles, table_files
from jointrain.errors import InvalidInputError
from tests.data.streaming.tables import in_files, mixed_frame


def everything(files):
    return pl.concat([frame for _, frame in files.frames()])


def test_all_rows_are_read_by_row_groups(tmp_path):
    frame = mixed_frame(230)
    files = table_files(in_files(frame, tmp_path / "t"))
    assert files.rows == 230
    assert files.pieces[0].rows == 50
    assert list(files.schema) == frame.columns
    assert_frame_equal(everything(files).sort("row"), frame.sort("row"))


def test_names_and_order_of_files_do_not_matter(tmp_path):
    frame = mixed_frame(230)
    one = table_files(in_files(frame, tmp_path / "one"))
    (tmp_path / "two").mkdir()
    names = ["z", "a", "m"]
    for path, name in zip(sorted((tmp_path / "one").iterdir()), names, strict=True):
        path.rename(tmp_path / "two" / f"{name}.parquet")
    other = table_files(tmp_path / "two")
    assert [file.content for file in one.files] == [file.content for file in other.files]
    assert one.pieces == other.pieces


def test_folders_called_name_equals_value_give_a_column(tmp_path):
    for year in (2023, 2024):
        folder = tmp_path / "t" / f"year={year}"
        folder.mkdir(parents=True)
        pl.DataFrame({"a": [year + 0.5, 1.0]}).write_parquet(folder / "part.parquet")
    (tmp_path / "t" / "_SUCCESS").touch()
    files = table_files(tmp_path / "t")
    found = everything(files).sort("year", "a")
    assert found["year"].to_list() == [2023, 2023, 2024, 2024]
    assert found["a"].to_list() == [1.0, 2023.5, 1.0, 2024.5]


def test_columns_are_found_by_name_and_one_without_values_fits_every_type(tmp_path):
    pl.DataFrame({"a": [1, 2], "b": ["x", None]}).write_parquet(tmp_path / "1.parquet")
    pl.DataFrame({"b": [None], "a": [3]}).write_parquet(tmp_path / "2.parquet")
    files = table_files(tmp_path)
    assert dict(files.schema) == {"a": pl.Int64, "b": pl.String}
    # the order of columns is that of the file which is first by its content
    rows = everything(files).select("a", "b").sort("a").rows()
    assert rows == [(1, "x"), (2, None), (3, None)]


def test_nan_is_a_missing_value(tmp_path):
    pl.DataFrame({"a": [1.0, float("nan")]}).write_parquet(tmp_path / "1.parquet")
    assert everything(table_files(tmp_path))["a"].to_list() == [1.0, None]


def test_a_missing_column_and_another_type_are_named(tmp_path):
    pl.DataFrame({"a": [1], "b": [1]}).write_parquet(tmp_path / "1.parquet")
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "2.parquet")
    with pytest.raises(InvalidInputError, match=r"2\.parquet has no column 'b', which"):
        TableFiles([tmp_path / "1.parquet", tmp_path / "2.parquet"])
    pl.DataFrame({"a": [1], "b": ["x"]}).write_parquet(tmp_path / "2.parquet")
    with pytest.raises(InvalidInputError) as caught:
        table_files(tmp_path)
    for word in ("1.parquet", "2.parquet", "'b'", "String", "Int64"):
        assert word in str(caught.value)


def test_an_unreadable_row_group_is_named(tmp_path):
    path = tmp_path / "1.parquet"
    frame = pl.DataFrame({"a": range(1000)})
    frame.write_parquet(path, row_group_size=500, compression="zstd")
    data = bytearray(path.read_bytes())
    data[20:60] = bytes(40)
    path.write_bytes(data)
    with pytest.raises(InvalidInputError, match=r"row group 1 of .*1\.parquet can't be read"):
        everything(table_files(path))
    path.write_bytes(data[:-100])
    with pytest.raises(InvalidInputError, match=r"1\.parquet is no whole Parquet file"):
        table_files(path)


def test_sources_that_are_none_are_refused(tmp_path):
    with pytest.raises(InvalidInputError, match="no Parquet or CSV file"):
        table_files(tmp_path)
    with pytest.raises(InvalidInputError, match="no file is called"):
        table_files(str(tmp_path / "*.parquet"))
    with pytest.raises(InvalidInputError, match="does not exist"):
        table_files([tmp_path / "a.parquet"])
    pl.DataFrame({"a": pl.Series([], dtype=pl.Int64)}).write_parquet(tmp_path / "1.parquet")
    with pytest.raises(InvalidInputError, match="has no rows"):
        table_files(tmp_path)
    with pytest.raises(InvalidInputError, match="twice"):
        table_files([tmp_path / "1.parquet", tmp_path / "1.parquet"])
    (tmp_path / "t.csv").write_text("a\n1\n")
    with pytest.raises(InvalidInputError, match=r"1.parquet.*t.csv|t.csv.*1.parquet"):
        table_files(tmp_path)


def test_types_that_can_not_be_read_in_parts(tmp_path):
    frame = pl.DataFrame({"a": pl.Series([1, 2], dtype=pl.Int128)})
    frame.write_parquet(tmp_path / "1.parquet")
    with pytest.raises(InvalidInputError, match=r"has a type that can't be read in parts \(Int"):
        table_files(tmp_path)
