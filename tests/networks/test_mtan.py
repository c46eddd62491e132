"""Attention to a shared trunk: masks against the formula, dense and convolutional."""

import pytest
import torch
from torch import nn

from jointrain import InvalidInputError
from jointrain.networks import MTAN


def test_dense_stages_equal_the_formula():
    stages = [nn.Linear(8, 6), nn.Sequential(nn.Tanh(), nn.Linear(6, 4))]
    heads = {"a": nn.Linear(4, 1), "b": nn.Linear(4, 3)}
    network = MTAN(stages, heads, example=torch.zeros(1, 8))
    x = torch.randn(5, 8)
    p1 = stages[0](x)
    p2 = stages[1](p1)
    for index, name in enumerate("ab"):
        first, second = network.attention[index]
        a1 = first.second(first.first(p1)) * p1
        a2 = second.second(second.first(torch.cat([p2, second.carry(a1)], 1))) * p2
        torch.testing.assert_close(network(x)[name], heads[name](a2))
        assert isinstance(first.second[-1], nn.Sigmoid)
        assert first.carry is None


def test_convolutional_stages_attend_to_inner_features_and_pool():
    inner = [nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 5, 3, padding=1)]
    outer = [nn.Sequential(nn.ReLU(), nn.MaxPool2d(2)), nn.Sequential(nn.ReLU(), nn.MaxPool2d(2))]
    heads = {name: nn.Sequential(nn.Flatten(), nn.Linear(20, 1)) for name in "ab"}
    network = MTAN(list(zip(inner, outer, strict=True)), heads, example=torch.zeros(1, 1, 8, 8))
    network.eval()
    x = torch.randn(2, 1, 8, 8)
    u1 = inner[0](x)
    p1 = outer[0](u1)
    u2 = inner[1](p1)
    p2 = outer[1](u2)
    first, second = network.attention[1]
    a1 = nn.functional.max_pool2d(first.second(first.first(u1)), 2) * p1
    mask = second.second(second.first(torch.cat([u2, second.carry(a1)], 1)))
    a2 = nn.functional.max_pool2d(mask, 2) * p2
    torch.testing.assert_close(network(x)["b"], heads["b"](a2))
    assert second.carry[0].kernel_size == (3, 3)
    assert second.first[0].kernel_size == (1, 1)


def test_stages_may_end_in_vectors_or_be_sequences():
    stages = [nn.Conv2d(1, 3, 3), nn.Sequential(nn.Flatten(), nn.Linear(3 * 36, 4))]
    network = MTAN(stages, {"a": nn.Linear(4, 1)}, example=torch.zeros(1, 1, 8, 8))
    assert network(torch.randn(2, 1, 8, 8))["a"].shape == (2, 1)
    encoder = [nn.Linear(4, 4), nn.Linear(4, 4)]
    network = MTAN(encoder, {"a": nn.Linear(4, 2)}, example=torch.zeros(1, 7, 4))
    assert network(torch.randn(2, 7, 4))["a"].shape == (2, 7, 2)


def test_looking_at_the_example_leaves_mode_and_statistics():
    trunk = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    MTAN([trunk], {"a": nn.Flatten()}, example=torch.randn(4, 1, 8, 8))
    assert trunk.training
    assert trunk[1].num_batches_tracked == 0


def test_what_gives_no_features_is_refused():
    with pytest.raises(InvalidInputError, match=r"stage 0 must give .* got \[2\]"):
        MTAN([nn.Flatten(0)], {"a": nn.Linear(2, 1)}, example=torch.zeros(1, 2))
    with pytest.raises(InvalidInputError, match="must be a torch module or a list of such"):
        MTAN([], {"a": nn.Linear(2, 1)}, example=torch.zeros(1, 2))
