"""The estimators follow scikit-learn's rules and predict several targets with missing labels."""

import pickle
import subprocess
import sys
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from scipy import sparse
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris, load_linnerud
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from jointrain import InvalidInputError, JointClassifier, JointEstimator, JointRegressor, Recipe
from jointrain.data import SparseRows, as_table
from jointrain.networks import MMoE
from jointrain.training import MaskedFeatures, Phase, Phases

EXPECTED_FAILURES: dict[str, str] = {
    f"check_sample_weight_equivalence_on_{kind}_data": "batches and rows for early stopping are "
    "drawn by the number of rows: equal in expectation, not in bits, as of scikit-learn's MLP"
    for kind in ("dense", "sparse")
}

SHORT = {"width": 8, "epochs": 3, "ensemble": 1}

QUICK = {"width": 32, "epochs": 60, "ensemble": 2, "random_state": 0, "learning_rate": 1e-2}
NETWORK = {**QUICK, "components": "network"}


@parametrize_with_checks(
    [JointRegressor(**QUICK), JointClassifier(**NETWORK)],
    expected_failed_checks=lambda estimator: EXPECTED_FAILURES,
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.integration
@parametrize_with_checks(
    [JointClassifier(**QUICK), JointRegressor(**NETWORK)],
    expected_failed_checks=lambda estimator: EXPECTED_FAILURES,
)
def test_scikit_learn_checks_of_the_others(estimator, check):
    check(estimator)


def two_targets(rows: int = 120, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(rows, 4))
    return x, np.stack([x[:, 0] - 2 * x[:, 1] + 50, 0.01 * (x[:, 0] + x[:, 2])], axis=1)


@pytest.mark.parametrize("schedule", ["joint", "alternating", "separate", "merge-mean"])
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
    model = JointRegressor(**{**QUICK, "ensemble": 4}).fit(x[:120], y[:120])
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


@pytest.mark.parametrize("components", ["auto", "network"])
def test_constant_target_is_predicted_as_it_is(components):
    x, y = two_targets()
    quick = {"epochs": 2, "ensemble": 1, "random_state": 0, "components": components}
    with pytest.warns(UserWarning, match="target 0 of y has one value only, 0.001"):
        model = JointRegressor(**quick).fit(x, y * [0, 1] + [0.001, 0])
    assert (model.predict(x)[:, 0] == 0.001).all()
    assert (model.predict_interval(x, 0.5)[:, 0] == 0.001).all()
    weights = np.ones((120, 2))
    weights[:60, 0] = 0
    with pytest.warns(UserWarning, match="target 0 of y has one value only"):
        model.fit(x, np.c_[np.r_[y[:60, 0], np.full(60, 7.0)], y[:, 1]], sample_weight=weights)
    assert (model.predict(x)[:, 0] == 7).all()
    model.fit(x, y)
    assert len(np.unique(model.predict(x)[:, 0])) > 60


def test_x_may_be_lazy_long_double_or_of_no_row():
    x, y = two_targets()
    quick = {"epochs": 2, "ensemble": 1, "random_state": 0}
    frame = pl.DataFrame(x, schema=[f"c{place}" for place in range(x.shape[1])])
    model = JointRegressor(**quick).fit(frame.lazy(), y)
    assert list(model.feature_names_in_) == frame.columns
    np.testing.assert_array_equal(model.predict(frame.lazy()), model.predict(frame))
    with pytest.raises(ValueError, match="features"):
        model.predict(x[:, 1:])
    exact = JointRegressor(**quick).fit(x, y).predict(x)
    of_long = JointRegressor(**quick).fit(x.astype(np.longdouble), y)
    np.testing.assert_array_equal(of_long.predict(x.astype(np.longdouble)), exact)
    assert JointClassifier(**quick).fit(frame, y > np.median(y, axis=0)).predict(
        frame[:0]
    ).shape == (0, 2)


def test_truth_values_of_a_sparse_matrix_are_numbers(monkeypatch):
    random = np.random.default_rng(0)
    x, y = random.random((80, 5)) < 0.4, random.normal(size=80)
    model = JointRegressor(epochs=2, ensemble=1, random_state=0, components="network")
    expected = model.fit(sparse.csr_array(x.astype(float)), y).predict(x.astype(float))
    monkeypatch.setattr("jointrain.estimators._table_estimator.LARGEST_DENSE", 100)
    large = model.fit(sparse.csr_array(x), y).predict(sparse.csr_array(x))
    np.testing.assert_allclose(large, expected, atol=0.2)
    monkeypatch.undo()
    np.testing.assert_allclose(model.predict(sparse.csr_array(x)), large, rtol=1e-5, atol=1e-6)


def test_another_default_type_of_torch_does_not_matter():
    x, y = two_targets()
    torch.set_default_dtype(torch.float64)
    try:
        model = JointRegressor(epochs=2, ensemble=1, random_state=0).fit(x, y)
    finally:
        torch.set_default_dtype(torch.float32)
    assert np.isfinite(model.predict(x)).all()


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
    with pytest.raises(InvalidInputError, match="JointClassifier"):
        JointRegressor().fit(x, np.array(["a", "b"] * 60))


FAST = {
    "width": 8,
    "depth": 1,
    "epochs": 2,
    "ensemble": 1,
    "components": "network",
    "random_state": 0,
}


def same(one, other) -> None:
    """Two ways to say the same y train the same model."""
    x, _ = two_targets(60)
    estimator = JointClassifier if isinstance(one, tuple) else JointRegressor
    first, second = (v[0] if isinstance(v, tuple) else v for v in (one, other))
    np.testing.assert_array_equal(
        estimator(**FAST).fit(x, first).predict(x), estimator(**FAST).fit(x, second).predict(x)
    )


def test_what_a_mask_hides_is_missing():
    _, y = two_targets(60)
    hidden = np.arange(120).reshape(60, 2) % 3 == 0
    same(np.ma.array(np.where(hidden, -999, y), mask=hidden), np.where(hidden, np.nan, y))
    whole = (y * 10).astype(int)
    same(np.ma.array(np.where(hidden, -999, whole), mask=hidden), np.where(hidden, np.nan, whole))
    x, _ = two_targets(60)
    masked = np.ma.array(np.where(x > 1, -999, x), mask=x > 1)
    same_x = JointRegressor(**FAST).fit(masked, y).predict(masked)
    np.testing.assert_array_equal(
        same_x, JointRegressor(**FAST).fit(np.where(x > 1, np.nan, x), y).predict(masked)
    )


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA, pd.NaT, np.ma.masked])
def test_every_kind_of_missing_label(missing):
    _, y = two_targets(60)
    objects = y.astype(object)
    objects[::3] = None
    for row in range(0, 60, 3):
        objects[row, 0] = missing
    same(objects, np.where(np.arange(60)[:, None] % 3 == 0, np.nan, y))
    words = np.array(["a", "b"] * 30, dtype=object)
    words[::3] = missing if missing is not np.ma.masked else None
    x, _ = two_targets(60)
    assert JointClassifier(**FAST).fit(x, words).classes_.tolist() == ["a", "b"]


