"""Explanations against Shapley values by hand, by all orders, and against predict."""

import datetime as dt
import math
from itertools import permutations

import numpy as np
import polars as pl
import pytest

from jointrain.data import Column
from jointrain.errors import InvalidInputError, MissingDependencyError
from jointrain.tables import explain
from jointrain.tables._explanations import _in_words, _Values
from jointrain.task import Task

COLUMNS = ("a", "b", "kind", "yes", "unused")


class Model:
    """Two targets by formulas: a number, and a class with what columns do together."""

    columns = tuple(
        Column(name, kind, "")
        for name, kind in zip(
            COLUMNS, ("numeric", "numeric", "category", "boolean", "numeric"), strict=True
        )
    )
    predicted_tasks = (
        Task.regression("price"),
        Task.multiclass("size", ("s", "m", "l")),
        Task.binary("dear", ("no", "yes")),
    )

    def conformed(self, frame, others=()):
        return frame

    def predict(self, frame):
        a, b = (frame[name].fill_null(0.5).to_numpy() for name in "ab")
        of_kind = frame["kind"].replace_strict({"x": 5.0, "y": -1.0}, default=0.0).to_numpy()
        yes = frame["yes"].cast(pl.Float64).to_numpy()
        shares = np.stack([np.exp(a * yes), np.exp(b), np.exp(of_kind * a / 9)], axis=1)
        return {
            "price": 2 * a - 3 * b + of_kind,
            "size": shares / shares.sum(1, keepdims=True),
            "dear": 1 / (1 + np.exp(-a * b - yes)),
        }


def table(rows, seed=0):
    random = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "a": random.normal(size=rows),
            "b": [None, *random.normal(size=rows - 1)],
            "kind": random.choice(["x", "y", None], rows),
            "yes": random.random(rows) < 0.5,
            "unused": random.normal(size=rows),
        }
    )


def outputs(model, frame):
    found = model.predict(frame)
    return np.column_stack([found["price"], found["size"], found["dear"]])


def by_all_orders(model, row, background):
    """Return the Shapley values of a row, [c, o], by their definition."""

    def value(known):
        mixed = background.with_columns(
            pl.lit(row[name], background[name].dtype).alias(name) for name in known
        )
        return outputs(model, mixed).mean(0)

    found = np.zeros((len(COLUMNS), 5))
    for order in permutations(range(len(COLUMNS))):
        for place, column in enumerate(order):
            before = [COLUMNS[c] for c in order[:place]]
            found[column] += value([*before, COLUMNS[column]]) - value(before)
    return found / math.factorial(len(COLUMNS))


def test_a_table_comes_back_from_its_codes():
    frame = pl.DataFrame(
        {
            "a": [1.5, None, 1.5, -0.25],
            "b": ["x", "y", None, "x"],
            "c": [True, None, False, True],
            "d": pl.Series(["2024-01-02", None, "2024-01-02", "2025-03-01"]).str.to_date(),
        }
    )
    values = _Values(frame)
    assert values.rows_of(values.codes).equals(frame)
    assert values.codes.T.tolist() == [[0, 1, 0, 3], [0, 1, 2, 0], [0, 1, 2, 0], [0, 1, 0, 3]]


@pytest.mark.parametrize(
    "options, what",
    [({"rows": 0}, "`rows` must"), ({"background_rows": 0}, "`back"), ({"orders": -1}, "`orders`")],
)
def test_a_number_below_one_is_refused(options, what):
    with pytest.raises(InvalidInputError, match=what):
        explain(Model(), table(3), **options)


def test_rows_of_which_shap_would_take_neighbours_for_equal_are_refused():
    with pytest.raises(InvalidInputError, match="100,000 rows with those of the background"):
        _Values(pl.DataFrame({"a": np.arange(100_000)}))
    codes = _Values(pl.DataFrame({"a": np.arange(99_999)})).codes[:, 0]
    assert not np.isclose(codes[1:], codes[:-1]).any()


def test_without_shap_one_line_says_so(monkeypatch):
    monkeypatch.setattr("jointrain.tables._explanations.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'jointrain\[explain\]'"):
        explain(Model(), table(3))


@pytest.fixture(scope="module")
def shap():
    return pytest.importorskip("shap", reason="the package shap is not installed")


@pytest.mark.integration
def test_they_are_those_of_all_orders(shap):
    rows, background = table(3), table(4, seed=1)
    state = np.random.get_state()[1].copy()
    found = explain(Model(), rows, background)
    np.testing.assert_array_equal(np.random.get_state()[1], state)
    assert found.exact
    assert [(o.name, o.unit) for o in found.outputs] == [
        ("price", "number"),
        ("size=s", "probability"),
        ("size=m", "probability"),
        ("size=l", "probability"),
        ("dear=yes", "probability"),
    ]
    for place in range(3):
        wanted = by_all_orders(Model(), rows.row(place, named=True), background)
        np.testing.assert_allclose(found.contributions[place], wanted, atol=1e-12)
    np.testing.assert_allclose(found.base, outputs(Model(), background).mean(0))
    np.testing.assert_array_equal(found.predictions, outputs(Model(), rows))
    sums = found.base + found.contributions.sum(1)
    np.testing.assert_allclose(sums, found.predictions, atol=1e-12)
    unused = found.contributions[:, COLUMNS.index("unused")]
    np.testing.assert_allclose(unused, 0, atol=1e-15)


