"""Low-rank adapters: nothing changes at the start, then what the formula says."""

import copy

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from jointrain import InvalidInputError
from jointrain.networks import HardSharing, LowRankAdapters
from jointrain.networks._low_rank_adapters import AdaptedLinear


def trunk():
    return nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 4))


def heads():
    return {"a": nn.Linear(4, 1), "b": nn.Linear(4, 3)}


def drawn(network):
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, AdaptedLinear):
                for up in layer.up:
                    up.normal_()
    return network


def test_at_the_start_every_task_sees_the_trunk_as_it_is():
    below, above = trunk(), heads()
    network = LowRankAdapters(below, above)
    x = torch.randn(5, 8)
    for name, output in HardSharing(below, above)(x).items():
        assert torch.equal(network(x)[name], output)


def test_a_task_adds_its_own_low_rank_change():
    below = trunk()
    network = drawn(LowRankAdapters(below, heads(), layers=["2"], rank=3, scale=6.0))
    x = torch.randn(5, 8)
    layer = network.trunk[2]
    assert isinstance(network.trunk[0], nn.Linear)
    for index, name in enumerate("ab"):
        weight = below[2].weight + 6 / 3 * layer.up[index] @ layer.down[index]
        features = below[1](below[0](x)) @ weight.T + below[2].bias
        expected = network.heads.layers[index](features)
        torch.testing.assert_close(network(x)[name], expected)
        assert len(network.task_parameters(name)) == 4


def test_the_caller_s_trunk_keeps_its_layers_and_shares_its_weights():
    below = trunk()
    network = LowRankAdapters(below, heads())
    assert [type(layer) for layer in below] == [nn.Linear, nn.Tanh, nn.Linear]
    assert set(network.shared_parameters()) == set(below.parameters())


def test_frozen_only_adapters_and_heads_learn():
    network = LowRankAdapters(trunk(), heads(), rank=1, freeze=True)
    learning = {p for p in network.parameters() if p.requires_grad}
    assert learning == {p for name in "ab" for p in network.task_parameters(name)}
    network(torch.randn(2, 8))["a"].sum().backward()
    assert all(p.grad is None for p in network.shared_parameters())


def test_torch_transformers_take_the_changed_weights_in_training_and_in_their_fast_path():
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    network = drawn(LowRankAdapters(layer, {"a": nn.Linear(8, 1), "b": nn.Linear(8, 1)}, rank=2))
    x = torch.randn(3, 5, 8)
    slow = network(x)
    network.eval()
    with torch.no_grad():
        fast = network(x)
    plain = layer.eval()(x)
    for index, name in enumerate("ab"):
        torch.testing.assert_close(fast[name], slow[name])
        assert not torch.allclose(fast[name], network.heads.layers[index](plain))


def test_a_layer_used_twice_is_adapted_once():
    layer = nn.Linear(4, 4)
    network = LowRankAdapters(nn.Sequential(layer, nn.Tanh(), layer), heads(), rank=1)
    assert network.trunk[0] is network.trunk[2]
    assert sum(isinstance(m, AdaptedLinear) for m in network.modules()) == 1


def test_recomputed_layers_are_refused_rather_than_given_another_task_s_change():
    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(8, 4)

        def forward(self, x):
            return checkpoint(self.layer, x, use_reentrant=False)

    network = LowRankAdapters(Checkpointed(), heads())
    outputs = network(torch.randn(2, 8, requires_grad=True))
    with pytest.raises(InvalidInputError, match="leave out activation checkpointing"):
        outputs["a"].sum().backward()


def test_a_copy_computes_by_itself():
    network = drawn(LowRankAdapters(trunk(), heads()))
    twin = copy.deepcopy(network)
    x = torch.randn(2, 8)
    assert torch.equal(twin(x)["b"], network(x)["b"])
    assert twin.active is not network.active
    assert all(
        layer.active is twin.active
        for layer in twin.modules()
        if isinstance(layer, AdaptedLinear)
    )  # fmt: skip


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"rank": 0}, "`rank` must be at least 1"),
        ({"scale": 0.0}, "`scale` must be positive"),
        ({"layers": ["3"]}, "`layers` names '3', which is no layer of Sequential"),
        ({"layers": ["1"]}, "Sequential has no nn.Linear layer among 1"),
    ],
)
def test_what_can_t_be_adapted_is_refused(settings, message):
    with pytest.raises(InvalidInputError, match=message):
        LowRankAdapters(trunk(), heads(), **settings)
