"""Every way of every kind of method against plain passes, on graphs out of the ordinary.

Complex parameters, sparse tables, checkpoints (with dropout), tensors saved elsewhere.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import (
    checkpoint,
    create_selective_checkpoint_contexts,
    noop_context_fn,
)

from jointrain.balancing import (
    BALANCERS,
    Equal,
    GradDrop,
    Needs,
    UPGrad,
    backward,
)
from jointrain.errors import InvalidInputError
from tests.balancing._plain_passes import Case, dense, real
from tests.balancing._weigh_by_position import GRADIENT_METHODS, Fixed

# gradients of several calls add up in these tests
backward = partial(backward, accumulate="per-batch")


def with_complex_weights(t: int) -> Case:
    """Spectral layers: real in, complex weights, real out; and complex heads."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lift = nn.Linear(4, 6)
            self.spectrum = nn.Parameter(torch.randn(4, 3, dtype=torch.cdouble))
            self.mix = nn.Parameter(torch.randn(3, 3, dtype=torch.cdouble))
            self.bias = nn.Parameter(torch.randn(3, dtype=torch.cdouble))
            self.heads = nn.ParameterList(torch.randn(3, 1, dtype=torch.cdouble) for _ in range(t))

    torch.manual_seed(0)
    net = Net()
    x = torch.randn(5, 4, dtype=torch.float64)

    def losses() -> list[Tensor]:
        z = torch.fft.rfft(net.lift(x), dim=1) @ net.spectrum
        z = torch.addmm(net.bias, z * z.conj().sin(), net.mix)
        return [((z @ head).abs() - k).square().mean() for k, head in enumerate(net.heads)]

    return Case(net, losses)


def with_sparse_tables(t: int, *, own: bool = False) -> Case:
    torch.manual_seed(0)
    net = nn.ModuleDict(
        {
            "table": nn.Embedding(20, 4, sparse=True),
            "bag": nn.EmbeddingBag(20, 4, sparse=True, mode="sum"),
            "layer": nn.Linear(4, 5),
            "heads": nn.ModuleList(nn.Linear(5, 1) for _ in range(t)),
            "tables": nn.ModuleList(nn.Embedding(20, 5, sparse=True) for _ in range(t)),
        }
    )
    tokens = torch.randint(0, 20, (6, 3))

    def losses() -> list[Tensor]:
        z = net["layer"](net["table"](tokens).sum(1) + net["bag"](tokens)).tanh()
        return [
            (head(z + table(tokens[:, 0]) if own else z) - k).square().mean()
            for k, (head, table) in enumerate(zip(net["heads"], net["tables"], strict=True))
        ]

    return Case(net, losses)


def with_checkpoints(
    t: int, *, dropout: float = 0.5, used: bool = True, context_fn: Any = noop_context_fn
) -> Case:
    torch.manual_seed(0)
    blocks = nn.ModuleList(
        nn.Sequential(nn.Linear(6, 6), nn.Dropout(dropout), nn.Tanh(), nn.Linear(6, 6))
        for _ in range(3)
    )
    net = nn.ModuleDict(
        {"blocks": blocks, "heads": nn.ModuleList(nn.Linear(6, 1) for _ in range(t))}
    )
    x = torch.randn(5, 6, dtype=torch.float64)

    def losses() -> list[Tensor]:
        z = x
        for block in blocks:
            again = partial(checkpoint, use_reentrant=False, context_fn=context_fn)
            z = z + (again(block, z) if used else block(z))
        return [(head(z) - k).square().mean() for k, head in enumerate(net["heads"])]

    return Case(net, losses)


def saved_elsewhere(t: int) -> Case:
    case = with_checkpoints(t, dropout=0.0)
    inner = case._losses

    def losses() -> list[Tensor]:
        with torch.autograd.graph.saved_tensors_hooks(lambda x: x.numpy(), torch.from_numpy):
            return inner()

    return Case(case.net, losses)


class NoGradient(torch.autograd.Function):
    """Hands its input on; its gradient is undefined."""

    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        return None


def with_an_undefined_gradient(t: int) -> Case:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 30), nn.Linear(30, t))
    x = torch.randn(5, 6, dtype=torch.float64)

    def losses() -> list[Tensor]:
        z = net[0](x).tanh()
        first = NoGradient.apply(z).square().mean() + z.mean() * 0
        return [first, *((z * net[1].weight[k]).mean() + net[1].bias[0] for k in range(1, t))]

    return Case(net, losses)


class Scaled(torch.autograd.Function):
    """Defined in Python, with saved tensors and an output that is no tensor."""

    @staticmethod
    def forward(ctx, x, scale, note):
        ctx.save_for_backward(x, scale)
        return x * scale, note

    @staticmethod
    def backward(ctx, gradient, _):
        x, scale = ctx.saved_tensors
        return gradient * scale, (gradient * x).sum(0), None


