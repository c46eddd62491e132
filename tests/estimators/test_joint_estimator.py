"""JointEstimator predicts targets of several kinds in the form that y had."""

import datetime
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.base import clone
from sklearn.metrics import accuracy_score, mean_squared_error, r2_score, roc_auc_score
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks

from jointrain import InvalidInputError, JointClassifier, JointEstimator, JointRegressor, Recipe
from jointrain.data import SupervisedTable
from jointrain.tables import fit_blend, fit_table
from jointrain.training.population import fit_together
from tests.estimators.test_estimators import EXPECTED_FAILURES

FAST = {
    "width": 8,
    "depth": 1,
    "epochs": 2,
    "ensemble": 1,
    "components": "network",
    "random_state": 0,
}
QUICK = {"width": 32, "epochs": 60, "ensemble": 2, "random_state": 0, "learning_rate": 1e-2}
TASKS = {"price": "regression", "sold": "binary", "visits": "count", "grade": "ordinal:low:mid:top"}


@pytest.mark.integration
@parametrize_with_checks(
    [JointEstimator(**QUICK)], expected_failed_checks=lambda estimator: EXPECTED_FAILURES
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def houses(rows: int = 200, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    generator = np.random.default_rng(seed)
    x = pd.DataFrame(generator.normal(size=(rows, 4)), columns=list("abcd"))
    x.index = pd.Index([f"house {i}" for i in range(rows)])
    y = pd.DataFrame(
        {
            "price": (100 + 10 * x["a"] - 20 * x["b"]).astype("float32"),
            "sold": pd.array((x["a"] + x["c"] > 0).to_numpy(), dtype="boolean"),
            "visits": generator.poisson(np.exp(1 + 0.5 * x["a"])),
            "grade": pd.Categorical(
                np.select([x["b"] < -0.5, x["b"] < 0.5], ["low", "mid"], "top")
            ),
        }
    )
    return x, y


def test_kinds_are_learned_together():
    x, y = houses(400)
    model = JointEstimator(TASKS, **QUICK).fit(x[:300], y[:300])
    assert [task.kind for task in model.tasks_] == ["regression", "binary", "count", "ordinal"]
    assert model.notes_ == ()
    tested = x[300:]
    found = model.predict(tested)
    assert found.dtypes.astype(str).to_dict() == {
        "price": "float32", "sold": "boolean", "visits": "float64", "grade": "category",
    }  # fmt: skip
    assert found.index.equals(tested.index)
    truth = y[300:]
    scores = {
        "price": r2_score(truth["price"], found["price"]),
        "sold": accuracy_score(truth["sold"].astype(bool), found["sold"].astype(bool)),
        "visits": r2_score(truth["visits"], found["visits"]),
        "grade": accuracy_score(truth["grade"].astype(str), found["grade"].astype(str)),
    }
    assert scores["price"] > 0.9
    assert scores["sold"] > 0.8
    assert scores["grade"] > 0.8
    assert model.score(tested, truth) == pytest.approx(np.mean(list(scores.values())))
    probabilities = model.predict_proba(tested)
    assert {name: p.shape for name, p in probabilities.items()} == {
        "sold": (100, 2), "grade": (100, 3),
    }  # fmt: skip
    assert {name: list(c) for name, c in model.classes_.items()} == {
        "sold": [False, True], "grade": ["low", "mid", "top"],
    }  # fmt: skip
    metrics = model.evaluate(tested, truth)
    assert metrics["sold"]["ROC-AUC"] == pytest.approx(
        roc_auc_score(truth["sold"].astype(int), probabilities["sold"][:, 1])
    )
    assert metrics["price"]["RMSE"] == pytest.approx(
        mean_squared_error(truth["price"], model.model_.predict(_named(tested))["price"]) ** 0.5
    )
    intervals = model.predict_interval(tested, coverage=0.8)
    assert {name: ends.shape for name, ends in intervals.items()} == {
        "price": (100, 2), "visits": (100, 2),
    }  # fmt: skip
    inside = (intervals["price"][:, 0] <= truth["price"]) & (
        truth["price"] <= intervals["price"][:, 1]
    )
    assert 0.65 < inside.mean() < 0.97


def _named(x: pd.DataFrame) -> pd.DataFrame:
    return x.set_axis([f"feature {i}: {name}" for i, name in enumerate(x)], axis=1)


@pytest.mark.parametrize("components", ["auto", "network"])
def test_the_table_product_gives_the_same_predictions(components):
    x, y = houses(120)
    y.iloc[5:20, 0] = np.nan
    y.loc[y.index[30:40], "grade"] = None
    groups = np.arange(120) // 3
    y.index = x.index
    frame = pd.concat([x, y], axis=1).assign(family=groups)
    table = SupervisedTable.prepare(frame, list(TASKS), kinds=TASKS, group_column="family")
    recipe = Recipe(name="joint", width=8, depth=1, epochs=2, ensemble=4)
    fit = fit_table if components == "network" else fit_blend
    expected = fit(table, recipe, seed=3, device="cpu", fit_runs=fit_together)
    settings = {"width": 8, "depth": 1, "epochs": 2, "ensemble": 4, "random_state": 3}
    found = JointEstimator(TASKS, components=components, **settings)
    found.fit(x, y, groups=groups)
    of_table, of_estimator = expected.predict(frame), found.model_.predict(_named(x))
    for name in TASKS:
        np.testing.assert_array_equal(of_estimator[name], of_table[name])
    np.testing.assert_array_equal(
        found.predict_interval(x)["price"], expected.predict_interval(frame)["price"]
    )


def test_homogeneous_targets_are_those_of_the_other_estimators():
    x, y = houses(90)
    numbers, classes = y[["price", "visits"]].astype(float), y[["sold", "grade"]]
    kinds = dict.fromkeys(numbers, "regression")
    np.testing.assert_array_equal(
        JointEstimator(kinds, **FAST).fit(x, numbers).predict(x),
        JointRegressor(**FAST).fit(x, numbers).predict(x),
    )
    found = JointEstimator(**FAST).fit(x, classes).predict_proba(x)
    expected = JointClassifier(**FAST).fit(x, classes).predict_proba(x)
    for one, other in zip(found.values(), expected, strict=True):
        np.testing.assert_array_equal(one, other)


Y = pd.DataFrame(
    {
        "p": pd.array([1.5, None, 2.5] * 20, dtype="Float64"),
        "n": pd.array([3, 1, None, 2] * 15, dtype="Int64"),
        "w": pd.array(["u", None, "v"] * 20, dtype="string"),
        "c": pd.Categorical(["x", "y", None] * 20, categories=["y", "x", "z"], ordered=True),
        "t": pd.to_timedelta([60, 90, None, 300] * 15, unit="s"),
    }
)
KINDS = {"p": "binary", "n": "multiclass", "w": None, "c": "ordinal", "t": "regression"}


def test_every_container_comes_back():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(60, 3))
    frame = JointEstimator(KINDS, **FAST).fit(x, Y).predict(x)
    assert isinstance(frame, pd.DataFrame)
    assert frame.dtypes.to_dict() == Y.dtypes.to_dict()
    polars = pl.from_pandas(Y).with_columns(pl.col("c").cast(pl.Enum(["y", "x", "z"])))
    found = JointEstimator(KINDS, **FAST).fit(x, polars).predict(x)
    assert found.schema == polars.schema
    np.testing.assert_array_equal(found["w"].to_list(), frame["w"].tolist())
    np.testing.assert_array_equal(found["c"].to_list(), frame["c"].tolist())
    durations = frame["t"].dt.total_seconds()
    np.testing.assert_allclose(found["t"].dt.total_microseconds() / 1e6, durations, rtol=1e-5)
    table = pa.Table.from_pandas(Y.drop(columns="c"))
    kinds = {name: kind for name, kind in KINDS.items() if name != "c"}
    found = JointEstimator(kinds, **FAST).fit(x, table).predict(x)
    assert isinstance(found, pa.Table)
    assert found.column_names == ["p", "n", "w", "t"]
    arrays = {"p": Y["p"].to_numpy(float, na_value=np.nan), "w": Y["w"].to_numpy(object)}
    found = JointEstimator({"p": "regression", "w": None}, **FAST).fit(x, arrays).predict(x)
    assert list(found) == ["p", "w"]
    assert (found["p"].dtype, found["w"].dtype) == (np.float64, object)
    objects = np.stack([arrays["p"].astype(object), arrays["w"]], axis=1)
    model = JointEstimator({"p": "regression", "w": "binary"}, **FAST).fit(x, objects)
    both = model.predict(x)
    assert both.dtype == object
    assert both.shape == (60, 2)
    np.testing.assert_array_equal(both[:, 0].astype(float), found["p"])
    assert list(model.predict_proba(x)) == ["w"]


def test_one_target_comes_back_as_a_vector():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(60, 3))
    series = JointEstimator(**FAST).fit(x, Y["w"]).predict(x)
    assert isinstance(series, pd.Series)
    assert series.name == "w"
    assert series.dtype == "string"
    polars = pl.Series("k", x[:, 0] > 0)
    model = JointEstimator(**FAST).fit(x, polars)
    assert model.predict(x).dtype == pl.Boolean
    assert model.predict(x).name == "k"
    assert model.predict_proba(x).shape == (60, 2)
    assert list(model.classes_) == [False, True]
    model = JointEstimator({"rate": "count"}, **FAST).fit(x, generator.poisson(2, 60))
    assert model.predict(x).shape == (60,)
    assert model.predict_interval(x).shape == (60, 2)
    assert model.tasks_[0].name == "rate"
    columns = pd.DataFrame({0: x[:, 0], 1: x[:, 1] > 0})
    found = JointEstimator({0: "regression", 1: "binary"}, **FAST).fit(x, columns).predict(x)
    assert found.columns.tolist() == [0, 1]


