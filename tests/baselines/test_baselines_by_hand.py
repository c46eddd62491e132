"""Baselines predict what the code that a user of scikit-learn would write predicts."""

import datetime

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from jointrain import InvalidInputError, SupervisedTable
from jointrain.baselines import BaselineModel, as_baseline, check_predicts, fit_baseline
from jointrain.bundle import load_bundle, save_bundle
from jointrain.tables import BlendedModel
from jointrain.tables._blended_model import fit_baseline_to
from jointrain.task import Task

NUMBERS = ["size", "price", "open"]
WORDS = ["red", "green", "blue", "old", "new", "big", "small", "round", "flat"]


def frame(rows: int = 400) -> pl.DataFrame:
    """Numbers of very different scales, missing values, few and many categories, dates, text."""
    random = np.random.default_rng(0)
    size = 1e6 * random.lognormal(sigma=2, size=rows)
    price = random.normal(size=rows)
    city = random.integers(5, size=rows)
    street = random.integers(150, size=rows)
    day = random.integers(700, size=rows)
    text = [" ".join(random.choice(WORDS, 3)) for _ in range(rows)]
    y1 = np.log(size) + price + (city == 2) + ["red" in words for words in text]
    y2 = street % 7 - 1000 * price * (day > 300)
    return pl.DataFrame(
        {
            "size": np.where(random.random(rows) < 0.1, np.nan, size),
            "price": price,
            "open": random.random(rows) < 0.5,
            "city": [None if c == 4 else f"city {c}" for c in city],
            "street": [None if s == 149 else f"street {s}" for s in street],
            "day": [datetime.date(2024, 1, 1) + datetime.timedelta(int(d)) for d in day],
            "text": text,
            "y1": y1,
            "y2": y2,
            "flag": np.where(y1 > np.median(y1), "yes", "no"),
            "kind": np.array(["a", "b", "c"])[np.digitize(y2, np.quantile(y2, [0.3, 0.6]))],
        }
    ).with_columns(pl.col("size").fill_nan(None))


def table(targets: list[str]) -> SupervisedTable:
    made = SupervisedTable.prepare(frame(), targets)
    kinds = {"street": "category", "text": "text"}
    columns = [
        type(c)(c.name, kinds.get(c.name, c.kind), c.dtype)
        for c in made.columns
        if c.name not in ("y1", "y2", "flag", "kind")
    ]
    return SupervisedTable(made.frame, made.tasks, tuple(columns))


def by_hand():
    many = OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-1
    )
    return make_column_transformer(
        (SimpleImputer(strategy="median", add_indicator=True), ["size", "price"]),
        ("passthrough", ["open"]),
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["city"]),
        (many, ["street"]),
        (TfidfVectorizer(max_features=100), "text"),
        ("passthrough", ["day days", "day year", "day month", "day day", "day weekday"]),
        sparse_threshold=0,
    )


def as_pandas(rows: pl.DataFrame) -> pd.DataFrame:
    day = pl.col("day")
    return rows.with_columns(
        (day.cast(pl.Int32)).alias("day days"),
        day.dt.year().alias("day year"),
        day.dt.month().alias("day month"),
        day.dt.day().alias("day day"),
        day.dt.weekday().alias("day weekday"),
    ).to_pandas()


TRAIN, TEST = slice(0, 300), slice(300, 400)

REGRESSORS = {
    "linear": lambda: make_pipeline(StandardScaler(), RidgeCV(np.logspace(-3, 3, 13))),
    "random forest": lambda: RandomForestRegressor(random_state=5),
    "extra trees": lambda: ExtraTreesRegressor(random_state=5),
    "gradient boosting": lambda: HistGradientBoostingRegressor(random_state=5),
}
CLASSIFIERS = {
    "linear": lambda: make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
    "random forest": lambda: RandomForestClassifier(random_state=5),
    "extra trees": lambda: ExtraTreesClassifier(random_state=5),
    "gradient boosting": lambda: HistGradientBoostingClassifier(random_state=5),
}


# In place of streets a line has means (test_id_means.py), and the last bit of a word's weight,
# which depends on the order of a sum, moves the bins of gradient boosting.
LEFT_OUT = {"linear": "street", "gradient boosting": "text"}


