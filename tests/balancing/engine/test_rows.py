"""How rows are kept and added to `.grad`."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from jointrain.balancing import UPGrad, backward
from jointrain.balancing.engine import _rows
from jointrain.balancing.engine._ghost import find_layers
from jointrain.balancing.engine._gradients import Gradients, add_to_grad
from jointrain.balancing.engine._graph import walk
from jointrain.balancing.engine._prepare import prepare
from jointrain.balancing.engine._rows import Rows
from jointrain.errors import NonFiniteError


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


def _small(scale: float, dtype: torch.dtype, t: int) -> tuple[list[Tensor], list[nn.Parameter]]:
    """Return losses of this scale, of which the last doesn't change with the parameters."""
    torch.manual_seed(0)
    table, trunk = nn.Embedding(9, 3, sparse=t == 5), nn.Linear(3, 4)
    heads = nn.ModuleList(nn.Linear(4, 1) for _ in range(t))
    for module in (table, trunk, heads):
        module.to(dtype)
    z = trunk(table(torch.arange(6))).tanh()
    losses = [head(z).square().mean() * scale for head in heads[1:]]
    return [*losses, 0.0 * heads[0](z).sum()], [*table.parameters(), *trunk.parameters()]


@pytest.mark.parametrize("t", [3, 5, 9])
@pytest.mark.parametrize("scale", [1e-19, 1e-25, 1e-30, 1e22])
@pytest.mark.parametrize(
    "options", [{}, {"gradient_method": "ghost"}, {"gradient_method": "batched"},
                {"gradient_method": "layerwise"}, {"compare_at": "features"}]
)  # fmt: skip
def test_the_gramian_of_very_small_and_large_gradients_is_exact(t, scale, options):
    if t == 5 and options.get("gradient_method") == "batched":
        pytest.skip("sparse tables can't be batched")
    wanted = backward(_small(1.0, torch.float64, t)[0], UPGrad(), **options)
    step = backward(_small(scale, torch.float32, t)[0], UPGrad(), **options)
    torch.testing.assert_close(step.gramian / scale**2, wanted.gramian, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(step.weights, wanted.weights, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("t", [3, 5])
@pytest.mark.parametrize("scale", [1.0, 1e-19, 1e-25, 1e22])
def test_products_of_two_batches_gradients_are_exact(t, scale):
    def rows(scale: float, dtype: torch.dtype) -> Rows:
        losses, tensors = _small(scale, dtype, t)
        step = prepare(losses, shared=tensors)
        step.factors = [torch.ones_like(loss) for loss in losses]
        return step.plain_rows(tensors)

    found = rows(scale, torch.float32).cross(rows(1.0, torch.float32))
    again = rows(1.0, torch.float32).cross(rows(scale, torch.float32))
    wanted = rows(1.0, torch.float64).cross(rows(1.0, torch.float64))
    torch.testing.assert_close(found / scale, wanted, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(again / scale, wanted.T, rtol=1e-4, atol=1e-6)
    both = rows(scale, torch.float32).cross(rows(scale, torch.float32))
    torch.testing.assert_close(both / scale**2, wanted, rtol=1e-4, atol=1e-6)


def test_what_is_too_large_to_be_compared_in_float64_is_said_so():
    losses = _small(1e170, torch.float64, 3)[0]
    with pytest.raises(NonFiniteError, match=r"above 1e150, whose squares are infinite"):
        backward(losses, UPGrad())