def with_batches_of_their_own(t: int) -> Case:
    """A pass frees its task's graph, which an operation defined in Python can't be asked about."""
    torch.manual_seed(0)
    net = nn.ModuleDict(
        {"layer": nn.Linear(6, 5), "heads": nn.ModuleList(nn.Linear(5, 1) for _ in range(t))}
    )
    scale = net["layer"].scale = nn.Parameter(torch.rand(5))
    x = torch.randn(t, 4, 6, dtype=torch.float64)

    def losses() -> list[Tensor]:
        features = [Scaled.apply(net["layer"](part).tanh(), scale, "words")[0] for part in x]
        return [h(z).square().mean() for h, z in zip(net["heads"], features, strict=True)]

    return Case(net, losses)


CASES = {
    "complex": with_complex_weights,
    "sparse": with_sparse_tables,
    "sparse, own": lambda t: with_sparse_tables(t, own=True),
    "checkpointed": lambda t: with_checkpoints(t, dropout=0.0),
    "checkpointed, dropout": with_checkpoints,
    "saved elsewhere": saved_elsewhere,
    "undefined gradient": with_an_undefined_gradient,
}


@pytest.mark.parametrize("gradient_method", GRADIENT_METHODS)
@pytest.mark.parametrize("t", [2, 5, 9])
@pytest.mark.parametrize("kind", CASES)
def test_a_gramian_method_equals_plain_passes(kind, t, gradient_method):
    if gradient_method == "batched" and kind in ("sparse", "sparse, own", "checkpointed, dropout"):
        with pytest.raises(InvalidInputError, match='Pass `gradient_method="per_task"`'):
            CASES[kind](t).check(Fixed(), gradient_method=gradient_method)
        return
    CASES[kind](t).check(Fixed(), gradient_method=gradient_method)


@pytest.mark.parametrize("gradient_method", ["auto", "layerwise"])
@pytest.mark.parametrize("t", [2, 5, 9])
def test_towers_that_share_nothing_are_passed_one_after_the_other(t, gradient_method):
    torch.manual_seed(0)
    net = nn.ModuleDict(
        {
            "towers": nn.ModuleList(nn.Linear(6, 5) for _ in range(2)),
            "heads": nn.ModuleList(nn.Linear(5, 1) for _ in range(2 * t)),
        }
    )
    x = torch.randn(4, 6, dtype=torch.float64)

    def losses() -> list[Tensor]:
        features = [tower(x).tanh() for tower in net["towers"]]
        return [h(features[k % 2]).square().mean() for k, h in enumerate(net["heads"])]

    Case(net, losses).check(Fixed(), gradient_method=gradient_method)


@pytest.mark.parametrize("balancer", [Fixed(), Equal()], ids=["gramian", "losses"])
@pytest.mark.parametrize("t", [1, 2, 5])
def test_an_operation_defined_in_python_may_be_freed_by_a_pass(t, balancer):
    case = with_batches_of_their_own(t)
    jacobian, _ = case.jacobian()
    shared = list(case.net["layer"].parameters())
    weights = backward(case.losses(), balancer, shared=shared).weights
    for p, j in zip(case.parameters, jacobian, strict=True):
        factors = weights.to(j) if any(p is x for x in shared) else torch.ones(t).to(j)
        torch.testing.assert_close(p.grad, torch.tensordot(factors, j, 1))


@pytest.mark.parametrize("kind", CASES)
def test_a_loss_weighting_equals_plain_passes(kind):
    CASES[kind](3).check(Equal())


@pytest.mark.parametrize("kind", CASES)
def test_reused_weights_equal_plain_passes(kind):
    case, balancer = CASES[kind](3), Fixed()
    backward(case.losses(), balancer, refresh_every=2)
    jacobian, shared = case.jacobian()
    case.net.zero_grad()
    assert backward(case.losses(), balancer, refresh_every=2).gradient_method == "reused"
    for p, j, s in zip(case.parameters, jacobian, shared, strict=True):
        factors = torch.arange(1.0, 4).to(j) if s else torch.ones(3).to(j)
        torch.testing.assert_close(dense(p.grad, p), torch.tensordot(factors, j, 1))


@pytest.mark.parametrize("gradient_method", ["auto", "per_task", "layerwise"])
@pytest.mark.parametrize("kind", CASES)
def test_a_coordinatewise_method_sees_every_real_number(kind, gradient_method):
    case = CASES[kind](4)
    jacobian, shared = case.jacobian()
    backward(case.losses(), BALANCERS["trimmed-mean"](), gradient_method=gradient_method)
    for p, j, s in zip(case.parameters, jacobian, shared, strict=True):
        if s:
            wanted = real(j).sort(0).values[1:3].mean(0)
            torch.testing.assert_close(real(dense(p.grad, p)), wanted)


