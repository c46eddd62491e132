import pytest
import torch

from jointrain.balancing import GradVac


def test_with_a_goal_of_zero_it_is_pcgrad():
    gramian = torch.tensor([[1.0, -1.0], [-1.0, 2.0]], dtype=torch.float64)
    assert GradVac(2).weights(gramian, torch.ones(2)).tolist() == pytest.approx([2.0, 1.5])


def test_the_goals_are_moving_averages_of_the_cosines():
    vac = GradVac(2, beta=0.5)
    vac.weights(torch.tensor([[1.0, 0.8], [0.8, 1.0]]).double(), torch.ones(2))
    assert float(vac.cosines[0, 1]) == pytest.approx(0.4)
    # the next pair is orthogonal: each is turned until its cosine with the other is 0.4,
    # by adding 0.4 / sqrt(1 - 0.16) of it
    weights = vac.weights(torch.eye(2).double(), torch.ones(2))
    assert weights.tolist() == pytest.approx([1 + 0.4 / 0.84**0.5] * 2)
