import pytest
import torch

from jointrain.balancing import FairGrad


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 8.0])
def test_one_task_by_hand(alpha):
    """g w = w^(-1 / alpha) with G = 16: w = 16^(-alpha / (1 + alpha))."""
    weights = FairGrad(alpha=alpha).weights(torch.tensor([[16.0]]).double(), torch.ones(1))
    assert float(weights) == pytest.approx(16.0 ** (-alpha / (1.0 + alpha)))


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 8.0])
def test_the_fair_equations_hold_in_conflict(alpha):
    gramian = torch.tensor([[1.0, -1.0], [-1.0, 4.0]], dtype=torch.float64)
    weights = FairGrad(alpha=alpha).weights(gramian, torch.ones(2))
    torch.testing.assert_close(gramian @ weights, weights ** (-1.0 / alpha))
