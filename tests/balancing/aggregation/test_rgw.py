import torch

from jointrain.balancing import RGW


def test_weights_are_drawn_anew_and_repeat_with_the_seed():
    first, second = RGW(seed=3), RGW(seed=3)
    drawn = [first.weights(torch.eye(3).double(), torch.ones(3)) for _ in range(2)]
    assert not torch.equal(*drawn)
    assert torch.equal(second.weights(torch.eye(3).double(), torch.ones(3)), drawn[0])
    assert abs(float(drawn[0].sum()) - 1.0) < 1e-12
