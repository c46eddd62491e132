import math

import pytest
import torch

from jointrain.balancing import Uncertainty
from jointrain.errors import InvalidInputError
from tests.balancing.weighting._helpers import close, present, weights_of


def test_weighs_by_half_the_precision():
    balancer = Uncertainty(2)
    with torch.no_grad():
        balancer.log_variance.copy_(torch.tensor([math.log(4.0), 0.0]))
    close(weights_of(balancer, [1.0, 3.0]), [0.125, 0.5], rtol=1e-6)
    # (1/4 + log 4 + 3 + 0) / 2
    objective = balancer.objective(torch.tensor([1.0, 3.0]))
    assert float(objective.detach()) == pytest.approx(1.625 + math.log(2.0))


def test_variances_reach_the_losses_at_the_optimum():
    losses = torch.tensor([0.5, 2.0, 10.0])
    balancer = Uncertainty(3)
    optimizer = torch.optim.LBFGS(balancer.parameters(), max_iter=100)

    def closure():
        optimizer.zero_grad()
        value = balancer.objective(losses)
        value.backward()
        return value

    optimizer.step(closure)
    close(balancer.log_variance.exp(), losses, rtol=1e-4)
    close(weights_of(balancer, losses), 1 / (2 * losses), rtol=1e-4)


def test_absent_tasks_get_no_gradient():
    balancer = Uncertainty(["a", "b", "c"])
    with present(balancer, ["c", "a"]):
        balancer.objective(torch.tensor([3.0, 1.0])).backward()
    # d/ds of (exp(-s) L + s) / 2 at s = 0
    close(balancer.log_variance.grad, [0.0, 0.0, -1.0])


def test_reset_keeps_the_parameter_that_the_optimiser_knows():
    balancer = Uncertainty(2, initial_log_variance=-0.5)
    parameter = balancer.log_variance
    with torch.no_grad():
        parameter.add_(3.0)
    balancer.reset()
    assert balancer.log_variance is parameter
    close(parameter, [-0.5, -0.5])


def test_refuses_a_start_that_is_no_number():
    with pytest.raises(InvalidInputError, match="`initial_log_variance` must be a number"):
        Uncertainty(2, initial_log_variance=float("nan"))