@pytest.mark.parametrize("name", REGRESSORS)
def test_predictions_are_those_of_code_written_by_hand(name):
    made = table(["y1", "kind"])
    columns = tuple(c for c in made.columns if c.name != LEFT_OUT.get(name))
    fitted = fit_baseline_to(name, SupervisedTable(made.frame[TRAIN], made.tasks, columns), 5)
    found = fitted.predict(made.frame[TEST])
    train, test = as_pandas(made.frame[TRAIN]), as_pandas(made.frame[TEST])
    encoded = by_hand()
    encoded.transformers = [
        one for one in encoded.transformers if LEFT_OUT.get(name) not in (one[2], *one[2])
    ]
    regressor = make_pipeline(encoded, REGRESSORS[name]())
    expected = regressor.fit(train, train["y1"]).predict(test)
    np.testing.assert_allclose(found["y1"], expected, rtol=1e-6)
    classifier = make_pipeline(encoded, CLASSIFIERS[name]())
    chances = classifier.fit(train, train["kind"]).predict_proba(test)
    np.testing.assert_allclose(found["kind"], chances, atol=1e-4 if name == "linear" else 1e-6)


@pytest.mark.parametrize("name", ["extra trees joint", "random forest joint"])
def test_joint_forests_are_those_of_code_written_by_hand(name):
    made = table(["y1", "y2"])
    fitted = fit_baseline_to(name, SupervisedTable(made.frame[TRAIN], made.tasks, made.columns), 5)
    found = fitted.predict(made.frame[TEST])
    train, test = as_pandas(made.frame[TRAIN]), as_pandas(made.frame[TEST])
    forest = REGRESSORS[name.removesuffix(" joint")]()
    model = make_pipeline(
        by_hand(), TransformedTargetRegressor(forest, transformer=StandardScaler())
    )
    expected = model.fit(train, train[["y1", "y2"]]).predict(test)
    np.testing.assert_allclose(found["y1"], expected[:, 0], rtol=1e-6)
    np.testing.assert_allclose(found["y2"], expected[:, 1], rtol=1e-6)

    made = table(["flag", "kind"])
    fitted = fit_baseline_to(name, SupervisedTable(made.frame[TRAIN], made.tasks, made.columns), 5)
    found = fitted.predict(made.frame[TEST])
    model = make_pipeline(by_hand(), CLASSIFIERS[name.removesuffix(" joint")]())
    flag, kind = model.fit(train, train[["flag", "kind"]]).predict_proba(test)
    np.testing.assert_allclose(found["flag"], flag[:, 1], atol=1e-6)
    np.testing.assert_allclose(found["kind"], kind, atol=1e-6)


def test_wide_tables_use_all_columns_at_a_split():
    random = np.random.default_rng(0)
    x = random.normal(size=(80, 300))
    rows = pl.DataFrame({f"x{i}": x[:, i] for i in range(300)} | {"y": x[:, 0] + x[:, 1]})
    made = SupervisedTable.prepare(rows, ["y"])
    found = fit_baseline_to("extra trees", made, 1).predict(rows)["y"]
    expected = ExtraTreesRegressor(random_state=1).fit(x, rows["y"].to_numpy()).predict(x)
    np.testing.assert_allclose(found, expected)


def test_a_missing_label_is_filled_by_the_forest_of_its_target():
    random = np.random.default_rng(0)
    x = random.normal(size=(60, 3))
    y = np.stack([x[:, 0], 5 * x[:, 1] + 100], 1)
    holes = np.zeros(60, dtype=bool)
    holes[::3] = True
    labels = y.copy()
    labels[holes, 1] = np.nan
    tasks = [Task.regression("a"), Task.regression("b")]
    found = fit_baseline("extra trees joint", x, labels, tasks, 2).predict(x)
    alone = ExtraTreesRegressor(random_state=2).fit(x[~holes], y[~holes, 1])
    filled = y.copy()
    filled[holes, 1] = alone.predict(x[holes])
    model = TransformedTargetRegressor(
        ExtraTreesRegressor(random_state=2), transformer=StandardScaler()
    )
    model.fit(x, filled)
    # the scales are those of the labels, which differ a little from those of the filled column
    np.testing.assert_allclose(found["b"], model.predict(x)[:, 1], rtol=2e-2)


