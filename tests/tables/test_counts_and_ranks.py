"""Counts, spreads and ordered classes in tables: fitted, blended, saved, and read again."""

import numpy as np
import polars as pl
import pytest

from jointrain import InvalidInputError, Recipe, Study, SupervisedTable, Task, fit_table
from jointrain.baselines import as_baseline
from jointrain.bundle import load_bundle, save_bundle
from jointrain.reports import write_markdown
from jointrain.tables._blend import blend_weights, choose_blends
from jointrain.tables._blended_model import BlendedModel, fit_baseline_to
from jointrain.training import Separate

KINDS = {
    "visits": "count",
    "orders": "negative-binomial",
    "noisy": "mean-variance",
    "grade": "ordinal",
    "level": "ordinal:low:mid:top",
}
QUICK = Recipe(width=16, epochs=30, ensemble=2)


def table(rows=240):
    random = np.random.default_rng(0)
    x = random.normal(size=(rows, 3))
    score = x[:, 0] + 0.5 * x[:, 1]
    grade = np.digitize(2 * score + random.logistic(size=rows), [-1, 1]) + 1
    frame = pl.DataFrame(
        {
            **{f"x{i}": x[:, i] for i in range(3)},
            "visits": random.poisson(20 * np.exp(score)),
            "orders": random.negative_binomial(2, 1 / (1 + 10 * np.exp(score))),
            "noisy": 100 * (score + random.normal(size=rows) * np.exp(x[:, 2] - 1)),
            "grade": grade,
            "level": np.array(["low", "mid", "top"])[np.digitize(score, [-1, 0.3])],
        }
    ).with_columns(
        visits=pl.when(pl.int_range(rows) % 9 == 0).then(None).otherwise(pl.col("visits"))
    )
    return SupervisedTable.prepare(frame, list(KINDS), kinds=KINDS)


@pytest.fixture(scope="module")
def model():
    return fit_table(table(), QUICK, seed=1, device="cpu")


def test_a_row_whose_rate_overflows_is_named_with_what_may_be_the_cause():
    known = table()
    linear = fit_baseline_to(as_baseline("linear"), known, seed=0)
    model = BlendedModel(
        known.tasks, known.columns, {"linear": linear}, {key: {"linear": 1.0} for key in KINDS}
    )
    far = known.frame.with_columns(x0=pl.when(pl.int_range(240) == 7).then(1e4).otherwise("x0"))
    with pytest.raises(InvalidInputError, match="'visits' in row 8: its features are too far"):
        model.predict(far)


def test_predictions_are_rates_and_probabilities(model):
    found = model.predict(table().frame)
    assert (found["visits"] > 0).all()
    assert (found["orders"] > 0).all()
    for name in ("grade", "level"):
        assert found[name].shape == (240, 3)
        np.testing.assert_allclose(found[name].sum(1), 1)
    metrics = model.evaluate(table().frame)
    labels = table().labels()
    known = np.isfinite(labels[:, 0])
    rate = np.full(known.sum(), labels[known, 0].mean())
    constant = 2 * Task.count("visits").in_table.row_losses(rate, labels[known, 0]).mean()
    # in the target's unit, where a rate is twenty times what networks are trained on
    assert metrics["visits"]["Poisson deviance"] < 0.5 * constant
    orders = labels[:, 1]
    constant = 2 * Task.count("orders").in_table.row_losses(np.full(240, orders.mean()), orders)
    assert metrics["orders"]["Poisson deviance"] < 0.85 * constant.mean()
    assert metrics["noisy"]["R2"] > 0.3
    assert metrics["level"]["quadratic kappa"] > 0.7


def test_intervals_are_of_counts_and_temperatures_of_ordered_classes(model):
    assert set(model.calibration.residuals) == {"visits", "orders", "noisy"}
    assert set(model.calibration.temperatures) == {"grade", "level"}
    ends = model.predict_interval(table().frame, 0.8)["visits"]
    visits = table().labels()[:, 0]
    known = np.isfinite(visits)
    inside = (ends[known, 0] <= visits[known]) & (visits[known] <= ends[known, 1])
    assert (ends >= 0).all()
    assert 0.7 < inside.mean() <= 1


def test_the_predicted_class_is_the_median(model):
    columns = model.predict_table(table().frame, intervals=0.5)
    assert columns.columns[:4] == ["visits", "visits_low", "visits_high", "orders"]
    cumulative = columns.select("level=low", "level=mid", "level=top").to_numpy().cumsum(1)
    median = (cumulative < 0.5).sum(1)
    assert columns["level"].to_list() == [("low", "mid", "top")[k] for k in median]


def test_a_bundle_gives_the_same_predictions(model, tmp_path):
    save_bundle(model, tmp_path / "bundle")
    again = load_bundle(tmp_path / "bundle")
    assert again.tasks == model.tasks
    for name, values in model.predict(table().frame).items():
        np.testing.assert_array_equal(again.predict(table().frame)[name], values)


def test_a_network_of_any_kind_has_them():
    for network in ("tabm", "mmoe"):
        recipe = Recipe(network=network, width=8, epochs=2, ensemble=1)
        found = fit_table(table(80), recipe, seed=1, device="cpu").predict(table(80).frame)
        assert all(np.isfinite(values).all() for values in found.values())


def test_a_study_compares_and_blends_them():
    quick = {"width": 8, "epochs": 4, "ensemble": 1}
    recipes = [Recipe(name="separate", schedule=Separate(), **quick), Recipe(name="joint", **quick)]
    result = Study(table(120), recipes, folds=2).run(workers=1)
    rows = result.table
    found = rows.filter(pl.col("task") == "visits")["metric"].unique().sort().to_list()
    assert found == ["MAE", "Poisson deviance", "RMSE"]
    assert np.isfinite(rows.filter(pl.col("metric") == "RPS")["value"].to_numpy()).all()
    assert set(result.blends) == set(KINDS)
    assert "grade: ordinal of 3 classes, 120 labels" in write_markdown(result, "rows")


def test_blends_of_counts_are_kept_by_their_deviance():
    random = np.random.default_rng(2)
    rate = random.gamma(2.0, 2.0, 400)
    labels = random.poisson(rate).astype(float)[:, None]
    noisy = [rate * random.lognormal(0, 0.5, 400) for _ in range(2)]
    task = Task.count("visits")
    constants = {"visits": np.full(400, labels.mean())}
    blends = choose_blends(
        [task], {"visits": {"a": noisy[0], "b": noisy[1]}}, labels, "a", constants
    )
    assert set(blends["visits"].weights) == {"a", "b"}
    weights = blend_weights(task, np.stack(noisy, 1), labels[:, 0])
    assert weights.sum() == pytest.approx(1)
    losses = [task.in_table.row_losses(one, labels[:, 0]).mean() for one in noisy]
    mean = task.in_table.row_losses(np.stack(noisy, 1) @ weights, labels[:, 0]).mean()
    assert mean < min(losses)
