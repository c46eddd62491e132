"""Layer sharing: the named layers are the same ones in all trunks, the rest is each task's own."""

import pytest
import torch
from torch import nn

from jointrain import InvalidInputError
from jointrain.networks import LayerSharing


class Trunk(nn.Module):
    def __init__(self):
        super().__init__()
        self.token = nn.Parameter(torch.randn(4))
        self.first = nn.Linear(8, 4)
        self.middle = nn.ModuleList([nn.Linear(4, 4), nn.BatchNorm1d(4)])
        self.last = nn.Linear(4, 4)

    def forward(self, x):
        x = self.first(x) + self.token
        for layer in self.middle:
            x = layer(x)
        return self.last(x)


def heads():
    return {"a": nn.Linear(4, 1), "b": nn.Linear(4, 3), "c": nn.Linear(4, 1)}


def test_named_layers_are_one_and_the_same():
    trunk = Trunk()
    network = LayerSharing(trunk, heads(), share=["first", "last"])
    a, b, _ = network.trunks
    assert a is trunk
    assert a.first is b.first
    assert a.last is b.last
    assert a.token is not b.token
    assert a.middle[0].weight is not b.middle[0].weight
    expected = {*trunk.first.parameters(), *trunk.last.parameters()}
    assert set(network.shared_parameters()) == expected
    x = torch.randn(5, 8)
    network.eval()
    torch.testing.assert_close(network(x)["b"], network.heads.layers[1](b(x)))


def test_split_at_shares_all_that_comes_before_with_loose_parameters():
    trunk = Trunk()
    network = LayerSharing(trunk, heads(), split_at="middle.1")
    assert network.share == ("first", "middle.0")
    expected = {trunk.token, *trunk.first.parameters(), *trunk.middle[0].parameters()}
    assert set(network.shared_parameters()) == expected
    assert "loose parameters: 4 parameters, shared by all" in network.describe()


def test_one_task_says_the_same_of_itself():
    network = LayerSharing(Trunk(), {"a": nn.Linear(4, 1)}, share=["first"])
    assert len(network.shared_parameters()) == 2


def test_sharing_survives_a_change_of_type_and_a_copy():
    network = LayerSharing(Trunk(), heads(), share=["first", "middle"]).double()
    a, b, _ = network.trunks
    assert a.first.weight is b.first.weight
    assert a.middle[1].running_mean is b.middle[1].running_mean
    exported = network.for_task("b")
    kept = sum(p.numel() for p in exported.parameters())
    assert kept == sum(p.numel() for p in Trunk().parameters()) + 15


@pytest.mark.parametrize(
    "settings, message",
    [
        ({}, "give either `share` or `split_at`"),
        ({"share": ["first"], "split_at": "last"}, "give either `share` or `split_at`"),
        ({"share": ["frist"]}, "`share` names 'frist', .*did you mean 'first'"),
        ({"split_at": "lats"}, "`split_at` names 'lats', .*did you mean 'last'"),
    ],
)
def test_what_can_t_be_shared_is_refused(settings, message):
    with pytest.raises(InvalidInputError, match=message):
        LayerSharing(Trunk(), heads(), **settings)