def test_kinds_are_inferred_with_notes():
    x, y = houses(60)
    y["stars"] = np.arange(60) % 5
    model = JointEstimator(**FAST).fit(x, y[["price", "sold", "stars", "grade"]])
    kinds = [task.kind for task in model.tasks_]
    assert kinds == ["regression", "binary", "regression", "multiclass"]
    assert model.notes_ == (
        "target stars holds 5 different whole numbers and is predicted as a number; "
        "tasks={'stars': 'multiclass'} predicts classes, 'ordinal' classes with an order, 'count' "
        "a rate",
    )


def test_a_target_with_one_value_is_predicted_as_it_is():
    x, y = houses(60)
    y["price"], y["sold"] = np.float32(7.5), True
    with pytest.warns(UserWarning, match="has one value only") as warned:
        model = JointEstimator(TASKS, **FAST).fit(x, y)
    assert len(warned) == 2
    found = model.predict(x)
    assert (found["price"] == 7.5).all()
    assert found["price"].dtype == "float32"
    assert found["sold"].all()
    assert found["sold"].dtype == bool
    assert {name: p.shape[1] for name, p in model.predict_proba(x).items()} == {
        "sold": 1, "grade": 3,
    }  # fmt: skip
    assert list(model.evaluate(x, y)) == ["visits", "grade"]
    assert np.isfinite(model.score(x, y))
    with pytest.warns(UserWarning, match="one value only"):
        model.fit(x, y[["price", "sold"]].rename(columns={"price": "visits", "sold": "grade"})
                  .assign(price=1.0, sold=False, visits=7.0))  # fmt: skip
    assert model.model_ is None
    assert model.predict(x).shape == (60, 4)


