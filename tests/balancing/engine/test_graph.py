"""What the walk over the losses' graph finds, on graphs small enough to see through."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from jointrain.balancing.engine._boundary import find_boundary, last_layer
from jointrain.balancing.engine._graph import reached, walk
from jointrain.errors import InvalidInputError


def leaves(graph, named):
    by_id = {id(tensor): name for name, tensor in named.items()}
    return {by_id[id(leaf.tensor)]: leaf.mask for leaf in graph.leaves}


def _shared(graph):
    return [leaf for leaf in graph.leaves if leaf.mask & (leaf.mask - 1)]


def test_leaves_know_the_tasks_that_reach_them():
    a, b, c = (nn.Parameter(torch.ones(2)) for _ in range(3))
    graph = walk([(a * b).sum(), (a * c).sum(), a.sum()])
    assert leaves(graph, {"a": a, "b": b, "c": c}) == {"a": 0b111, "b": 0b001, "c": 0b010}
    assert not graph.shares_nodes  # only the leaf is shared


def test_what_is_reached_is_what_the_walk_finds():
    table, a, b = nn.Embedding(4, 2, sparse=True), nn.Linear(2, 2), nn.Parameter(torch.ones(2))
    z = a(table(torch.tensor([1, 2])))
    losses = list(torch.stack([(z * b).sum(), z.tanh().sum(), b.sum()]))
    (found, custom), walked = reached(losses), walk(losses).leaves
    assert not custom
    assert reached([OfPython.apply(z).sum()])[1]
    assert {(id(x.tensor), x.sparse) for x in found} == {(id(x.tensor), x.sparse) for x in walked}
    assert len(found) == len(walked)
    assert {x.mask for x in found} == {0b111}


class OfPython(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, gradient):
        return gradient * 2


def test_what_reentrant_checkpoints_reach_is_not_known():
    x, layer = torch.ones(1, 2, requires_grad=True), nn.Linear(2, 2)
    loss = checkpoint(layer, x, use_reentrant=True).sum()
    with pytest.raises(InvalidInputError, match="use_reentrant=False"):
        reached([loss])


def test_every_node_comes_before_those_it_leads_to():
    x = nn.Parameter(torch.ones(2))
    z = torch.tanh(x) + x
    graph = walk([z.sum(), (z * z).sum(), x.prod()])
    order = {node: i for i, node in enumerate(graph.masks)}
    for node, below in graph.children.items():
        assert all(order[node] < order[child] for child, _ in below if child is not None)
    assert graph.shares_nodes


def test_a_parameter_may_itself_be_a_loss():
    x = nn.Parameter(torch.ones(()))
    graph = walk([x, x * 2])
    assert leaves(graph, {"x": x}) == {"x": 0b11}


def test_the_boundary_is_where_own_parts_begin():
    trunk, heads = nn.Linear(3, 4), [nn.Linear(4, 1) for _ in range(2)]
    z = trunk(torch.ones(5, 3))
    graph = walk([head(z).sum() for head in heads])
    boundary = find_boundary(graph, _shared(graph))
    assert [edge.node for edge in boundary.edges] == [z.grad_fn]
    assert boundary.users == [0b11]
    assert find_boundary(graph, _shared(graph), [z]) == boundary


def test_there_is_no_boundary_where_an_edge_lies_below_another():
    x = nn.Parameter(torch.ones(3))
    low = torch.tanh(x)
    high = torch.sin(low)
    graph = walk([high.sum(), (low + high).prod()])
    assert find_boundary(graph, graph.leaves) is None


def test_named_tensors_are_a_boundary_only_if_they_cut_off_the_parameters():
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    low = first(torch.ones(2, 3))
    z = second(low)
    graph = walk([(z + low).sum(), z.prod()])
    of_second = [leaf for leaf in graph.leaves if leaf.tensor is second.weight]
    assert find_boundary(graph, of_second, [z]) is not None
    assert find_boundary(graph, _shared(graph), [z]) is None
    tied = walk([(z @ second.weight).sum(), z.prod()])
    assert find_boundary(tied, _shared(tied), [z]) is None


def test_one_of_an_operations_outputs_does_not_cut_off_the_others():
    lstm = nn.LSTM(3, 4)
    z, (h, _) = lstm(torch.ones(2, 1, 3))
    graph = walk([z.sum(), (z.sum() + h.sum())])
    assert find_boundary(graph, _shared(graph), [z]) is None
    assert find_boundary(graph, _shared(graph), [z, h]) is not None


def test_a_parameter_of_one_task_that_counts_as_shared_lies_outside_of_the_found_boundary():
    trunk, heads = nn.Linear(3, 4), [nn.Linear(4, 1) for _ in range(2)]
    z = trunk(torch.ones(5, 3))
    graph = walk([head(z).sum() for head in heads])
    assert find_boundary(graph, graph.leaves) is None


def test_the_last_shared_layer_is_the_one_next_to_the_losses():
    trunk = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4))
    heads = [nn.Linear(4, 1) for _ in range(2)]
    z = trunk(torch.ones(5, 3))
    graph = walk([head(z).sum() for head in heads])
    shared = [leaf for leaf in graph.leaves if leaf.mask == 0b11]
    found = {id(leaf.tensor) for leaf in last_layer(graph, shared)}
    assert found == {id(trunk[2].weight), id(trunk[2].bias)}


def test_a_layer_that_only_some_losses_reach_is_not_the_last_shared_one():
    trunk, some = nn.Linear(3, 4), nn.Linear(4, 4)
    z = trunk(torch.ones(5, 3))
    y = some(z)
    graph = walk([y.sum(), y.prod(), z.sum()])
    found = {id(leaf.tensor) for leaf in last_layer(graph, _shared(graph))}
    assert found == {id(trunk.weight), id(trunk.bias)}
    apart = walk([trunk(torch.ones(1, 3)).sum() + y.sum(), y.prod(), some(torch.ones(1, 4)).sum()])
    assert last_layer(apart, _shared(apart)) == []


@pytest.mark.parametrize("n", [1, 5])
def test_counts_what_shared_operations_put_out(n):
    weight = nn.Parameter(torch.ones(3, 4))
    z = torch.tanh(torch.ones(n, 3) @ weight)  # [n, 4] twice
    graph = walk([z.sum(), z.prod()])
    assert graph.shared_numbers() == 2 * 4 * n
