"""Every kind of target in one table: fitted, blended, saved, measured and explained."""

import math

import numpy as np
import polars as pl
import pytest

from jointrain import (
    InvalidInputError,
    Recipe,
    SupervisedTable,
    Task,
    fit_table,
    load_bundle,
    save_bundle,
)
from jointrain.experiments import Fold
from jointrain.tables import (
    Calibration,
    TableExperiment,
    choose_blends,
    column_importance,
    held_out_constants,
    left_out_constants,
    unseen_column_importance,
)
from jointrain.tables._blend import blend_weights, blended
from jointrain.tables._calibration import scale_probabilities
from jointrain.tables._row_sample import sample_rows
from jointrain.task import DENSE_KINDS, KINDS, TABLE_KINDS, labels_of

KINDS_SAID = {
    "death": "survival:years:dead",
    "crp": "censored",
    "soil": "proportions:clay:sand:silt",
    "diseases": "multilabel:gout:copd",
    "stay": "quantiles:0.1:0.5:0.9",
    "pain": "mean-variance",
    "visits": "negative-binomial",
    "falls": "count",
    "stage": "ordinal",
    "sex": "binary",
    "ward": "multiclass",
    "age": "regression",
}


def patients(rows=200, seed=0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 2))
    time, seen = rng.exponential(np.exp(-x[:, 0])), rng.exponential(1.5, rows)
    crp = np.exp(x[:, 1] + 0.3 * rng.normal(size=rows))
    shares = np.exp(np.stack([x[:, 0], x[:, 1], np.zeros(rows)], axis=1))
    shares /= shares.sum(1, keepdims=True)
    gout, copd = (x + rng.normal(size=(rows, 2)) > 0).T
    return pl.DataFrame(
        {
            "x": x[:, 0],
            "z": x[:, 1],
            "years": np.minimum(time, seen),
            "dead": time <= seen,
            "crp": ["<0.5" if v < 0.5 else ">3" if v > 3 else f"{v:.2f}" for v in crp],
            "clay": shares[:, 0],
            "sand": shares[:, 1],
            "silt": shares[:, 2],
            "gout": np.where(gout, "yes", "no"),
            "copd": [None if row % 9 == 0 else int(v) for row, v in enumerate(copd)],
            "stay": x[:, 0] + rng.normal(size=rows),
            "pain": x[:, 1] + rng.normal(size=rows),
            "visits": rng.poisson(np.exp(x[:, 0])),
            "falls": rng.poisson(np.exp(x[:, 1])),
            "stage": np.digitize(x[:, 0] + rng.normal(size=rows), [-1, 1]),
            "sex": np.where(x[:, 1] > 0, "f", "m"),
            "ward": np.array(["a", "b", "c"])[np.digitize(x[:, 0], [-0.5, 0.5])],
            "age": 50 + 10 * x[:, 1] + rng.normal(size=rows),
        }
    )


@pytest.fixture(scope="module")
def table():
    return SupervisedTable.prepare(patients(), list(KINDS_SAID), kinds=KINDS_SAID)


@pytest.fixture(scope="module")
def model(table):
    return fit_table(table, Recipe(width=16, epochs=40, ensemble=2), seed=0, device="cpu")


def test_every_kind_is_tried_here():
    assert {said.split(":")[0] for said in KINDS_SAID.values()} == set(TABLE_KINDS)
    assert KINDS.keys() - TABLE_KINDS.keys() == {"sequence", "custom", *DENSE_KINDS}


def test_predictions_and_metrics_of_all_kinds(table, model):
    predictions = model.predict(patients(30, 1))
    for task in table.tasks:
        values = predictions[task.name]
        assert values.shape == (30, *task.in_table.prediction_shape())
        assert np.isfinite(values).all()
    assert (np.diff(predictions["death"], axis=1) <= 0).all()
    assert (np.diff(predictions["stay"], axis=1) >= 0).all()
    np.testing.assert_allclose(predictions["soil"].sum(1), 1)
    metrics = model.evaluate(patients(60, 2))
    assert metrics["death"]["C-index"] > 0.6
    assert metrics["diseases"]["ROC-AUC"] > 0.6
    assert metrics["crp"]["C-index"] > 0.6
    assert all(math.isfinite(value) for of_task in metrics.values() for value in of_task.values())
    weighted = model.evaluate(patients(60, 2), np.linspace(0.1, 2, 60))
    assert weighted["death"]["log-loss"] != metrics["death"]["log-loss"]


