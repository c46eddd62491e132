"""JointEstimator takes every kind that a table's target can have, and chains."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import polars.testing
import pytest
from scipy.sparse import coo_array, csr_array, csr_matrix
from sklearn.base import clone
from sklearn.metrics import d2_pinball_score, r2_score
from sklearn.model_selection import cross_val_score

from jointrain import InvalidInputError, JointClassifier, JointEstimator, JointRegressor
from jointrain.data import SupervisedTable
from jointrain.experiments import Recipe
from jointrain.tables import fit_table
from jointrain.training.population import fit_together

FAST = {
    "width": 8, "depth": 1, "epochs": 1, "ensemble": 1, "components": "network", "random_state": 0,
}  # fmt: skip
TASKS = {
    "death": "survival:years:dead:1:3:5",
    "days": "quantiles:0.1:0.5:0.9",
    "ills": "multilabel:diabetes:copd",
    "crp": "censored",
    "cells": "proportions:u:v:w",
    "stage": "ordinal",
    "visits": "negative-binomial",
    "pressure": "mean-variance",
    "dose": "censored:low:high",
}


def records(rows: int = 40) -> tuple[pd.DataFrame, pd.DataFrame]:
    random = np.random.default_rng(0)
    x = pd.DataFrame(random.normal(size=(rows, 3)), columns=["age", "bmi", "dead?"])
    risk = x["age"].to_numpy()
    crp = np.exp(risk + random.normal(size=rows))
    cells = random.dirichlet([2, 3, 4], rows)
    dose = risk + random.normal(size=rows)
    y = pd.DataFrame(
        {
            "years": random.exponential(4 * np.exp(-risk)),
            "dead": random.random(rows) < 0.6,
            "days": random.poisson(np.exp(1 + risk)).astype("float32"),
            "diabetes": np.where(risk + random.normal(size=rows) > 0, "yes", "no"),
            "copd": (risk + random.normal(size=rows) > 0).astype(int),
            "crp": ["<0.5" if v < 0.5 else f"{v:.2f}" for v in crp],
            "u": cells[:, 0],
            "v": cells[:, 1],
            "w": cells[:, 2],
            "stage": np.digitize(risk, [-0.5, 0.5]) + 1,
            "visits": random.poisson(np.exp(risk)),
            "pressure": 120 + 10 * risk,
            "low": np.where(dose < -1, np.nan, dose),
            "high": np.where(dose < -1, -1, dose),
        },
        index=[f"p{row}" for row in range(rows)],
    )
    y.loc[y.index[:4], "diabetes"] = None
    y.loc[y.index[4:8], "years"] = np.nan
    y.loc[y.index[8:12], "u"] = np.nan
    x.index = y.index
    return x, y


def test_every_kind_in_one_estimator():
    x, y = records()
    model = clone(JointEstimator(TASKS, **FAST)).fit(x, y)
    assert [task.name for task in model.tasks_] == list(TASKS)
    found = model.predict(x)
    assert found.index.equals(x.index)
    assert found.dtypes.astype(str).to_dict() == {
        "death": "float64", "days": "float32", "diabetes": "object", "copd": "int64",
        "crp": "float64", "u": "float64", "v": "float64", "w": "float64", "stage": "int64",
        "visits": "float64", "pressure": "float64", "dose": "float64",
    } | {"diabetes": str(y["diabetes"].dtype)}  # fmt: skip
    assert set(found["diabetes"]) <= {"yes", "no"}
    np.testing.assert_allclose(found[["u", "v", "w"]].sum(axis=1), 1, rtol=1e-6)
    shares = model.predict_proba(x)
    assert {name: p.shape for name, p in shares.items()} == {"ills": (40, 2), "stage": (40, 3)}
    np.testing.assert_array_equal(found["copd"], shares["ills"][:, 1] > 0.5)
    assert list(model.classes_["ills"]) == ["diabetes", "copd"]
    ends = model.predict_interval(x, 0.8)
    assert {name: e.shape[1] for name, e in ends.items()} == dict.fromkeys(
        ("days", "visits", "pressure"), 2
    )
    assert list(model.predict_interval(x, 0.7)) == ["visits", "pressure"]
    table = model.predict_table(x, intervals=0.8)
    np.testing.assert_array_equal(table.select("days_q0.1", "days_q0.9").to_numpy(), ends["days"])
    assert {"death>5", "ills=copd", "cells=w", "pressure_low"} <= set(table.columns)
    assert (table["death>1"] >= table["death>5"]).all()
    again = pickle.loads(pickle.dumps(model))
    pd.testing.assert_frame_equal(again.predict(x), found)
    assert again.score(x, y) == model.score(x, y)
    assert np.isfinite(model.score(x, y, sample_weight=np.arange(40.0)))
    assert set(model.evaluate(x, y)["death"]) == {"log-loss", "C-index"}
    shuffled = y[y.columns[::-1]]
    assert model.score(x, shuffled) == pytest.approx(model.score(x, y))


def test_predictions_are_those_of_the_table():
    x, y = records()
    frame = pd.concat([x, y], axis=1)
    table = SupervisedTable.prepare(frame, list(TASKS), kinds=TASKS, duplicates="apart")
    recipe = Recipe(name="joint", width=8, depth=1, epochs=1, ensemble=1)
    expected = fit_table(table, recipe, device="cpu", fit_runs=fit_together)
    found = JointEstimator(TASKS, **FAST).fit(x, y)
    pl.testing.assert_frame_equal(found.predict_table(x), expected.predict_table(frame))


def test_scores_of_kinds_with_several_numbers():
    x, y = records()
    for kinds, columns in (
        ({"days": "quantiles:0.5"}, ["days"]),
        ({"days": "censored"}, ["days"]),
    ):
        model = JointEstimator(kinds, **FAST).fit(x, y[columns])
        predicted = model.predict(x)["days"]
        judge = d2_pinball_score if "quantiles:0.5" in kinds.values() else r2_score
        assert model.score(x, y[columns]) == pytest.approx(judge(y["days"], predicted), abs=1e-5)
    kinds = {"ills": TASKS["ills"]}
    model = JointEstimator(kinds, **FAST).fit(x, y[["diabetes", "copd"]])
    found, known = model.predict(x), y["diabetes"].notna()
    right = [
        (found["diabetes"] == y["diabetes"])[known].mean(),
        (found["copd"] == y["copd"]).mean(),
    ]
    assert model.score(x, y[["diabetes", "copd"]]) == pytest.approx(np.mean(right))
    kinds = {"death": TASKS["death"]}
    estimator = JointEstimator(kinds, **FAST)
    assert np.isfinite(cross_val_score(estimator, x, y[["years", "dead"]], cv=2)).all()
    model = estimator.fit(x, y[["years", "dead"]])
    assert model.score(x, y[["years", "dead"]]) == pytest.approx(
        model.evaluate(x, y[["years", "dead"]])["death"]["C-index"]
    )


def test_arrays_and_structured_arrays():
    x, y = records()
    times = y[["years", "dead"]].astype(float).to_numpy()
    kinds = {"death": "survival:years:dead"}
    model = JointEstimator(kinds, **FAST).fit(x.to_numpy(), times)
    assert model.predict(x.to_numpy()).shape == (40, 1)
    fields = np.array(
        list(zip(y["dead"], y["years"], strict=True)), dtype=[("dead", bool), ("years", float)]
    )
    own = JointEstimator(kinds, **FAST).fit(x.to_numpy(), fields)
    assert own.predict(x.to_numpy()).shape == (40,)
    np.testing.assert_array_equal(own.predict(x.to_numpy()), model.predict(x.to_numpy())[:, 0])
    assert own.score(x.to_numpy(), fields) == model.score(x.to_numpy(), times)
    with_quantiles = JointEstimator({"days": "quantiles"}, **FAST).fit(x, y["days"])
    assert isinstance(with_quantiles.predict(x), pd.Series)
    assert with_quantiles.predict_interval(x).shape == (40, 2)
    with pytest.raises(InvalidInputError, match=r"fit it as quantiles:0\.25:0\.5:0\.75"):
        with_quantiles.predict_interval(x, 0.5)
    parts = pl.from_pandas(y[["u", "v", "w"]])
    cells = JointEstimator({"cells": TASKS["cells"]}, **FAST).fit(x.to_numpy(), parts)
    assert cells.predict(x.to_numpy()).schema == parts.schema


def test_blends_weights_and_batches():
    x, y = records()
    kinds = {name: TASKS[name] for name in ("ills", "pressure")}
    mixed = y[["diabetes", "copd", "pressure"]]
    blend = JointEstimator(kinds, width=8, epochs=1, ensemble=1, random_state=0).fit(x, mixed)
    assert set(blend.model_.weights["pressure"]) > set(blend.model_.weights["ills"]) == {"joint"}
    assert list(blend.predict(x)) == ["diabetes", "copd", "pressure"]
    kinds = {name: TASKS[name] for name in ("days", "ills")}
    labels = y[["diabetes", "copd", "days"]]
    half = np.r_[np.ones(20), np.zeros(20)]
    weighed = JointEstimator(kinds, **FAST).fit(x, labels, sample_weight=half)
    alone = JointEstimator(kinds, **FAST).fit(x[:20], labels[:20])
    pd.testing.assert_frame_equal(weighed.predict(x), alone.predict(x))
    both = np.stack([half, np.ones(40)], axis=1)
    JointEstimator(kinds, **FAST).fit(x, labels, sample_weight=both)
    batches = JointEstimator(kinds, **FAST).partial_fit(x, labels).partial_fit(x[:20], labels[:20])
    assert list(batches.predict(x)) == ["diabetes", "copd", "days"]
    warm = JointEstimator(kinds, warm_start=True, **FAST).fit(x, labels).fit(x, labels)
    assert np.isfinite(warm.score(x, labels))


def test_chains():
    random = np.random.default_rng(0)
    x = random.normal(size=(200, 3))
    click = x[:, 0] + random.normal(size=200) > 0
    y = pd.DataFrame({"click": click, "purchase": pd.array(x[:, 1] > 0, dtype="boolean")})
    y.loc[~click, "purchase"] = pd.NA
    given = {"purchase": "click:inverse-propensity"}
    model = clone(JointEstimator(given=given, **FAST)).fit(x, y)
    assert model.get_params()["given"] == given
    shares, ratio = model.predict_proba(x), model.predict_given(x)["purchase|click"]
    np.testing.assert_allclose(shares["purchase"][:, 1], shares["click"][:, 1] * ratio)
    assert (model.predict_table(x)["purchase|click"].to_numpy() == ratio).all()
    assert "log-loss given click" in model.evaluate(x, y)["purchase"]
    # over all rows: no where there was no click
    bought = (y["purchase"].fillna(value=False)).to_numpy(bool)
    right = [
        ((shares["click"][:, 1] > 0.5) == click).mean(),
        ((shares["purchase"][:, 1] > 0.5) == bought).mean(),
    ]
    assert model.score(x, y) == pytest.approx(np.mean(right))
    for wrong, message in (
        ({"purchase": "clik"}, "did you mean 'click'"),
        ({"buy": "click"}, "which is no target"),
        ({"purchase": "click", "click": "purchase"}, "in a circle"),
        ("click", "`given` gives what a target needs"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            JointEstimator(given=wrong, **FAST).fit(x, y)
    with pytest.raises(InvalidInputError, match="row 1 has 'purchase' without 'click'"):
        JointEstimator(given={"purchase": "click"}, **FAST).fit(
            x, y.assign(click=np.arange(200) % 2 == 1, purchase=np.arange(200) % 3 == 0)
        )
    message = "click of y has one value only; leave `given` out"
    with (
        pytest.warns(UserWarning, match="one value only"),
        pytest.raises(InvalidInputError, match=message),
    ):
        JointEstimator(given={"purchase": "click"}, **FAST).fit(x, y.assign(click=True))


@pytest.mark.parametrize("kind", [csr_matrix, coo_array])
def test_sparse_indicators_are_labels(kind):
    random = np.random.default_rng(0)
    x = random.normal(size=(60, 3))
    dense = (x @ random.normal(size=(3, 4)) > 0.5).astype(int)
    y = kind(dense)
    model = JointClassifier(**FAST).fit(x, y)
    plain = JointClassifier(**FAST).fit(x, dense)
    found = model.predict(x)
    assert type(found) is (csr_matrix if kind is csr_matrix else csr_array)
    np.testing.assert_array_equal(found.toarray(), plain.predict(x))
    assert len(model.predict_proba(x)) == 4
    assert model.score(x, y) == plain.score(x, dense)
    together = JointEstimator({"tags": "multilabel:a:b:c:d"}, **FAST).fit(x, y)
    assert together.predict_proba(x)["tags"].shape == (60, 4)
    assert type(together.predict(x)) is type(found)
    assert together.score(x, y) == pytest.approx((together.predict(x).toarray() == dense).mean())
    batches = JointClassifier(**FAST).partial_fit(x, y, classes=[[0, 1]] * 4)
    assert batches.predict(x).shape == (60, 4)


def test_sparse_y_of_others_than_labels():
    x = np.random.default_rng(0).normal(size=(6, 2))
    with pytest.raises(InvalidInputError, match=r"holds 3 in row 2 of target 0; a sparse y says"):
        JointClassifier(**FAST).fit(x, csr_array(np.array([[0, 1], [3, 0]] * 3)))
    with pytest.raises(InvalidInputError, match="y is sparse, and its zeros may be numbers"):
        JointRegressor(**FAST).fit(x, csr_array(np.eye(6, 2)))


@pytest.mark.parametrize(
    ("kinds", "change", "message"),
    [
        ({"death": "survival:years:died"}, {}, "names 'died' as a column of 'death', which"),
        ({"death": "survival:years"}, {}, "needs the columns of its times"),
        ({"death": TASKS["death"]}, {"years": -1.0}, "holds -1 in row 1; times are numbers of 0"),
        ({"death": TASKS["death"]}, {"dead": 2}, "holds 2 in row 1; it takes 1 and 0"),
        ({"a": "multilabel:dead:copd", "b": "multilabel:dead:diabetes"}, {}, "read by two targets"),
        ({"ills": TASKS["ills"]}, {"copd": 1}, "'copd' of target 'ills' has one value only"),
        ({"cells": TASKS["cells"]}, {"u": 0.9}, "sum to .* not to 1; divide them"),
        ({"cells": TASKS["cells"]}, {"u": -0.1}, "holds -0.1 in row 1; shares are from 0 to 1"),
        ({"dose": TASKS["dose"]}, {"low": 5.0, "high": 4.0}, "lower bound 5 above the upper one"),
        ({"crp": "censored"}, {"crp": "<a"}, "row 1"),
        ({"days": "quantiles:0.9:0.1"}, {}, "levels that rise"),
        ({"visits": "negative-binomial"}, {"visits": [-3, 1] * 10}, "holds -3 in row 1"),
        ({"stage": "ordinal:1:2"}, {}, "holds 3 in row .* which its order does not name"),
    ],
)  # fmt: skip
def test_bad_targets(kinds, change, message):
    x, y = records(20)
    read = {part for kind in kinds.values() for part in kind.split(":")} | set(kinds)
    y = y.assign(**change)[[column for column in y if column in read]]
    with pytest.raises(InvalidInputError, match=message) as raised:
        JointEstimator(kinds, **FAST).fit(x, y)
    assert "\n" not in str(raised.value)