@pytest.mark.parametrize(
    "make",
    [
        lambda v: pd.Series(pd.array([None if n else int(v[i]) for i, n in holes()], "Int64")),
        lambda v: pl.Series([None if n else int(v[i]) for i, n in holes()]),
        lambda v: [None if n else int(v[i]) for i, n in holes()],
        lambda v: np.array([None if n else int(v[i]) for i, n in holes()], dtype=object),
    ],
)
def test_whole_numbers_with_gaps_stay_what_they_are(make):
    large = np.array([2**53, 2**53 + 1] * 30)
    x, _ = two_targets(60)
    model = JointClassifier(**FAST).fit(x, make(large))
    assert model.classes_.tolist() == [2**53, 2**53 + 1]
    assert {int(value) for value in model.predict(x)} <= {2**53, 2**53 + 1}
    assert 0 <= model.score(x, make(large)) <= 1


def holes():
    return [(row, row % 3 == 0) for row in range(60)]


def test_whole_numbers_beyond_64_bits_are_classes():
    x, _ = two_targets(60)
    y = [2**64 + i % 2 for i in range(60)]
    model = JointClassifier(**FAST).fit(x, y)
    assert model.classes_.tolist() == [2**64, 2**64 + 1]
    assert set(model.predict(x).tolist()) <= {2**64, 2**64 + 1}
    mixed = [2**63, -1] * 30
    assert JointClassifier(**FAST).fit(x, mixed).classes_.tolist() == [-1, 2**63]


def test_categories_and_truth_values_of_data_frames():
    x, _ = two_targets(60)
    frame = pd.DataFrame(
        {
            "c": pd.Categorical(["u", None, "v"] * 20),
            "n": pd.Categorical([3, 1, None] * 20),
            "b": pd.array([True, None, False] * 20, dtype="boolean"),
            "s": pd.array(["x", None, "y"] * 20, dtype="string"),
        }
    )
    model = JointClassifier(**FAST).fit(x, frame)
    assert [list(c) for c in model.classes_] == [["u", "v"], [1, 3], [False, True], ["x", "y"]]
    assert 0 <= model.score(x, frame) <= 1
    polars = pl.DataFrame({"c": ["u", None, "v"] * 20, "k": [1, None, 0] * 20})
    model = JointClassifier(**FAST).fit(x, polars)
    assert [list(c) for c in model.classes_] == [["u", "v"], [0, 1]]
    assert model.predict(x).dtype == object


def test_score_of_text_and_whole_numbers_together():
    x, y = two_targets(120)
    frame = pd.DataFrame({"k": (y[:, 0] > 50).astype(int), "w": np.where(x[:, 0] > 0, "a", "b")})
    model = JointClassifier(**QUICK).fit(x, frame)
    assert model.score(x, frame) > 0.9
    assert model.score(x, frame.astype(object)) == model.score(x, frame)
    assert model.score(x, frame.assign(k=frame["k"] + 5)) < 0.6
    half = np.r_[np.ones(60), np.zeros(60)]
    assert model.score(x, frame, sample_weight=half) == model.score(x[:60], frame[:60])


def test_score_leaves_out_targets_without_labels():
    x, y = two_targets(120)
    model = JointRegressor(**QUICK).fit(x, y)
    alone = model.score(x, np.c_[y[:, 0], np.full(120, np.nan)])
    once = np.c_[y[:, 0], np.r_[1.0, np.full(119, np.nan)]]
    assert alone == model.score(x, once)
    assert alone > 0.9
    for estimator in (model, JointClassifier(**FAST).fit(x, (y > 0).astype(int) * [1, 0])):
        with pytest.raises(InvalidInputError, match="y has no label"):
            estimator.score(x, np.full((120, 2), np.nan))


def test_a_class_that_is_absent_from_one_training_part():
    x, _ = two_targets(90)
    rare = np.zeros(90, dtype=int)
    rare[:2] = 1
    targets = np.stack([(x[:, 0] > 0).astype(int), rare], axis=1)
    with pytest.warns(UserWarning, match="target 1 of y has one class only, 0"):
        scores = cross_val_score(JointClassifier(**FAST), x, targets, cv=KFold(3))
    assert np.isfinite(scores).all()
    with pytest.warns(UserWarning, match="one class only"):
        model = JointClassifier(**FAST).fit(x[2:], targets[2:])
    assert [p.shape for p in model.predict_proba(x)] == [(90, 2), (90, 1)]
    assert (model.predict(x)[:, 1] == 0).all()
    with pytest.warns(UserWarning, match="one class only"):
        model = JointClassifier(**FAST).fit(x[2:], rare[2:])
    assert (model.predict(x) == 0).all()
    assert model.predict_proba(x).shape == (90, 1)