def test_joint_classes_of_different_numbers_and_a_class_that_never_occurs(tmp_path):
    random = np.random.default_rng(0)
    x = random.normal(size=(50, 2))
    tasks = [
        Task.binary("flag", ("n", "y")),
        Task.multiclass("kind", ("a", "b", "c", "d")),
        Task.binary("same", ("n", "y")),
    ]
    labels = np.stack([x[:, 0] > 0, 3 * (x[:, 1] > 0), np.ones(50)], 1).astype(float)
    labels[:5, 1] = np.nan
    model = fit_baseline("extra trees joint", x, labels, tasks, 0)
    found = model.predict(x)
    assert ((found["flag"] > 0.5) == (x[:, 0] > 0)).all()
    np.testing.assert_allclose(found["kind"].sum(1), 1)
    assert (found["kind"][:, [1, 2]] == 0).all()
    np.testing.assert_allclose(found["same"], 51 / 52)
    model.save(tmp_path)
    again = BaselineModel.load(tmp_path).predict(x)
    for task, values in found.items():
        np.testing.assert_array_equal(again[task], values)


def test_a_joint_forest_needs_targets_of_one_kind():
    mixed = [Task.regression("a"), Task.binary("b", ("n", "y"))]
    with pytest.raises(InvalidInputError, match="some targets are numbers and some are classes"):
        check_predicts(as_baseline("extra trees joint"), mixed)
    with pytest.raises(InvalidInputError, match="there is one target only; use 'random forest'"):
        check_predicts(as_baseline("random forest joint"), mixed[:1])


@pytest.mark.parametrize("name", ["constant", "linear", "extra trees", "extra trees joint"])
def test_a_bundle_of_baselines_holds_json_and_predicts_the_same_bits(name, tmp_path):
    made = table(["y1", "y2"])
    fitted = fit_baseline_to(name, made, 0)
    model = BlendedModel(
        made.tasks, made.columns, {name: fitted}, {"y1": {name: 1.0}, "y2": {name: 1.0}}
    )
    folder = save_bundle(model, tmp_path / "bundle")
    assert (folder / "components" / "0" / "encoder.json").exists()
    loaded = load_bundle(folder)
    rows = made.frame.with_columns(
        pl.when(pl.int_range(pl.len()) % 5 == 0).then(None).otherwise(pl.col("city")).alias("city")
    )
    for task, values in model.predict(rows).items():
        np.testing.assert_array_equal(loaded.predict(rows)[task], values)
    assert loaded.encoder.unseen(rows) == {}


# --- weights of rows ------------------------------------------------------------------------------


def _weighted_data():
    random = np.random.default_rng(5)
    x = random.normal(size=(150, 4)).astype(np.float32)
    labels = np.stack(
        [
            x[:, 0] + x[:, 1] ** 2,
            np.digitize(x[:, 2] + 0.3 * random.normal(size=150), [-0.5, 0.5]),
            random.poisson(np.exp(0.5 * x[:, 3])),
        ],
        axis=1,
    ).astype(np.float64)
    labels[::9, 0] = np.nan
    return x, labels, random.lognormal(sigma=1.5, size=150)


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("linear", (RidgeCV(np.logspace(-3, 3, 13)), LogisticRegression(max_iter=1000))),
        (
            "extra trees",
            (ExtraTreesRegressor(random_state=2), ExtraTreesClassifier(random_state=2)),
        ),
        (
            "random forest",
            (RandomForestRegressor(random_state=2), RandomForestClassifier(random_state=2)),
        ),
        (
            "gradient boosting",
            (
                HistGradientBoostingRegressor(random_state=2),
                HistGradientBoostingClassifier(random_state=2),
            ),
        ),
    ],
)
def test_weights_are_the_sample_weight_of_each_library(name, kinds):
    x, labels, weights = _weighted_data()
    tasks = [Task.regression("y"), Task.multiclass("kind", 3)]
    every = np.stack([weights, weights], axis=1)
    # their unit is of no account
    model = fit_baseline(name, x, labels[:, :2], tasks, 2, 1024 * every)
    found = model.predict(x)
    for index, task in enumerate(tasks):
        known = np.isfinite(labels[:, index])
        even = weights[known] / weights[known].max()
        even /= even.mean()
        inputs = x[known].astype(np.float64)
        everywhere = x.astype(np.float64)
        if name == "linear":
            scaler = StandardScaler().fit(inputs, sample_weight=even)
            inputs, everywhere = scaler.transform(inputs), scaler.transform(everywhere)
        kind = kinds[index].fit(inputs, labels[known, index], sample_weight=even)
        expected = kind.predict_proba(everywhere) if index else kind.predict(everywhere)
        np.testing.assert_allclose(found[task.name], expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["catboost", "lightgbm"])
