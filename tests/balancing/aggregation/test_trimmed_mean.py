import torch

from jointrain.balancing import TrimmedMean


def test_the_extreme_values_of_each_coordinate_are_left_out():
    block = torch.tensor([[1.0, 9.0], [2.0, -7.0], [6.0, 1.0], [-90.0, 2.0]])
    found = TrimmedMean(trim=1).aggregate([block], torch.ones(4))
    assert found.weights is None
    assert found.blocks[0].tolist() == [1.5, 1.5]
