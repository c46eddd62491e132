import pytest
import torch

from jointrain.balancing import GLS
from jointrain.errors import InvalidInputError
from tests.balancing.weighting._helpers import close, numeric_weights, weights_of


def test_worked_by_hand():
    # geometric mean of 1, 4, 16 is 4; weights 4 / (3 L)
    losses = torch.tensor([1.0, 4.0, 16.0], dtype=torch.float64)
    close(GLS().objective(losses), 4.0)
    close(weights_of(GLS(), losses), [4 / 3, 1 / 3, 1 / 12])


def test_gradient_equals_differences():
    close(weights_of(GLS(), [0.3, 2.0]), numeric_weights(GLS(), [0.3, 2.0]), rtol=1e-7)


def test_the_units_of_the_losses_do_not_turn_the_direction():
    first = weights_of(GLS(), [1.0, 4.0])
    other = weights_of(GLS(), [1.0, 400.0]) * torch.tensor([1.0, 100.0])
    close(other / other[0], first / first[0])


def test_a_loss_below_the_smallest_has_no_gradient():
    weights = weights_of(GLS(smallest=0.01), [0.0, 1.0])
    close(weights, [0.0, 0.05])  # sqrt(0.01 * 1) / 2


def test_refuses_negative_losses_and_a_smallest_of_zero():
    with pytest.raises(InvalidInputError, match=r"at least 0 for balancer 'gls', got -0.5"):
        weights_of(GLS(), [2.0, -0.5])
    with pytest.raises(InvalidInputError, match="`smallest` must be a number in"):
        GLS(smallest=0.0)
