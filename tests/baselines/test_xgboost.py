"""XGBoost's trees as arrays against XGBoost itself."""

import numpy as np
import pytest

from jointrain.baselines import fit_baseline
from jointrain.task import Task

xgboost = pytest.importorskip("xgboost")

TASKS = (
    Task.regression("size"),
    Task.binary("flag", ("no", "yes")),
    Task.multiclass("kind", ("a", "b", "c")),
    Task.count("visits"),
)


@pytest.mark.parametrize("weighted", [False, True])
def test_predicts_as_xgboost_does(weighted):
    random = np.random.default_rng(0)
    # whole numbers: rows lie on the borders of splits
    inputs = random.normal(scale=3, size=(300, 5)).round().astype(np.float32)
    labels = np.stack(
        [
            inputs[:, 0] * inputs[:, 1] + random.normal(size=300),
            inputs[:, 1] > random.normal(size=300),
            np.digitize(inputs[:, 2] + random.normal(size=300), [-1, 1]),
            random.poisson(np.exp(inputs[:, 3] / 4)),
        ],
        axis=1,
    ).astype(np.float64)
    one = random.lognormal(size=300)
    weights = np.stack([one] * 4, axis=1) if weighted else None
    found = fit_baseline("xgboost", inputs, labels, TASKS, 3, weights).predict(inputs)
    settings = {"n_jobs": 1, "random_state": 3}
    given = {"sample_weight": one / one.mean()} if weighted else {}
    for index, (task, made) in enumerate(
        zip(
            TASKS,
            (
                xgboost.XGBRegressor(**settings),
                xgboost.XGBClassifier(**settings),
                xgboost.XGBClassifier(**settings),
                xgboost.XGBRegressor(objective="count:poisson", **settings),
            ),
            strict=True,
        )
    ):
        made.fit(inputs, labels[:, index], **given)
        by_hand = made.predict_proba(inputs) if task.has_classes else made.predict(inputs)
        if task.name == "flag":
            by_hand = by_hand[:, 1]
        np.testing.assert_allclose(found[task.name], by_hand, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("weighted", [False, True])
def test_quantiles_are_those_of_xgboost(weighted):
    random = np.random.default_rng(1)
    inputs = random.normal(scale=3, size=(200, 4)).round().astype(np.float32)
    target = inputs[:, 0] + random.normal(size=200) * (1 + np.abs(inputs[:, 1]))
    weights = random.lognormal(size=200) if weighted else None
    levels = (0.1, 0.5, 0.9)
    given = None if weights is None else weights[:, None]
    fitted = fit_baseline(
        "xgboost", inputs, target[:, None], (Task.quantiles("y", levels),), 3, given
    )
    mean_one = None if weights is None else weights / weights.mean()
    by_hand = [
        xgboost.XGBRegressor(
            objective="reg:quantileerror", quantile_alpha=level, n_jobs=1, random_state=3
        )
        .fit(inputs, target, sample_weight=mean_one)
        .predict(inputs)
        for level in levels
    ]
    expected = np.sort(np.stack(by_hand, axis=1), axis=1)
    np.testing.assert_allclose(fitted.predict(inputs)["y"], expected, rtol=2e-4, atol=2e-5)
