import math

import pytest
import torch

from jointrain.balancing import IMTLL
from jointrain.errors import InvalidInputError
from tests.balancing.weighting._helpers import close, present, weights_of


def test_worked_by_hand():
    balancer = IMTLL(2)
    close(weights_of(balancer, [1.0, 3.0]), [1.0, 1.0])
    with torch.no_grad():
        balancer.log_scale.copy_(torch.tensor([math.log(2.0), 0.0]))
    close(weights_of(balancer, [1.0, 3.0]), [2.0, 1.0], rtol=1e-6)
    objective = balancer.objective(torch.tensor([1.0, 3.0]))
    assert float(objective.detach()) == pytest.approx(5.0 - math.log(2.0))


def test_brings_all_scaled_losses_to_one():
    losses = torch.tensor([0.5, 2.0, 10.0])
    balancer = IMTLL(3)
    optimizer = torch.optim.LBFGS(balancer.parameters(), max_iter=100)

    def closure():
        optimizer.zero_grad()
        value = balancer.objective(losses)
        value.backward()
        return value

    optimizer.step(closure)
    close(weights_of(balancer, losses) * losses, [1.0, 1.0, 1.0], rtol=1e-4)


def test_absent_tasks_get_no_gradient():
    balancer = IMTLL(["a", "b"])
    with present(balancer, ["b"]):
        balancer.objective(torch.tensor([3.0])).backward()
    close(balancer.log_scale.grad, [0.0, 2.0])  # exp(0) * 3 - 1


def test_reset_goes_back_to_the_start():
    balancer = IMTLL(2, initial_log_scale=0.25)
    with torch.no_grad():
        balancer.log_scale.add_(1.0)
    balancer.reset()
    close(balancer.log_scale, [0.25, 0.25])


def test_refuses_negative_losses_and_a_start_that_is_no_number():
    with pytest.raises(InvalidInputError, match=r"balancer 'imtl-l', got -2 for task '0'"):
        weights_of(IMTLL(1), [-2.0])
    with pytest.raises(InvalidInputError, match="`initial_log_scale` must be a number"):
        IMTLL(initial_log_scale=float("inf"))
