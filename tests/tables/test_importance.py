"""Column importance against scikit-learn, and on a table where it is known who uses what."""

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LinearRegression

from jointrain import Recipe, SupervisedTable, fit_table
from jointrain.data import Column
from jointrain.errors import InvalidInputError
from jointrain.tables._importance import (
    ColumnImportance,
    column_importance,
    unseen_column_importance,
)
from jointrain.task import Task


def planted(rows=400, seed=0):
    """Return a table in which y1 uses a and b, y2 uses b and c, and none uses d."""
    random = np.random.default_rng(seed)
    a, b, c, d = random.normal(size=(4, rows))
    return pl.DataFrame(
        {
            "a": a, "b": b, "c": c, "d": d,
            "kind": random.choice(["x", "y"], rows),
            "y1": 2 * a + b + 0.1 * random.normal(size=rows),
            "y2": np.where(b + c + 0.1 * random.normal(size=rows) > 0, "yes", "no"),
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def fitted():
    table = SupervisedTable.prepare(planted(), ["y1", "y2"])
    recipe = Recipe(ensemble=3, width=32, epochs=25, bins=0)
    return table, fit_table(table, recipe, seed=0, device="cpu")


def assert_planted(found):
    assert set(found.used("y1")) == {"a", "b"}
    assert found.used("y1")[0] == "a"
    assert set(found.used("y2")) == {"b", "c"}
    assert found.shared == ("b",)
    assert found.own == {"y1": ("a",), "y2": ("c",)}
    assert found.users["d"] == found.users["kind"] == ()


def test_planted_columns_are_found_on_new_rows(fitted):
    _, model = fitted
    found = column_importance(model, planted(300, seed=1), repeats=3)
    assert_planted(found)
    assert found.metrics == {"y1": "RMSE", "y2": "ROC-AUC"}
    assert found.rows == 300


def test_planted_columns_are_found_on_rows_that_a_member_left_out(fitted):
    table, model = fitted
    found = unseen_column_importance(model, table, repeats=3)
    assert_planted(found)
    new = column_importance(model, planted(400, seed=1), repeats=3)
    np.testing.assert_allclose(found.increase["y1"], new.increase["y1"], atol=0.25)


def test_a_single_network_is_measured_on_its_validation_rows(fitted):
    table, _ = fitted
    model = fit_table(table, Recipe(width=8, epochs=1), seed=0, device="cpu")
    found = unseen_column_importance(model, table, repeats=1)
    assert found.rows == 60


def test_equal_to_scikit_learn_within_noise():
    frame = planted(500)
    names = ["a", "b", "c", "d"]
    x, y = frame.select(names).to_numpy(), frame["y1"].to_numpy()
    linear = LinearRegression().fit(x, y)
    model = SimpleNamespace(
        columns=tuple(Column(name, "numeric", "Float64") for name in names),
        predicted_tasks=(Task.regression("y1"),),
        predict=lambda table: {"y1": linear.predict(table.select(names).to_numpy())},
        conformed=lambda table, others=(): table,
    )
    found = column_importance(model, frame, repeats=40, seed=1)
    oracle = permutation_importance(
        linear, x, y, scoring="neg_root_mean_squared_error", n_repeats=40, random_state=0
    )
    noise = np.sqrt(2 / 40) * oracle.importances_std
    assert (np.abs(found.increase["y1"] - oracle.importances_mean) < 4 * noise + 1e-9).all()


def test_the_same_seed_gives_the_same_figures_and_a_sample_is_drawn(fitted):
    _, model = fitted
    frame = planted(300, seed=1)
    one, two = (column_importance(model, frame, columns=["a"], rows=100) for _ in range(2))
    np.testing.assert_array_equal(one.increase["y1"], two.increase["y1"])
    assert one.rows == 100
    other = column_importance(model, frame, columns=["a"], rows=100, seed=1)
    assert other.increase["y1"][0] != one.increase["y1"][0]


def test_the_rule_by_hand():
    found = ColumnImportance(
        {"t": "RMSE"}, ("sure", "noisy", "tiny", "none", "undefined"),
        {"t": np.array([1.0, 0.5, 0.04, -0.2, np.nan])},
        {"t": np.array([0.1, 0.3, 0.001, 0.0, np.nan])}, 10,
    )  # fmt: skip
    assert found.used("t") == ("sure",)
    assert found.table().filter(pl.col("used"))["column"].to_list() == ["sure"]
    written = found.to_json()
    assert written["tasks"]["t"]["increase"][-1] is None
    assert written["tasks"]["t"]["used"] == ["sure"]


def test_wrong_arguments(fitted):
    _, model = fitted
    with pytest.raises(InvalidInputError, match="'aa' is no feature column"):
        column_importance(model, planted(), columns=["aa"])
    with pytest.raises(InvalidInputError, match="`repeats` must be at least 1, got 0"):
        column_importance(model, planted(), repeats=0)


def test_a_model_that_has_seen_all_rows_is_refused_in_words():
    frame = planted(20).with_columns(g=pl.lit("only"))
    table = SupervisedTable.prepare(frame, ["y1", "y2"], group_column="g")
    model = fit_table(table, Recipe(width=4, depth=1, epochs=1), device="cpu")
    with pytest.raises(InvalidInputError, match="no row could be left out of training"):
        unseen_column_importance(model, table, repeats=1)


def test_a_task_without_label_in_the_rows_left_out_has_no_figures():
    frame = planted(40).with_columns(g=pl.int_range(40) // 10)
    frame = frame.with_columns(y1=pl.when(pl.col("g") == 1).then("y1"))
    table = SupervisedTable.prepare(frame, ["y1", "y2"], group_column="g")
    model = fit_table(table, Recipe(width=4, depth=1, epochs=1), device="cpu")
    found = unseen_column_importance(model, table, repeats=1)
    assert np.isnan(found.increase["y1"]).all()
    assert np.isfinite(found.increase["y2"]).all()
    assert found.used("y1") == ()
