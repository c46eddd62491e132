"""Graphs that few networks have, each by every way against plain passes.

Sparse adjacency matrices, nested tensors, tables that tasks look up apart, parametrised weights,
packed sequences, transforms within the forward pass, operations with several outputs, and more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations, rnn

from jointrain.balancing import BALANCERS, Equal, backward
from jointrain.errors import InvalidInputError
from tests.balancing._plain_passes import Case, dense
from tests.balancing._weigh_by_position import GRADIENT_METHODS, Fixed

Trunk = Callable[[nn.Module], Tensor]


def numbers(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def with_heads(t: int, width: int, trunk: Trunk, **parts: Any) -> Case:
    """Return a network of these parts, with a linear head for each task on the trunk's output."""
    torch.manual_seed(0)
    net = nn.ModuleDict({name: make() for name, make in parts.items()})
    net["heads"] = nn.ModuleList(nn.Linear(width, 1) for _ in range(t))

    def losses() -> list[Tensor]:
        z = trunk(net)
        return [(head(z) - k).square().mean() for k, head in enumerate(net["heads"])]

    return Case(net, losses)


def parameters(*shapes: tuple[int, ...]) -> Callable[[], nn.ParameterList]:
    return lambda: nn.ParameterList(torch.randn(shape) for shape in shapes)


def sparse_adjacency(layout: torch.layout) -> Callable[[int], Case]:
    adjacency = (numbers(8, 8) > 0.3).double().to_sparse(layout=layout)

    def trunk(net: nn.Module) -> Tensor:
        first = (adjacency @ net["nodes"][0]).tanh()
        return adjacency @ net["layer"](first).tanh()

    return lambda t: with_heads(
        t, 16, trunk, nodes=parameters((8, 16)), layer=lambda: nn.Linear(16, 16)
    )


def nested(layout: torch.layout, *, of_heads: bool = False) -> Callable[[int], Case]:
    rows = [numbers(n, 6) for n in (3, 5, 2)]

    def padded(x: Tensor) -> Tensor:
        return torch.nested.to_padded_tensor(x, 0.0).sum(1)

    def trunk(net: nn.Module) -> Tensor:
        z = net["layer"](torch.nested.as_nested_tensor(rows, layout=layout))
        return z if of_heads else padded(z)

    def made(t: int) -> Case:
        case = with_heads(t, 10, trunk, layer=lambda: nn.Linear(6, 10))
        net = case.net
        if of_heads:

            def losses() -> list[Tensor]:
                z = trunk(net)
                heads = enumerate(net["heads"])
                return [(padded(head(z)) - k).square().mean() for k, head in heads]

            case._losses = losses
        return case

    return made


def table_looked_up_apart(*, whole: bool) -> Callable[[int], Case]:
    """A sparse table that each task looks up by itself; one of them may take it as a whole."""

    def made(t: int) -> Case:
        torch.manual_seed(0)
        net = nn.ModuleDict(
            {
                "table": nn.Embedding(12, 4, sparse=True),
                "layer": nn.Linear(4, 4),
                "heads": nn.ModuleList(nn.Linear(4, 1) for _ in range(t)),
            }
        )
        index = torch.randint(0, 12, (6, t))

        def losses() -> list[Tensor]:
            z = net["layer"](numbers(6, 4)).tanh()
            of_task = [net["table"](column) for column in index.T]
            if whole:
                of_task[1] = net["table"].weight[:6]
            pairs = enumerate(zip(net["heads"], of_task, strict=True))
            return [(head(z + own) - k).square().mean() for k, (head, own) in pairs]

        return Case(net, losses)

    return made


def tied_sparse_table(t: int) -> Case:
    index = torch.tensor([[0, 3], [2, 2], [11, 0]])

    def trunk(net: nn.Module) -> Tensor:
        return net["layer"](net["table"](index).sum(1)).tanh() @ net["table"].weight.T

    return with_heads(
        t, 12, trunk, table=lambda: nn.Embedding(12, 4, sparse=True), layer=lambda: nn.Linear(4, 4)
    )


def packed_sequences(t: int) -> Case:
    rows = [numbers(n, 6) for n in (6, 4, 2)]

    def trunk(net: nn.Module) -> Tensor:
        found, (hidden, _) = net["layer"](rnn.pack_sequence(rows))
        return rnn.pad_packed_sequence(found)[0].sum(0) + hidden.sum(0).repeat(1, 2)

    return with_heads(t, 10, trunk, layer=lambda: nn.LSTM(6, 5, bidirectional=True))


class TwoOutputs(torch.autograd.Function):
    """Two outputs with gradients and one without."""

    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        largest = x.argmax(1)
        ctx.mark_non_differentiable(largest)
        return x * weight, x + weight, largest

    @staticmethod
    def backward(ctx, first, second, _):
        x, weight = ctx.saved_tensors
        return first * weight + second, (first * x + second).sum(0)


def several_outputs(t: int) -> Case:
    def trunk(net: nn.Module) -> Tensor:
        first, second, largest = TwoOutputs.apply(net["layer"](numbers(5, 6)), net["scale"][0])
        return first * second + largest[:, None]

    return with_heads(t, 10, trunk, layer=lambda: nn.Linear(6, 10), scale=parameters((10,)))