@pytest.mark.integration
def test_a_line_moves_by_its_slopes(shap):
    rows, background = table(20), table(30, seed=1)
    found = explain(Model(), rows, background)
    price = found.contributions[:, :, 0]
    for column, slope in (("a", 2), ("b", -3)):
        mean = background[column].fill_null(0.5).mean()
        wanted = slope * (rows[column].fill_null(0.5).to_numpy() - mean)
        np.testing.assert_allclose(price[:, COLUMNS.index(column)], wanted, atol=1e-12)
    np.testing.assert_allclose(price[:, COLUMNS.index("yes")], 0, atol=1e-14)


class Wide(Model):
    """More columns than all sets are tried of."""

    columns = tuple(Column(f"c{i}", "numeric", "") for i in range(12))
    predicted_tasks = (Task.regression("line"), Task.regression("bent"))

    def predict(self, frame):
        values = frame.to_numpy()
        return {"line": values @ np.arange(12), "bent": np.tanh(values[:, 1:] @ np.ones(11))}


@pytest.mark.integration
def test_of_many_columns_orders_are_drawn(shap):
    random = np.random.default_rng(0)
    rows, background = (
        pl.DataFrame({c.name: random.normal(size=n) for c in Wide.columns}) for n in (4, 20)
    )
    found = explain(Wide(), rows, background, orders=5, seed=3)
    assert not found.exact
    sums = found.base + found.contributions.sum(1)
    np.testing.assert_allclose(sums, found.predictions, atol=1e-12)
    # the order does not matter to a line, nor to what does not count
    wanted = np.arange(12) * (rows.to_numpy() - background.to_numpy().mean(0))
    np.testing.assert_allclose(found.contributions[:, :, 0], wanted, atol=1e-12)
    np.testing.assert_allclose(found.errors[:, :, 0], 0, atol=1e-12)
    assert (found.contributions[:, 0] == 0).all()
    again = explain(Wide(), rows, background, orders=5, seed=3)
    np.testing.assert_array_equal(again.contributions, found.contributions)
    many = explain(Wide(), rows, background, orders=200, seed=4)
    apart = np.abs(found.contributions - many.contributions)[:, 1:, 1]
    spread = np.hypot(found.errors, many.errors)[:, 1:, 1]
    assert (apart < 4 * spread).all()
    assert many.errors[:, 1:, 1].mean() < 0.3 * found.errors[:, 1:, 1].mean()


@pytest.mark.integration
@pytest.mark.parametrize("kind", [Model, Wide])
def test_one_output_alone_is_explained_as_beside_others(kind, shap):
    class Alone(kind):
        predicted_tasks = kind.predicted_tasks[:1]

    columns = [column.name for column in kind.columns]
    random = np.random.default_rng(0)
    rows = (
        table(3)[columns] if kind is Model else pl.DataFrame(random.normal(size=(3, 12)), columns)
    )
    beside, alone = explain(kind(), rows, orders=2), explain(Alone(), rows, orders=2)
    assert alone.exact is (kind is Model)
    np.testing.assert_allclose(alone.contributions, beside.contributions[:, :, :1], atol=1e-12)
    if not alone.exact:
        np.testing.assert_allclose(alone.errors, beside.errors[:, :, :1], atol=1e-12)
    assert len(alone.to_frame()) == 3 * len(columns)


@pytest.mark.integration
def test_the_table_has_a_line_for_each_row_output_and_column(shap):
    rows = table(3)
    done = []
    found = explain(Model(), rows, rows=2, progress=lambda *of: done.append(of))
    assert done == [(1, 2), (2, 2)]
    assert found.background_rows == 3
    frame = found.to_frame()
    assert len(frame) == 2 * 5 * 5
    sums = frame.group_by("row", "output", maintain_order=True).agg(
        pl.col("base").first() + pl.col("contribution").sum(), pl.col("prediction").first()
    )
    np.testing.assert_allclose(sums["base"], sums["prediction"], atol=1e-12)
    line = frame.row(
        by_predicate=(pl.col("row") == 2)
        & (pl.col("output") == "size=m")
        & (pl.col("column") == "b"),
        named=True,
    )
    assert line["value"] == str(rows["b"][1])
    assert line["contribution"] == found.contributions[1, 1, 2]
    told = found.to_json()
    assert told["outputs"][2]["contributions"][1][1] == line["contribution"]
    assert "Explanations" in found._repr_html_()


@pytest.mark.integration
def test_rows_that_are_all_the_same_need_a_background(shap):
    with pytest.raises(InvalidInputError, match="all rows are the same"):
        explain(Model(), table(5)[[1, 1]])
    with pytest.raises(InvalidInputError, match="no row to explain"):
        explain(Model(), table(5).head(0))
    # a row that is all of the background is at the base
    same = explain(Model(), table(5)[[1, 2]], table(5)[[1, 1]])
    assert (same.contributions[0] == 0).all()


def test_durations_and_lists_have_text_forms():
    columns = {
        "length": pl.Series([dt.timedelta(seconds=1.5), None]),
        "items": pl.Series([["u", "v"], [None, "w"]]),
        "codes": pl.Series([[1], None], dtype=pl.List(pl.Int64)),
    }
    assert [_in_words(column).to_list() for column in columns.values()] == [
        ["1.5", None], ["u|v", "w"], ["1", None],
    ]  # fmt: skip
