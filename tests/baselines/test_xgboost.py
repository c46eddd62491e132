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