def inner_step(t: int) -> Case:
    """Fast weights by a gradient step within the forward pass, as meta-learning takes them."""

    def trunk(net: nn.Module) -> Tensor:
        layer, x = net["layer"], numbers(5, 6)
        weights = dict(layer.named_parameters())

        def inner(weights: dict[str, Tensor]) -> Tensor:
            return torch.func.functional_call(layer, weights, (x,)).square().mean()

        slopes = torch.func.grad(inner)(weights)
        fast = {name: value - 0.1 * slopes[name] for name, value in weights.items()}
        return torch.func.functional_call(layer, fast, (x,)).tanh()

    return with_heads(t, 10, trunk, layer=lambda: nn.Linear(6, 10))


def in_place_afterwards(t: int) -> Case:
    def trunk(net: nn.Module) -> Tensor:
        z = net["layer"](numbers(5, 6)).clone()
        z[:, :3] *= 2
        z[0].add_(1.0)
        return z.sin_()

    return with_heads(t, 10, trunk, layer=lambda: nn.Linear(6, 10))


def heads_in_one_parameter(t: int) -> Case:
    torch.manual_seed(0)
    net = nn.ModuleDict(
        {"layer": nn.Linear(6, 10), "heads": nn.ParameterList([torch.randn(t, 10)])}
    )

    def losses() -> list[Tensor]:
        z = net["layer"](numbers(5, 6)).tanh()
        rows = net["heads"][0].unbind()
        return [(z @ row - k).square().mean() for k, row in enumerate(rows)]

    return Case(net, losses)


def plain(layer: Callable[[], nn.Module], apply: Callable[[nn.Module, Tensor], Tensor]) -> Any:
    return lambda t: with_heads(
        t, 10, lambda net: apply(net["layer"], numbers(5, 6)).tanh(), layer=layer
    )


CASES: dict[str, Callable[[int], Case]] = {
    "sparse adjacency": sparse_adjacency(torch.sparse_coo),
    "sparse adjacency, rows": sparse_adjacency(torch.sparse_csr),
    "nested": nested(torch.strided),
    "nested, jagged": nested(torch.jagged),
    "nested heads": nested(torch.jagged, of_heads=True),
    "table looked up apart": table_looked_up_apart(whole=False),
    "table taken as a whole by one": table_looked_up_apart(whole=True),
    "tied sparse table": tied_sparse_table,
    "packed sequences": packed_sequences,
    "several outputs": several_outputs,
    "inner step": inner_step,
    "in place afterwards": in_place_afterwards,
    "heads in one parameter": heads_in_one_parameter,
    "weight norm": plain(
        lambda: parametrizations.weight_norm(nn.Linear(6, 10)), lambda layer, x: layer(x)
    ),
    "vmap": plain(lambda: nn.Linear(6, 10), lambda layer, x: torch.func.vmap(layer)(x)),
    "jacobian": plain(
        lambda: nn.Sequential(nn.Linear(6, 10), nn.Tanh()),
        lambda layer, x: torch.func.vmap(torch.func.jacrev(layer))(x).sum(2),
    ),
    "product of parameters": plain(
        lambda: nn.Sequential(nn.Linear(6, 3), nn.Linear(3, 10)),
        lambda layer, x: functional.linear(x, layer[1].weight @ layer[0].weight),
    ),
}
SPARSE = ("table looked up apart", "table taken as a whole by one", "tied sparse table")
NOT_BATCHED = (*SPARSE, "sparse adjacency", "sparse adjacency, rows", "nested", "nested, jagged")


@pytest.mark.parametrize("gradient_method", GRADIENT_METHODS)
@pytest.mark.parametrize("t", [3, 9])
@pytest.mark.parametrize("kind", CASES)
def test_a_gramian_method_equals_plain_passes(kind, t, gradient_method):
    case = CASES[kind](t)
    if gradient_method == "batched" and kind in NOT_BATCHED:
        with pytest.raises(InvalidInputError, match='Pass `gradient_method="per_task"`'):
            case.check(Fixed(), gradient_method=gradient_method)
        return
    case.check(Fixed(), gradient_method=gradient_method)


@pytest.mark.parametrize("kind", CASES)
def test_so_does_every_other_kind_of_method(kind):
    t = 4
    CASES[kind](t).check(Equal())
    CASES[kind](t).check(Fixed(), memory_limit=600)
    case = CASES[kind](t)
    jacobian, shared = case.jacobian()
    case.net.zero_grad()
    backward(case.losses(), BALANCERS["trimmed-mean"]())
    for p, j, s in zip(case.parameters, jacobian, shared, strict=True):
        if s:
            torch.testing.assert_close(dense(p.grad, p), j.sort(0).values[1:3].mean(0))


@pytest.mark.parametrize("kind", ["nested heads", *SPARSE[:2]])
def test_without_one_tensor_of_all_tasks_features_are_not_compared(kind):
    case = CASES[kind](3)
    with pytest.raises(InvalidInputError, match="No tensors were found"):
        backward(case.losses(), BALANCERS["upgrad"](), compare_at="features")
