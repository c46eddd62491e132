import pytest
import torch

from jointrain.balancing import LogTransform, backward
from jointrain.errors import InvalidInputError
from tests.balancing.weighting._helpers import close, numeric_weights, weights_of


def test_worked_by_hand():
    close(weights_of(LogTransform(), [0.5, 4.0]), [2.0, 0.25], rtol=1e-7)
    losses = torch.tensor([0.5, 4.0], dtype=torch.float64)
    close(LogTransform(epsilon=0.5).objective(losses), torch.tensor(4.5).double().log())


def test_gradient_equals_differences():
    balancer = LogTransform(epsilon=0.1)
    close(weights_of(balancer, [0.3, 2.0]), numeric_weights(balancer, [0.3, 2.0]), rtol=1e-7)


def test_a_vanished_loss_has_the_inverse_of_epsilon_as_weight():
    close(weights_of(LogTransform(epsilon=0.5), [0.0, 1.5]), [2.0, 0.5])


def test_refuses_negative_losses_and_an_epsilon_of_zero():
    with pytest.raises(InvalidInputError, match=r"at least 0 for balancer 'log', got -1"):
        weights_of(LogTransform(), [2.0, -1.0])
    with pytest.raises(InvalidInputError, match="`epsilon` must be a number in"):
        LogTransform(epsilon=0.0)


def test_a_negative_loss_is_named():
    weight = torch.nn.Parameter(torch.ones(()))
    for losses in ({"a": weight, "b": weight, "c": -weight}, {"b": weight, "c": -weight}):
        with pytest.raises(InvalidInputError, match="got -1 for task 'c'"):
            backward(losses, LogTransform())
