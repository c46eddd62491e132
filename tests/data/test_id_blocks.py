"""Ids and bags as codes, against what one counts by hand."""

import numpy as np
import polars as pl
import pytest

import jointrain.data._id_blocks as id_blocks
from jointrain.data import PlainEncoder, TableEncoder, infer_columns
from jointrain.errors import InvalidInputError
from jointrain.task import CodeColumns


@pytest.fixture
def log():
    users = ["a", "a", "b", "b", "b", "c", None, "a"]
    return pl.DataFrame(
        {
            "price": [1.0, 2, 3, 4, 5, 6, 7, 8],
            "user": users,
            "genres": ["x|y", "x", None, "", "y | x", "z", "x|x", "y"],
        }
    )


def fitted(frame, said, bins=0):
    columns = infer_columns(frame, frame.columns, said)
    columns = [
        column if column.kind != "category" else type(column)(column.name, "id", column.dtype)
        for column in columns
    ]
    return TableEncoder(bins).fit(frame, columns)


def test_ids_are_codes_behind_the_numbers(log):
    encoder = fitted(log.select("price", "user"), {})
    assert encoder.code_columns == (CodeColumns("user", place=1, count=5),)
    assert encoder.feature_names == ["price", "user id"]
    # 0 missing, 2 rare, then the values in order
    assert encoder.transform(log)[:, 1].tolist() == [3, 3, 4, 4, 4, 2, 0, 3]
    new = pl.DataFrame({"price": [1.0], "user": ["never seen"]})
    assert encoder.transform(new)[:, 1].tolist() == [1]
    assert encoder.unseen(new) == {"user": 1}
    assert encoder.unseen(log) == {}


def test_bags_are_the_codes_of_their_values(log):
    encoder = fitted(log.select("genres"), {"genres": "bag"})
    # x 5 times, y 3 times, z once: rare
    assert encoder.code_columns == (CodeColumns("genres", place=0, count=5, items=2),)
    expected = [[3, 4], [3, 0], [0, 0], [0, 0], [4, 3], [2, 0], [3, 3], [4, 0]]
    assert encoder.transform(log).tolist() == expected
    new = pl.DataFrame({"genres": ["q|x|y", "x|y|z"]})
    assert encoder.transform(new).tolist() == [[1, 3], [3, 4]]
    assert encoder.unseen(new) == {"genres": 1}


def test_another_separator(log):
    frame = pl.DataFrame({"tags": ["a; b", "b", "a", "b;a"]})
    encoder = fitted(frame, {"tags": "bag:;"})
    assert encoder.transform(frame).tolist() == [[3, 4], [4, 0], [3, 0], [4, 3]]


def test_codes_are_not_cut_into_bins(log):
    encoder = fitted(log, {"genres": "bag"}, bins=2)
    assert [column.place for column in encoder.code_columns] == [1, 2]
    assert encoder.source_columns == ["price", "user", "genres", "genres", "price", "price"]


def test_a_file_holds_all_of_it(log, tmp_path):
    encoder = fitted(log, {"genres": "bag"}, bins=2)
    encoder.save(tmp_path / "encoder")
    loaded = TableEncoder.load(tmp_path / "encoder")
    assert loaded.columns == encoder.columns
    assert loaded.code_columns == encoder.code_columns
    np.testing.assert_array_equal(loaded.transform(log), encoder.transform(log))


@pytest.mark.parametrize(
    "change",
    [
        {"values": {"genres": ["x", "x"]}},
        {"values": {"genres": [1]}},
        {"hashed": {"genres": 1}},
        {"items": {"genres": 10**9}},
        {"items": {}},
        {"separators": {"genres": ""}},
    ],
)
def test_a_changed_state_is_refused(log, change):
    block = fitted(log.select("genres"), {"genres": "bag"})._blocks[0]
    settings, arrays = block.state()
    with pytest.raises(ValueError):  # noqa: PT011 -- any: `load` says the sentence
        id_blocks.BagBlock.from_state({**settings, **change}, arrays)


def test_beyond_a_bound_values_are_hashed(monkeypatch):
    monkeypatch.setattr(id_blocks, "MOST_VALUES", 3)
    monkeypatch.setattr(id_blocks, "BUCKETS", 5)
    frame = pl.DataFrame({"a": [f"v{n // 2}" if n < 6 else f"w{n}" for n in range(46)]})
    frame = frame.with_columns(b=pl.col("a"))
    encoder = fitted(frame, {"a": "category", "b": "category"})
    assert [column.count for column in encoder.code_columns] == [3 + 3 + 5] * 2
    codes = encoder.transform(frame)
    assert codes[:6].tolist() == [[3 + n // 2] * 2 for n in range(6)]
    assert {*codes[6:].ravel()} == {6.0, 7.0, 8.0, 9.0, 10.0}
    # another column has another salt
    assert (codes[6:, 0] != codes[6:, 1]).any()
    # the same on every machine
    assert codes[6:10].tolist() == encoder.transform(frame[6:10]).tolist()
    assert codes[6:10, 0].tolist() == PINNED
    new = pl.DataFrame({"a": ["never seen"], "b": ["never seen"]})
    assert encoder.transform(new).min() >= 6
    assert encoder.unseen(new) == {}


PINNED = [7.0, 10.0, 7.0, 10.0]


def test_plain_ids_are_those_of_scikit_learn(log):
    from sklearn.preprocessing import MultiLabelBinarizer, OrdinalEncoder

    columns = fitted(log, {"genres": "bag"}).columns
    encoder = PlainEncoder().fit(log, columns)
    found = encoder.transform(log)
    # releases of scikit-learn differ in what they take for missing: the known ones are compared
    known = log["user"].is_not_null().to_numpy()
    ordinal = OrdinalEncoder().fit_transform(log["user"].to_numpy()[known, None])
    np.testing.assert_array_equal(found[known, 1], ordinal[:, 0])
    assert set(found[~known, 1]) == {-1}
    sets = [[one.strip() for one in (text or "").split("|") if one] for text in log["genres"]]
    np.testing.assert_array_equal(found[:, 2:], MultiLabelBinarizer().fit_transform(sets))
    new = log.with_columns(user=pl.lit("never seen"))
    assert set(encoder.transform(new)[:, 1]) == {-1}


@pytest.mark.parametrize(
    "said, message",
    [
        ({"user": "categroy"}, "did you mean"),
        ({"usr": "category"}, "no feature"),
        ({"price": "bag"}, "its values are numeric"),
        ({"user": "text:;"}, "known are"),
    ],
)
def test_what_can_not_be_said(log, said, message):
    with pytest.raises(InvalidInputError, match=message):
        infer_columns(log, log.columns, said)
