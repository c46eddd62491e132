import datetime as dt
import math
import os
import sys

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st

from jointrain.data import Column, TableEncoder, infer_columns, load_penguins
from jointrain.data._blocks import MAX_CATEGORIES
from jointrain.errors import InvalidInputError, NotFittedError


def fitted(frame, **kinds):
    columns = [
        Column(column.name, kinds.get(column.name, column.kind), column.dtype)
        for column in infer_columns(frame, frame.columns)
    ]
    return TableEncoder().fit(frame, columns, 0)


def encode(encoder, frame):
    return dict(zip(encoder.feature_names, encoder.transform(frame).T.tolist(), strict=True))


def test_numbers_are_scaled_by_quartiles_and_squashed():
    frame = pl.DataFrame({"a": [0.0, 1.0, 2.0, 3.0, 4.0, None]})
    encoder = fitted(frame)
    assert encoder.feature_names == ["a", "a missing"]
    assert encoder.source_columns == ["a", "a"]
    scaled = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])  # quartiles 1 and 3, median 2
    found = encode(encoder, frame)
    np.testing.assert_allclose(found["a"][:5], scaled / np.sqrt(1 + (scaled / 3) ** 2), rtol=1e-6)
    assert found["a"][5] == 0
    assert found["a missing"] == [0, 0, 0, 0, 0, 1]


def test_numbers_equal_skrubs_scaler():
    skrub = pytest.importorskip("skrub")
    rng = np.random.default_rng(0)
    values = {
        "normal": rng.normal(size=50),
        "skewed": rng.lognormal(0, 3, 50),
        "mostly zero": np.where(rng.random(50) < 0.8, 0, rng.normal(size=50)),
        "with missing": np.where(rng.random(50) < 0.3, np.nan, rng.normal(size=50)),
    }
    frame = pl.DataFrame(values, nan_to_null=True)
    array = np.stack(list(values.values()), axis=1)
    expected = np.nan_to_num(skrub.SquashingScaler().fit_transform(array))
    np.testing.assert_allclose(fitted(frame).transform(frame)[:, :4], expected, atol=1e-6)


def test_an_outlier_leaves_the_others_apart():
    frame = pl.DataFrame({"a": [1.0, 2.0, 3.0, 4.0, 1e9]})
    found = fitted(frame).transform(frame)[:, 0]
    assert (np.diff(found[:4]) > 0.3).all()
    assert found[4] <= 3


def test_extreme_numbers_stay_finite():
    frame = pl.DataFrame(
        {
            "wide": [-sys.float_info.max, 0.0, sys.float_info.max, 1.0],
            "narrow": [0.0, 5e-324, 1e-323, 1.5e-323],
            "integers": [-(2**63), 2**63 - 1, 0, 1],
        }
    )
    encoder = fitted(frame)
    assert np.isfinite(encoder.transform(frame)).all()
    assert np.isfinite(encoder.transform(frame.reverse())).all()


def test_booleans():
    encoder = fitted(pl.DataFrame({"a": [True, False, None], "b": [True, False, True]}))
    assert encode(encoder, pl.DataFrame({"b": [None, True], "a": [None, False]})) == {
        "a": [0.5, 0],
        "a missing": [1, 0],
        "b": [0.5, 1],
    }


def test_categories():
    frame = pl.DataFrame({"c": ["x"] * 3 + ["y"] * 2 + ["once", None]})
    encoder = fitted(frame)
    assert encoder.feature_names == ["c=x", "c=y", "c rare", "c missing"]
    assert encoder.categories == {"c": ["once", "x", "y"]}
    other = pl.DataFrame({"c": ["y", "once", "new", None]})
    assert encoder.transform(other).tolist() == [
        [0, 1, 0, 0],
        [0, 0, 1, 0],
        [0, 0, 1, 0],
        [0, 0, 0, 1],
    ]
    assert encoder.unseen(other) == {"c": 1}


def test_unseen_and_missing_where_fitting_saw_neither_rare_nor_missing_ones():
    encoder = fitted(pl.DataFrame({"c": ["x", "y"] * 3}))
    assert encoder.feature_names == ["c=x", "c=y"]
    assert encoder.transform(pl.DataFrame({"c": ["new", None, "y"]})).tolist() == [
        [0, 0],
        [0, 0],
        [0, 1],
    ]
    assert encoder.unseen(pl.DataFrame({"c": ["x", None]})) == {}