def test_sparse_features_are_the_dense_ones():
    x, y = two_targets(60)
    x[np.abs(x) < 1] = 0
    expected = JointRegressor(**FAST).fit(x, y).predict(x)
    for kind in (sparse.csr_matrix, sparse.csc_array, sparse.coo_array):
        model = JointRegressor(**FAST).fit(kind(x), y)
        np.testing.assert_array_equal(model.predict(kind(x)), expected)
    frame = pd.DataFrame.sparse.from_spmatrix(sparse.csr_matrix(x))
    np.testing.assert_array_equal(JointRegressor(**FAST).fit(frame, y).predict(frame), expected)


@pytest.mark.parametrize("estimator", [JointRegressor, JointClassifier, JointEstimator])
def test_large_sparse_features_are_read_in_batches(monkeypatch, estimator):
    x, y = two_targets(200)
    x = np.where(np.abs(x) < 1, 0.0, x)
    x = np.concatenate([x, np.zeros((200, 1)), np.where(x > 2, np.nan, x)], axis=1)
    y = y > y.mean(0) if estimator is JointClassifier else y
    settings = {**FAST, "epochs": 20, "ensemble": 2, "batch_size": 32}
    weights = np.r_[np.zeros(10), np.ones(190)]
    dense = estimator(**settings).fit(x, y, sample_weight=weights)
    monkeypatch.setattr("jointrain.estimators._table_estimator.LARGEST_DENSE", 100)
    made_dense = []
    original = SparseRows.dense_rows
    monkeypatch.setattr(
        SparseRows, "dense_rows", lambda self: (made_dense.append(len(self)), original(self))[1]
    )
    model = estimator(**settings).fit(csr_matrix(x), y, sample_weight=weights)
    assert made_dense
    for kind in (csr_matrix, sparse.csc_array, sparse.coo_array):
        found, expected = model.predict(kind(x)), dense.predict(x)
        if estimator is JointClassifier:
            found, expected = (np.stack(m.predict_proba(x)) for m in (model, dense))
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * expected.std())
    assert model.score(kind(x), y) == pytest.approx(dense.score(x, y), abs=0.02)
    np.testing.assert_allclose(
        np.asarray(model.predict(x), float), np.asarray(model.predict(kind(x)), float), rtol=1e-6
    )
    with pytest.raises(ValueError, match=r"8 features, but .* is expecting 9"):
        model.predict(csr_matrix(x[:, :8]))
    with pytest.raises(InvalidInputError, match="every feature column is constant"):
        estimator(**settings).fit(csr_matrix((200, 9)), y)
    pretrained = Recipe(
        schedule=Phases(
            [
                Phase(name="first", epochs=1, pretraining=MaskedFeatures()),
                Phase(name="then", epochs=1),
            ]
        )
    )
    with pytest.raises(InvalidInputError, match="phases that pretrain need dense features"):
        estimator(recipe=pretrained).fit(csr_matrix(x), y)


def test_columns_are_taken_by_their_place_where_one_side_has_no_names():
    x, y = two_targets(60)
    frame = pd.DataFrame(x, columns=list("abcd"))
    expected = JointRegressor(**FAST).fit(x, y).predict(x)
    with pytest.warns(UserWarning, match="fitted with feature names"):
        found = JointRegressor(**FAST).fit(frame, y).predict(x)
    np.testing.assert_array_equal(found, expected)
    with pytest.warns(UserWarning, match="fitted without feature names"):
        found = JointRegressor(**FAST).fit(x, y).predict(frame)
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(ValueError, match="same order"):
        JointRegressor(**FAST).fit(frame, y).predict(frame[list("dcba")])


LEVELS = pd.MultiIndex.from_product([["u", "v"], ["p", "q"]])


@pytest.mark.parametrize(
    "estimator, change, message",
    [
        (JointRegressor, lambda x, y: (x, y.astype(complex)), "Complex data not supported"),
        (JointRegressor, lambda x, y: (x, (y + 1j).astype(object)), "Complex data not supported"),
        (JointRegressor, lambda x, y: (x, pd.date_range("2026", periods=120)), "holds dates"),
        (JointClassifier, lambda x, y: (x, np.arange(120).astype("m8[s]")), "are no classes"),
        (
            JointRegressor,
            lambda x, y: (x, pd.Series([pd.Timestamp("2026")] * 119 + [pd.NaT], dtype=object)),
            "holds dates",
        ),
        (JointRegressor, lambda x, y: (x, ["1.5"] * 120), "holds '1.5' in row 0, and y holds"),
        (JointRegressor, lambda x, y: (x, csr_matrix(y)), "y is sparse, and its zeros may be"),
        (JointClassifier, lambda x, y: (x, csr_matrix(y)), "y is sparse and holds"),
        (JointRegressor, lambda x, y: (x, 3.0), r"y must be \[n\] or \[n, t\], got shape \(\)"),
        (JointRegressor, lambda x, y: (x, y[:, :, None]), r"got shape \(120, 2, 1\)"),
        (JointRegressor, lambda x, y: (x, [[1.0]] * 60 + [[1.0, 2.0]] * 60), "unequal length"),
        (JointRegressor, lambda x, y: (x[0], y), "2D array"),
        (JointRegressor, lambda x, y: (x[None], y), "dim 3"),
        (JointRegressor, lambda x, y: (np.where(x > 1, np.inf, x), y), "infinity"),
        (JointRegressor, lambda x, y: (pd.DataFrame(np.where(x > 1, np.inf, x)), y), "holds inf"),
        (JointRegressor, lambda x, y: (x + 1j, y), "Complex data not supported"),
        (JointRegressor, lambda x, y: (x.astype("M8[s]"), y), "X is an array of dates"),
        (JointRegressor, lambda x, y: (pd.DataFrame(x, columns=LEVELS), y), "have 2 levels; join"),
        (JointRegressor, lambda x, y: (x, pd.DataFrame(y, columns=LEVELS[:2])), "have 2 levels"),
        (JointRegressor, lambda x, y: (x, pd.DataFrame(y, columns=["a", "a"])), "'a' more than"),
        (JointRegressor, lambda x, y: (x, y[:, :0]), "y has no column"),
        (JointRegressor, lambda x, y: (x, None), "requires y to be passed"),
        (JointClassifier, lambda x, y: (x, [1, "a", 2] * 40), "labels of several types (int, str)"),
        (JointClassifier, lambda x, y: (x, ["a", float("nan")] * 60), None),
        (JointClassifier, lambda x, y: (x, np.where(y[:, 0] > 50, np.inf, 1.0)), "infinity, which"),
        (JointClassifier, lambda x, y: (x, np.where(y[:, 0] > 50, 0.5, 1.5)), "Unknown label type"),
        (JointClassifier, lambda x, y: (x, [pd.NA] * 120), "target 0 of y has no label"),
    ],
)
def test_what_is_no_x_and_y_is_told(estimator, change, message):
    x, y = change(*two_targets())
    if message is None:
        with pytest.warns(UserWarning, match="one class only, 'a'"):
            assert estimator(**FAST).fit(x, y).classes_.tolist() == ["a"]
        return
    with pytest.raises(ValueError, match=message.replace("(int, str)", r"\(int, str\)")):
        estimator(**FAST).fit(x, y)


