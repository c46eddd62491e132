import pytest
import torch

from jointrain.balancing import MGDA
from jointrain.errors import InvalidInputError

GRAMIAN = torch.diag(torch.tensor([4.0, 16.0], dtype=torch.float64))
LOSSES = torch.tensor([1.0, 8.0], dtype=torch.float64)


@pytest.mark.parametrize(
    "normalization, divisors",
    [("none", (1, 1)), ("l2", (2, 4)), ("loss", (1, 8)), ("loss+", (2, 32))],
)
def test_each_normalization_worked_by_hand(normalization, divisors):
    """Orthogonal gradients of lengths l: the shortest point of the hull has weights ~ 1 / l^2."""
    weights = MGDA(normalization=normalization).weights(GRAMIAN, LOSSES)
    d = torch.tensor(divisors, dtype=torch.float64)
    inverse = d.square() / GRAMIAN.diagonal()
    torch.testing.assert_close(weights, inverse / inverse.sum() / d)


def test_two_opposed_gradients_by_hand():
    """g = (1, 0) and (-1, 1): the nearest point of the segment to zero is (0.2, 0.4)."""
    matrix = torch.tensor([[1.0, 0.0], [-1.0, 1.0]], dtype=torch.float64)
    weights = MGDA().weights(matrix @ matrix.T, torch.ones(2))
    torch.testing.assert_close(weights @ matrix, torch.tensor([0.2, 0.4], dtype=torch.float64))


def test_a_zero_gradient_or_loss_divides_nothing():
    weights = MGDA(normalization="loss+").weights(0.0 * GRAMIAN, 0.0 * LOSSES)
    assert weights.tolist() == [0.5, 0.5]


def test_refuses_an_unknown_normalization():
    with pytest.raises(InvalidInputError, match="did you mean 'l2'"):
        MGDA(normalization="l1")