def test_weights_reach_libraries_of_boosting(name):
    library = pytest.importorskip(name)
    x, labels, weights = _weighted_data()
    even = weights / weights.mean()
    found = fit_baseline(
        name, x, labels[:, 1:2], [Task.multiclass("kind", 3)], 2, weights[:, None]
    ).predict(x)["kind"]
    if name == "catboost":
        kind = library.CatBoostClassifier(
            loss_function="MultiClass", thread_count=1, random_seed=2, verbose=False,
            allow_writing_files=False,
        ).fit(x, labels[:, 1], sample_weight=even)  # fmt: skip
    else:
        kind = library.LGBMClassifier(
            n_jobs=1, deterministic=True, force_row_wise=True, verbose=-1, random_state=2
        ).fit(x, labels[:, 1], sample_weight=even)
    np.testing.assert_allclose(found, kind.predict_proba(x), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["linear", "gradient boosting", "extra trees joint", "constant"])
def test_every_way_of_fitting_takes_weights(name):
    x, labels, weights = _weighted_data()
    tasks = [Task.regression("y"), Task.count("visits")]
    pair = labels[:, [0, 2]]
    new = x[:60] + 0.3
    plain = fit_baseline(name, x, pair, tasks, 2).predict(new)
    equal = fit_baseline(name, x, pair, tasks, 2, np.full((150, 2), 7.0)).predict(new)
    other = fit_baseline(name, x, pair, tasks, 2, np.stack([weights] * 2, axis=1)).predict(new)
    for task in ("y", "visits"):
        np.testing.assert_allclose(equal[task], plain[task], rtol=1e-12)
        assert np.abs(other[task] - plain[task]).max() > 1e-3
    if name == "constant":
        assert other["visits"][0] == pytest.approx(np.average(labels[:, 2], weights=weights))


@pytest.mark.parametrize("name", ["extra trees joint", "extra trees"])
def test_whole_weights_are_repeated_rows_in_extra_trees(name):
    # no bootstrap, and thresholds are drawn between the ends of a node's values
    random = np.random.default_rng(0)
    x = random.normal(size=(40, 3))
    labels = x @ random.normal(size=(3, 2)) + random.normal(size=(40, 2))
    tasks = [Task.regression("a"), Task.regression("b")]
    weights = random.integers(1, 4, 40)
    rows = np.repeat(np.arange(40), weights)
    both = np.repeat(weights[:, None], 2, axis=1).astype(float)
    found = fit_baseline(name, x, labels, tasks, 2, both).predict(x)
    expected = fit_baseline(name, x[rows], labels[rows], tasks, 2).predict(x)
    for task in ("a", "b"):
        np.testing.assert_allclose(found[task], expected[task], rtol=1e-5, atol=1e-6)


def test_a_baseline_of_ones_own_without_weights_is_refused():
    from jointrain.baselines import TargetBaseline

    class Own(TargetBaseline):
        """A baseline from before there were weights."""

        name = "own"

        def fit(self, inputs, target, classes, seed):
            return None

    x, labels, weights = _weighted_data()
    tasks = [Task.regression("y")]
    assert fit_baseline(Own(), x, labels[:, :1], tasks, 0).predict(x)["y"].shape == (150,)
    with pytest.raises(InvalidInputError, match="baseline 'own' takes no weights of rows; give"):
        fit_baseline(Own(), x, labels[:, :1], tasks, 0, weights[:, None])
