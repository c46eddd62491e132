"""What every baseline keeps: the public checks."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import pytest

from jointrain.baselines import BASELINES, Arrays, TargetBaseline
from jointrain.baselines._pretrained import PretrainedBaseline
from jointrain.testing import BASELINE_CHECKS, check_baseline

NAMES = [
    name
    for name, one in BASELINES.items()
    if one.package is None or find_spec(one.package)
    if not isinstance(one, PretrainedBaseline)  # there are no weights here
]


@pytest.mark.parametrize("check", BASELINE_CHECKS.values(), ids=BASELINE_CHECKS.keys())
@pytest.mark.parametrize("name", NAMES)
def test_keeps_what_baselines_keep(name, check):
    check(BASELINES[name])


@dataclass(frozen=True)
class Mean(Arrays):
    """One number for each output."""

    mean: np.ndarray

    dtypes = {"mean": np.float64}  # noqa: RUF012

    def predict(self, inputs):
        return np.tile(self.mean, (len(inputs), 1))

    def _check(self, inputs):
        if self.mean.ndim != 1 or not len(self.mean):
            raise ValueError("no mean")


class Sound(TargetBaseline):
    """Predict the mean of a number, and equal shares of classes."""

    name = "mean"
    arrays = Mean

    def fit(self, inputs, target, classes, seed):
        return Mean(np.zeros(classes) if classes else np.array([target.mean()]))

    def predict(self, model, inputs, classes):
        found = model.predict(inputs)
        return np.full_like(found, 1 / classes) if classes else found[:, 0]


class Unseeded(Sound):
    """Add what no seed decides."""

    def fit(self, inputs, target, classes, seed):
        return Mean(np.random.default_rng().normal(size=max(classes, 1)))


class NoShares(Sound):
    """Give probabilities that do not sum to 1."""

    def predict(self, model, inputs, classes):
        return model.predict(inputs) + 0.9 if classes else model.predict(inputs)[:, 0]


class Trusting(Sound):
    """Read whatever a file holds."""

    class arrays(Mean):
        def _check(self, inputs):
            pass

    def fit(self, inputs, target, classes, seed):
        return self.arrays(np.zeros(classes) if classes else np.array([target.mean()]))


@pytest.mark.parametrize(
    "cls, message",
    [
        (Unseeded, "the seed decides: price differs for the same seed"),
        (NoShares, "predictions fit the tasks: kind's probabilities do not sum to 1"),
        (Trusting, "damaged arrays are refused: its arrays are read with 'mean' damaged"),
        (int, "described: 'it' is no baseline: it must be a TargetBaseline, a JointBaseline"),
    ],
)
def test_a_baseline_that_breaks_a_rule_is_told_which(cls, message):
    check_baseline(Sound)
    with pytest.raises(AssertionError, match=message):
        check_baseline(cls)
