import math

import pytest
import torch

from jointrain.balancing import DWA
from jointrain.errors import InvalidInputError
from tests.balancing.weighting._helpers import close, present, weights_of


def epoch(balancer, *batches):
    for losses in batches:
        balancer.objective(torch.tensor(losses, dtype=torch.float64))
    balancer.end_epoch()


def test_weighs_equally_until_two_epochs_are_over():
    balancer = DWA(2)
    close(weights_of(balancer, [1.0, 9.0]), [1.0, 1.0])
    balancer.end_epoch()
    close(weights_of(balancer, [0.1, 9.0]), [1.0, 1.0])


def test_worked_by_hand():
    balancer = DWA(2)
    epoch(balancer, [1.0, 4.0], [3.0, 4.0])  # means 2, 4
    epoch(balancer, [1.0, 4.0], [1.0, 2.0])  # means 1, 3; rates 1/2, 3/4
    a, b = math.exp(0.25), math.exp(0.375)
    close(weights_of(balancer, [1.0, 1.0]), [2 * a / (a + b), 2 * b / (a + b)])
    balancer.end_epoch()  # means 1, 1; rates 1, 1/3
    a, b = math.exp(0.5), math.exp(1 / 6)
    close(weights_of(balancer, [1.0, 1.0]), [2 * a / (a + b), 2 * b / (a + b)])


def test_favours_the_task_that_improves_slowest():
    balancer = DWA(3, temperature=0.5)
    for e in range(6):
        epoch(balancer, [0.5**e, 0.99**e, 0.8**e])
    weights = weights_of(balancer, [1.0, 1.0, 1.0])
    assert weights[1] > weights[2] > weights[0]


def test_a_task_absent_for_an_epoch_keeps_its_rate_and_a_new_one_has_rate_one():
    balancer = DWA(["a", "b", "c"])
    with present(balancer, ["a", "b"]):
        epoch(balancer, [2.0, 1.0])
        epoch(balancer, [1.0, 1.0])  # rates 1/2, 1
    with present(balancer, ["b"]):
        epoch(balancer, [3.0])  # rate of b is 3
    with present(balancer, ["c", "a"]):
        a, c = math.exp(0.25), math.exp(0.5)
        close(weights_of(balancer, [1.0, 1.0]), [2 * c / (a + c), 2 * a / (a + c)])


def test_a_loss_that_rose_from_zero_has_rate_one():
    balancer = DWA(2)
    epoch(balancer, [0.0, 1.0])
    epoch(balancer, [1.0, 1.0])
    close(weights_of(balancer, [1.0, 1.0]), [1.0, 1.0])


def test_state_survives_and_reset_forgets():
    balancer = DWA(2)
    epoch(balancer, [2.0, 1.0])
    epoch(balancer, [1.0, 1.0])
    balancer.objective(torch.tensor([1.0, 3.0]))
    other = DWA()
    other.load_state_dict(balancer.state_dict())
    for b in (balancer, other):
        b.end_epoch()
    wanted = weights_of(balancer, [1.0, 1.0])
    close(weights_of(other, [1.0, 1.0]), wanted, rtol=0, atol=0)
    assert wanted[0] != wanted[1]
    balancer.reset()
    close(weights_of(balancer, [1.0, 1.0]), [1.0, 1.0])


def test_an_epoch_without_tasks_is_nothing():
    balancer = DWA()
    balancer.end_epoch()
    assert balancer.task_names is None


def test_refuses_negative_losses_and_temperatures():
    with pytest.raises(InvalidInputError, match=r"got -1 for task 'b'. Shift that loss"):
        weights_of(DWA(["a", "b"]), [2.0, -1.0])
    with pytest.raises(InvalidInputError, match="`temperature` must be a number in"):
        DWA(temperature=-2.0)