def test_categories_have_a_limit():
    values = [f"v{i}" for i in range(MAX_CATEGORIES + 20) for _ in range(25)]
    encoder = fitted(pl.DataFrame({"c": values}), c="category")
    assert len(encoder.feature_names) == MAX_CATEGORIES + 1
    assert len(encoder.categories["c"]) == MAX_CATEGORIES + 20


def test_all_categories_rare_in_a_tiny_table():
    encoder = fitted(pl.DataFrame({"c": ["x", "y", "z"]}))
    assert encoder.feature_names == ["c=x", "c=y", "c=z"]


def test_numbers_as_categories():
    encoder = fitted(pl.DataFrame({"c": [1.0, 2.0, 1.0, 2.0]}), c="category")
    assert encoder.feature_names == ["c=1", "c=2"]
    assert encoder.transform(pl.DataFrame({"c": [2, 1]})).tolist() == [[0, 1], [1, 0]]


def test_nan_is_a_missing_category():
    frame = pl.DataFrame({"c": [1.0, 2.0, math.nan, 1.0, 2.0]})
    encoder = TableEncoder().fit(frame, [Column("c", "category", "Float64")])
    assert encoder.feature_names == ["c=1", "c=2", "c missing"]
    assert encoder.transform(frame)[2].tolist() == [0, 0, 1]
    assert encoder.unseen(frame) == {}


@pytest.mark.parametrize("dtype", [pl.Categorical, pl.Enum(["x", "y", "z"])])
def test_polars_categories_equal_strings(dtype):
    frame = pl.DataFrame({"c": ["x", "y", None, "x", "y"]})
    encoder = fitted(frame)
    typed = frame.with_columns(pl.col("c").cast(dtype))
    np.testing.assert_array_equal(encoder.transform(typed), encoder.transform(frame))
    assert fitted(typed).feature_names == encoder.feature_names
    assert encoder.unseen(typed) == {}


def test_text_with_like_spelling_is_close():
    frame = pl.DataFrame(
        {"t": [f"street {i}" for i in range(50)] + [f"house {i}" for i in range(50)]}
    )
    encoder = fitted(frame.vstack(pl.DataFrame({"t": [None]}, schema=frame.schema)))
    assert encoder.columns[0].kind == "text"
    assert encoder.feature_names[-1] == "t missing"
    first, same, other, absent = encoder.transform(
        pl.DataFrame({"t": ["street 7", "street 777", "house 7", None]})
    )
    assert np.linalg.norm(first - same) < 0.5 * np.linalg.norm(first - other)
    assert absent.tolist() == [0.0] * 30 + [1.0]
    assert encoder.unseen(frame) == {}


def test_text_of_other_alphabets_and_blanks():
    frame = pl.DataFrame({"t": ["", " ", "日本", "ß" * 5000, *map(chr, range(0x400, 0x440))]})
    assert np.isfinite(fitted(frame, t="text").transform(frame)).all()


