"""Trees as arrays: they predict what their libraries predict, and nothing in them can do harm."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestRegressor,
)

from jointrain.baselines._catboost import catboost_arrays
from jointrain.baselines._forests import forest_arrays
from jointrain.baselines._gradient_boosting import boosting_arrays
from jointrain.baselines._lightgbm import lightgbm_arrays
from jointrain.baselines._tree_arrays import LEAF, SymmetricTrees, TreeEnsemble
from jointrain.system.stored_files import DamagedError

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(300, 6))
X[:, 3] = RANDOM.integers(0, 4, 300)
Y = 2 * X[:, 0] + np.sin(3 * X[:, 1]) + X[:, 3] + RANDOM.normal(size=300)
CLASSES = np.digitize(Y, [0, 3])
# rows beyond the range of those of the fit, and on the thresholds of whole numbers
NEW = np.concatenate([X, 5 * RANDOM.normal(size=(9000, 6)).round(1)])


@pytest.mark.parametrize(
    "model, target",
    [
        (ExtraTreesRegressor(20, random_state=0), Y),
        (RandomForestRegressor(20, random_state=0), np.stack([Y, -Y], axis=1)),
        (ExtraTreesClassifier(20, random_state=0), CLASSES),
    ],
)
def test_forests_of_scikit_learn(model, target):
    trees = forest_arrays([one.tree_ for one in model.fit(X, target).estimators_])
    found = trees.predict(NEW.astype(np.float32))
    expected = model.predict(NEW) if target is not CLASSES else model.predict_proba(NEW)
    np.testing.assert_allclose(found, expected.reshape(len(NEW), -1), rtol=1e-12, atol=1e-12)


def test_gradient_boosting_of_scikit_learn():
    model = HistGradientBoostingRegressor(max_iter=20).fit(X, Y)
    np.testing.assert_allclose(
        boosting_arrays(model).predict(NEW)[:, 0], model.predict(NEW), rtol=1e-12
    )
    several = HistGradientBoostingClassifier(max_iter=20).fit(X, CLASSES)
    np.testing.assert_allclose(
        boosting_arrays(several).predict(NEW), several.decision_function(NEW), rtol=1e-12
    )


@pytest.mark.parametrize(
    "objective, target", [("regression", Y), ("binary", Y > 2), ("multiclass", CLASSES)]
)
def test_lightgbm(objective, target):
    lightgbm = pytest.importorskip("lightgbm")
    given = {"objective": objective, "verbosity": -1, "num_threads": 1}
    if objective == "multiclass":
        given["num_class"] = 3
    model = lightgbm.train(given, lightgbm.Dataset(X, target), 20)
    expected = model.predict(NEW, raw_score=True).reshape(len(NEW), -1)
    np.testing.assert_allclose(lightgbm_arrays(model).predict(NEW), expected, rtol=1e-12)


@pytest.mark.parametrize("loss, target", [("RMSE", Y), ("Logloss", Y > 2), ("MultiClass", CLASSES)])
def test_catboost(loss, target):
    catboost = pytest.importorskip("catboost")
    model = catboost.CatBoost(
        {"loss_function": loss, "iterations": 50, "verbose": False, "allow_writing_files": False}
    ).fit(X, target)
    expected = model.predict(NEW, prediction_type="RawFormulaVal").reshape(len(NEW), -1)
    found = catboost_arrays(model).predict(NEW)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def _ensemble() -> TreeEnsemble:
    """Two trees by hand: x0 <= 1 ? 10 : (x1 <= 2 ? 20 : 30), and 5 for all rows."""
    split = {
        "feature": [0, LEAF, 1, LEAF, LEAF], "threshold": [1.0, 0, 2, 0, 0],
        "left": [1, -1, 3, -1, -1], "right": [2, -1, 4, -1, -1],
        "value": [[0.0], [10], [0], [20], [30]],
    }  # fmt: skip
    alone = {"feature": [LEAF], "threshold": [0.0], "left": [-1], "right": [-1], "value": [[5.0]]}
    return TreeEnsemble.of([split, alone], [0, 1], [1.0, 2.0])


def _symmetric() -> SymmetricTrees:
    """A tree of two levels, and one of none."""
    return SymmetricTrees(
        starts=np.array([0, 4, 5]),
        feature=np.array([[0, 1], [0, 0]], dtype=np.int32),
        border=np.array([[1, 2], [0, 0]], dtype=np.float32),
        depth=np.array([2, 0]),
        value=np.array([[1.0], [2], [3], [4], [0.5]]),
        base=np.array([10.0]),
    )


def test_by_hand():
    rows = np.array([[1.0, 9], [1.5, 2], [1.5, 2.5]])
    np.testing.assert_array_equal(_ensemble().predict(rows), [[11, 7], [21, 7], [31, 7]])
    # bit 0: x0 > 1, bit 1: x1 > 2
    np.testing.assert_array_equal(_symmetric().predict(rows), [[13.5], [12.5], [14.5]])
    assert _ensemble().predict(np.zeros((0, 2))).shape == (0, 2)


@pytest.mark.parametrize("made", [_ensemble(), _symmetric()], ids=["nodes", "levels"])
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_changed_arrays_are_refused_or_predict(made, data):
    """No number that somebody puts into an array leads out of it or round and round."""
    arrays = {name: array.copy() for name, array in made.to_arrays().items()}
    name = data.draw(st.sampled_from(sorted(arrays)))
    array = arrays[name]
    kind = data.draw(st.sampled_from(["value", "cut", "type", "shape", "gone"]))
    if kind == "value":
        bounds = np.iinfo if array.dtype.kind == "i" else None
        values = (
            st.integers(bounds(array.dtype).min, bounds(array.dtype).max) | st.integers(-2, 6)
            if bounds
            else st.floats(width=32)
        )
        array.flat[data.draw(st.integers(0, array.size - 1))] = data.draw(values)
    elif kind == "cut":
        arrays[name] = array[: data.draw(st.integers(0, len(array) - 1))]
    elif kind == "type":
        arrays[name] = array.astype(data.draw(st.sampled_from([np.float32, np.int16, np.uint8])))
    elif kind == "shape":
        arrays[name] = array[..., None]
    else:
        del arrays[name]
    rows = np.array([[0.0, 0], [1.5, 2], [9, 9]])
    try:
        changed = type(made).from_arrays(arrays, 2)
    except DamagedError:
        return
    assert np.isfinite(changed.predict(rows)).all()


FAR = np.array([0, 2**62, -(2**63), -(2**62), 5])
"""Whole numbers of 64 bits, each 2**62 after the one before but for the last: beyond, they begin
again at the other end."""


def test_starts_far_outside_are_refused():
    alone = {"feature": [LEAF], "threshold": [0.0], "left": [-1], "right": [-1], "value": [[5.0]]}
    made = TreeEnsemble.of([alone] * 5, [0] * 5, [0.0]).to_arrays()
    made |= {"starts": FAR, "outputs": np.zeros(4, dtype=np.int64)}
    with pytest.raises(DamagedError, match="do not fill its arrays"):
        TreeEnsemble.from_arrays(made, 1)


def test_arrays_pass_through_a_round_trip():
    made = _ensemble()
    again = TreeEnsemble.from_arrays(made.to_arrays(), 2)
    for field in dataclasses.fields(made):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(made, field.name))
    with pytest.raises(DamagedError, match="an input that is not there"):
        TreeEnsemble.from_arrays(made.to_arrays(), 1)


def test_a_way_that_hardly_ends_is_refused():
    count = 5001
    chain = {
        "feature": np.where(np.arange(2 * count + 1) % 2, LEAF, 0),
        "threshold": np.zeros(2 * count + 1),
        "left": np.arange(2 * count + 1) + 1,
        "right": np.arange(2 * count + 1) + 2,
        "value": np.zeros((2 * count + 1, 1)),
    }
    chain["feature"][-1] = LEAF
    made = TreeEnsemble.of([chain], [0], [0.0])
    with pytest.raises(DamagedError, match="more than 4096 levels"):
        TreeEnsemble.from_arrays(made.to_arrays(), 1)