@pytest.mark.parametrize(
    "change", [lambda s: s, lambda s: s.astype(object), lambda s: s.to_numpy(), pl.Series]
)
def test_durations_are_predicted_in_seconds_and_nat_is_missing(change):
    x, _ = two_targets(60)
    seconds = np.where(np.arange(60) % 4 == 0, np.nan, 3600 + 60 * x[:, 0])
    durations = pd.Series(pd.to_timedelta(seconds, unit="s"))
    expected = JointRegressor(**FAST).fit(x, durations.dt.total_seconds()).predict(x)
    with pytest.warns(UserWarning, match="holds durations; they are predicted in seconds"):
        found = JointRegressor(**FAST).fit(x, change(durations)).predict(x)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_recipe_says_how_to_train():
    x, y = load_linnerud(return_X_y=True)
    recipe = Recipe(balancer="upgrad", network="mmoe", width=8, epochs=3, ensemble=1)
    alone = JointRegressor(recipe=recipe, components="network", random_state=0).fit(x, y).model_
    beside = JointRegressor(recipe=recipe, random_state=0).fit(x, y).model_.components["joint"]
    for model in (alone, beside):
        assert model.recipe == recipe
        assert isinstance(model.parts[0].network, MMoE)
    same = JointRegressor(recipe=Recipe(name="joint", **SHORT), random_state=0).fit(x, y)
    plain = JointRegressor(**SHORT, random_state=0).fit(x, y)
    np.testing.assert_array_equal(same.predict(x), plain.predict(x))


def test_a_recipe_and_parameters_that_it_has_are_refused():
    x, y = load_linnerud(return_X_y=True)
    with pytest.raises(InvalidInputError, match="epochs, width both say how to train"):
        JointRegressor(recipe=Recipe(), width=8, epochs=3).fit(x, y)


# --- what predicts --------------------------------------------------------------------------------


def test_networks_and_baselines_predict_together():
    x, y = two_targets()
    y[:20, 1] = np.nan
    model = JointRegressor(**QUICK).fit(x[:90], y[:90])
    assert list(model.model_.components) == [
        "joint", "linear", "extra trees joint", "kernel ridge",
    ]  # fmt: skip
    found = model.predict(x[90:])
    parts = {name: one.predict(_named(x[90:])) for name, one in model.model_.components.items()}
    for place, target in enumerate(("target 0", "target 1")):
        weights = model.model_.weights[target]
        assert sum(weights.values()) == pytest.approx(1)
        expected = sum(weight * parts[name][target] for name, weight in weights.items())
        np.testing.assert_allclose(found[:, place], expected)
    network = JointRegressor(**NETWORK).fit(x[:90], y[:90])
    assert model.score(x[90:], y[90:]) > network.score(x[90:], y[90:])
    low, high = np.moveaxis(model.predict_interval(x[90:]), -1, 0)
    assert (low < found).all()
    assert (found < high).all()
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(x), model.predict(x))


def _named(x: np.ndarray) -> pl.DataFrame:
    return pl.DataFrame({f"feature {i}: x{i}": column for i, column in enumerate(x.T)})


def test_a_blend_predicts_large_sparse_features(monkeypatch):
    x, y = two_targets(60)
    model = JointRegressor(**{**QUICK, "epochs": 2}).fit(x, y)
    monkeypatch.setattr("jointrain.estimators._table_estimator.LARGEST_DENSE", 100)
    np.testing.assert_allclose(model.predict(csr_matrix(x)), model.predict(x), rtol=1e-6)


def test_what_a_blend_can_not_go_on_with():
    x, y = two_targets(60)
    model = JointRegressor(**{**FAST, "components": "auto"}).fit(x, y)
    assert not hasattr(model, "partial_fit")
    with pytest.raises(InvalidInputError, match=r"partial_fit.* with components='network'"):
        model.partial_fit(x, y)
    with pytest.raises(InvalidInputError, match="fit with components='network'"):
        model.set_params(components="network").partial_fit(x, y)
    with pytest.raises(InvalidInputError, match=r"warm_start.* fit with components='network'"):
        JointRegressor(**{**FAST, "components": "auto"}, warm_start=True).fit(x, y)
    with pytest.raises(InvalidInputError, match="one of auto, network, got 'trees'"):
        JointRegressor(**{**FAST, "components": "trees"}).fit(x, y)