@pytest.mark.parametrize("place", ["features", "last_shared_layer"])
@pytest.mark.parametrize("kind", CASES)
def test_compared_elsewhere_the_update_is_the_weighted_sum(kind, place):
    if kind == "complex" and place == "last_shared_layer":
        pytest.skip("its last layer is a complex one, of which below")
    case = CASES[kind](3)
    jacobian, shared = case.jacobian()
    weights = backward(case.losses(), UPGrad(), compare_at=place).weights
    for p, j, s in zip(case.parameters, jacobian, shared, strict=True):
        if s:
            torch.testing.assert_close(dense(p.grad, p), torch.tensordot(weights.to(j), j, 1))


# --- complex numbers -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(BALANCERS))
def test_a_complex_parameter_is_worth_two_real_ones(name):
    cls = BALANCERS[name]
    torch.manual_seed(0)
    start = torch.randn(2, 3, 2, dtype=torch.float64)
    x = torch.randn(3, 4, dtype=torch.cdouble)

    def losses(weight: Tensor) -> list[Tensor]:
        z = (weight @ x).abs()
        return [(z - k).square().mean() + z[0].sum() * k for k in range(3)]

    found = []
    for kind in ("real", "complex"):
        value = start.clone() if kind == "real" else torch.view_as_complex(start.clone())
        parameter = nn.Parameter(value)

        def of_all(parameter: Tensor = parameter) -> list[Tensor]:
            both = parameter if parameter.is_complex() else torch.view_as_complex(parameter)
            return losses(both)

        balancer = cls(**getattr(cls, "example", {}))
        balancer.bind(3)
        if kind == "complex" and cls.needs in (Needs.HELD_OUT, Needs.NEARBY):
            with pytest.raises(InvalidInputError, match="not defined for complex parameters"):
                backward(of_all(), balancer, train=of_all, held_out=of_all)
            return
        options = {"extra": of_all, "train": of_all, "held_out": of_all, "shared": [parameter]}
        for _ in range(2):
            parameter.grad = None
            step = backward(of_all(), balancer, **options)
        found.append((real(parameter.grad), step.weights))
    torch.testing.assert_close(found[0][0], found[1][0])
    if found[0][1] is not None:
        torch.testing.assert_close(found[0][1], found[1][1])


@pytest.mark.parametrize("gradient_method", GRADIENT_METHODS)
def test_the_gramian_of_complex_gradients_takes_the_conjugate(gradient_method):
    weight = nn.Parameter(torch.ones(2, dtype=torch.cfloat))
    losses = [weight.real[0] * 1.0, weight.imag[0] + 0.5 * weight.real[0]]
    step = backward(losses, UPGrad(), gradient_method=gradient_method, shared=[weight])
    torch.testing.assert_close(step.gramian, torch.tensor([[1.0, 0.5], [0.5, 1.25]]).double())
    assert step.conflicts == []


# --- sparse tables -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{}, {"gradient_method": "layerwise"}, {"compare_at": "features"}]
)
def test_a_sparse_table_keeps_a_sparse_gradient_and_adds_up(options):
    case = with_sparse_tables(3, own=True)
    tables = [case.net["table"], case.net["bag"], *case.net["tables"]]
    for _ in range(2):
        backward(case.losses(), UPGrad(), **options)
        assert all(table.weight.grad.is_sparse for table in tables)
    twice = [table.weight.grad.to_dense() for table in tables]
    case.net.zero_grad()
    backward(case.losses(), UPGrad(), **options)
    for table, g in zip(tables, twice, strict=True):
        torch.testing.assert_close(2 * table.weight.grad.to_dense(), g)
    torch.optim.SparseAdam([table.weight for table in tables]).step()


def test_sparse_and_dense_gradients_add_up():
    case = with_sparse_tables(3)
    weight = case.net["table"].weight
    backward(case.losses(), GradDrop(seed=1))
    first = weight.grad.clone()
    assert not first.is_sparse
    weight.grad = None
    backward(case.losses(), UPGrad())
    second = weight.grad.to_dense()
    backward(case.losses(), GradDrop(seed=1))
    torch.testing.assert_close(weight.grad, first + second)


# --- checkpoints ---------------------------------------------------------------------------------


