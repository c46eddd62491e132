"""Estimators of scikit-learn's interface as baselines."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR, LinearSVC

from jointrain.baselines import EstimatorBaseline, as_baseline, check_predicts, fit_baseline
from jointrain.errors import InvalidInputError
from jointrain.task import Task
from jointrain.testing import check_baseline

PAIR = EstimatorBaseline(ExtraTreesRegressor(20), ExtraTreesClassifier(20))
TASKS = (Task.regression("size"), Task.multiclass("kind", ("a", "b", "c")), Task.count("visits"))


def _data():
    random = np.random.default_rng(0)
    inputs = random.normal(size=(90, 4)).astype(np.float32)
    labels = np.stack(
        [3 * inputs[:, 0] + 5, np.digitize(inputs[:, 1], [-0.5, 0.5]), inputs[:, 2].round() ** 2],
        axis=1,
    ).astype(np.float64)
    labels[random.random(labels.shape) < 0.1] = np.nan
    return inputs, labels


def test_predicts_as_the_estimators_by_hand():
    inputs, labels = _data()
    found = fit_baseline(PAIR, inputs, labels, TASKS, seed=4).predict(inputs[:9])
    wide = inputs.astype(np.float64)
    for index, task in enumerate(TASKS):
        known = np.isfinite(labels[:, index])
        made = (ExtraTreesClassifier if task.has_classes else ExtraTreesRegressor)(
            20, random_state=4
        ).fit(wide[known], labels[known, index])
        by_hand = made.predict_proba(wide[:9]) if task.has_classes else made.predict(wide[:9])
        np.testing.assert_allclose(found[task.name], by_hand, rtol=1e-12)


@pytest.mark.parametrize(
    "given, name",
    [
        (KNeighborsRegressor(3), "KNeighborsRegressor"),
        (KNeighborsRegressor, "KNeighborsRegressor"),
        (lambda: KNeighborsRegressor(3), "KNeighborsRegressor"),
        (make_pipeline(StandardScaler(), SVR()), "SVR"),
        ("sklearn.ensemble:ExtraTreesRegressor", "ExtraTreesRegressor"),
        ("sklearn.ensemble:ExtraTrees", "ExtraTrees"),
        (PAIR, "ExtraTrees"),
        (EstimatorBaseline(SVR(), KNeighborsClassifier()), "SVR or KNeighborsClassifier"),
        (EstimatorBaseline(SVR(C=2.0), name="soft"), "soft"),
        ("linear", "linear"),
    ],
)
def test_names(given, name):
    assert as_baseline(given).name == name


@pytest.mark.parametrize(
    "given", [PAIR, KNeighborsClassifier, make_pipeline(StandardScaler(), SVR())]
)
def test_keeps_what_baselines_keep(given):
    check_baseline(given)


def test_weights_of_rows_reach_the_estimator():
    inputs, labels = _data()
    weights = np.random.default_rng(1).lognormal(size=(90, 1))
    for given in (LinearRegression(), make_pipeline(StandardScaler(), LinearRegression())):
        found = fit_baseline(given, inputs, labels[:, 2:], TASKS[2:], 0, weights).predict(inputs)
        known = np.isfinite(labels[:, 2])
        wide = inputs.astype(np.float64)
        by_hand = LinearRegression().fit(wide[known], labels[known, 2], weights[known, 0])
        np.testing.assert_allclose(
            found["visits"], np.maximum(by_hand.predict(wide), 0), rtol=1e-9, atol=1e-9
        )
    with pytest.raises(InvalidInputError, match="'KNeighborsRegressor' takes no weights of rows"):
        fit_baseline(KNeighborsRegressor(), inputs, labels[:, 2:], TASKS[2:], 0, weights)


@pytest.mark.parametrize(
    "given, message",
    [
        ("sklearn.ensembel:ExtraTrees", "module 'sklearn.ensembel' .* can't be imported"),
        ("sklearn.ensemble:Extra", "module 'sklearn.ensemble' has no 'Extra'"),
        ("math:pi", "'math:pi' is no baseline: .* got 3.14"),
        ("math:sqrt", "baseline 'math:sqrt' can't be made without arguments: TypeError"),
        (StandardScaler(), "'sklearn.preprocessing._data:StandardScaler' is no baseline"),
        (3, "is no baseline: it must be"),
        ("exta trees", "there is no baseline 'exta trees'.*did you mean 'extra trees'"),
    ],
)
def test_what_is_no_baseline_is_refused_in_one_line(given, message):
    with pytest.raises(InvalidInputError, match=message) as raised:
        as_baseline(given)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "given, tasks, message",
    [
        (SVR(), TASKS[1:2], "target 'kind' has classes, and SVR is a regressor; give both"),
        (KNeighborsClassifier(), TASKS, "'size' is a number, and KNeighborsClassifier is a class"),
        (LinearSVC(), TASKS[1:2], "LinearSVC has no predict_proba for the classes of 'kind'; wrap"),
    ],
)
def test_targets_that_it_can_not_predict_are_refused(given, tasks, message):
    with pytest.raises(InvalidInputError, match=message):
        check_predicts(as_baseline(given), tasks)
    check_predicts(as_baseline(CalibratedClassifierCV(LinearSVC())), TASKS[1:2])


class Odd(RegressorMixin, BaseEstimator):
    def __init__(self, shape=None):
        self.shape = shape

    def fit(self, X, y):
        return self

    def predict(self, X):
        return np.full((len(X),) if self.shape is None else self.shape, np.nan)


@pytest.mark.parametrize(
    "shape, message",
    [(None, "predicts what is no number"), ((3, 2), r"predicts shape \(3, 2\), not \(90,\)")],
)
def test_odd_predictions_are_refused(shape, message):
    inputs, labels = _data()
    model = fit_baseline(Odd(shape), inputs, labels[:, :1], TASKS[:1], 0)
    with pytest.raises(InvalidInputError, match=message):
        model.predict(inputs)


def test_a_fitted_one_is_not_saved(tmp_path):
    inputs, labels = _data()
    model = fit_baseline(PAIR, inputs, labels, TASKS, 0)
    with pytest.raises(InvalidInputError, match="a fitted 'ExtraTrees' can't be saved: files of"):
        model.save(tmp_path)
    assert not list(tmp_path.iterdir())