# --- weights of rows and classes ------------------------------------------------------------------


def test_sample_weight_decides_between_rows_that_disagree():
    x, y = two_targets(160)
    # the second half says the opposite
    both = np.concatenate([x, x]), np.concatenate([y, 2 * y.mean(0) - y])
    weights = np.repeat([1.0, 1e-3], 160)
    for unit in (1.0, 1e4):
        model = JointRegressor(**QUICK).fit(*both, sample_weight=unit * weights)
        assert model.score(x, y) > 0.8
        assert model.score(*both) < model.score(*both, sample_weight=weights)
    opposite = JointRegressor(**QUICK).fit(*both, sample_weight=weights[::-1])
    assert opposite.score(x, y) < 0


def test_weights_of_labels_leave_some_of_a_target_out():
    x, y = two_targets()
    weights = np.ones((120, 2))
    weights[:60, 0] = 0
    spoilt = y.copy()
    spoilt[:60, 0] = 1e6
    missing = np.where(weights > 0, spoilt, np.nan)
    found = JointRegressor(**QUICK).fit(x, spoilt, sample_weight=weights).predict(x)
    np.testing.assert_allclose(found, JointRegressor(**QUICK).fit(x, missing).predict(x), rtol=1e-4)
    score = JointRegressor(**QUICK).fit(x, missing).score(x, spoilt, sample_weight=weights)
    assert score > 0.7


def test_rows_of_weight_0_are_as_if_not_there():
    x, y = two_targets()
    x[100:], y[100:] = 1e5, -1e5
    weights = np.where(np.arange(120) < 100, 1.0, 0.0)
    found = JointRegressor(**QUICK).fit(x, y, sample_weight=weights).predict(x[:100])
    expected = JointRegressor(**QUICK).fit(x[:100], y[:100]).predict(x[:100])
    np.testing.assert_array_equal(found, expected)


def test_sample_weight_is_routed_by_scikit_learn():
    from sklearn import config_context
    from sklearn.model_selection import cross_validate

    x, y = two_targets(90)
    weights = np.linspace(0.5, 2, 90)
    with config_context(enable_metadata_routing=True):
        model = JointRegressor(**SHORT, random_state=0)
        model.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        found = cross_validate(model, x, y, cv=3, params={"sample_weight": weights})
        rest, test = next(KFold(3).split(x))
        alone = JointRegressor(**SHORT, random_state=0).fit(x[rest], y[rest], weights[rest])
        score = alone.score(x[test], y[test], sample_weight=weights[test])
    assert found["test_score"][0] == pytest.approx(score)


def test_class_weights_of_a_classifier():
    x, _ = two_targets(300)
    rare = np.where(x[:, 0] + 0.5 * x[:, 3] > 1.2, "yes", "no")
    other = np.where(x[:, 1] > 0, 1, 0)
    both = np.stack([rare, other.astype(str)], axis=1)

    def share(**given) -> float:
        return float((JointClassifier(**QUICK, **given).fit(x, rare).predict(x) == "yes").mean())

    plain = share()
    assert share(class_weight={"yes": 40}) > share(class_weight="balanced") > plain - 1e-9
    by_name = {"target 0": {"yes": 40}}
    for given in ([{"yes": 40}, None], by_name, by_name | {"target 1": "balanced"}):
        model = JointClassifier(**SHORT, class_weight=given, random_state=0).fit(x, both)
        assert model.predict(x).shape == (300, 2)
    with pytest.raises(InvalidInputError, match="`class_weight` names 'yse', which is no class"):
        JointClassifier(**SHORT, class_weight={"yse": 2}).fit(x, rare)
    for wrong in (0, -1, float("nan")):
        with pytest.raises(InvalidInputError, match="weight of class 'yes' of target 0 must be a"):
            JointClassifier(**SHORT, class_weight={"yes": wrong}).fit(x, rare)
    with pytest.raises(InvalidInputError, match="all rows of class 'yes' of 'target 0' have weig"):
        JointClassifier(**SHORT).fit(x, rare, sample_weight=(rare == "no").astype(float))
    with pytest.raises(InvalidInputError, match="`class_weight` has 3 entries for 2 targets"):
        JointClassifier(**SHORT, class_weight=[None] * 3).fit(x, both)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(5), r"sample_weight must be \[120\] or \[120, 2\], as y, got shape \[5\]"),
        (np.ones((120, 3)), r"as y, got shape \[120, 3\]"),
        (np.full(120, -1.0), "sample_weight holds -1 in row 1"),
        (
            np.where(np.arange(120) == 7, np.nan, 1),
            "sample_weight is empty or not a number in row 8",
        ),
        (np.where(np.arange(120) == 7, np.inf, 1), "sample_weight holds inf in row 8"),
        (
            np.ma.array(np.ones(120, int), mask=np.arange(120) == 7),
            "sample_weight is empty or not a number in row 8",
        ),
        (np.zeros(120), "sample_weight is zero"),
        (["much"] * 120, "sample_weight holds what is no number"),
        (np.ones((120, 2)) * [0, 1], "a label of 'target 0' have weight 0"),
    ],
)
def test_sample_weights_that_are_none_are_refused(weights, message):
    x, y = two_targets()
    with pytest.raises(InvalidInputError, match=message):
        JointRegressor(**SHORT).fit(x, y, sample_weight=weights)