@pytest.mark.parametrize("balancer", [UPGrad(), GradDrop(), Equal()])
@pytest.mark.parametrize("t", [2, 3, 9])
def test_a_checkpointed_block_is_computed_anew_once_a_task(t, balancer):
    case = with_checkpoints(t)
    calls = [0]

    def count(*_: object) -> None:
        calls[0] += 1

    losses = case.losses()
    for block in case.net["blocks"]:
        block[0].register_forward_hook(count)
    backward(losses, balancer)
    assert calls[0] / len(case.net["blocks"]) <= (1 if isinstance(balancer, Equal) else t)


@pytest.mark.parametrize(
    "options, of_block",
    [
        ({"gradient_method": "auto"}, lambda t: [t, t, t]),
        ({"gradient_method": "per_task"}, lambda t: [t, t, t]),
        ({"gradient_method": "ghost"}, lambda t: [t, t, t]),
        ({"gradient_method": "batched"}, lambda t: [1, 1, 1]),
        # the weighted pass is one more
        ({"gradient_method": "layerwise"}, lambda t: [t + 1, t + 1, t + 1]),
        ({"compare_at": "features"}, lambda t: [1, 1, 1]),
        ({"compare_at": "last_shared_layer"}, lambda t: [1, 1, t + 1]),
    ],
)
@pytest.mark.parametrize("t", [2, 3])
def test_how_often_each_checkpointed_block_is_computed_anew(t, options, of_block):
    """The counts that docs/engine.md gives; the first block is next to the input."""
    case = with_checkpoints(t, dropout=0.0)
    calls = [0, 0, 0]
    losses = case.losses()
    for i, block in enumerate(case.net["blocks"]):

        def count(*_: object, i: int = i) -> None:
            calls[i] += 1

        block[0].register_forward_hook(count)
    backward(losses, UPGrad(), **options)
    assert calls == of_block(t)


def with_selective_checkpoints(t: int) -> Case:
    keep = partial(create_selective_checkpoint_contexts, [torch.ops.aten.addmm.default])
    return with_checkpoints(t, dropout=0.0, context_fn=keep)


@pytest.mark.parametrize(
    "balancer, options",
    [
        (Equal, {}),
        (UPGrad, {"gradient_method": "batched"}),
        (UPGrad, {"compare_at": "features"}),
        (GradDrop, {"gradient_method": "batched"}),
    ],
)
def test_selective_checkpoints_take_one_pass(balancer, options):
    found = []
    for case in (with_selective_checkpoints(3), with_checkpoints(3, dropout=0.0, used=False)):
        backward(case.losses(), balancer(), **options)
        found.append([p.grad for p in case.parameters])
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("balancer", [UPGrad(), GradDrop()])
@pytest.mark.parametrize("gradient_method", ["auto", "per_task", "ghost", "layerwise"])
def test_selective_checkpoints_refuse_a_pass_per_task(balancer, gradient_method):
    case = with_selective_checkpoints(3)
    message = (
        "^A selective activation checkpoint can be computed anew only once a step, this way takes "
        'a pass per task. Pass `gradient_method="batched"`, or take plain checkpoints'
    )
    with pytest.raises(InvalidInputError, match=message):
        backward(case.losses(), balancer, gradient_method=gradient_method)


@pytest.mark.parametrize("balancer", [UPGrad(), GradDrop()])
def test_a_parameter_that_is_a_sparse_tensor_is_refused(balancer):
    weight = nn.Parameter(torch.eye(4, dtype=torch.float64).to_sparse())
    z = torch.sparse.mm(weight, torch.randn(4, 3, dtype=torch.float64))
    message = "^A parameter is a sparse tensor, .* Keep its values as a dense parameter"
    with pytest.raises(InvalidInputError, match=message):
        backward([z.square().mean(), z.mean()], balancer)
    assert weight.grad is None


@pytest.mark.parametrize("kind", ["sparse", "checkpoints"])
@pytest.mark.parametrize(
    "name", [n for n, c in BALANCERS.items() if c.needs in (Needs.HELD_OUT, Needs.NEARBY)]
)
def test_methods_that_compute_losses_again_take_checkpoints_and_sparse_tables(name, kind):
    found = []
    for used in (True, False):
        if kind == "sparse":
            case = with_sparse_tables(3)
            case.net["table"].sparse = case.net["bag"].sparse = used
        else:
            case = with_checkpoints(3, dropout=0.0, used=used)
        balancer = BALANCERS[name](**getattr(BALANCERS[name], "example", {}))
        balancer.bind(3)
        for _ in range(2):
            case.net.zero_grad()
            options = {"train": case.losses, "held_out": lambda case=case: case.losses()[::-1]}
            step = backward(case.losses(), balancer, **options)
        found.append((step.weights, [dense(p.grad, p) for p in case.parameters]))
    torch.testing.assert_close(found[0][0], found[1][0])
    for one, other in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(one, other)