def test_dates_have_periods_where_they_vary():
    frame = pl.DataFrame(
        {"d": [dt.date(2024, 1, 1), dt.date(2024, 1, 2), dt.date(2024, 4, 8), None]}
    )
    encoder = fitted(frame)
    assert encoder.feature_names == [
        "d",
        "d missing",
        "d month sin",
        "d month cos",
        "d weekday sin",
        "d weekday cos",
    ]
    found = encode(encoder, frame)
    np.testing.assert_allclose(found["d month sin"], [0, 0, 1, 0], atol=1e-6)
    np.testing.assert_allclose(found["d month cos"], [1, 1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(found["d weekday cos"][::2], [1, 1], atol=1e-6)  # both Mondays
    assert found["d"][0] < found["d"][1] < found["d"][2]


def test_time_zones_change_the_hour_but_not_the_instant():
    naive = pl.DataFrame({"d": [dt.datetime(2024, 1, 1, hour) for hour in (0, 6, 12, 18)]})
    utc = naive.select(pl.col("d").dt.replace_time_zone("UTC"))
    tokyo = utc.select(pl.col("d").dt.convert_time_zone("Asia/Tokyo"))
    encoder = fitted(naive)
    np.testing.assert_array_equal(encoder.transform(utc), encoder.transform(naive))
    assert encode(encoder, tokyo)["d"] == encode(encoder, utc)["d"]
    assert encode(encoder, tokyo)["d hour sin"] != encode(encoder, utc)["d hour sin"]


def test_dates_where_fitting_saw_times_of_day():
    encoder = fitted(pl.DataFrame({"d": [dt.datetime(2024, 1, 1, hour) for hour in range(24)]}))
    assert np.isfinite(encoder.transform(pl.DataFrame({"d": [dt.date(2024, 1, 1), None]}))).all()


@pytest.mark.parametrize("kind", ["datetime", "calendar"])
def test_a_day_is_its_midnight_where_fitting_saw_times_of_day(kind):
    moments = pl.DataFrame({"d": [dt.datetime(2024, 1, 1, hour) for hour in range(24)]})
    days = pl.DataFrame({"d": [dt.date(2024, 1, 5), None]})
    encoder = fitted(moments, d=kind)
    midnight = encoder.transform(days.cast(pl.Datetime("us")))
    np.testing.assert_array_equal(encoder.transform(days), midnight)


def test_time_of_day_is_a_circle():
    frame = pl.DataFrame({"t": [dt.time(0), dt.time(6), dt.time(23, 59, 59), None]})
    found = encode(fitted(frame), frame)
    np.testing.assert_allclose(found["t sin"], [0, 1, 0, 0], atol=1e-3)
    np.testing.assert_allclose(found["t cos"], [1, 0, 1, 0], atol=1e-3)


def test_durations_are_seconds():
    frame = pl.DataFrame({"d": [dt.timedelta(seconds=i) for i in range(5)]})
    seconds = pl.DataFrame({"d": [0, 1, 2, 3, 4]})
    np.testing.assert_array_equal(
        fitted(frame).transform(frame), fitted(seconds).transform(seconds)
    )


def test_columns_constant_in_a_fold_are_zero():
    frame = pl.DataFrame({"a": [1, 1], "b": [None, None]}, schema={"a": pl.Int64, "b": pl.Float64})
    columns = [Column("a", "numeric", "Int64"), Column("b", "numeric", "Float64")]
    encoder = TableEncoder().fit(frame, columns, 0)
    assert encoder.transform(frame)[:, :2].tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("kind", ["numeric", "boolean", "category", "text", "datetime", "time"])
def test_columns_without_values_fit_every_kind(kind):
    frame = pl.DataFrame({"a": [None, None], "b": [1, 2]})
    columns = [Column("a", kind, "Null"), Column("b", "numeric", "Int64")]
    encoder = TableEncoder().fit(frame, columns, 0)
    assert np.isfinite(encoder.transform(frame)).all()
    assert set(encoder.source_columns) == {"a", "b"}


def test_order_of_columns_and_other_columns_do_not_matter():
    frame = load_penguins()
    encoder = fitted(frame)
    shuffled = frame.select(reversed(frame.columns)).with_columns(extra=pl.lit(math.inf))
    np.testing.assert_array_equal(encoder.transform(shuffled), encoder.transform(frame))


CELLS = {
    pl.Int64: st.integers(-(2**63), 2**63 - 1),
    pl.Float64: st.floats(allow_infinity=False),
    pl.Boolean: st.booleans(),
    pl.String: st.text(max_size=4) | st.sampled_from(["a", "b", "1"]),
    pl.Date: st.dates(),
    pl.Datetime("us"): st.datetimes(),
    pl.Time: st.times(),
    pl.Duration("us"): st.timedeltas(dt.timedelta(-100_000), dt.timedelta(100_000)),
}


@st.composite
def two_tables(draw):
    """Draw a table to fit on and another with the same columns."""
    dtypes = draw(st.lists(st.sampled_from(list(CELLS)), min_size=1, max_size=6))
    heights = draw(st.integers(1, 8)), draw(st.integers(0, 5))
    return [
        pl.DataFrame(
            {
                f"c{i}": pl.Series(
                    draw(st.lists(st.none() | CELLS[dtype], min_size=height, max_size=height)),
                    dtype=dtype,
                )
                for i, dtype in enumerate(dtypes)
            }
        )
        for height in heights
    ]


@settings(max_examples=100, deadline=None)
@given(frames=two_tables())
def test_encoding_is_always_finite_and_survives_a_file(frames, tmp_path_factory):
    train, other = frames
    columns = infer_columns(train, train.columns)
    if not columns:
        return
    encoder = TableEncoder().fit(train, columns, 0)
    for frame in frames:
        found = encoder.transform(frame)
        assert found.dtype == np.float32
        assert found.shape == (frame.height, len(encoder.feature_names))
        assert np.isfinite(found).all()
    assert len(encoder.source_columns) == len(encoder.feature_names)
    assert len(set(encoder.feature_names)) == len(encoder.feature_names)
    path = tmp_path_factory.mktemp("encoder") / "encoder.safetensors"
    encoder.save(path)
    again = TableEncoder.load(path)
    np.testing.assert_array_equal(again.transform(other), encoder.transform(other))
    assert again.unseen(other) == encoder.unseen(other)
    assert (again.columns, again.feature_names) == (encoder.columns, encoder.feature_names)


@pytest.mark.parametrize(
    "values, wrong, message",
    [
        ([1, 2], ["x", "y"], r"column 'a' must be numeric \(Int64\), got String such as 'x'"),
        ([1, 2], [True, False], "column 'a' must be numeric .*, got Boolean such as True"),
        ([True, False], [1, 0], "column 'a' must be boolean .*, got Int64 such as 1"),
        (["x", "y"], [1, 2], "column 'a' must be category .*, got Int64 such as 1"),
        (["x", "y"], [dt.date(2024, 1, 1)], "column 'a' must be category .*, got Date"),
        ([dt.date(2024, 1, 1), None], ["January"], "must be datetime .*, got String such as 'Janu"),
        ([dt.time(1), dt.time(2)], [dt.date(2024, 1, 1)], "column 'a' must be time .*, got Date"),
        ([1, 2], [[1], [2]], "column 'a' must be numeric .*, got List"),
    ],
)
def test_column_of_another_type(values, wrong, message):
    encoder = fitted(pl.DataFrame({"a": values}))
    with pytest.raises(InvalidInputError, match=message):
        encoder.transform(pl.DataFrame({"a": wrong}))
    with pytest.raises(InvalidInputError, match=message):
        encoder.unseen(pl.DataFrame({"a": wrong}))


def test_columns_that_only_look_different():
    encoder = fitted(pl.DataFrame({"n": [1, 2, 3], "c": ["1", "2", "A"]}))
    encoder.transform(pl.DataFrame({"n": [1.5], "c": ["A"]}))
    # a file whose codes are all digits is read as numbers
    digits = pl.DataFrame({"n": [1, 2], "c": [2, 7]})
    assert encode(encoder, digits)["c=2"] == [1, 0]
    assert encoder.unseen(digits) == {"c": 1}
    assert np.isfinite(encoder.transform(pl.DataFrame({"n": [None], "c": [None]}))).all()
    empty = pl.DataFrame({"n": [None], "c": ["A"]}, schema={"n": pl.String, "c": pl.String})
    assert np.isfinite(encoder.transform(empty)).all()


def test_missing_column_names_the_closest():
    encoder = fitted(load_penguins())
    with pytest.raises(InvalidInputError, match=r"'island' is missing .*.*did you mean 'Island'"):
        encoder.transform(load_penguins().rename({"island": "Island"}))


def test_infinite_value_names_column_and_row():
    encoder = fitted(pl.DataFrame({"a": [1.0, 2.0]}))
    with pytest.raises(InvalidInputError, match="column 'a' holds -inf in row 2"):
        encoder.transform(pl.DataFrame({"a": [1.0, -math.inf]}))


def test_use_before_fitting():
    for use in (TableEncoder().transform, TableEncoder().unseen):
        with pytest.raises(NotFittedError, match="the encoder is not fitted; call fit first"):
            use(load_penguins())


def test_fitting_on_nothing():
    with pytest.raises(InvalidInputError, match="at least one column and one row, got 0 columns"):
        TableEncoder().fit(load_penguins(), [], 0)
    with pytest.raises(InvalidInputError, match="got 1 columns and 0 rows"):
        TableEncoder().fit(load_penguins().clear(), [Column("year", "numeric", "Int64")], 0)


def test_unknown_kind_of_column():
    with pytest.raises(
        InvalidInputError, match=r"column 'year' has unknown kind 'numerical' \(did"
    ):
        TableEncoder().fit(load_penguins(), [Column("year", "numerical", "Int64")], 0)


def test_two_fits_write_the_same_bytes(tmp_path):
    frame = load_penguins().with_columns(
        text=pl.Series([f"bird number {i}" for i in range(344)]), day=pl.lit(dt.date(2024, 1, 1))
    )
    for name in ("a", "b"):
        fitted(frame).save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    TableEncoder.load(tmp_path / "a").save(tmp_path / "c")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "c").read_bytes()


def test_saving_before_fitting_leaves_no_file(tmp_path):
    with pytest.raises(NotFittedError, match="the encoder is not fitted"):
        TableEncoder().save(tmp_path / "a")
    assert not os.listdir(tmp_path)
