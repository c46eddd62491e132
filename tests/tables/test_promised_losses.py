"""The test of promised losses: its values by hand, no false alarms, and what it finds."""

import numpy as np
import pytest

from jointrain.tables import PromiseTest, row_losses
from jointrain.tables._promised_losses import promise_of
from jointrain.task import Task

BETS = np.array([0.02, 0.05, 0.1, 0.2, 0.4, 0.7])


def test_e_values_by_hand():
    # a half of the capital is bet with the first table, a sixth with the second
    first, second = np.array([3.0, 1.0]), np.array([5.0])
    gain = (1 + BETS * (3 / 2 - 1)) * (1 + BETS * (1 / 2 - 1))
    test = PromiseTest().after(first, 2.0)
    assert np.exp(test.log_e_value) == pytest.approx((gain / 2).mean() + 1 / 2)
    later = test.after(second, 2.0)
    begun = (gain / 2 + 1 / 6) * (1 + BETS * (5 / 2 - 1))
    assert np.exp(later.log_e_value) == pytest.approx(begun.mean() + 1 / 3)
    assert (later.rows, later.total, later.tables) == (3, 9.0, 2)
    assert PromiseTest.from_json(later.to_json()) == later
    assert PromiseTest.from_json(PromiseTest().to_json()) == PromiseTest()


def _alarms(scale, weeks, runs=60):
    random = np.random.default_rng(0)
    alarms = 0
    for _ in range(runs):
        test = PromiseTest()
        for week in range(weeks):
            test = test.after(random.exponential(scale(week), 20), 1.0)
        alarms += test.broken(1)
    return alarms / runs


def test_a_model_as_good_as_promised_is_seldom_accused_in_a_year():
    # 5 % at most; of 60 runs, more than 8 would be rarer than 1 in 200
    assert _alarms(lambda week: 1.0, 52) <= 8 / 60


def test_a_model_that_gets_worse_after_long_is_found():
    assert _alarms(lambda week: 0.8 if week < 40 else 2.0, 46, runs=40) >= 0.95


def test_losses_of_rows():
    number = Task.regression("y")
    name, losses = row_losses(number, np.array([1.0, 2.0, 3.0]), np.array([2.0, np.nan, 1.0]))
    assert name == "absolute error"
    np.testing.assert_allclose(losses, [1, np.nan, 2])
    _, losses = row_losses(Task.binary("b"), np.array([0.25, 1.0]), np.array([1.0, 1.0]))
    np.testing.assert_allclose(losses, [0.5625, 0])
    several = Task.multiclass("c", 3)
    _, losses = row_losses(several, np.array([[0.5, 0.25, 0.25]] * 2), np.array([0.0, np.nan]))
    np.testing.assert_allclose(losses, [0.25 + 2 * 0.0625, np.nan])
    # quantiles have no such loss
    assert row_losses(Task.regression("y"), np.ones((2, 3)), np.ones(2)) is None


def test_a_promise_needs_rows_and_errors():
    task, random = Task.regression("y"), np.random.default_rng(0)
    labels = random.normal(size=400)
    promise = promise_of(task, np.zeros(400), labels)
    # the mean of |normal| is sqrt(2 / pi), its deviation sqrt(1 - 2 / pi)
    assert promise.mean == pytest.approx((2 / np.pi) ** 0.5, abs=0.1)
    margin = 1.645 * ((1 - 2 / np.pi) / 400) ** 0.5
    assert promise.upper - promise.mean == pytest.approx(margin, rel=0.1)
    assert promise_of(task, np.zeros(29), labels[:29]) is None
    assert promise_of(task, labels, labels) is None