def test_a_class_that_has_no_weight_is_refused():
    x, _ = two_targets(30)
    y = np.arange(30) % 3
    with pytest.raises(InvalidInputError, match="all rows of class 2 of 'target 0' have weight 0"):
        JointClassifier(**SHORT).fit(x, y, sample_weight=(y != 2).astype(float))


LARGE_AND_SPARSE = """
import resource
import numpy as np
from scipy.sparse import csr_array
from jointrain import JointRegressor

rows, columns, entries = 100_000, 10_000, 5
generator = np.random.default_rng(0)
places = generator.integers(0, columns, entries * rows)
ends = np.arange(0, entries * rows + 1, entries)
x = csr_array((generator.normal(size=entries * rows), places, ends), shape=(rows, columns))
y = x @ generator.normal(size=(columns, 2))
model = JointRegressor(width=8, depth=1, epochs=1, ensemble=1, random_state=0).fit(x, y)
assert np.isfinite(model.predict(x)).all()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)
"""


@pytest.mark.integration  # a matrix whose dense form would be 8 GB
def test_large_sparse_features_stay_sparse():
    run = subprocess.run(
        [sys.executable, "-c", LARGE_AND_SPARSE], capture_output=True, text=True, check=True
    )
    assert float(run.stdout) < 2, "gigabytes"


def test_said_columns_are_ids_and_bags():
    generator = np.random.default_rng(0)
    user = generator.integers(200, size=1500)
    tag = generator.integers(3, size=1500)
    effect = generator.normal(size=200)
    x = pl.DataFrame(
        {
            "user": user,
            "tags": pl.Series([["a"], ["a", "b"], []])[tag],
            "words": [("c;d", "c", "e;c")[i] for i in tag],
        }
    )
    y = effect[user] + tag
    said = {"user": "category", "words": "bag:;"}
    model = JointRegressor(said=said, random_state=0, ensemble=1, epochs=20).fit(x[:1200], y[:1200])
    kinds = {column.name.partition(": ")[2]: column.kind for column in model.model_.columns}
    assert kinds == {"user": "id", "tags": "bag", "words": "bag"}
    assert model.score(x[1200:], y[1200:]) > 0.5
    found = model.predict(x[1200:])
    # an array has numbers only
    array = np.c_[user, tag].astype(float)
    of_array = JointRegressor(said={"x0": "category"}, **SHORT).fit(array, y)
    assert [column.kind for column in of_array.model_.columns] == ["id", "numeric"]
    np.testing.assert_array_equal(
        model.predict(x[1200:].with_columns(pl.col("user").cast(pl.Float32))), found
    )


@pytest.mark.parametrize(
    "parameters",
    [
        {"schedule": None},
        {"said": ["x0"]},
        {"said": "category"},
        {"said": {"x0": 5}},
        {"recipe": "default"},
        {"device": None},
        {"learning_rate": None},
        {"weight_decay": None},
        {"weights": {"target 0": "much"}},
        {"weights": {"target 0": None}},
        {"weights": {"target 0": -1}},
    ],
)
def test_parameters_of_another_type_are_refused_in_words(parameters):
    features, labels = two_targets()
    name = "weight of task" if "weights" in parameters else f"`{next(iter(parameters))}`"
    short = {} if "recipe" in parameters else SHORT
    with pytest.raises(InvalidInputError, match=name):
        JointRegressor(**{**short, **parameters}).fit(features, labels[:, 0])


@pytest.mark.parametrize("coverage", ["much", None, [0.5]])
@pytest.mark.parametrize("kind", ["regression", "quantiles:0.1:0.5:0.9"])
def test_a_coverage_of_another_type_is_refused_in_words(kind, coverage):
    features, labels = two_targets()
    model = JointEstimator({"y": kind}, **SHORT).fit(features, pd.DataFrame({"y": labels[:, 0]}))
    with pytest.raises(InvalidInputError, match="coverage must lie"):
        model.predict_interval(features, coverage)


def test_decimals_with_fractions_are_no_classes():
    features, labels = two_targets()
    decimals = np.array([Decimal(str(value)) for value in labels[:, 0]], dtype=object)
    with pytest.raises(ValueError, match="continuous"):
        JointClassifier(**SHORT).fit(features, decimals)
    classes = np.array([Decimal(row % 2) for row in range(len(labels))], dtype=object)
    classes[4] = Decimal("-Infinity")
    with pytest.raises(InvalidInputError, match="y contains infinity, which is no class"):
        JointClassifier(**SHORT).fit(features, classes)


def test_what_a_target_is_given_must_be_text():
    features, _ = two_targets()
    labels = pd.DataFrame(features[:, :2] > np.median(features[:, :2]), columns=["a", "b"])
    with pytest.raises(InvalidInputError, match="`given` names"):
        JointEstimator(given={"a": 5}, **SHORT).fit(features, labels)


@pytest.mark.parametrize(
    "said, message",
    [
        ({"x9": "category"}, "'x9' is said to be category, but it is not in the table"),
        ({"x0": "catgory"}, "x0' is said to be 'catgory'.*did you mean 'category'"),
    ],
)
def test_wrongly_said_columns_are_refused(said, message):
    with pytest.raises(InvalidInputError, match=message):
        JointRegressor(said=said, **SHORT).fit(*two_targets())


def test_sparse_columns_are_numbers():
    large = csr_matrix(([1.0], ([0], [0])), shape=(10, 6_000_000))
    with pytest.raises(InvalidInputError, match="a sparse X holds numbers"):
        JointRegressor(said={"x0": "category"}, **SHORT).fit(large, np.arange(10.0))


def test_classes_of_128_bits_come_back():
    y = pl.Series([10**20, 10**20 + 1] * 20, dtype=pl.Int128)
    found = JointClassifier(**SHORT).fit(np.arange(40.0)[:, None], y).predict(np.zeros((1, 1)))
    assert int(found[0]) in (10**20, 10**20 + 1)


