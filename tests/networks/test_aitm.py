"""AITM: the transfer by its formula, and along which tasks it goes."""

import math

import pytest
import torch
from torch import nn

from jointrain import InvalidInputError, Task
from jointrain.networks import AITM, build_network


def made(before=None, names=("a", "b", "c")):
    towers = {name: nn.Linear(5, 4) for name in names}
    heads = {name: nn.Linear(4, 1) for name in names}
    return AITM(nn.Linear(8, 5), towers, heads, width=4, before=before)


def test_features_are_attention_to_the_own_ones_and_those_before():
    torch.manual_seed(0)
    network, x = made(), torch.randn(6, 8)
    shared = network.trunk(x)
    z = network.towers[0](shared)
    for place in (1, 2):
        transfer = network.transfers[place - 1]
        u = [transfer.brought(z), network.towers[place](shared)]
        fits = [(transfer.query(v) * transfer.key(v)).sum(1) / math.sqrt(4) for v in u]
        weights = torch.stack(fits, 1).softmax(1)
        z = sum(weights[:, k : k + 1] * transfer.value(v) for k, v in enumerate(u))
    torch.testing.assert_close(network(x)["c"], network.heads.layers[2](z))


def test_a_task_reaches_all_that_it_takes_from():
    network = made(before={"c": "a"})
    tasks = {part.path: part.tasks for part in network.parts()}
    assert tasks["towers", "a"] == ("a", "c")
    assert tasks["towers", "b"] == ("b",)
    assert tasks["transfers", "c"] == ("c",)
    x = torch.randn(2, 8)
    for name in "abc":
        torch.testing.assert_close(network.for_task(name)(x), network(x)[name])


def test_of_a_table_tasks_take_from_what_they_are_given():
    tasks = [Task.binary("buy", given="click"), Task.binary("like"), Task.binary("click")]
    network = build_network("aitm", 3, tasks, width=4)
    users = {part.path: part.tasks for part in network.parts()}
    assert users["towers", "click"] == ("buy", "click")
    assert users["towers", "like"] == ("like",)
    plain = build_network("aitm", 3, [Task.binary("a"), Task.binary("b")], width=4, depth=1)
    assert {p.path: p.tasks for p in plain.parts()}["towers", "a"] == ("a", "b")


@pytest.mark.parametrize(
    "before, message",
    [
        ({"a": "x"}, "names 'x', which is no task"),
        ({"a": "b", "b": "a"}, "in a circle: 'a' from 'b' from 'a'"),
    ],
)
def test_orders_that_are_none_are_refused(before, message):
    with pytest.raises(InvalidInputError, match=message):
        made(before)
    with pytest.raises(InvalidInputError, match="'b' has no tower"):
        AITM(nn.Linear(8, 5), {"a": nn.Linear(5, 4)}, dict.fromkeys("ab", nn.Linear(4, 1)), width=4)
