"""The spread of columns and the population stability index."""

from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from jointrain.data import (
    ColumnShares,
    PlainEncoder,
    TableEncoder,
    column_drift,
    column_shares,
    infer_columns,
)


def _mixed(n, seed):
    random = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "x": random.normal(size=n),
            "flag": random.random(n) < 0.3,
            "kind": random.choice(["a", "b", "c"], n),
            "day": [date(2024, 1, 1) + timedelta(days=int(d)) for d in random.integers(0, 300, n)],
        }
    )


def test_the_index_by_hand():
    shares = {"kind": ColumnShares(None, ("a", "b"), (60, 40, 0, 0))}
    (drift,) = column_drift(shares, pl.DataFrame({"kind": ["a"] * 10 + ["b"] * 30}))
    before = np.array([60.5, 40.5]) / 101
    after = np.array([10.5, 30.5]) / 41
    assert drift.stability == pytest.approx(((after - before) * np.log(after / before)).sum())
    # chi-squared with one degree of freedom has its 95 % at 3.841
    assert drift.by_chance == pytest.approx(3.841 * (1 / 100 + 1 / 40), rel=1e-3)
    assert drift.drifted


def test_counts_are_those_of_the_parts():
    frame = pl.DataFrame({"x": [*range(1, 101), None], "s": ["a", "b"] * 50 + [None]})
    found = column_shares(frame, infer_columns(frame, ["x", "s"]))
    assert found["x"].cuts == tuple(range(10, 100, 10))
    assert found["x"].counts == (10,) * 10 + (1,)
    assert found["s"].counts == (50, 50, 0, 1)
    assert found["s"].counts_in(pl.Series(["b", "new", "new", None])) == (0, 1, 2, 1)
    assert ColumnShares.from_json(found["s"].to_json()) == found["s"]
    assert ColumnShares.from_json(found["x"].to_json()) == found["x"]


def test_tables_without_drift_seldom_drift_and_others_do():
    frame = _mixed(600, 0)
    shares = column_shares(frame, infer_columns(frame, frame.columns))
    assert set(shares) == set(frame.columns)
    alarms = sum(d.drifted for s in range(1, 41) for d in column_drift(shares, _mixed(80, s)))
    assert alarms <= 6
    moved = _mixed(80, 1).with_columns(pl.col("day") + pl.duration(days=200), pl.col("x") + 1)
    found = column_drift(shares, moved)
    assert {d.column for d in found if d.drifted} == {"day", "x"}
    assert [d.stability for d in found] == sorted((d.stability for d in found), reverse=True)


@pytest.mark.parametrize("name", ["count", "rows", "value", "rows of category"])
def test_a_column_may_be_called_as_counts_are(name):
    frame = pl.DataFrame({name: ["a", "b", "b", None] * 5})
    columns = infer_columns(frame, [name])
    assert column_shares(frame, columns)[name] == ColumnShares(None, ("b", "a"), (10, 5, 0, 5))
    for encoder in (TableEncoder(), PlainEncoder()):
        assert encoder.fit(frame, columns).transform(frame).shape[0] == 20


def test_equal_instants_and_spans_of_another_unit_do_not_drift():
    after = [timedelta(days=int(d)) for d in np.random.default_rng(0).integers(0, 300, 100)]
    frame = pl.DataFrame({"at": [datetime(2024, 1, 1) + span for span in after], "span": after})
    shares = column_shares(frame, infer_columns(frame, frame.columns))
    for unit in ("ms", "us", "ns"):
        same = frame.cast({"at": pl.Datetime(unit), "span": pl.Duration(unit)})
        for name, values in (*same.to_dict().items(), ("at", frame["at"].cast(pl.Date))):
            assert shares[name].counts_in(values) == shares[name].counts