ALONE = {
    "components": "network", "epochs": 3, "ensemble": 1, "width": 8, "depth": 1, "random_state": 0,
}  # fmt: skip


def test_dates_of_another_zone_are_the_same_instants_and_others_are_refused():
    when = pd.Series(pd.date_range("2024-06-01", periods=120, freq="7h", tz="Asia/Tokyo"))
    x = pd.DataFrame({"when": when, "lasts": pd.to_timedelta(np.arange(120), unit="h")})
    y = when.dt.hour.to_numpy() + 0.5
    for components in ("network", "auto"):
        model = JointRegressor(**ALONE | {"components": components}).fit(x, y)
        expected = model.predict(x)
        utc = x.assign(when=when.dt.tz_convert("UTC"))
        np.testing.assert_array_equal(model.predict(utc), expected)
        with pytest.raises(InvalidInputError, match=r"'feature 0: when' holds .* no time zone"):
            model.predict(x.assign(when=when.dt.tz_localize(None)))
        with pytest.raises(InvalidInputError, match="'feature 1: lasts' must be a duration"):
            model.predict(x.assign(lasts=np.arange(120)))
    model = JointRegressor(**ALONE).fit(x, y)
    model.partial_fit(utc, y)
    np.testing.assert_array_equal(model.predict(utc), model.predict(x))
    with pytest.raises(InvalidInputError, match="no time zone"):
        model.partial_fit(x.assign(when=when.dt.tz_localize(None)), y)


def test_labels_are_scored_by_their_names_and_as_many_as_there_are_rows():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(60, 3))
    y = pd.DataFrame({"p": 2 * x[:, 0] + 1, "q": x[:, 1]})
    weights = pd.DataFrame({"p": generator.uniform(size=60), "q": generator.uniform(size=60)})
    classes = (y > 0).astype(int)
    for model, labels in (
        (JointRegressor(**ALONE).fit(x, y), y),
        (JointClassifier(**ALONE).fit(x, classes), classes),
        (JointEstimator(**ALONE).fit(x, y), y),
    ):
        turned = labels[["q", "p"]]
        score = model.score(x, labels, weights)
        assert model.score(x, turned, weights[["q", "p"]]) == score
        assert model.score(x, labels.to_numpy(), weights.to_numpy()) == score
        found = model.evaluate(x, labels, weights)
        assert model.evaluate(x, turned, weights[["q", "p"]]) == found
        for wrong, message in (
            (labels[:40], "X has 60 rows and y has 40"),
            (labels[["p"]], "y has 1 column|'q'"),
            (labels.rename(columns={"q": "r"}), "'q'.*|'r'"),
        ):
            for judge in (model.score, model.evaluate):
                with pytest.raises(InvalidInputError, match=message):
                    judge(x, wrong)
        # their unit is of no account, however large
        assert model.score(x, labels, np.full(60, 1e308)) == pytest.approx(model.score(x, labels))
    one = JointRegressor(**ALONE).fit(x, y["p"])
    with pytest.raises(InvalidInputError, match="X has 60 rows and y has 30"):
        one.score(x, y["p"][:30])


@pytest.mark.parametrize("make", [JointRegressor, JointClassifier, JointEstimator])
def test_weights_in_a_data_frame_are_taken_by_their_names(make):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(60, 3))
    y = pd.DataFrame({"p": 2 * x[:, 0] + 1, "q": x[:, 1]})
    given = {}
    if make is JointClassifier:
        y, given = (y > 0).astype(int), {"classes": [[0, 1]] * 2}
    weights = pd.DataFrame({"p": generator.uniform(size=60), "q": np.arange(60) >= 20})
    turned, other = weights[["q", "p"]], weights.rename(columns={"p": "r"})

    def fitted(labels, own):
        return np.asarray(make(**ALONE).fit(x, labels, own).predict(x))

    def batch(own):
        return make(**ALONE).partial_fit(x, y, sample_weight=own, **given).predict(x)

    expected, of_batch = fitted(y, weights.to_numpy()), batch(weights.to_numpy())
    for own in (weights, turned, pl.DataFrame(turned), pa.Table.from_pandas(turned)):
        np.testing.assert_array_equal(fitted(y, own), expected)
    np.testing.assert_array_equal(batch(turned), of_batch)
    model = make(**ALONE).fit(x, y)
    score = model.score(x, y, weights.to_numpy())
    found = model.evaluate(x, y, weights.to_numpy())
    for truth in (y, y[["q", "p"]], y.to_numpy()):
        assert model.score(x, truth, turned) == model.score(x, truth, weights) == score
        assert model.evaluate(x, truth, turned) == found
    for call in (make(**ALONE).fit, model.score, model.evaluate):
        with pytest.raises(InvalidInputError, match="sample_weight has the columns r, q, and the"):
            call(x, y, sample_weight=other)
    # without names in y there is the place alone
    np.testing.assert_array_equal(fitted(y.to_numpy(), other), expected)


def test_a_structured_y_has_all_its_fields_predicted():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(60, 3))
    y = np.empty(60, dtype=[("size", "i8"), ("word", "U3"), ("price", "f4")])
    y["size"], y["word"] = np.arange(60) % 7, np.where(x[:, 0] > 0, "yes", "no")
    y["price"] = x[:, 1]
    numbers = y[["size", "price"]]
    model = JointRegressor(**ALONE).fit(x, numbers)
    assert model.predict(x).shape == (60, 2)
    assert model.predict_interval(x).shape == (60, 2, 2)
    assert np.isfinite(model.score(x, numbers))
    found = JointEstimator(**ALONE).fit(x, y).predict(x)
    assert found.dtype == [("size", "f8"), ("word", "U3"), ("price", "f4")]
    assert set(found["word"]) <= {"yes", "no"}
    one = np.empty(60, dtype=[("size", "f8")])
    one["size"] = x[:, 0]
    assert JointRegressor(**ALONE).fit(x, one).predict(x).shape == (60,)


