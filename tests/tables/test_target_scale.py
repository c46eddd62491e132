"""Targets of any unit train alike; those that double precision can't square are refused."""

import numpy as np
import pytest

from jointrain import JointRegressor
from jointrain.errors import InvalidInputError
from jointrain.tables._fit_table import target_scaling
from jointrain.task import Task


@pytest.mark.parametrize("unit", [1e-90, 1e-19, 1e-13, 1.0, 1e13, 1e90])
def test_the_unit_of_a_target_changes_nothing(unit):
    random = np.random.default_rng(0)
    x = random.normal(size=(120, 3))
    y = np.stack([x @ [1.0, 2, -1], x @ [0.5, 0, 1]], axis=1)
    model = JointRegressor(epochs=10, width=16, depth=1, ensemble=1, random_state=0)
    plain = model.fit(x, y).predict(x)
    other = model.fit(x, y * unit).predict(x) / unit
    np.testing.assert_allclose(other, plain, rtol=1e-3, atol=1e-3)


def test_a_constant_target_is_not_scaled_by_rounding_errors():
    tasks = [Task.regression(name) for name in ("third", "zero", "near")]
    labels = np.stack([np.full(9, 1e9 / 3), np.zeros(9), 1e6 + np.arange(9) * 1e-3], axis=1)
    scaling = target_scaling(labels, tasks)
    assert scaling["third"][1] == scaling["zero"][1] == 1
    assert scaling["near"][1] == pytest.approx(np.std(np.arange(9) * 1e-3), rel=1e-6)


@pytest.mark.parametrize("unit, words", [(1e160, "as large as 3e\\+160"), (1e-160, "no larger")])
def test_values_that_can_not_be_squared_are_refused(unit, words):
    x = np.arange(40.0)[:, None]
    with pytest.raises(InvalidInputError, match=words):
        JointRegressor(epochs=1).fit(x, np.tile([0.0, 1, 2, 3], 10) * unit)
