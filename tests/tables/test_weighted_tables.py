"""Weights of rows in all that is fitted to a table, and measured on it."""

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import sklearn.metrics as reference
from scipy.optimize import minimize_scalar
from scipy.special import expit
from scipy.stats import trim_mean

from jointrain import InvalidInputError, Recipe, SupervisedTable, Task, fit_table
from jointrain.baselines import as_baseline
from jointrain.data import Column, effective_rows
from jointrain.experiments import Fold
from jointrain.tables._blend import TRIMMED, _trimmed_mean, blend_weights, choose_blends
from jointrain.tables._calibration import fit_temperature
from jointrain.tables._conformal import Residuals
from jointrain.tables._constants import held_out_constants, left_out_constants
from jointrain.tables._fit_table import target_scaling
from jointrain.tables._fold_runs import FoldJob, measured_rows, table_digest
from jointrain.tables._importance import column_importance
from jointrain.task import KINDS

QUICK = Recipe(width=6, depth=1, epochs=4, ensemble=2, dropout=0.0)
PRICE, SOLD = Task.regression("price"), Task.binary("sold", ("no", "yes"))


def planted(rows: int = 90) -> pl.DataFrame:
    random = np.random.default_rng(0)
    x, z = random.normal(size=(2, rows))
    return pl.DataFrame(
        {
            "x": x,
            "z": z,
            "price": 10 + 3 * x + random.normal(size=rows),
            "sold": np.where(z + random.normal(size=rows) > 0.8, "yes", "no"),
            "w": random.integers(1, 4, rows),
        }
    )


def table(factor: float = 1.0, **more) -> SupervisedTable:
    frame = planted().with_columns(w=pl.col("w") * factor)
    return SupervisedTable.prepare(frame, ["price", "sold"], row_weight="w", **more)


def test_the_unit_of_weights_is_of_no_account():
    frame = planted()
    ones, thousands = (fit_table(table(factor), QUICK, device="cpu") for factor in (1.0, 1000.0))
    plain = fit_table(
        SupervisedTable.prepare(frame.drop("w"), ["price", "sold"]), QUICK, device="cpu"
    )
    for name, values in ones.predict(frame).items():
        np.testing.assert_allclose(thousands.predict(frame)[name], values, rtol=1e-5)
        assert np.abs(plain.predict(frame)[name] - values).max() > 1e-3


def test_equal_weights_give_the_same_bits():
    frame = planted()
    equal, plain = (
        fit_table(SupervisedTable.prepare(given, ["price", "sold"], **more), QUICK, device="cpu")
        for given, more in (
            (frame.with_columns(w=pl.lit(0.3)), {"row_weight": "w"}),
            (frame.drop("w"), {}),
        )
    )
    for name, values in plain.predict(frame).items():
        np.testing.assert_allclose(equal.predict(frame)[name], values, rtol=1e-6)


def test_class_weights_move_probabilities_to_the_rare_class():
    frame = planted(300)
    rare = frame["sold"].to_numpy() == "yes"
    shares = {}
    for name, given in {"plain": None, "balanced": "balanced", "heavy": {"yes": 50}}.items():
        made = SupervisedTable.prepare(frame.drop("w"), ["sold"], class_weights=given)
        recipe = Recipe(width=16, depth=1, epochs=40, ensemble=2, dropout=0.0)
        shares[name] = fit_table(made, recipe, device="cpu").predict(frame)["sold"].mean()
    assert shares["plain"] == pytest.approx(rare.mean(), abs=0.1)
    assert shares["balanced"] == pytest.approx(0.5, abs=0.1)
    assert shares["heavy"] > 0.8


def test_targets_are_scaled_and_constants_made_as_of_repeated_rows():
    random = np.random.default_rng(1)
    labels = np.stack([random.normal(size=20), random.integers(5, size=20)], axis=1)
    labels[::7, 0] = np.nan
    counts = random.integers(0, 4, 20)
    counts[:2] = 1
    weights = np.stack([counts, counts], axis=1) * 0.25
    tasks = [PRICE, Task.count("visits")]
    counted = np.where(weights > 0, labels, np.nan)
    repeated = np.repeat(labels, counts, axis=0)
    found = target_scaling(counted, tasks, weights)
    for name, expected in target_scaling(repeated, tasks).items():
        np.testing.assert_allclose(found[name], expected)
    folds = [Fold(0, 0, np.arange(15), np.arange(15, 20))]
    again = np.repeat(labels[:15], counts[:15], axis=0)
    whole = np.vstack([again, labels[15:]])
    others = [Fold(0, 0, np.arange(len(again)), np.arange(len(again), len(whole)))]
    constants = held_out_constants(tasks, counted, folds, weights)
    for name, expected in held_out_constants(tasks, whole, others).items():
        np.testing.assert_allclose(constants[name][15:], expected[len(again) :])
    found = left_out_constants(tasks, counted, np.arange(20), weights)
    for index, task in enumerate(tasks):
        for row in np.flatnonzero(np.isfinite(counted[:, index])):
            rest = np.delete(counted[:, index], row), np.delete(weights[:, index], row)
            known = np.isfinite(rest[0])
            expected = np.average(rest[0][known], weights=rest[1][known])
            assert found[task.name][row] == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["binary", "multiclass", "ordinal"])