def test_groups_stay_together():
    generator = np.random.default_rng(0)
    groups = np.repeat(np.arange(30), 4)
    # the group gives itself away: rows of a group on both sides make errors look small
    x = generator.normal(size=(30, 10))[groups]
    y = generator.normal(size=30)[groups] + 0.01 * generator.normal(size=120)
    settings = {"width": 64, "epochs": 150, "ensemble": 4, "learning_rate": 1e-2, "patience": 150,
                "random_state": 0}  # fmt: skip
    for estimator in (JointRegressor(**settings), JointEstimator(**settings)):
        apart = estimator.fit(x, y).predict_interval(x)
        together = estimator.fit(x, y, groups=[f"g{i}" for i in groups]).predict_interval(x)
        assert np.ptp(together, axis=1).mean() > 1.2 * np.ptp(apart, axis=1).mean()


def test_groups_are_routed_by_scikit_learn():
    from sklearn import config_context

    x, y = houses(60)
    groups = np.arange(60) // 4
    with config_context(enable_metadata_routing=True):
        model = JointEstimator(TASKS, **FAST).set_fit_request(groups=True)
        scores = cross_val_score(model, x, y, cv=GroupKFold(3), params={"groups": groups})
        rest, test = next(GroupKFold(3).split(x, groups=groups))
        alone = JointEstimator(TASKS, **FAST)
        alone.fit(x.iloc[rest], y.iloc[rest], groups=groups[rest])
        assert scores[0] == pytest.approx(alone.score(x.iloc[test], y.iloc[test]))


