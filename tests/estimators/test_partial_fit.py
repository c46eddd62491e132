"""Estimators are trained on: batch by batch, and from the weights of a former fit."""

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from sklearn.base import clone

from jointrain import InvalidInputError, JointClassifier, JointEstimator, JointRegressor, Recipe

FAST = {
    "width": 16,
    "depth": 1,
    "epochs": 2,
    "ensemble": 1,
    "components": "network",
    "random_state": 0,
}
STILL = {"learning_rate": 1e-12, "weight_decay": 0.0}


def numbers(rows: int = 256) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(0).normal(size=(rows, 3))
    return x, np.stack([x[:, 0] * 5 + 100, x[:, 1] - x[:, 2]], axis=1)


def test_regressor_learns_from_batches():
    x, y = numbers()
    model = JointRegressor(**FAST | {"learning_rate": 1e-2})
    assert model.partial_fit(x[:64], y[:64]) is model
    early = model.score(x, y)
    for _ in range(15):
        for start in range(0, 256, 64):
            model.partial_fit(x[start : start + 64], y[start : start + 64])
    assert model.score(x, y) > 0.95 > early
    with pytest.raises(InvalidInputError, match="no interval"):
        model.predict_interval(x)
    # fit begins anew
    expected = JointRegressor(**FAST | {"learning_rate": 1e-2}).fit(x, y).predict(x)
    np.testing.assert_array_equal(model.fit(x, y).predict(x), expected)


def test_same_bits_after_pickling_and_as_sparse():
    x, y = numbers(64)
    model = JointRegressor(**FAST).partial_fit(x, y)
    copied = pickle.loads(pickle.dumps(model))
    sparse = JointRegressor(**FAST).partial_fit(csr_array(x), y)
    for one in (model, copied):
        one.partial_fit(x, y)
    sparse.partial_fit(csr_array(x[:40]), y[:40])
    np.testing.assert_array_equal(copied.predict(x), model.predict(x))
    assert sparse.predict(csr_array(x)).shape == (64, 2)


def test_batches_may_lack_classes():
    x, _ = numbers()
    species = np.select([x[:, 0] < -0.5, x[:, 0] < 0.5], ["cat", "dog"], "eel")
    order = np.argsort(species, kind="stable")
    model = JointClassifier(**FAST | {"learning_rate": 1e-2, "dropout": 0.0, "input_dropout": 0.0})
    with pytest.raises(InvalidInputError, match="classes must be passed on the first call"):
        model.partial_fit(x, species)
    for number in range(20):
        batch = order[:128] if number % 2 else order[128:]
        model.partial_fit(x[batch], species[batch], classes=["dog", "cat", "eel"])
    assert model.classes_.tolist() == ["cat", "dog", "eel"]
    assert model.predict_proba(x).shape == (256, 3)
    np.testing.assert_allclose(model.predict_proba(x).sum(1), 1)
    with pytest.raises(InvalidInputError, match="'ant' in row 0"):
        model.partial_fit(x[:1], ["ant"])
    with pytest.raises(InvalidInputError, match="others than before"):
        model.partial_fit(x[:1], ["cat"], classes=["cat", "ant"])


def test_one_class():
    x, _ = numbers(64)
    with pytest.warns(UserWarning, match="one class only"):
        model = JointClassifier(**FAST).partial_fit(x, ["a"] * 64, classes=["a"])
    assert model.partial_fit(x, ["a"] * 64).predict(x[:2]).tolist() == ["a", "a"]
    with pytest.raises(InvalidInputError, match="had one class only, 'a'"):
        model.partial_fit(x, ["b"] * 64)
    with pytest.raises(InvalidInputError, match="a list of at least one class"):
        JointClassifier(**FAST).partial_fit(x, ["a"] * 64, classes=3)


def test_two_classifications():
    x, _ = numbers(64)
    y = pd.DataFrame({"high": x[:, 0] > 0, "size": np.where(x[:, 1] > 0, "L", "S")})
    for classes in ([[False, True], ["S", "M", "L"]], {"size": "LSM", "high": [True, False]}):
        if isinstance(classes, dict):
            classes["size"] = list(classes["size"])
        model = JointClassifier(**FAST).partial_fit(x, y, classes)
        model.partial_fit(x[:1], y[:1])
        assert [own.tolist() for own in model.classes_] == [[False, True], ["L", "M", "S"]]
    with pytest.raises(InvalidInputError, match="1 lists for 2 targets"):
        JointClassifier(**FAST).partial_fit(x, y, classes=[[False, True]])
    with pytest.raises(InvalidInputError, match="y has the targets"):
        model.partial_fit(x, y[["size", "high"]])
    with pytest.raises(InvalidInputError, match="weight for each class"):
        clone(model).set_params(class_weight="balanced").partial_fit(x, y, classes)


