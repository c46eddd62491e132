import pytest
import torch

from jointrain.balancing import DBMTL, backward
from jointrain.errors import InvalidInputError


def test_all_logarithms_gradients_get_the_longest_length():
    x = torch.tensor([1.0, 1.0], dtype=torch.float64, requires_grad=True)
    losses = {"a": 5.0 * x[0], "b": 2.0 * x[1] ** 3}
    backward(losses, DBMTL(beta=0.0))
    # of log(5 x) the gradient is 1 / x = 1, of log(2 y^3) it is 3 / y = 3: both become 3
    torch.testing.assert_close(x.grad, torch.tensor([3.0, 3.0]).double(), rtol=1e-6, atol=0)


def test_the_average_of_two_steps_by_hand():
    method = DBMTL(2, beta=0.5)
    method.aggregate([torch.tensor([[4.0, 0.0], [0.0, 1.0]]).double()], torch.ones(2))
    found = method.aggregate([torch.tensor([[0.0, 2.0], [0.0, 1.0]]).double()], torch.ones(2))
    # averages (1, 1) and (0, 0.75): lengths sqrt 2 and 0.75, both become sqrt 2
    wanted = torch.tensor([1.0, 1.0 + 2**0.5], dtype=torch.float64)
    torch.testing.assert_close(found.blocks[0], wanted, rtol=1e-6, atol=0)


def test_refuses_negative_losses():
    x = torch.ones(1, requires_grad=True)
    with pytest.raises(InvalidInputError, match="add a constant"):
        backward([x.sum(), -x.sum()], DBMTL())
