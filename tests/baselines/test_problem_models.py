"""Baselines of targets with several numbers: as a sceptic would write them in scikit-learn."""

import numpy as np
import pytest
from scipy.stats import CensoredData, ecdf
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, QuantileRegressor, RidgeCV
from sklearn.preprocessing import StandardScaler

from jointrain import InvalidInputError, Task
from jointrain.baselines import BASELINES, BaselineModel, check_predicts, fit_baseline

RNG = np.random.default_rng(0)
N = 120
X = RNG.normal(size=(N, 3)).astype(np.float32)
TIME = RNG.exponential(np.exp(-X[:, 0]))
EVENT = (RNG.random(N) < 0.7).astype(float)
DEATH = Task.survival("death", (0.3, 0.8, 2.0))
TIMES = np.stack([TIME, EVENT], axis=1)
SHARES = RNG.dirichlet(np.ones(3), N)
SOIL = Task.proportions("soil", ("a", "b", "c"))
YES = (X[:, :2] + RNG.normal(size=(N, 2)) > 0).astype(float)
YES[::7, 1] = np.nan
DISEASES = Task.multilabel("diseases", ("gout", "copd"))
Y = X[:, 0] + RNG.normal(size=N)
STAY = Task.quantiles("stay", (0.1, 0.5, 0.9))
BOUNDS = np.stack([np.where(Y > 1, 1.0, Y), np.where(Y > 1, np.inf, Y)], axis=1)
CRP = Task.censored("crp")
ALL = [
    (DEATH, TIMES), (SOIL, SHARES), (DISEASES, YES), (STAY, Y[:, None]), (CRP, BOUNDS),
]  # fmt: skip
W = RNG.integers(1, 4, N).astype(float)
NEW = RNG.normal(size=(9, 3)).astype(np.float32)


def predicted(name, task, labels, weights=None):
    of_rows = None if weights is None else weights[:, None]
    return fit_baseline(name, X, labels, [task], 0, of_rows).predict(NEW)[task.name]


@pytest.mark.parametrize("weights", [None, W])
def test_linear_survival_is_logistic_regression_of_rows_and_intervals(weights):
    rows, intervals, happened = [], [], []
    for row in range(N):
        for place, end in enumerate(DEATH.classes):
            if TIME[row] > end or EVENT[row]:
                rows.append(row)
                intervals.append(place)
                happened.append(TIME[row] <= end)
                if TIME[row] <= end:
                    break
    rows = np.array(rows)

    def with_interval(x, places):
        return np.concatenate([x, np.eye(3)[places]], axis=1)

    counts = None if weights is None else weights[rows]
    scaler = StandardScaler().fit(with_interval(X[rows], intervals), sample_weight=counts)
    line = LogisticRegression(max_iter=1000).fit(
        scaler.transform(with_interval(X[rows], intervals)), happened,
        None if counts is None else counts / counts.mean(),
    )  # fmt: skip
    hazards = [
        line.predict_proba(scaler.transform(with_interval(NEW, [place] * 9)))[:, 1]
        for place in range(3)
    ]
    expected = np.cumprod(1 - np.stack(hazards, axis=1), axis=1)
    np.testing.assert_allclose(predicted("linear", DEATH, TIMES, weights), expected, atol=1e-4)


def test_the_constant_of_survival_is_the_estimate_of_kaplan_and_meier():
    task = Task.survival("death", tuple(np.sort(TIME[EVENT == 1])))
    found = predicted("constant", task, TIMES)[0]
    data = CensoredData.right_censored(TIME, EVENT == 0)
    expected = ecdf(data).sf.evaluate(np.array(task.classes))
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_linear_proportions_are_logistic_regression_weighted_by_shares():
    scaler = StandardScaler().fit(np.repeat(X, 3, axis=0), sample_weight=SHARES.ravel())
    line = LogisticRegression(max_iter=1000).fit(
        scaler.transform(np.repeat(X, 3, axis=0)), np.tile(np.arange(3), N), 3 * SHARES.ravel()
    )
    expected = line.predict_proba(scaler.transform(NEW))
    np.testing.assert_allclose(predicted("linear", SOIL, SHARES), expected, atol=1e-4)


def test_each_of_several_labels_has_a_logistic_regression_of_its_own():
    found = predicted("linear", DISEASES, YES)
    for index in range(2):
        known = ~np.isnan(YES[:, index])
        scaler = StandardScaler().fit(X[known])
        line = LogisticRegression(max_iter=1000).fit(scaler.transform(X[known]), YES[known, index])
        expected = line.predict_proba(scaler.transform(NEW))[:, 1]
        np.testing.assert_allclose(found[:, index], expected, atol=1e-4)


def test_quantiles_are_those_of_the_libraries():
    found = predicted("gradient boosting", STAY, Y[:, None])
    each = [
        HistGradientBoostingRegressor(loss="quantile", quantile=q, random_state=0).fit(X, Y)
        for q in STAY.classes
    ]
    expected = np.sort(np.stack([model.predict(NEW) for model in each], axis=1), axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    scaled = StandardScaler().fit(X)
    line = QuantileRegressor(quantile=0.5, alpha=1 / N)
    line.fit(scaled.transform(X), (Y - Y.mean()) / Y.std())
    expected = line.predict(scaled.transform(NEW)) * Y.std() + Y.mean()
    found = predicted("linear", Task.quantiles("stay", (0.5,)), Y[:, None])
    np.testing.assert_allclose(found[:, 0], expected, atol=1e-6)


def test_a_bound_stands_for_a_censored_number():
    scaler = StandardScaler().fit(X)
    line = RidgeCV(np.logspace(-3, 3, 13)).fit(scaler.transform(X), np.minimum(Y, 1.0))
    expected = line.predict(scaler.transform(NEW))
    np.testing.assert_allclose(predicted("linear", CRP, BOUNDS), expected, atol=1e-6)


@pytest.mark.parametrize("name", ["constant", "linear", "extra trees", "gradient boosting"])
def test_what_is_saved_predicts_the_same(tmp_path, name):
    chosen = [one for one in ALL if not (one[0] is STAY and name == "extra trees")]
    tasks = [Task.regression("y"), *(task for task, _ in chosen)]
    labels = np.concatenate([Y[:, None], *(own for _, own in chosen)], axis=1)
    labels[5] = np.nan
    model = fit_baseline(name, X, labels, tasks, 0)
    model.save(tmp_path)
    again = BaselineModel.load(tmp_path).predict(NEW)
    for task, values in model.predict(NEW).items():
        np.testing.assert_array_equal(again[task], values)
    for task in tasks:
        assert again[task.name].shape == (9, *task.in_table.prediction_shape())
    assert (np.diff(again["death"], axis=1) <= 0).all()
    np.testing.assert_allclose(again["soil"].sum(1), 1)


def test_an_absent_answer_is_a_constant():
    labels = YES.copy()
    labels[:, 1] = 1.0
    found = predicted("linear", DISEASES, labels)
    assert (found[:, 1] == 1).all()
    assert found[:, 0].std() > 0


def test_what_a_library_has_not_is_refused():
    with pytest.raises(InvalidInputError, match="it has no quantiles, which target 'stay' is"):
        check_predicts(BASELINES["extra trees"], [STAY])
    with pytest.raises(InvalidInputError, match="some targets have several numbers a row"):
        check_predicts(BASELINES["extra trees joint"], [DEATH, Task.regression("y")])
