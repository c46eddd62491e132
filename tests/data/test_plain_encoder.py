"""The plain encoder: what it makes of each kind of column, missing and unseen values, its file."""

import datetime

import numpy as np
import polars as pl
import pytest

from jointrain import InvalidInputError
from jointrain.data import Column, PlainEncoder

FRAME = pl.DataFrame(
    {
        "n": [3.0, None, 1e200, -2.0],
        "flag": [True, None, False, True],
        "city": ["b", "a", None, "b"],
        "note": ["red house", "", None, "red tree"],
        "at": [datetime.datetime(2024, 2, 3, 6), None, datetime.datetime(2025, 2, 3, 18), None],
        "time": [datetime.time(1), datetime.time(0, 0, 5), None, datetime.time(1)],
    }
)
KINDS = {
    "n": "numeric", "flag": "boolean", "city": "category", "note": "text", "at": "datetime",
    "time": "time",
}  # fmt: skip
COLUMNS = [Column(name, kind, str(FRAME.schema[name])) for name, kind in KINDS.items()]


def test_each_kind_of_column_by_hand():
    encoder = PlainEncoder().fit(FRAME, COLUMNS)
    found = {
        name: values.tolist()
        for name, values in zip(encoder.feature_names, encoder.transform(FRAME).T, strict=True)
    }
    assert found["n"] == [3, 3, 3e38, -2]  # 3 is the median
    assert found["n missing"] == [0, 1, 0, 0]
    assert found["flag"] == [1, 1, 0, 1]
    assert found["flag missing"] == [0, 1, 0, 0]
    assert [found[f"city={c}"] for c in "ab"] == [[0, 1, 0, 0], [1, 0, 0, 1]]
    assert found["city missing"] == [0, 0, 1, 0]
    assert found["at days"][0] == 19756.25
    assert found["at year"] == [2024, 2024.5, 2025, 2024.5]
    assert found["at weekday"][:3:2] == [6, 1]
    assert found["at hour"] == [6, 12, 18, 12]
    assert "at month" not in found
    assert found["at days missing"] == [0, 1, 0, 1]
    assert found["time"] == [3600, 5, 3600, 3600]
    assert found["note word red"][0] < found["note word house"][0]
    assert found["note word red"][1:3] == [0, 0]
    assert encoder.transform(FRAME).dtype == np.float64
    assert len(encoder.source_columns) == len(found)


def test_a_day_is_its_midnight():
    encoder = PlainEncoder().fit(FRAME, COLUMNS)
    days = FRAME.with_columns(pl.col("at").cast(pl.Date))
    midnight = encoder.transform(days.with_columns(pl.col("at").cast(pl.Datetime("us"))))
    np.testing.assert_array_equal(encoder.transform(days), midnight)
    assert midnight[0, encoder.feature_names.index("at hour")] == 0


@pytest.mark.parametrize("codes", [True, False])
def test_many_categories(codes):
    values = [f"c{i:03d}" for i in range(120)] + ["c001"] * 3 + [None]
    frame = pl.DataFrame({"c": values, "n": range(len(values))})
    columns = [Column("c", "category", "String")]
    encoder = PlainEncoder(codes).fit(frame, columns)
    found = encoder.transform(pl.DataFrame({"c": ["c001", "c119", None, "new"]}))
    if codes:
        assert found.tolist() == [[1], [119], [-1], [-1]]
    else:
        assert found.shape == (4, 102)
        assert found[0, encoder.feature_names.index("c=c001")] == 1
        assert found.argmax(1).tolist()[1:] == [101, 100, 101]
        assert found.sum(1).tolist() == [1] * 4
    assert encoder.unseen(pl.DataFrame({"c": ["c001", "new", "new"]})) == {"c": 2}


def test_a_new_category_of_few_is_no_category():
    encoder = PlainEncoder().fit(FRAME, [COLUMNS[2]])
    assert encoder.transform(pl.DataFrame({"city": ["z"]})).tolist() == [[0, 0, 0]]


def test_columns_without_values_and_texts_without_words():
    frame = pl.DataFrame({"n": [None, None], "t": ["?", "!"]}, schema={"n": pl.Float64, "t": str})
    columns = [Column("n", "numeric", "Float64"), Column("t", "text", "String")]
    assert PlainEncoder().fit(frame, columns).transform(frame).tolist() == [[0, 1], [0, 1]]


@pytest.mark.parametrize("codes", [True, False])
def test_a_file_gives_the_same_bits_and_is_the_same(tmp_path, codes):
    encoder = PlainEncoder(codes).fit(FRAME, COLUMNS)
    encoder.save(tmp_path / "a.json")
    again = PlainEncoder.load(tmp_path / "a.json")
    again.save(tmp_path / "b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    np.testing.assert_array_equal(again.transform(FRAME), encoder.transform(FRAME))
    assert again.feature_names == encoder.feature_names
    assert again.categories == encoder.categories


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:-20],
        lambda text: text.replace('"city"', '"town"', 1),
        lambda text: text.replace('"blocks"', '"block"'),
        lambda text: text.replace('"year"', '"century"'),
        lambda text: text.replace('"medians": [3.0]', '"medians": [NaN]'),
        lambda text: text.replace('"medians": [3.0]', '"medians": []'),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, change):
    path = tmp_path / "encoder.json"
    PlainEncoder().fit(FRAME, COLUMNS).save(path)
    path.write_text(change(path.read_text()))
    with pytest.raises(InvalidInputError, match="is no whole encoder file"):
        PlainEncoder.load(path)
    path.unlink()
    with pytest.raises(InvalidInputError, match="can't be read"):
        PlainEncoder.load(path)