def test_columns_of_predictions(model):
    found = model.predict_table(patients(5, 1), 0.9)
    ends = model.predicted_tasks[0].classes
    wanted = ["death", *(f"death>{end:g}" for end in ends), "crp", "soil=clay", "soil=sand"]
    assert found.columns[: len(wanted)] == wanted
    assert {"diseases=gout", "diseases=copd", "stay", "stay_q0.1", "stay_q0.9"} < set(found.columns)
    assert "stay_low" not in found.columns
    assert {"age_low", "age_high", "visits_low"} < set(found.columns)
    assert (found["stay"] == found["stay_q0.5"]).all()
    # the mean time within the last end lies between none and all of it
    assert 0 < found["death"].min() <= found["death"].max() < ends[-1]


def test_a_target_may_have_the_name_of_a_further_column():
    frame = patients(60).with_columns(pl.col("age").alias("soil=clay"))
    kinds = {"soil": KINDS_SAID["soil"]}
    table = SupervisedTable.prepare(frame, ["soil", "soil=clay"], kinds=kinds)
    model = fit_table(table, Recipe(width=8, epochs=1, ensemble=1), device="cpu")
    names = model.predict_table(frame).columns
    assert names == ["soil=clay (share)", "soil=sand", "soil=silt", "soil=clay"]


def test_intervals_of_kinds_that_have_none_are_refused():
    kinds = {name: KINDS_SAID[name] for name in ("death", "crp", "stay")}
    table = SupervisedTable.prepare(patients(60), list(kinds), kinds=kinds)
    model = fit_table(table, Recipe(width=8, epochs=1, ensemble=1), device="cpu")
    expected = "intervals are for numbers, and every task is survival or censored or quantiles"
    with pytest.raises(InvalidInputError, match=expected):
        model.predict_interval(patients(3))


def test_a_note_says_what_stands_in_for_forests():
    kinds = {"stay": KINDS_SAID["stay"]}
    table = SupervisedTable.prepare(patients(60), ["stay"], kinds=kinds)
    experiment = TableExperiment(table)
    assert experiment.first_baselines == ("constant", "linear", "gradient boosting")
    assert experiment.notes[-1] == (
        "extra trees has no quantiles, which target stay is: where no baselines are named, "
        "gradient boosting is measured in its place"
    )


def test_a_bundle_brings_all_kinds_back(tmp_path, table, model):
    save_bundle(model, tmp_path / "bundle")
    again = load_bundle(tmp_path / "bundle")
    assert again.tasks == table.tasks
    frame = patients(20, 3)
    for name, values in model.predict(frame).items():
        np.testing.assert_array_equal(again.predict(frame)[name], values)
    assert again.evaluate(frame) == model.evaluate(frame)


def test_columns_that_matter_are_found(table, model):
    for found in (
        column_importance(model, patients(200, 4), repeats=2),
        unseen_column_importance(model, table, repeats=2),
    ):
        assert found.increase["death"][0] > found.increase["death"][1]
        assert found.increase["crp"][1] > found.increase["crp"][0]
        assert all(np.isfinite(values).all() for values in found.increase.values())


