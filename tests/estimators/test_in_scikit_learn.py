"""The estimators among the tools of scikit-learn and its neighbours."""

from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_linnerud
from sklearn.ensemble import StackingRegressor, VotingClassifier, VotingRegressor
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_predict, learning_curve
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from jointrain import JointClassifier, JointEstimator, JointRegressor

FAST = {"width": 8, "depth": 1, "epochs": 2, "ensemble": 1, "random_state": 0}


def table(rows: int = 60) -> tuple[pd.DataFrame, pd.DataFrame]:
    generator = np.random.default_rng(0)
    x = pd.DataFrame(
        {
            "city": generator.choice(["Rome", "Oslo", "Bonn"], rows),
            "size": generator.normal(size=rows),
            "age": generator.normal(size=rows),
        }
    )
    return x, pd.DataFrame({"price": 2 * x["size"] + 5, "sold": x["age"] > 0})


def test_behind_a_column_transformer(tmp_path):
    x, y = table()
    encode = make_column_transformer(
        (OneHotEncoder(), ["city"]), (StandardScaler(), ["size", "age"])
    )
    model = make_pipeline(encode, JointEstimator(**FAST)).fit(x, y)
    joblib.dump(model, tmp_path / "model")
    found = joblib.load(tmp_path / "model").predict(x)
    pd.testing.assert_frame_equal(found, model.predict(x))
    # named output of the transformers
    named = clone(model).set_output(transform="pandas")
    named[0].set_params(onehotencoder__sparse_output=False)
    named.fit(x, y)
    assert list(named[-1].feature_names_in_)[:1] == ["onehotencoder__city_Bonn"]


def test_behind_skrub():
    skrub = pytest.importorskip("skrub")
    x, y = table()
    model = make_pipeline(skrub.TableVectorizer(), JointEstimator(**FAST)).fit(x, y)
    assert model.predict(x).columns.tolist() == ["price", "sold"]
    assert np.isfinite(model.score(x, y))


def test_in_ensembles_and_inspection():
    x, y = table()
    numbers, price, sold = x[["size", "age"]], y["price"], y["sold"]
    regressors = [("joint", JointRegressor(**FAST)), ("linear", LinearRegression())]
    voting = VotingRegressor(regressors).fit(numbers, price)
    expected = (JointRegressor(**FAST).fit(numbers, price).predict(numbers) + price) / 2
    np.testing.assert_allclose(voting.predict(numbers), expected, rtol=1e-6)
    assert np.isfinite(
        StackingRegressor(regressors, cv=2).fit(numbers, price).predict(numbers)
    ).all()
    classifiers = [("joint", JointClassifier(**FAST)), ("linear", LogisticRegression())]
    found = VotingClassifier(classifiers, voting="soft").fit(numbers, sold).predict_proba(numbers)
    np.testing.assert_allclose(found.sum(1), 1)
    model = JointEstimator(**FAST).fit(numbers, y)
    assert permutation_importance(model, numbers, y, n_repeats=2).importances.shape == (2, 2)
    sizes, _, scores = learning_curve(
        JointEstimator(**FAST), numbers, y, cv=2, train_sizes=[0.5, 1.0]
    )
    assert scores.shape == (2, 2)
    assert len(sizes) == 2
    predicted = cross_val_predict(JointRegressor(**FAST), numbers, price, cv=2)
    assert predicted.shape == (60,)


@pytest.mark.parametrize("components", ["auto", "network"])
def test_threads_give_the_same_bits_and_leave_the_random_state(components):
    x, y = load_linnerud(return_X_y=True)

    def fit(_=None):
        model = JointRegressor(epochs=4, ensemble=1, components=components, random_state=0)
        return model.fit(x, y).predict(x)

    torch.manual_seed(3)
    before, alone = torch.get_rng_state(), fit()
    with ThreadPoolExecutor(3) as pool:
        for found in pool.map(fit, range(4)):
            np.testing.assert_array_equal(found, alone)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_search_may_be_over_a_range_of_numpy():
    x, y = load_linnerud(return_X_y=True)
    model = JointRegressor(epochs=2, ensemble=1, random_state=0)
    search = GridSearchCV(model, {"width": np.arange(4, 9, 4), "epochs": np.arange(1, 3)}, cv=2)
    assert search.fit(x, y).best_params_["width"] in (4, 8)