def test_clone_pickle_search_and_weights():
    x, y = houses(60)
    model = JointEstimator(TASKS, class_weight={"sold": "balanced"}, **FAST)
    assert clone(model).get_params()["tasks"] == TASKS
    model.fit(x, y, sample_weight=np.r_[np.ones(40), np.zeros(20)])
    again = pickle.loads(pickle.dumps(model))
    pd.testing.assert_frame_equal(again.predict(x), model.predict(x))
    alone = JointEstimator(TASKS, class_weight={"sold": "balanced"}, **FAST).fit(x[:40], y[:40])
    pd.testing.assert_frame_equal(alone.predict(x), model.predict(x))
    search = GridSearchCV(JointEstimator(TASKS, **FAST), {"width": [4, 8]}, cv=2).fit(x, y)
    assert search.predict(x).columns.tolist() == list(TASKS)


@pytest.mark.parametrize(
    ("tasks", "change", "message"),
    [
        ({"price": "regresion"}, lambda y: y[["price"]], "unknown kind 'regresion'.*did you mean"),
        (TASKS, lambda y: y.drop(columns="sold"), "`tasks` names 'sold', which y lacks; y has"),
        (TASKS, lambda y: y.rename(columns={"sold": "slod"}), "did you mean 'slod'"),
        (TASKS, lambda y: y.assign(more=1), "y has a column 'more' that `tasks` does not name"),
        (TASKS, lambda y: y.to_numpy()[:, :3], "3 columns without names, and `tasks` names 4"),
        (TASKS, lambda y: y["price"].to_numpy(), "1 columns without names, and `tasks` names 4"),
        (["price"], lambda y: y, "`tasks` gives the kind of each target by its name"),
        ({}, lambda y: y, "`tasks` gives the kind"),
        (None, lambda y: y.assign(price=1j), "Complex data not supported"),
        (None, lambda y: y.assign(price=datetime.datetime(2026, 1, 1)), "price of y holds dates"),
        (None, lambda y: y.assign(price=np.nan), "price of y has no label"),
        (None, lambda y: {"a": [1, 2], "b": [1]}, "a of y has 2 rows and b has 1"),
        (None, lambda y: {"a": [[1], [2]]}, r"a of y must be \[n\], got shape"),
        (None, lambda y: y[:7], "X has 60 rows and y has 7"),
        (None, lambda y: y.assign(price=[1, "a"] * 30), r"labels of several types \(int, str\)"),
        (TASKS, lambda y: y.assign(price="a lot"), "'price' has one value only, 'a lot'"),
        (TASKS, lambda y: y.assign(price=["much", "more"] * 30), "holds the text 'much' in row 1"),
        (TASKS, lambda y: y.assign(visits=[-1, 2] * 30), "'visits'.*-1"),
        (TASKS, lambda y: y.assign(grade=["low", "best"] * 30), "holds 'best' in row 2"),
        (TASKS, lambda y: y.assign(price=[np.inf, 2] * 30), "infinity|inf"),
        (TASKS, lambda y: y.assign(sold=[1, 2, 3] * 20), "has 3 distinct values"),
    ],
)  # fmt: skip
def test_bad_targets(tasks, change, message):
    x, y = houses(60)
    with pytest.raises(InvalidInputError, match=message) as raised:
        JointEstimator(tasks, **FAST).fit(x, change(y))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (np.arange(59), r"groups must be one value a row, \[60\], got shape \[59\]"),
        (np.ones((60, 2)), r"got shape \[60, 2\]"),
        ([None, *range(59)], "groups is empty in row 1"),
    ],
)
def test_bad_groups(groups, message):
    x, y = houses(60)
    for model in (JointEstimator(**FAST), JointClassifier(**FAST)):
        with pytest.raises(InvalidInputError, match=message):
            model.fit(x, y[["sold", "grade"]], groups=groups)


def test_bad_calls_after_fitting():
    x, y = houses(60)
    model = JointEstimator(TASKS, **FAST).fit(x, y)
    for coverage in (0, 1, 1.5, -1):
        with pytest.raises(InvalidInputError, match="coverage must lie between 0 and 1"):
            model.predict_interval(x, coverage)
    with pytest.raises(ValueError, match="feature names"):
        model.predict(x.drop(columns="a"))
    with pytest.raises(InvalidInputError, match="`tasks` names 'sold', which y lacks"):
        model.score(x, y.drop(columns="sold"))
    with pytest.raises(InvalidInputError, match="none of its classes"):
        model.evaluate(x, y.assign(grade="best"))
    numbers = JointEstimator(**FAST).fit(x, y[["price"]])
    assert not hasattr(numbers, "predict_proba")
    with pytest.raises(AttributeError, match="has no attribute 'predict_proba'"):
        numbers.predict_proba(x)
    with pytest.raises(InvalidInputError, match="intervals are for numbers"):
        JointEstimator(**FAST).fit(x, y[["sold"]]).predict_interval(x)


