"""Temperatures and conformal widths, against scikit-learn, by hand and by simulation."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from jointrain import Recipe, SupervisedTable, fit_table, load_penguins
from jointrain.errors import InvalidInputError
from jointrain.tables._calibration import (
    Calibration,
    fit_temperature,
    scale_probabilities,
)
from jointrain.tables._fit_table import inner_splits, predict_unseen
from jointrain.tables._table_model import predict_parts
from jointrain.task import Task
from jointrain.training import Joint, Phase, Phases, Separate


def _sample(rows=4000, classes=3, seed=0):
    random = np.random.default_rng(seed)
    powers = np.exp(random.normal(size=(rows, classes)))
    probabilities = powers / powers.sum(1, keepdims=True)
    labels = (random.random((rows, 1)) > probabilities.cumsum(1)).sum(1)
    return probabilities, labels.astype(float)


def test_overconfident_probabilities_are_brought_back():
    probabilities, labels = _sample()
    overconfident = scale_probabilities(probabilities, 1 / 3)
    assert fit_temperature(overconfident, labels) == pytest.approx(3, rel=0.1)
    np.testing.assert_allclose(scale_probabilities(overconfident, 3), probabilities, atol=1e-9)


def test_two_classes_equal_a_logistic_regression_without_intercept():
    probabilities, labels = _sample(classes=2)
    overconfident = scale_probabilities(probabilities[:, 1], 0.5)
    logit = np.log(overconfident / (1 - overconfident))
    oracle = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10).fit(
        logit[:, None], labels
    )
    found = fit_temperature(overconfident, labels)
    assert 1 / found == pytest.approx(oracle.coef_[0, 0], abs=1e-4)


def test_the_ranking_stays_and_rows_sum_to_one():
    probabilities, _ = _sample(rows=50)
    scaled = scale_probabilities(probabilities, 2.5)
    np.testing.assert_allclose(scaled.sum(1), 1)
    assert (scaled.argmax(1) == probabilities.argmax(1)).all()


def test_certain_probabilities_stay_finite():
    probabilities = np.tile([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]], (20, 1))
    temperature = fit_temperature(probabilities, np.tile([0.0, 1.0, 1.0], 20))
    assert np.isfinite(scale_probabilities(probabilities, temperature)).all()
    assert temperature > 2


def test_probabilities_stay_where_nothing_can_be_learnt():
    probabilities, labels = _sample()
    overconfident = scale_probabilities(probabilities, 1 / 3)
    assert fit_temperature(np.array([0.2, 0.8]), np.full(2, math.nan)) == 1
    assert fit_temperature(overconfident[:29], labels[:29]) == 1
    assert fit_temperature(overconfident, np.zeros(4000)) == 1
    assert fit_temperature(np.full(4000, math.nan), labels) == 1


def test_calibrated_probabilities_are_hardly_changed():
    kept = 0
    for seed in range(20):
        probabilities, labels = _sample(rows=100, seed=seed)
        kept += fit_temperature(probabilities, labels) == 1
    assert kept >= 8


def test_rows_without_prediction_or_label_are_left_out():
    probabilities, labels = _sample(rows=300)
    probabilities = scale_probabilities(probabilities, 0.3)
    expected = fit_temperature(probabilities[50:250], labels[50:250])
    probabilities[:50] = np.nan
    labels[250:] = np.nan
    # the rows' places choose the parts of the check, not the temperature
    assert fit_temperature(probabilities, labels) == pytest.approx(expected, abs=1e-6)


def test_wrong_coverage_and_missing_residuals():
    calibration = Calibration.fit(
        [Task.regression("a"), Task.regression("b")],
        {"a": np.zeros(3), "b": np.full(3, math.nan)},
        np.ones((3, 2)),
    )
    with pytest.raises(InvalidInputError, match="must lie between 0 and 1, got 90"):
        calibration.interval(Task.regression("a"), np.zeros(1), 90)
    with pytest.raises(InvalidInputError, match="there is no interval for task 'b'"):
        calibration.interval(Task.regression("b"), np.zeros(1), 0.9)


def test_intervals_of_counts_end_at_whole_numbers():
    """A constant that moves a little must not lose the rows that all have one count."""
    labels = np.array([0.0] * 83 + [1.0] * 10 + [3.0] * 7)
    tasks = [Task.count("visits"), Task.regression("amount")]
    held_out = {task.name: np.full(100, 0.30) for task in tasks}
    calibration = Calibration.fit(tasks, held_out, np.stack([labels, labels], 1))
    for moved in (0.29, 0.30, 0.32):
        ends = calibration.interval(tasks[0], np.array([moved]), 0.9)
        assert ends[0, 0] == 0
        assert ends[0, 1] in (3, 4)
    whole = calibration.interval(tasks[1], np.array([0.32]), 0.9)
    np.testing.assert_allclose(whole, [[0.02, 3.02]])
    few = Calibration.fit(tasks[:1], {"visits": np.zeros(3)}, np.ones((3, 1)))
    assert few.interval(tasks[0], np.zeros(1), 0.9).tolist() == [[0, math.inf]]


TASKS = ["species", "sex", "body_mass_g"]


@pytest.mark.parametrize(
    ("schedule", "ensemble"),
    [
        (Joint(), 3),
        (Joint(), 1),
        (Separate(), 2),
        (
            Phases(
                [
                    Phase(name="all", epochs=1),
                    Phase(name="own", epochs=1, each_task=True, tasks=("sex",)),
                ]
            ),
            2,
        ),
    ],
)
def test_each_row_is_predicted_by_the_members_that_left_it_out(schedule, ensemble):
    table = SupervisedTable.prepare(load_penguins(), TASKS)
    recipe = Recipe(schedule=schedule, ensemble=ensemble, width=8, epochs=2, bins=0)
    model = fit_table(table, recipe, seed=1, device="cpu")
    splits = inner_splits(recipe, table.labels(), table.tasks, 1)
    inputs = torch.from_numpy(model.encoder.transform(table.frame))
    found = predict_unseen(model.parts, splits, table.tasks, model.scaling, inputs)
    count = len(model.parts) // ensemble
    for member, (train, held_out) in enumerate(splits):
        own = model.parts[member * count : (member + 1) * count]
        assert sorted(name for part in own for name in part.tasks) == sorted(TASKS)
        expected = predict_parts(own, table.tasks, model.scaling, inputs[held_out])
        for name in TASKS:
            np.testing.assert_allclose(found[name][held_out], expected[name])
        if ensemble == 1:
            assert np.isnan(found["species"][train]).all()
    kept = np.isfinite(found["body_mass_g"])
    assert kept.all() == (ensemble > 1)
    labels = table.labels()[:, 2]
    rows = int((np.isfinite(labels) & kept).sum())
    assert model.calibration.residuals["body_mass_g"].rows == rows
    errors = np.sort((labels - found["body_mass_g"])[np.isfinite(labels) & kept])
    np.testing.assert_allclose(model.calibration.residuals["body_mass_g"].errors, errors)


def test_intervals_of_a_table_hold_most_values():
    frame = load_penguins().sample(fraction=1, shuffle=True, seed=0)
    table = SupervisedTable.prepare(frame[::2], TASKS)
    model = fit_table(table, Recipe(ensemble=4, width=32, epochs=40), seed=0, device="cpu")
    rest = frame[1::2]
    intervals = model.predict_interval(rest, 0.8)
    assert list(intervals) == ["body_mass_g"]
    low, high = intervals["body_mass_g"].T
    ends = model.calibration.residuals["body_mass_g"].bounds(0.8)
    np.testing.assert_allclose(low, model.predict(rest)["body_mass_g"] + ends[0])
    np.testing.assert_allclose(high, model.predict(rest)["body_mass_g"] + ends[1])
    values = rest["body_mass_g"].cast(float).fill_null(np.nan).to_numpy()
    held = ((values >= low) & (values <= high))[np.isfinite(values)].mean()
    assert 0.7 < held < 0.92
    written = model.predict_table(rest, intervals=0.8)
    np.testing.assert_array_equal(written["body_mass_g_low"], low)
    np.testing.assert_array_equal(written["body_mass_g_high"], high)


def test_intervals_without_numbers_are_refused():
    table = SupervisedTable.prepare(load_penguins(), ["species", "sex"])
    model = fit_table(table, Recipe(width=8, epochs=1), seed=0, device="cpu")
    with pytest.raises(InvalidInputError, match="every task has classes"):
        model.predict_interval(load_penguins())
