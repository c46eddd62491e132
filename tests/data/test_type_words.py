import decimal

import polars as pl
import pytest

from jointrain.data import SupervisedTable, read_raw, write_table
from jointrain.data._type_words import type_in_words
from jointrain.errors import InvalidInputError

NESTED = {
    "lists of whole numbers": pl.Series("f", [[1], [2, 3], None]),
    "lists of lists of text": pl.Series("f", [[["a"]], None, None]),
    "structs with the fields a, b": pl.Series("f", [{"a": 1, "b": "x"}, None, None]),
    "bytes": pl.Series("f", [b"a", b"b", None]),
}


@pytest.mark.parametrize("words", NESTED)
def test_columns_of_parquet_are_named_in_words(tmp_path, words):
    path = tmp_path / "t.parquet"
    pl.DataFrame([NESTED[words], pl.Series("y", [1.5, 2.5, 3.5])]).write_parquet(path)
    frame = read_raw(path).frame
    if words != "lists of whole numbers":  # a bag
        with pytest.raises(InvalidInputError, match=f"'f' holds {words}, which can't be a feature"):
            SupervisedTable.prepare(frame, ["y"])
    with pytest.raises(InvalidInputError, match=f"target 'f' holds {words}, which can't be predic"):
        SupervisedTable.prepare(frame, ["f"])
    with pytest.raises(InvalidInputError, match=f"column 'f' holds {words}, which can't be writt"):
        write_table(frame, tmp_path / "t.csv")


@pytest.mark.parametrize(
    "dtype, words",
    [
        (pl.Int128(), "whole numbers"),
        (pl.Float32(), "numbers"),
        (pl.Decimal(10, 2), "decimal numbers"),
        (pl.Datetime("us", "Europe/Berlin"), "dates with time of the zone Europe/Berlin"),
        (pl.Datetime("us"), "dates with time"),
        (pl.Duration("us"), "durations"),
        (pl.Categorical(), "categories"),
        (pl.Enum(["a"]), "categories"),
        (pl.Array(pl.Float64(), 3), "lists of numbers"),
        (pl.Null(), "no values"),
    ],
)
def test_words(dtype, words):
    assert type_in_words(dtype) == words


def test_exact_types_of_parquet_stay(tmp_path):
    frame = pl.DataFrame(
        {
            "wide": pl.Series([10**20, None], dtype=pl.Int128),
            "exact": pl.Series([decimal.Decimal("1.10"), None], dtype=pl.Decimal(20, 2)),
            "u": pl.Series([2**64 - 1, None], dtype=pl.UInt64),
        }
    )
    frame.write_parquet(tmp_path / "t.parquet")
    assert read_raw(tmp_path / "t.parquet").frame.equals(frame)
    write_table(frame, tmp_path / "t.csv")
    assert read_raw(tmp_path / "t.csv").frame.row(0) == (
        "100000000000000000000",
        "1.10",
        "18446744073709551615",
    )