def test_kinds_batch_by_batch():
    x, _ = numbers()
    y = pd.DataFrame(
        {
            "price": 100 + 10 * x[:, 0],
            "sold": x[:, 1] > 0,
            "grade": np.where(x[:, 2] > 0, "high", "low"),
        }
    )
    tasks = {"price": "regression", "sold": "binary", "grade": "ordinal:low:mid:high"}
    model = JointEstimator(tasks, **FAST)
    with pytest.raises(InvalidInputError, match=r"classes=\{'sold': \[...\]\}"):
        model.partial_fit(x, y)
    sold = y[y["sold"]].index
    model.partial_fit(x[sold], y.loc[sold], classes={"sold": [False, True]})
    model.partial_fit(x, y[["grade", "sold", "price"]])
    assert model.classes_["grade"].tolist() == ["low", "mid", "high"]
    found = model.predict(x)
    assert found.dtypes.equals(y.dtypes)
    assert list(model.predict_proba(x)) == ["sold", "grade"]
    with pytest.raises(InvalidInputError, match="no target"):
        JointEstimator(tasks, **FAST).partial_fit(x, y, classes={"solt": [0, 1]})
    with pytest.raises(InvalidInputError, match="has none"):
        JointEstimator(tasks, **FAST).partial_fit(x, y, {"price": [1.0], "sold": [False, True]})
    with pytest.raises(InvalidInputError, match="one value only in the first batch"):
        JointEstimator(tasks, **FAST).partial_fit(x, y.assign(price=1.0), {"sold": [False, True]})
    # kinds are inferred with the classes
    model = JointEstimator(**FAST)
    classes = {"sold": [False, True], "grade": ["low", "mid", "high"]}
    model.partial_fit(x, y, classes=classes)
    assert [task.kind for task in model.tasks_] == ["regression", "binary", "multiclass"]


def test_goes_on_after_fit():
    x, y = numbers()
    model = JointRegressor(**FAST | STILL | {"ensemble": 2}).fit(x, y)
    before = model.predict(x)
    model.partial_fit(x[:1], y[:1])
    np.testing.assert_allclose(model.predict(x), before, rtol=1e-6)
    assert len(model.model_.parts) == 2


def test_unseen_ids_and_changed_columns():
    generator = np.random.default_rng(0)
    x = pd.DataFrame({"user": [f"u{i % 150}" for i in range(600)], "age": generator.random(600)})
    model = JointRegressor(**FAST).partial_fit(x, x["age"])
    new = pd.DataFrame({"user": ["x1", "x2"], "age": [0.5, 0.5]})
    model.partial_fit(new, new["age"])
    found = model.predict(new)
    assert found[0] == found[1]
    with pytest.raises(ValueError, match="feature names should match"):
        model.partial_fit(new.rename(columns={"age": "year"}), new["age"])
    with pytest.raises(InvalidInputError, match="age"):
        model.partial_fit(new.assign(age="old"), new["age"])


def test_what_single_passes_cannot_do():
    x, y = numbers(64)
    with pytest.raises(InvalidInputError, match="lengths of their own"):
        JointRegressor(schedule="merge-mean", **FAST).partial_fit(x, y)
    with pytest.raises(InvalidInputError, match="one value only in the first batch"):
        JointRegressor(**FAST).partial_fit(x, y * [0, 1])
    model = JointRegressor(**FAST).partial_fit(x, y)
    with pytest.raises(InvalidInputError, match="has no label"):
        model.partial_fit(x, y * [np.nan, 1])


def test_warm_start_begins_with_the_former_weights():
    x, y = numbers()
    cold = JointRegressor(**FAST).fit(x, y)
    model = clone(cold).set_params(warm_start=True).fit(x, y)
    np.testing.assert_array_equal(model.predict(x), cold.predict(x))
    model.set_params(**STILL).fit(x * 2, y)  # neither weights nor scaling change
    np.testing.assert_allclose(model.predict(x), cold.predict(x), rtol=1e-5)
    assert cold.set_params(**STILL).fit(x, y).score(x, y) < model.score(x, y)


def test_warm_start_learns_on():
    x, y = numbers()
    model = JointRegressor(warm_start=True, **FAST | {"learning_rate": 1e-2})
    scores = [model.fit(x, y).score(x, y) for _ in range(4)]
    assert scores[-1] > scores[0] + 0.1


def test_warm_start_refuses_others():
    x, y = numbers()
    model = JointRegressor(warm_start=True, **FAST).fit(x, y)
    with pytest.raises(ValueError, match="expecting 3 features"):
        model.fit(x[:, :2], y)
    with pytest.raises(InvalidInputError, match="other targets"):
        model.fit(x, y[:, 0])
    for changed, words in (
        ({"width": 8}, "other layers"),
        ({"ensemble": 2}, "1 networks to go on from"),
        ({"weights": "searched"}, "searched"),
        ({"bins": 4}, "bins"),
    ):
        with pytest.raises(InvalidInputError, match=words):
            clone(model).fit(x, y).set_params(**changed).fit(x, y)
    classifier = JointClassifier(warm_start=True, **FAST).fit(x, x[:, 0] > 0)
    assert classifier.fit(x, x[:, 1] > 0).score(x, x[:, 1] > 0) > 0
    for labels in (np.arange(256) % 3, ["u", "v"] * 128):
        with pytest.raises(InvalidInputError, match="other classes"):
            classifier.fit(x, labels)
    mixed = JointEstimator(warm_start=True, **FAST).fit(x, pd.DataFrame({"a": x[:, 0] > 0}))
    with pytest.raises(InvalidInputError, match="other classes or kinds"):
        mixed.fit(x, pd.DataFrame({"a": x[:, 0]}))
    assert mixed.fit(x, pd.DataFrame({"a": x[:, 1] > 0})).tasks_[0].kind == "binary"


def test_warm_start_goes_with_a_recipe():
    x, y = numbers(64)
    recipe = Recipe(width=8, depth=1, epochs=2, ensemble=1)
    model = (
        JointRegressor(recipe=recipe, components="network", warm_start=True, random_state=0)
        .fit(x, y)
        .fit(x, y)
    )
    assert model.predict(x).shape == (64, 2)