def test_constants_of_classes_are_weighted_shares(kind):
    task = Task(kind, kind, (0, 1) if kind == "binary" else (0, 1, 2))
    labels = np.array([0.0, 1, 1, 0])
    weights = np.array([6.0, 1, 1, 4])
    rules = KINDS[kind](task)
    counts = np.array([10 / 3 + 1, 2 / 3 + 1, 1])[: len(task.classes)]
    np.testing.assert_allclose(rules.constant(labels, weights), counts / counts.sum())
    left = rules.constants_without(labels, np.array([0]), weights)[0]
    counts[0] -= 2
    np.testing.assert_allclose(left, counts / counts.sum())


def test_temperatures_have_the_lowest_weighted_log_loss():
    random = np.random.default_rng(2)
    logits = random.normal(size=600)
    labels = (random.random(600) < expit(logits)).astype(float)
    # heavy rows are far too sure, light ones not sure enough
    heavy = np.arange(600) % 2 == 0
    probabilities = expit(np.where(heavy, 3 * logits, 0.5 * logits))
    weights = np.where(heavy, 8.0, 0.5)

    def loss(factor: float) -> float:
        found = expit(factor * np.log(probabilities / (1 - probabilities)))
        return reference.log_loss(labels, found, sample_weight=weights)

    best = minimize_scalar(loss, bounds=(0.05, 20), method="bounded").x
    assert fit_temperature(probabilities, labels, weights) == pytest.approx(1 / best, rel=1e-3)
    again = fit_temperature(probabilities, labels, 1000 * weights)
    assert again == pytest.approx(1 / best, rel=1e-3)
    # fewer effective rows than are worth it
    few = np.where(np.arange(600) < 5, 1.0, 1e-9)
    assert fit_temperature(probabilities, labels, few) == 1


def test_intervals_hold_their_share_of_the_weight():
    random = np.random.default_rng(3)
    wide = random.random(8000) < 0.5
    errors = random.normal(size=8000) * np.where(wide, 5.0, 1.0)
    weights = np.where(wide, 0.1, 1.0)
    equal = Residuals.of(np.zeros(4000), errors[:4000])
    same = Residuals.of(np.zeros(4000), errors[:4000], np.full(4000, 0.3))
    np.testing.assert_array_equal(equal.errors, same.errors)
    assert same.rows == equal.rows
    found = Residuals.of(np.zeros(4000), errors[:4000], weights[:4000])
    assert found.rows == int(effective_rows(weights[:4000]))
    low, high = found.interval(np.zeros(1), 0.8)[0]
    expected = np.quantile(errors[:4000], [0.1, 0.9], weights=weights[:4000], method="inverted_cdf")
    np.testing.assert_allclose([low, high], expected, rtol=0.05)
    inside = (errors[4000:] >= low) & (errors[4000:] <= high)
    assert np.average(inside, weights=weights[4000:]) == pytest.approx(0.8, abs=0.03)
    found.check()


def test_blends_are_those_of_repeated_rows():
    random = np.random.default_rng(4)
    truth = random.normal(size=60)
    stacked = truth[:, None] + random.normal(size=(60, 3)) * [0.5, 1, 2]
    counts = random.integers(0, 4, 60)
    index = np.repeat(np.arange(60), counts)
    rows = counts / counts.mean()
    found = blend_weights(PRICE, stacked, truth, None, rows)
    np.testing.assert_allclose(found, blend_weights(PRICE, stacked[index], truth[index]), atol=1e-6)
    chances = expit(stacked)
    labels = (truth > 0).astype(float)
    found = blend_weights(SOLD, chances, labels, None, rows)
    again = blend_weights(SOLD, chances[index], labels[index])
    np.testing.assert_allclose(found, again, atol=1e-6)


def test_trimmed_means_trim_weight():
    random = np.random.default_rng(5)
    values, counts = random.normal(size=1000) ** 3, random.integers(1, 4, 1000)
    repeated = trim_mean(np.repeat(values, counts), TRIMMED)
    assert _trimmed_mean(values, counts.astype(float)) == pytest.approx(repeated, abs=1e-3)
    assert _trimmed_mean(values, np.full(1000, 2.0)) == trim_mean(values, TRIMMED)
    for rows in (1, 2, 49, 50, 51, 120):
        assert _trimmed_mean(values[:rows], np.ones(rows)) == trim_mean(values[:rows], TRIMMED)