def test_an_order_of_numbers_that_is_not_theirs_is_refused():
    x = np.random.default_rng(0).normal(size=(60, 2))
    codes = np.digitize(x[:, 0], [-0.5, 0.5])

    def fitted(labels, kind="ordinal", call="fit"):
        own = pd.Categorical.from_codes(codes, categories=pd.Index(labels), ordered=True)
        model = JointEstimator({"o": kind}, **FAST)
        given = {} if call == "fit" else {"classes": {"o": labels}}
        return getattr(model, call)(x, pd.DataFrame({"o": own}), **given)

    for call in ("fit", "partial_fit"):
        for labels in ([3, 1, 2], [0.5, 0.25, 0.75]):
            with pytest.raises(InvalidInputError, match="o of y has ordered categories of numbers"):
                fitted(labels, call=call)
        assert fitted([1, 2, 5], call=call).classes_["o"].tolist() == [1, 2, 5]
        assert fitted(["c", "a", "b"], call=call).classes_["o"].tolist() == ["c", "a", "b"]
    # without ranks the order is of no account
    assert fitted([3, 1, 2], "multiclass").classes_["o"].tolist() == [1, 2, 3]
    assert fitted([3, 1, 2], "ordinal:3:1:2").classes_["o"].tolist() == [3, 1, 2]


def test_kinds_of_the_same_target_are_refused():
    x, y = houses(60)
    with pytest.raises(InvalidInputError, match="`tasks` names column '1' more than once"):
        JointEstimator({1: "regression", "1": "count"}, **FAST).fit(x, y)


@pytest.mark.parametrize("ordered", [False, True])
def test_categories_of_numbers_are_classes(ordered):
    x = np.random.default_rng(0).normal(size=(40, 2))
    ten = pd.Series(pd.Categorical(np.arange(40) % 4 * 10, ordered=ordered), name="ten")
    model = JointEstimator(epochs=2, ensemble=1, random_state=0).fit(x, ten)
    assert [task.kind for task in model.tasks_] == ["multiclass"]
    assert model.classes_.tolist() == [0, 10, 20, 30]
    assert model.predict(x).dtype == ten.dtype
    two = pd.Series(pd.Categorical(np.arange(40) % 2, categories=[0, 1, 2]), name="two")
    assert [task.kind for task in model.fit(x, two).tasks_] == ["binary"]
    half = pd.Series(pd.Categorical(np.arange(40) % 4 / 2), name="half")
    with pytest.raises(InvalidInputError, match=r"holds 0\.5 in row \d+, which is no class"):
        model.fit(x, half)


def test_lists_and_columns_of_arrow_serve():
    x, quick = np.random.default_rng(0).normal(size=(40, 2)), {"epochs": 2, "ensemble": 1}
    y = pd.DataFrame({"sum": x.sum(1)})
    of_lists = JointEstimator(random_state=0, **quick).fit(x.tolist(), y).predict(x.tolist())
    expected = JointEstimator(random_state=0, **quick).fit(x, y).predict(x)
    pd.testing.assert_frame_equal(of_lists, expected)
    column = pa.table({"sum": x.sum(1)})["sum"]
    for given in (column, column.combine_chunks()):
        found = JointEstimator(random_state=0, **quick).fit(x, given).predict(x)
        np.testing.assert_array_equal(found, expected["sum"])


@pytest.mark.parametrize("estimator", [JointEstimator, JointClassifier])
def test_nested_columns_of_y_are_refused(estimator):
    x = np.zeros((2, 1))
    for column in (pl.Series("s", [{"a": 1}, {"a": 2}]), pl.Series("l", [[1], [2]])):
        with pytest.raises(InvalidInputError, match="give a column for each target"):
            estimator().fit(x, column)


def test_a_target_called_as_a_feature_is_in_messages():
    X = pd.DataFrame({"a": [0.0, 1.0] * 10})
    with pytest.raises(InvalidInputError, match=r"^y has a column 'feature 0: a'"):
        JointEstimator(**FAST).fit(X, X.rename(columns={"a": "feature 0: a"}))
