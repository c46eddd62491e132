"""Gradients at the boundary, dense and as products, against one pass per task."""

from __future__ import annotations

import torch
from torch import nn

from jointrain.balancing.engine._boundary import find_boundary
from jointrain.balancing.engine._cotangents import dense_cotangents, linear_cotangents
from jointrain.balancing.engine._graph import walk


def made():
    trunk = nn.Linear(3, 4).double()
    heads = [nn.Linear(4, 2 + k).double() for k in range(3)]
    z = trunk(torch.randn(5, 3, dtype=torch.float64))
    losses = [head(z).square().sum() for head in heads]
    graph = walk(losses)
    own = [[x for x in graph.leaves if x.mask == 1 << k] for k in range(3)]
    factors = [torch.ones((), dtype=torch.float64)] * 3
    wanted = torch.stack([torch.autograd.grad(x, z, retain_graph=True)[0] for x in losses])
    return graph, find_boundary(graph, []), losses, factors, own, wanted


def test_products_and_dense_ones_are_the_same():
    graph, boundary, losses, factors, own, wanted = made()
    products, mine = linear_cotangents(graph, boundary, losses, factors, own)
    dense, others = dense_cotangents(graph, boundary, losses, factors, own)
    flat = wanted.flatten(1)
    weights = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
    for found in (products, dense):
        torch.testing.assert_close(found.of_task(1)[0], wanted[1])
        torch.testing.assert_close(found.of_tasks(1, 3)[0], wanted[1:])
        torch.testing.assert_close(found.gramian(), flat @ flat.T)
        torch.testing.assert_close(found.weighted(weights)[0], torch.tensordot(weights, wanted, 1))
    assert mine.tasks == others.tasks == [0, 0, 1, 1, 2, 2]
    for a, b in zip(mine.values, others.values, strict=True):
        torch.testing.assert_close(a, b)


def test_heads_that_begin_otherwise_have_no_products():
    x = nn.Parameter(torch.ones(4))
    z = torch.tanh(x)
    losses = [z.sum(), z.prod()]
    graph = walk(losses)
    own = [[], []]
    factors = [torch.ones(())] * 2
    assert linear_cotangents(graph, find_boundary(graph, []), losses, factors, own) is None
