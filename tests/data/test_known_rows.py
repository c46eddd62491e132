"""Rows of a table that are known again in another one."""

import datetime
import decimal
import json

import numpy as np
import polars as pl
import pytest

from jointrain.data import KnownRows, digest_of_rows
from jointrain.system.stored_files import DamagedError


def _table(rows, seed):
    random = np.random.default_rng(seed)
    start = datetime.date(2020, 1, 1)
    return pl.DataFrame(
        {
            "x": random.normal(size=rows),
            "n": random.integers(0, 9, rows),
            "c": pl.Series(random.choice(["a", "b"], rows)).cast(pl.Categorical),
            "d": [start + datetime.timedelta(int(k)) for k in random.integers(0, 99, rows)],
            "span": [datetime.timedelta(int(k)) for k in random.integers(0, 99, rows)],
            "time": pl.Series([datetime.time(k % 24) for k in range(rows)]),
            "instant": pl.Series([datetime.datetime(2020, 1, 1)] * rows).dt.replace_time_zone(
                "UTC"
            ),
            "ordered": pl.Series(["low"] * rows, dtype=pl.Enum(["low", "high"])),
            "exact": [decimal.Decimal(k) / 4 for k in range(rows)],
            "bytes": [b"a"] * rows,
            "empty": [None] * rows,
            "missing": [None if k % 2 else True for k in range(rows)],
            "bag": [["a"]] * rows,
        }
    )


@pytest.mark.parametrize("rows", [3, 700, 5000])
def test_the_share_of_known_rows(rows):
    table, other = _table(rows, 0), _table(rows, 1)
    known = KnownRows.from_json(json.loads(json.dumps(KnownRows.of(table).to_json())))
    assert known.rows == rows
    assert len(known.digests) == min(rows, 1000)
    assert known.share_of(table[::-1]) == 1
    assert known.share_of(other) == 0
    half = known.share_of(pl.concat([table, other]))
    assert half == pytest.approx(0.5)  # of many rows too: each that is kept stands for as many


def test_many_rows_are_looked_up_by_a_part_of_them(monkeypatch):
    monkeypatch.setattr("jointrain.data._known_rows._LOOKED_UP", 100)
    table = _table(900, 0)
    assert KnownRows.of(table).share_of(table) == 1


def test_the_same_values_of_another_type_are_the_same_rows():
    table = pl.DataFrame({"x": [1, 2, 3], "c": ["a", "b", "c"]})
    other = table.cast({"x": pl.Float32, "c": pl.Categorical})
    assert KnownRows.of(table).share_of(other) == 1


def _instants():
    start = datetime.datetime(2020, 1, 1)
    return pl.DataFrame({"t": [start + datetime.timedelta(days=day) for day in range(5)]})


@pytest.mark.parametrize(
    "first, other",
    [
        (_instants(), _instants().cast(pl.Datetime("ms"))),
        (_instants().cast(pl.Datetime("ns")), _instants()),
        (_instants(), _instants().cast(pl.Date)),
        (
            _instants().select(pl.col("t").dt.replace_time_zone("UTC")),
            _instants().select(
                pl.col("t").dt.replace_time_zone("UTC").dt.convert_time_zone("Asia/Tokyo")
            ),
        ),
        (pl.DataFrame({"x": [0.0, 1.0]}), pl.DataFrame({"x": [-0.0, 1.0]})),
        (pl.DataFrame({"x": [0.1, 0.7]}), pl.DataFrame({"x": [0.1, 0.7]}).cast(pl.Float32)),
        (pl.DataFrame({"x": [None, 1.0]}), pl.DataFrame({"x": [float("nan"), 1.0]})),
        (pl.DataFrame({"x": [True, False]}), pl.DataFrame({"x": [1, 0]})),
    ],
)
def test_the_same_values_written_in_another_way_are_the_same_rows(first, other):
    assert KnownRows.of(first).share_of(other) == 1
    assert digest_of_rows(first) == digest_of_rows(other[::-1])
    assert digest_of_rows(first) != digest_of_rows(other[:1])


def test_what_chance_makes_alike_is_told():
    assert KnownRows.of(_table(50, 0)).by_chance == 0
    draws = np.random.default_rng(0)
    first, other = (pl.DataFrame({"x": draws.integers(0, 10_000, 900)}) for _ in range(2))
    known = KnownRows.from_json(json.loads(json.dumps(KnownRows.of(first).to_json())))
    assert 0.05 < known.by_chance < 0.1
    assert known.share_of(other) == pytest.approx(known.by_chance, abs=0.03)


@pytest.mark.parametrize(
    "damage", [{"digests": []}, {"rows": "5"}, {"rows": 2}, {"by_chance": 2}, {"rows": True}]
)
def test_what_was_not_kept_of_rows_is_refused(damage):
    with pytest.raises(DamagedError, match="none of rows"):
        KnownRows.from_json(KnownRows.of(_table(3, 0)).to_json() | damage)


def test_rows_that_are_alike_are_not_known_again():
    table = pl.DataFrame({"c": ["a", "b"] * 50})
    assert KnownRows.of(table) is None
    assert KnownRows.of(table[:0]) is None
    assert KnownRows.of(pl.DataFrame({"bag": [["a"], ["b"]]})) is None
    assert KnownRows.of(_table(5, 0)).share_of(_table(5, 0)[:0]) == 0
