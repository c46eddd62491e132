"""The estimators follow scikit-learn's rules and predict several targets with missing labels."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris, load_linnerud
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from jointrain import InvalidInputError, JointClassifier, JointRegressor

EXPECTED_FAILURES: dict[str, str] = {}

QUICK = {"width": 32, "epochs": 60, "random_state": 0, "learning_rate": 1e-2}


@parametrize_with_checks(
    [JointRegressor(**QUICK), JointClassifier(**QUICK)],
    expected_failed_checks=lambda estimator: EXPECTED_FAILURES,
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def two_targets(rows: int = 120, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(rows, 4))
    return x, np.stack([x[:, 0] - 2 * x[:, 1] + 50, 0.01 * (x[:, 0] + x[:, 2])], axis=1)


@pytest.mark.parametrize("schedule", ["joint", "alternating", "separate"])
def test_regressor_learns_targets_of_different_units(schedule):
    x, y = two_targets()
    model = JointRegressor(schedule=schedule, **QUICK).fit(x[:90], y[:90])
    assert model.predict(x[90:]).shape == (30, 2)
    assert model.score(x[90:], y[90:]) > 0.7


def test_missing_labels_and_features():
    x, y = two_targets()
    y[:40, 0] = np.nan
    y[40:80, 1] = np.nan
    x[::7, 3] = np.nan
    model = JointRegressor(**QUICK).fit(x[:100], y[:100])
    predicted = model.predict(x)
    assert np.isfinite(predicted).all()
    assert model.score(x[100:], y[100:]) > 0.5
    # rows without any label teach nothing and break nothing
    y[5] = np.nan
    model.fit(x, y)


def test_intervals_of_one_and_several_targets():
    x, y = two_targets(200)
    model = JointRegressor(ensemble=4, **QUICK).fit(x[:120], y[:120])
    intervals = model.predict_interval(x[120:], coverage=0.8)
    assert intervals.shape == (80, 2, 2)
    inside = (y[120:] >= intervals[..., 0]) & (y[120:] <= intervals[..., 1])
    assert 0.65 < inside.mean() < 0.97
    predicted = model.predict(x[120:])
    assert ((intervals[..., 0] < predicted) & (predicted < intervals[..., 1])).all()
    narrow = JointRegressor(**QUICK).fit(x[:120], y[:120, 0]).predict_interval(x[120:], 0.5)
    assert narrow.shape == (80, 2)


def test_a_missing_label_is_not_a_zero():
    x, y = two_targets()
    holes = y.copy()
    holes[::2, 0] = np.nan
    wrong = np.nan_to_num(holes)
    full = JointRegressor(**QUICK).fit(x, holes).predict(x)
    zeros = JointRegressor(**QUICK).fit(x, wrong).predict(x)
    assert np.abs(full[:, 0] - y[:, 0]).mean() < 3
    assert np.abs(zeros[:, 0] - y[:, 0]).mean() > 10


def test_classifier_with_several_targets_of_text_and_missing_labels():
    x, y = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"], dtype=object)[y]
    long = np.where(x[:, 0] > 5.8, "long", "short").astype(object)
    names[:10] = None
    long[20:30] = np.nan
    targets = np.stack([names, long], axis=1)
    model = JointClassifier(**QUICK).fit(x, targets)
    probabilities = model.predict_proba(x)
    assert [p.shape for p in probabilities] == [(150, 3), (150, 2)]
    assert model.predict(x).shape == (150, 2)
    assert set(model.predict(x)[:, 1]) == {"long", "short"}
    assert model.score(x, targets) > 0.85
    assert [list(c) for c in model.classes_] == [
        ["setosa", "versicolor", "virginica"],
        ["long", "short"],
    ]


def test_data_frames_with_categories_dates_and_named_targets():
    generator = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "city": generator.choice(["Rome", "Oslo", "Bonn"], 150),
            "day": pd.date_range("2026-01-01", periods=150),
            "size": generator.normal(size=150),
            "garden": generator.random(150) > 0.5,
        }
    )
    effect = frame["city"].map({"Rome": 1.0, "Oslo": -1.0, "Bonn": 3.0})
    y = pd.DataFrame({"price": effect + frame["size"], "rent": effect - 2 * frame["garden"]})
    model = JointRegressor(weights={"price": 2.0}, **QUICK).fit(frame[:120], y[:120])
    assert model.score(frame[120:], y[120:]) > 0.6
    assert list(model.feature_names_in_) == ["city", "day", "size", "garden"]
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame.rename(columns={"city": "town"}))


def test_pipeline_cross_validation_grid_search_and_clone():
    x, y = load_linnerud(return_X_y=True)
    x, y = np.tile(x, (3, 1)), np.tile(y, (3, 1))
    pipeline = make_pipeline(StandardScaler(), JointRegressor(width=8, epochs=5, random_state=0))
    assert cross_val_score(pipeline, x, y, cv=3).shape == (3,)
    search = GridSearchCV(
        JointRegressor(epochs=5, random_state=0), {"width": [4, 8], "schedule": ["joint"]}, cv=2
    ).fit(x, y)
    assert search.best_params_["width"] in (4, 8)
    copy = clone(JointRegressor(l1=0.5, weights={"a": 1.0}))
    assert copy.get_params()["l1"] == 0.5
    assert copy.get_params()["weights"] == {"a": 1.0}


def test_same_seed_same_predictions():
    x, y = load_diabetes(return_X_y=True)
    first = JointRegressor(**QUICK).fit(x, y).predict(x)
    again = JointRegressor(**QUICK).fit(x, y).predict(x)
    np.testing.assert_array_equal(first, again)
    assert first.shape == (442,)


def test_constant_target_is_predicted_as_it_is():
    x, y = two_targets()
    predicted = JointRegressor(**QUICK).fit(x, y * [0, 1] + [3, 0]).predict(x)
    np.testing.assert_allclose(predicted[:, 0], 3, atol=0.1)


def test_one_dimensional_target_gives_one_dimensional_predictions():
    x, y = two_targets()
    assert JointRegressor(**QUICK).fit(x, y[:, 0]).predict(x).shape == (120,)
    assert JointRegressor(**QUICK).fit(x, y[:, :1]).predict(x).shape == (120, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (x, np.where(np.arange(120)[:, None] == 3, np.inf, y)), "infinity in row 3"),
        (lambda x, y: (x, y * [1, np.nan]), "target 1 of y has no label"),
        (lambda x, y: (x[:5], y), "5 rows and y has 120"),
        (lambda x, y: (x * 0, y), "constant"),
        (lambda x, y: (x[:1], y[:1]), "1"),
    ],
)
def test_bad_data(change, message):
    x, y = change(*two_targets())
    with pytest.raises(ValueError, match=message):
        JointRegressor(**QUICK).fit(x, y)


def test_bad_parameters():
    x, y = two_targets()
    with pytest.raises(InvalidInputError, match="`schedule`"):
        JointRegressor(schedule="jiont").fit(x, y)
    with pytest.raises(InvalidInputError, match="target 7"):
        JointRegressor(weights={"target 7": 2.0}).fit(x, y)
    with pytest.raises(InvalidInputError, match="one class only"):
        JointClassifier().fit(x, np.stack([y[:, 0] > 0, y[:, 0] > -1e9], axis=1))
    with pytest.raises(InvalidInputError, match="JointClassifier"):
        JointRegressor().fit(x, np.array(["a", "b"] * 60))