def test_no_type_that_all_targets_share_changes_a_class():
    x = np.random.default_rng(0).normal(size=(60, 3))
    large, truth = (x[:, 0] > 0) + 2**60, x[:, 1] > 0
    halves, words = np.where(truth, 0.0, 1.0), np.where(truth, "u", "v")
    for y in ({"a": large, "b": halves}, {"a": large, "b": words}, {"a": large, "b": truth}):
        model = JointClassifier(**ALONE).fit(x, y)
        found = model.predict(x)
        for column, classes in zip(found.T, model.classes_, strict=True):
            kinds = {type(label) for label in classes.tolist()}
            assert {type(label) for label in column.tolist()} == kinds
            assert set(column.tolist()) <= set(classes.tolist())
    # of one type they are an array of it
    found = JointClassifier(**ALONE).fit(x, {"a": large, "b": large - 1}).predict(x)
    assert found.dtype == np.int64
    found = JointEstimator(**ALONE).fit(x, np.stack([large, np.arange(60)], axis=1)).predict(x)
    assert set(found[:, 0].tolist()) <= {2**60, 2**60 + 1}


def test_a_constant_label_that_its_kind_can_not_have_is_refused():
    x = np.random.default_rng(0).normal(size=(60, 3))
    gaps = np.where(np.arange(60) % 2, np.inf, np.nan)
    for p, kind, message in (
        (np.full(60, np.inf), "regression", "'p' holds inf in row 1"),
        (gaps, "regression", "'p' holds inf in row 2"),
        (np.full(60, -1.5), "count", "'p' holds -1.5 in row 1"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            JointEstimator({"p": kind, "q": "regression"}, **ALONE).fit(x, {"p": p, "q": x[:, 0]})
    with pytest.raises(InvalidInputError, match="'p' holds inf"):
        JointEstimator(**ALONE).fit(x, {"p": np.full(60, np.inf), "q": x[:, 0]})


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"weights": [1, -1]}, r"`weights` is a rule .*got \[1, -1\]"),
        ({"epochs": 2.5}, "`epochs` must be a whole number, got 2.5"),
        ({"epochs": "3"}, "`epochs` must be a whole number, got '3'"),
        ({"depth": True}, "`depth` must be a whole number, got True"),
        ({"dropout": "a"}, "`dropout` must be a number, got 'a'"),
    ],
)
def test_settings_of_another_type_are_refused(setting, message):
    x = np.random.default_rng(0).normal(size=(20, 2))
    with pytest.raises(InvalidInputError, match=message):
        JointRegressor(**ALONE | setting).fit(x, x)
    assert Recipe(epochs=np.int64(3), dropout=np.float32(0.5)).epochs == 3


def test_names_that_are_no_text_are_compared_too():
    x = np.random.default_rng(0).normal(size=(60, 3))
    frame, y = pd.DataFrame(x), 3 * x[:, 0]
    for names in ([0, 1, 2], [5, 3, 4], pd.date_range("2024-01-01", periods=3)):
        own = frame.set_axis(names, axis="columns")
        model = JointRegressor(**ALONE).fit(own, y)
        expected = model.predict(own)
        np.testing.assert_array_equal(model.predict(x), expected)
        np.testing.assert_array_equal(model.predict(as_table(own).to_pandas()), expected)
        batch = JointRegressor(**ALONE).partial_fit(own, y)
        for wrong in (own.iloc[:, ::-1], own.rename(columns={names[0]: 7})):
            for call in (model.predict, lambda x, b=batch: b.partial_fit(x, y)):
                with pytest.raises(InvalidInputError, match=r"X has .*, and fitting had .*; give"):
                    call(wrong)
    # such names are those of an array
    np.testing.assert_array_equal(
        JointRegressor(**ALONE).fit(x, y).predict(frame), model.predict(x)
    )
    named = JointRegressor(**ALONE).fit(frame.set_axis(list("abc"), axis="columns"), y)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        named.predict(frame)
    with pytest.raises(InvalidInputError, match="X has 2, 1, 0, and fitting had a, b, c; give"):
        named.predict(frame.iloc[:, ::-1])


@pytest.mark.parametrize("make", [JointRegressor, JointClassifier, JointEstimator])
def test_a_refused_fit_leaves_no_model_of_the_one_before(make):
    x = np.random.default_rng(0).normal(size=(60, 3))
    frame, y = pd.DataFrame(x, columns=list("abc")), (x[:, 0] > 0).astype(float)
    model = make(**ALONE).fit(frame, y)
    with pytest.raises(InvalidInputError):
        model.fit(frame[["c", "b", "a"]], np.where(y > 0, np.inf, y))
    for call in (model.predict, lambda x: model.score(x, y), lambda x: model.evaluate(x, y)):
        with pytest.raises(NotFittedError):
            call(frame)
    assert not hasattr(model, "classes_")
    expected = make(**ALONE).fit(frame, y).predict(frame)
    np.testing.assert_array_equal(model.fit(frame, y).predict(frame), expected)
    # what is trained on stays what it was
    with pytest.raises(InvalidInputError):
        model.partial_fit(frame, np.where(y > 0, np.inf, y))
    np.testing.assert_array_equal(model.predict(frame), expected)


@pytest.mark.parametrize("make", [JointRegressor, JointClassifier, JointEstimator])
def test_targets_of_the_same_name_are_refused(make):
    x = np.random.default_rng(0).normal(size=(60, 3))
    with pytest.raises(InvalidInputError, match="y names column '1' more than once"):
        make(**ALONE).fit(x, {1: x[:, 0] > 0, "1": x[:, 1] > 0})
