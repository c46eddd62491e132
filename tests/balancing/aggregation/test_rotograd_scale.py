import pytest
import torch

from jointrain.balancing import RotoGradScale


def test_by_hand():
    scale = RotoGradScale(2)
    first = scale.weights(torch.diag(torch.tensor([1.0, 9.0]).double()), torch.ones(2))
    # neither has shrunk: the common length is the mean, 2
    assert first.tolist() == pytest.approx([2.0, 2.0 / 3.0])
    later = scale.weights(torch.diag(torch.tensor([1.0, 1.0]).double()), torch.ones(2))
    assert later.tolist() == pytest.approx([1.0, 1.0])
    third = scale.weights(torch.diag(torch.tensor([4.0, 9.0]).double()), torch.ones(2))
    # ratios 2 and 1: lengths 2 and 3 weigh 2 / 3 and 1 / 3
    assert third.tolist() == pytest.approx([(7 / 3) / 2, (7 / 3) / 3])


def test_a_zero_gradient_stays_zero():
    scale = RotoGradScale(2)
    gramian = torch.diag(torch.tensor([1.0, 0.0]).double())
    assert scale.weights(gramian, torch.ones(2)).tolist() == [1.0, 0.0]
