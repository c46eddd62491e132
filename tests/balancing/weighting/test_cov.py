import numpy as np
import pytest

from jointrain.balancing import CoV
from jointrain.errors import InvalidInputError
from tests.balancing.weighting._helpers import close, present, weights_of

ROWS = np.random.default_rng(0).uniform(0.5, 2.0, (12, 3)) * [1.0, 100.0, 1e-3]


def test_weighs_by_the_coefficient_of_variation_of_the_ratios_so_far():
    balancer = CoV(3)
    for step, row in enumerate(ROWS):
        found = weights_of(balancer, row)
        if step < 2:
            close(found, [1.0, 1.0, 1.0])
            continue
        ratios = np.stack([ROWS[s] / (ROWS[:s].mean(0) if s else ROWS[0]) for s in range(step)])
        variation = np.sqrt(ratios.var(0) + 1e-8) / ratios.mean(0)
        close(found, 3 * variation / variation.sum())


def test_decaying_means_by_hand():
    balancer = CoV(2, decay=0.5)
    for row in ([1.0, 1.0], [3.0, 1.0]):
        weights_of(balancer, row)
    # first task: ratios 1 and 3, means 1 and 2, squares (3 - 1) (3 - 2) = 2; c = sqrt(2 / 2) / 2
    first, second = np.sqrt(1 + 1e-8) / 2, np.sqrt(1e-8)
    close(weights_of(balancer, [1.0, 1.0]), 2 * np.array([first, second]) / (first + second))


def test_units_of_the_losses_do_not_matter():
    plain, scaled = CoV(3), CoV(3)
    for row in ROWS:
        found, other = weights_of(plain, row), weights_of(scaled, row * [1e6, 1.0, 1e-6])
    close(found, other, rtol=1e-6)


def test_a_new_task_makes_the_weights_equal_for_two_steps():
    balancer = CoV(["a", "b", "c"])
    with present(balancer, ["a", "b"]):
        for row in ROWS:
            weights_of(balancer, row[:2])
    for step in range(3):
        found = weights_of(balancer, ROWS[step])
        assert (found == 1).all() == (step < 2)


def test_refuses_a_decay_and_losses_out_of_range():
    with pytest.raises(InvalidInputError, match="`decay` must be a number in"):
        CoV(decay=1.0)
    with pytest.raises(InvalidInputError, match="at least 0 for balancer 'cov', got -1"):
        weights_of(CoV(), [1.0, -1.0])
