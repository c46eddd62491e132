import math

import torch

from jointrain.balancing import CAGrad


def test_without_radius_it_is_the_mean():
    assert CAGrad(c=0.0).weights(torch.eye(4).double(), torch.ones(4)).tolist() == [0.25] * 4


def test_orthogonal_gradients_of_unlike_length_by_hand():
    """Lengths 1 and 3: the short one is the worst off, all of the ball's radius goes its way."""
    gramian = torch.diag(torch.tensor([1.0, 9.0], dtype=torch.float64))
    weights = CAGrad(c=0.2).weights(gramian, torch.ones(2))
    # the mean (0.5, 1.5) has length sqrt(2.5)
    wanted = torch.tensor([0.5 + 0.2 * math.sqrt(2.5), 0.5], dtype=torch.float64)
    torch.testing.assert_close(weights, wanted)


def test_large_radii_come_near_to_mgda():
    matrix = torch.tensor([[1.0, 0.0], [-1.0, 1.0]], dtype=torch.float64)
    update = CAGrad(c=1e4).weights(matrix @ matrix.T, torch.ones(2)) @ matrix
    unit = update / update.norm()
    torch.testing.assert_close(unit, torch.tensor([1.0, 2.0]).double() / 5**0.5, atol=1e-3, rtol=0)