def test_what_is_better_where_the_weight_lies_is_chosen():
    random = np.random.default_rng(6)
    truth = 10 * random.normal(size=400)
    first = np.arange(400) < 200
    noise = random.normal(size=(400, 2))
    predictions = {
        "a": truth + noise[:, 0] * np.where(first, 0.1, 8),
        "b": truth + noise[:, 1] * np.where(first, 8, 0.1),
    }
    constants = {"price": np.zeros(400)}

    def chosen(weights: np.ndarray) -> dict[str, float]:
        found = choose_blends(
            [PRICE], {"price": predictions}, truth[:, None], "a", constants, weights[:, None]
        )
        return dict(found["price"].weights)

    assert chosen(np.where(first, 1.0, 1e-3)) == {"a": 1.0}
    assert chosen(np.where(first, 1e-3, 1.0))["b"] > 0.95


def test_folds_are_measured_by_weights_and_counted_by_effective_rows():
    random = np.random.default_rng(7)
    labels = np.stack([random.normal(size=40), random.integers(2, size=40)], axis=1)
    labels[3, 0] = np.nan
    weights = random.random((40, 2))
    fold = Fold(0, 0, np.arange(25), np.arange(25, 40))
    predictions = {"price": random.normal(size=15), "sold": random.random(15)}
    rows = measured_rows("it", (PRICE, SOLD), predictions, labels, fold, {}, weights)
    found = {(row["task"], row["metric"]): row for row in rows}
    test = slice(25, 40)
    assert found["price", "RMSE"]["value"] == pytest.approx(
        reference.root_mean_squared_error(
            labels[test, 0], predictions["price"], sample_weight=weights[test, 0]
        )
    )
    assert found["sold", "ROC-AUC"]["value"] == pytest.approx(
        reference.roc_auc_score(
            labels[test, 1], predictions["sold"], sample_weight=weights[test, 1]
        )
    )
    known = np.delete(weights[:25, 0], 3)
    assert found["price", "R2"]["train_rows"] == round(known.sum() ** 2 / (known**2).sum())
    assert found["price", "R2"]["test_rows"] < 15


def test_stores_tell_tables_of_other_weights_apart():
    tables = [
        SupervisedTable.prepare(planted(), ["price", "sold"], ignore="w"),
        table(),
        table(2.0),
        table(class_weights="balanced"),
        table(class_weights={"yes": 2}),
    ]
    assert len({table_digest(made) for made in tables}) == len(tables)


def test_baselines_and_networks_of_a_fold_are_fitted_with_weights():
    made = table()
    fold = Fold(0, 0, np.arange(60), np.arange(60, 90))

    baselines = as_baseline("constant"), as_baseline("linear")

    def scores(given: SupervisedTable) -> dict[tuple[str, str, str], float]:
        job = FoldJob(given, [fold], [QUICK], (), baselines, QUICK, "")
        return {
            (row["recipe"], row["task"], row["metric"]): row["value"]
            for result in job.run()
            for row in result["rows"]
        }

    found = scores(made)
    train, test = planted()[:60], planted()[60:]
    mean = np.average(train["price"], weights=train["w"])
    expected = reference.root_mean_squared_error(
        test["price"], np.full(30, mean), sample_weight=test["w"]
    )
    assert found["constant", "price", "RMSE"] == pytest.approx(expected, rel=1e-6)
    plain = scores(SupervisedTable.prepare(planted(), ["price", "sold"], ignore="w"))
    for key in plain:
        if key[0] != "constant" or key[1] == "price":
            assert found[key] != pytest.approx(plain[key], rel=1e-6), key


def test_models_are_evaluated_by_weights():
    frame = planted()
    model = fit_table(table(), QUICK, device="cpu")
    by_name = model.evaluate(frame, "w")
    assert by_name == model.evaluate(frame, frame["w"].to_numpy() * 3.0) != model.evaluate(frame)
    predicted = model.predict(frame)["price"]
    assert by_name["price"]["RMSE"] == pytest.approx(
        reference.root_mean_squared_error(frame["price"], predicted, sample_weight=frame["w"])
    )
    with pytest.raises(InvalidInputError, match="there is no column 'v' of weights"):
        model.evaluate(frame, "v")
    with pytest.raises(InvalidInputError, match=r"must be one number a row, \[90\]"):
        model.evaluate(frame, [1.0, 2.0])
    with pytest.raises(InvalidInputError, match="`weights` holds -1 in row 1"):
        model.evaluate(frame, -np.ones(90))


def test_columns_matter_where_the_weight_lies():
    random = np.random.default_rng(8)
    x, z = random.normal(size=(2, 300))
    first = np.arange(300) < 150
    frame = pl.DataFrame({"x": x, "z": z, "first": first, "price": np.where(first, x, z)})
    model = SimpleNamespace(
        columns=(Column("x", "numeric", "Float64"), Column("z", "numeric", "Float64")),
        predicted_tasks=(PRICE,),
        predict=lambda f: {"price": np.where(f["first"], f["x"], f["z"])},
        conformed=lambda f, others: f,
    )
    weights = np.where(first, 1.0, 1e-9)[:, None]
    found = column_importance(model, frame, weights=weights).increase["price"]
    assert found[0] > 1
    assert found[1] == pytest.approx(0, abs=1e-3)
