"""Hard sharing: outputs by task, and who owns which parameter."""

import pytest
import torch
from torch import nn

from jointrain import HardSharing, InvalidInputError


class _Counting(nn.Linear):
    calls = 0

    def forward(self, x):
        self.calls += 1
        return super().forward(x)


def test_each_output_is_the_head_of_the_trunk():
    trunk, heads = nn.Linear(5, 4), {"a": nn.Linear(4, 1), "b": nn.Linear(4, 3)}
    network = HardSharing(trunk, heads)
    x = torch.randn(7, 5)
    outputs = network(x)
    assert list(outputs) == ["a", "b"]
    for name, head in heads.items():
        torch.testing.assert_close(outputs[name], head(trunk(x)), rtol=0, atol=0)


def test_only_the_asked_heads_are_computed_and_the_trunk_once():
    trunk = _Counting(5, 4)
    heads = {name: _Counting(4, 1) for name in "abc"}
    outputs = HardSharing(trunk, heads)(torch.randn(2, 5), ["c", "a"])
    assert list(outputs) == ["c", "a"]
    assert (trunk.calls, [heads[name].calls for name in "abc"]) == (1, [1, 0, 1])


def test_parameters_are_shared_or_of_one_task():
    trunk, a, b = nn.Linear(5, 4), nn.Linear(4, 1), nn.Linear(4, 3)
    network = HardSharing(trunk, {"a": a, "b": b})
    assert set(network.shared_parameters()) == set(trunk.parameters())
    assert set(network.task_parameters("a")) == set(a.parameters())
    assert set(network.task_parameters("b")) == set(b.parameters())


def test_a_parameter_in_two_heads_or_in_head_and_trunk_is_shared():
    trunk, last = nn.Linear(4, 4), nn.Linear(4, 1)
    heads = {"a": nn.Sequential(nn.Linear(4, 4), last), "b": nn.Sequential(trunk, last)}
    network = HardSharing(trunk, heads)
    assert set(network.shared_parameters()) == {*trunk.parameters(), *last.parameters()}
    assert network.task_parameters("b") == []
    assert set(network.task_parameters("a")) == set(heads["a"][0].parameters())


def test_task_names_may_be_any_column_name():
    names = ["y 1", "a.b", "train", "forward", "é"]
    network = HardSharing(nn.Identity(), {name: nn.Linear(2, 1) for name in names})
    assert network.task_names == tuple(names)
    assert network(torch.zeros(1, 2)).keys() == set(names)
    other = HardSharing(nn.Identity(), {name: nn.Linear(2, 1) for name in names})
    other.load_state_dict(network.state_dict())
    assert torch.equal(other(torch.ones(1, 2))["é"], network(torch.ones(1, 2))["é"])


def test_no_heads_are_refused():
    with pytest.raises(InvalidInputError, match="at least one task"):
        HardSharing(nn.Identity(), {})


def test_an_unknown_task_is_refused_with_the_closest_name():
    network = HardSharing(nn.Identity(), {"price": nn.Linear(2, 1), "kind": nn.Linear(2, 1)})
    message = "no task 'prise'.*did you mean 'price'.*; it has 'price', 'kind'"
    with pytest.raises(InvalidInputError, match=message):
        network(torch.zeros(1, 2), ["prise"])
    with pytest.raises(InvalidInputError, match=message):
        network.task_parameters("prise")


def test_split_at_gives_each_task_the_upper_layers_with_their_weights():
    trunk = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))
    network = HardSharing(trunk, {"a": nn.Linear(3, 1), "b": nn.Linear(3, 2)}, split_at="2")
    x = torch.randn(7, 5)
    assert set(network.shared_parameters()) == set(trunk[0].parameters())
    for name in "ab":
        head = network.heads.layers[network.index_of(name)]
        torch.testing.assert_close(network(x)[name], head(trunk(x)))
    network(x)["a"].sum().backward()
    assert [p.grad is None for p in network.branches[1].parameters()] == [True, True]


def test_reinitialize_draws_new_weights_for_the_copies_only():
    trunk = [nn.Linear(5, 4), nn.Linear(4, 3)]
    given = trunk[1].weight.clone()
    heads = {name: nn.Linear(3, 1) for name in "abc"}
    network = HardSharing(trunk, heads, reinitialize=True)
    weights = [branch.weight for branch in network.branches]
    assert torch.equal(weights[0], given)
    assert not torch.equal(weights[1], given)
    assert not torch.equal(weights[1], weights[2])
