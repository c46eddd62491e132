"""How rows are kept and added to `.grad`."""

from __future__ import annotations

import torch
from torch import nn

from jointrain.balancing.engine import _rows
from jointrain.balancing.engine._ghost import find_layers
from jointrain.balancing.engine._gradients import Gradients, add_to_grad
from jointrain.balancing.engine._graph import walk
from jointrain.balancing.engine._rows import Rows


def collected(workspace=None):
    x, y = nn.Parameter(torch.ones(2, 3)), nn.Parameter(torch.ones(2, dtype=torch.float64))
    losses = [x.sum() * 2.0, (x.square().sum() + y.sum()).double(), y.square().sum()]
    graph = walk(losses)
    rows = Rows(3, graph.leaves, workspace=workspace)
    ones = [torch.ones((), dtype=loss.dtype) for loss in losses]
    rows.collect_from_losses(losses, ones, [[], [], []], True, False)
    return rows, x, y


def test_rows_of_two_dtypes_and_of_tasks_that_miss_a_parameter():
    rows, x, y = collected()
    by_tensor = {id(tensor): found for tensor, found in rows.per_parameter()}
    assert by_tensor[id(x)][:, 0, 0].tolist() == [2.0, 2.0, 0.0]
    assert by_tensor[id(y)][:, 0].tolist() == [0.0, 1.0, 2.0]
    # six entries of x, two of y
    assert rows.gramian().tolist() == [[24, 24, 0], [24, 26, 4], [0, 4, 8]]
    update = rows.combine(torch.tensor([1.0, 0.0, 0.5], dtype=torch.float64))
    assert {v.dtype for v in update.values} == {torch.float32, torch.float64}
    assert rows.finite().tolist() == [True] * 3


def test_large_rows_are_kept_in_the_workspace(monkeypatch):
    monkeypatch.setattr(_rows, "_FRESH", 0)
    workspace: dict[str, torch.Tensor] = {}
    first, *_ = collected(workspace)
    place = {block.matrix.data_ptr() for block in first.blocks}
    second, *_ = collected(workspace)
    assert {block.matrix.data_ptr() for block in second.blocks} == place
    assert len(workspace) == 2


def test_adding_copies_what_others_may_write_to():
    x, y, z = (nn.Parameter(torch.zeros(2)) for _ in range(3))
    value = torch.ones(2)
    add_to_grad(Gradients.of([x, y, z], [value, value, torch.ones(()).expand(2)]))
    assert x.grad.data_ptr() != y.grad.data_ptr()
    assert z.grad.is_contiguous()
    add_to_grad(Gradients.of([x], [value]))
    assert x.grad.tolist() == [2.0, 2.0]
    assert y.grad.tolist() == [1.0, 1.0]


def test_finite_looks_closer_where_a_sum_overflows():
    rows, x, _ = collected()
    block = next(b for b in rows.blocks if b.leaves[0].tensor is x)
    block.matrix[0] = 3e38
    assert rows.finite().tolist() == [True] * 3
    block.matrix[1, 0] = float("nan")
    assert rows.finite().tolist() == [True, False, True]


def test_few_tasks_gradients_are_kept_as_they_come():
    """Also where autograd gives one tensor for two parameters, and none for a third."""
    x, y, z = (nn.Parameter(torch.tensor(v)) for v in ([1.0, 2.0], [3.0, 4.0], [5.0]))
    losses = [(x + y).square().sum(), (x - y).sum() + z.sum()]
    graph = walk(losses)
    rows = Rows(2, graph.leaves, loose=True)
    rows.collect_from_losses(losses, [torch.ones(())] * 2, [[], []], True, True)
    assert rows.gramian().tolist() == [[2 * (64.0 + 144.0), 0.0], [0.0, 5.0]]
    update = rows.combine(torch.tensor([0.5, 2.0], dtype=torch.float64))
    found = {id(p): g.tolist() for p, g in zip(update.tensors, update.values, strict=True)}
    assert found == {id(x): [6.0, 8.0], id(y): [2.0, 4.0], id(z): [2.0]}


def test_weight_gradients_are_written_straight_to_the_rows():
    torch.manual_seed(0)
    first, second = nn.Linear(3, 4).double(), nn.Linear(4, 2, bias=False).double()
    scale = nn.Parameter(torch.ones(4, dtype=torch.float64))
    out = second(first(torch.randn(5, 3, dtype=torch.float64)).tanh() * scale)
    losses = [out.square().mean(), out.sum(), out.prod()]
    graph = walk(losses)
    layers = find_layers(graph, graph.leaves, 0b111)
    found = []
    for written in (layers, []):
        rows = Rows(3, graph.leaves, written=written)
        rows.collect_from_losses(losses, [torch.ones(()).double()] * 3, [[]] * 3, True, True)
        found.append(rows.blocks[0].matrix)
    assert len(layers) == 2
    torch.testing.assert_close(found[0], found[1], rtol=1e-12, atol=1e-14)


def test_a_parameter_with_a_hook_is_left_to_autograd():
    layer = nn.Linear(3, 2)
    layer.weight.register_hook(lambda g: 2 * g)
    out = layer(torch.randn(4, 3))
    graph = walk([out.sum(), out.square().sum()])
    assert find_layers(graph, graph.leaves, 0b11) == []
