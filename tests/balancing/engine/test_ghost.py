"""Gramians from layer inputs and output gradients against those of weight gradients."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from jointrain.balancing.engine._ghost import find_layers, gram
from jointrain.balancing.engine._graph import walk

LAYERS = {
    "linear": (lambda: nn.Linear(6, 4), lambda: torch.randn(3, 6)),
    "linear without bias": (lambda: nn.Linear(6, 4, bias=False), lambda: torch.randn(3, 6)),
    "convolution": (lambda: nn.Conv2d(2, 3, 3, padding=1), lambda: torch.randn(2, 2, 5, 4)),
    "strided": (
        lambda: nn.Conv2d(2, 3, (3, 2), stride=2, dilation=2),
        lambda: torch.randn(2, 2, 9, 8),
    ),
    "valid": (lambda: nn.Conv2d(2, 3, 3, padding="valid"), lambda: torch.randn(2, 2, 5, 4)),
    "even kernel": (
        lambda: nn.Conv2d(2, 3, (2, 4), padding="same", dilation=2),
        lambda: torch.randn(2, 2, 5, 4),
    ),
    "embedding": (lambda: nn.Embedding(9, 4, padding_idx=0), lambda: torch.randint(0, 9, (2, 5))),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_gramian_and_update_are_those_of_weight_gradients(kind):
    make, draw = LAYERS[kind]
    layer, inputs = make().double(), draw()
    inputs = inputs.double() if inputs.is_floating_point() else inputs
    out = layer(inputs)
    losses = [(out * torch.randn_like(out)).sum() for _ in range(3)]
    graph = walk(losses)
    (found,) = find_layers(graph, graph.leaves, 0b111)
    outputs = torch.stack([torch.autograd.grad(x, out, retain_graph=True)[0] for x in losses])
    given = outputs
    if kind == "linear without bias":
        given = outputs.flatten(1, -2)
    rows = torch.stack(
        [
            torch.cat(
                [g.flatten() for g in torch.autograd.grad(x, leaves(found), retain_graph=True)]
            )
            for x in losses
        ]
    )
    torch.testing.assert_close(found.gramian(given), rows @ rows.T)
    combined = torch.cat([g.flatten() for g in found.combine(given[1])])
    torch.testing.assert_close(combined, rows[1])


def leaves(layer):
    return [leaf.tensor for leaf in layer.leaves]


def test_a_weight_used_twice_is_left_to_the_direct_way():
    layer = nn.Linear(4, 4)
    x = torch.randn(2, 4)
    losses = [layer(layer(x)).sum(), layer(layer(x)).prod()]
    graph = walk(losses)
    assert find_layers(graph, graph.leaves, 0b11) == []


def test_a_bias_that_is_broadcast_is_left_to_the_direct_way():
    weight, bias = nn.Parameter(torch.randn(4, 3)), nn.Parameter(torch.randn(1))
    out = torch.addmm(bias, torch.randn(2, 4), weight)
    graph = walk([out.sum(), out.square().sum()])
    assert find_layers(graph, graph.leaves, 0b11) == []


def test_a_hook_on_its_output_is_noticed():
    out = nn.Linear(4, 3)(torch.randn(2, 4))
    graph = walk([out.sum(), out.square().sum()])
    (found,) = find_layers(graph, graph.leaves, 0b11)
    assert found.sees_all()
    out.register_hook(lambda gradient: None)
    assert found.sees_all()
    out.register_hook(lambda gradient: 2 * gradient)
    assert not found.sees_all()


def test_pays_where_there_are_few_rows_for_the_width():
    narrow, wide = nn.Linear(4, 4), nn.Linear(300, 300)
    for layer, pays in ((narrow, False), (wide, True)):
        out = layer(torch.randn(8, layer.in_features))
        graph = walk([out.sum(), out.square().sum()])
        (found,) = find_layers(graph, graph.leaves, 0b11)
        assert found.pays(2) == pays


@pytest.mark.parametrize("t", [1, 4, 5, 12, 13, 64, 65])
def test_gram_is_the_product_whatever_the_size(t):
    rows = torch.randn(t, 30, dtype=torch.float64)
    torch.testing.assert_close(gram(rows), rows @ rows.T)


def test_gram_of_half_precision_is_summed_in_single():
    rows = torch.full((2, 5000), 1.0, dtype=torch.bfloat16)
    assert gram(rows).tolist() == [[5000.0, 5000.0], [5000.0, 5000.0]]
