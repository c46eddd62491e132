"""Networks beside baselines: each is weighed by rows that it has not seen."""

import numpy as np
import polars as pl
import pytest

from jointrain import BlendedModel, Recipe, SupervisedTable, TableModel
from jointrain.baselines import fit_baseline
from jointrain.bundle import load_bundle, save_bundle
from jointrain.tables import _fitted_blend as blends, fit_blend
from jointrain.tables._blend import steady_weights
from jointrain.task import Task

RECIPE = Recipe(width=8, depth=1, epochs=3, ensemble=5)


def table(rows: int = 80, kinds: dict[str, str] | None = None, **roles: str) -> SupervisedTable:
    random = np.random.default_rng(0)
    x = random.normal(size=(rows, 3))
    frame = pl.DataFrame(
        {
            "a": x[:, 0],
            "b": x[:, 1],
            "c": x[:, 2],
            "family": np.arange(rows) // 4,
            "price": 10 + x[:, 0] + 0.1 * random.normal(size=rows),
            "size": x[:, 0] - x[:, 1],
            "sold": np.where(x[:, 1] > 0, "yes", "no"),
        }
    ).with_columns(
        pl.when(pl.int_range(pl.len()) % 9 == 0).then(None).otherwise("size").alias("size")
    )
    kinds = kinds or {"price": "regression", "size": "regression", "sold": "binary"}
    unused = [name for name in ("price", "size", "sold") if name not in kinds]
    return SupervisedTable.prepare(frame.drop(unused), list(kinds), kinds=kinds, **roles)


def test_components_of_numbers_and_classes(tmp_path):
    model = fit_blend(table(), RECIPE, seed=1, device="cpu")
    assert isinstance(model, BlendedModel)
    assert {name: [t.name for t in one.tasks] for name, one in model.components.items()} == {
        "joint": ["price", "size", "sold"],
        "linear": ["price", "size", "sold"],
        "extra trees joint of numbers": ["price", "size"],
        "extra trees of classes": ["sold"],
        "kernel ridge": ["price", "size"],
    }
    assert set(model.weights["sold"]) == {"joint", "linear", "extra trees of classes"}
    frame = table().frame
    found = model.predict(frame)
    again = load_bundle(save_bundle(model, tmp_path / "model")).predict(frame)
    for name, values in found.items():
        np.testing.assert_array_equal(again[name], values)
    assert {"price", "size"} == set(model.predict_interval(frame))


def test_kinds_without_baselines_leave_networks_alone():
    tasks = (Task("price", "quantiles", (0.1, 0.5, 0.9)),)
    assert blends.baselines_of(tasks, 80) == {}
    kinds = {"price": "quantiles:0.1:0.5:0.9"}
    assert isinstance(fit_blend(table(kinds=kinds), RECIPE, device="cpu"), TableModel)


def test_no_trees_of_very_many_rows():
    tasks = [Task.regression("price"), Task.regression("size")]
    assert "extra trees joint" in blends.baselines_of(tasks, 20_000)
    assert list(blends.baselines_of(tasks, 20_001)) == ["linear", "kernel ridge"]
    # a forest more for each target that lacks labels
    assert "extra trees joint" in blends.baselines_of(tasks, 10_000, ["size"])
    assert list(blends.baselines_of(tasks, 10_001, ["size"])) == ["linear", "kernel ridge"]
    assert "extra trees" in blends.baselines_of(tasks[:1], 20_000, ["price"])


@pytest.mark.parametrize("roles", [{}, {"group_column": "family"}])
def test_weights_hang_on_predictions_of_rows_left_out(roles, monkeypatch):
    given = {}

    def kept(tasks, predictions, labels, row_weights=None):
        given.update(predictions["price"])
        return steady_weights(tasks, predictions, labels, row_weights)

    monkeypatch.setattr(blends, "steady_weights", kept)
    kinds = {"price": "regression"}
    whole = table(kinds=kinds, **roles)
    fit_blend(whole, RECIPE, seed=1, device="cpu")
    before = {name: values.copy() for name, values in given.items()}
    assert set(before) == {"joint", "linear", "extra trees", "kernel ridge"}
    assert all(np.isfinite(values).all() for values in before.values())
    # a label that tells the row alone: what has not seen the row, or its group, can't know it
    changed = whole.frame.with_columns(
        price=pl.when(pl.int_range(pl.len()) == 33).then(1000.0).otherwise("price")
    )
    fit_blend(
        SupervisedTable(changed, whole.tasks, whole.columns, groups=whole.groups),
        RECIPE, seed=1, device="cpu",
    )  # fmt: skip
    for name in ("linear", "extra trees", "kernel ridge"):
        same = given[name] == before[name]
        assert same[33], name
        assert not same.all(), name
        if roles:
            assert same[whole.groups == whole.groups[33]].all(), name


def test_baselines_are_those_of_the_rows_outside():
    one = table(kinds={"price": "regression"})
    splits = [(np.arange(20, 80), np.arange(20)), (np.arange(60), np.arange(60, 80))]
    found = blends._unseen_by("linear", one, splits, 0)["price"]
    inputs, labels = one.frame.select("a", "b", "c", "family").to_numpy(), one.labels()
    for train, rows in splits:
        model = fit_baseline("linear", inputs[train], labels[train], one.tasks, 0)
        np.testing.assert_allclose(found[rows], model.predict(inputs[rows])["price"])
    assert np.isnan(found[20:60]).all()


def test_steady_weights_follow_the_rows_as_far_as_these_tell():
    random = np.random.default_rng(0)
    tasks = [Task.regression("y"), Task.regression("z")]
    shares = {}
    for rows in (20, 20_000):
        labels = random.normal(size=(rows, 2))
        good = labels + 0.1 * random.normal(size=labels.shape)
        poor = labels + 1.0 * random.normal(size=labels.shape)
        predictions = {
            task.name: {"good": good[:, i], "poor": poor[:, i]} for i, task in enumerate(tasks)
        }
        weights = steady_weights(tasks, predictions, labels)
        shares[rows] = weights["y"]["good"]
        assert sum(weights["z"].values()) == pytest.approx(1)
    # the best are in inverse proportion to the variances, 1 : 100
    assert shares[20_000] == pytest.approx(100 / 101, abs=0.01)
    assert 0.7 < shares[20] < 0.95
    # what a model has seen counts for nothing
    seen = labels[:, 0].copy()
    seen[5:] = np.nan
    predictions["y"] = {"good": good[:, 0], "seen": seen}
    weights = steady_weights(tasks, predictions, labels)
    assert weights["y"] == {"good": 0.5, "seen": 0.5}
