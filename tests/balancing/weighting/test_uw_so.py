import math

import pytest
import torch

from jointrain.balancing import UWSO
from jointrain.errors import InvalidInputError
from tests.balancing.weighting._helpers import close, weights_of


def test_worked_by_hand():
    # inverse losses 1 and 2: shares e / (e + e^2) and e^2 / (e + e^2)
    share = 1 / (1 + math.e)
    close(weights_of(UWSO(), [1.0, 0.5]), [2 * share, 2 * (1 - share)])
    # temperature 2: inverse losses 0.5 and 1
    share = 1 / (1 + math.exp(0.5))
    close(weights_of(UWSO(temperature=2.0), [1.0, 0.5]), [2 * share, 2 * (1 - share)])


def test_has_no_gradient_through_the_weights():
    losses = torch.tensor([1.0, 0.5], dtype=torch.float64)
    weights = weights_of(UWSO(), losses)
    close(UWSO().objective(losses), weights @ losses)


def test_grows_equal_with_the_temperature():
    close(weights_of(UWSO(temperature=1e9), [0.1, 5.0, 2.0]), [1.0, 1.0, 1.0], atol=1e-6)


def test_a_vanished_loss_takes_all_the_weight():
    close(weights_of(UWSO(), [0.0, 1.0]), [2.0, 0.0])
    close(weights_of(UWSO(), [0.0, 0.0]), [1.0, 1.0])


def test_refuses_negative_losses_and_temperatures():
    with pytest.raises(InvalidInputError, match=r"at least 0 for balancer 'uw-so', got -1 for"):
        weights_of(UWSO(), [2.0, -1.0])
    with pytest.raises(InvalidInputError, match="`temperature` must be a number in"):
        UWSO(temperature=0.0)