def test_rows_of_weight_0_and_some_of_the_targets():
    frame = patients(60).with_columns(w=pl.Series([0.0, 1.0, 2.0] * 20))
    kinds = {name: KINDS_SAID[name] for name in ("death", "diseases", "age")}
    table = SupervisedTable.prepare(frame, list(kinds), kinds=kinds, row_weight="w")
    assert table.labels().shape == (40, 5)
    assert table.weights.shape == (40, 3)
    only = table.only(["diseases"])
    np.testing.assert_array_equal(only.labels(), table.labels()[:, 2:4])
    model = fit_table(table, Recipe(width=8, epochs=2, ensemble=2), device="cpu")
    assert model.evaluate(frame, "w").keys() == kinds.keys()
    whole = SupervisedTable.prepare(patients(400), list(kinds), kinds=kinds)
    sample = sample_rows(whole, 10, 0)
    assert len(sample.frame) < 200
    assert (sample.labels()[:, 1] == 1).sum() >= 20


def test_constants_of_rows_without_a_part_in_them(table):
    labels = table.labels()
    rows = np.arange(len(labels))
    folds = [Fold(0, 0, rows[::2], rows[1::2]), Fold(1, 0, rows[1::2], rows[::2])]
    held_out = held_out_constants(table.tasks, labels, folds)
    for task, own in zip(table.tasks, labels_of(labels, table.tasks), strict=True):
        train = rows[::2][task.in_table.known(own)[::2]]
        expected = task.in_table.from_columns(task.in_table.constant(own[train])[None])
        np.testing.assert_allclose(held_out[task.name][1], expected[0])
    left_out = left_out_constants(table.tasks, labels, rows[:5])
    for task in table.tasks:
        assert left_out[task.name].shape == (5, *task.in_table.prediction_shape())


@pytest.mark.parametrize(
    "name", ["death", "crp", "soil", "diseases", "stay"],
)  # fmt: skip
def test_a_blend_has_the_lowest_loss_of_all_weights(table, model, name):
    index = [task.name for task in table.tasks].index(name)
    task, labels = table.tasks[index], labels_of(table.labels(), table.tasks)[index]
    kind = task.in_table
    known = kind.known(labels)
    labels = labels[known]
    rng = np.random.default_rng(0)
    good = model.predict(table.frame)[name][known]
    bad = np.repeat(kind.from_columns(kind.constant(labels)[None]), len(labels), axis=0)
    other = good[rng.permutation(len(good))]
    stacked = np.stack([good, bad, other], axis=1)
    weights = blend_weights(task, stacked, labels)
    assert weights.sum() == pytest.approx(1)
    best = kind.row_losses(blended(stacked, weights), labels).mean()
    for tried in rng.dirichlet(np.ones(3), 200):
        assert best <= kind.row_losses(blended(stacked, tried), labels).mean() + 1e-4
    drawn = blend_weights(task, stacked, labels, np.array([0.0, 0.0, 1.0]))
    assert drawn[2] > weights[2]


def test_blends_of_all_kinds_are_chosen_together(table, model):
    good = model.predict(table.frame)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(table.frame))
    labels = table.labels()
    constants = left_out_constants(table.tasks, labels, np.arange(len(labels)))
    predictions = {
        task.name: {"separate": good[task.name][order], "joint": good[task.name]}
        for task in table.tasks
    }
    blends = choose_blends(table.tasks, predictions, labels, "separate", constants)
    assert all(sum(one.weights.values()) == pytest.approx(1) for one in blends.values())
    for name in ("crp", "soil", "stay"):
        assert max(blends[name].weights, key=blends[name].weights.get) == "joint"


def test_a_temperature_of_several_labels_is_that_of_each():
    task = Task.multilabel("diseases", ("a", "b"))
    rng = np.random.default_rng(0)
    chance = rng.random((400, 2))
    labels = (rng.random((400, 2)) < chance).astype(float)
    too_sure = scale_probabilities(chance, 0.4, task)
    # the odds of each are raised to 1 / 0.4
    np.testing.assert_allclose(
        np.log(too_sure / (1 - too_sure)), np.log(chance / (1 - chance)) / 0.4
    )
    labels[3, 1] = np.nan
    found = Calibration.fit([task], {"diseases": too_sure}, labels)
    assert found.temperatures["diseases"] == pytest.approx(2.5, rel=0.25)
