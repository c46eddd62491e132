"""The gradients of `backward` against a naive computation by one full backward pass per task."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from torch import Tensor

from jointrain.balancing import (
    MGDA,
    Direction,
    Equal,
    GramianWeighting,
    JacobianAggregation,
    Uncertainty,
    backward,
)
from tests.balancing._networks import NETWORKS

# gradients of several calls add up in these tests
backward = partial(backward, accumulate="per-batch")

GRADIENT_METHODS = ("auto", "per_task", "batched", "ghost", "layerwise")


class Peculiar(GramianWeighting):
    """Weigh by a formula that every entry of the Gramian and every loss takes part in."""

    name = "peculiar"

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:
        unit = gramian.diagonal().sqrt()
        return (
            0.3
            + losses
            + (gramian / (1e-12 + unit.outer(unit))) @ torch.arange(len(losses)).to(gramian)
        )


class Everything(Peculiar):
    """The same, with the task-specific parameters weighted and the losses' logarithm balanced."""

    weighs_task_parameters = True

    def transform(self, losses: Tensor) -> Tensor:
        return torch.log1p(losses)


class Middle(JacobianAggregation):
    """Take the coordinate-wise median."""

    name = "middle"
    blockwise = True

    def aggregate(self, blocks, losses):
        return Direction([b.median(0).values + b[0] * losses[0].to(b) for b in blocks])


def naive(net, losses: dict[str, Tensor], balancer) -> dict[str, Tensor]:
    """Return the gradients by name, from one backward pass per task."""
    named = dict(net.named_parameters())
    values = [balancer.transform(loss) for loss in losses.values()]
    per_task = [
        torch.autograd.grad(v, list(named.values()), retain_graph=True, allow_unused=True)
        for v in values
    ]
    reached = {n: sum(g[i] is not None for g in per_task) for i, n in enumerate(named)}
    rows = {
        n: torch.stack([torch.zeros_like(p) if g[i] is None else g[i] for g in per_task])
        for i, (n, p) in enumerate(named.items())
    }
    shared = [n for n in named if reached[n] > 1]
    detached = torch.stack(values).detach()
    if isinstance(balancer, GramianWeighting):
        matrix = torch.cat([rows[n].flatten(1) for n in shared], 1)
        weights = balancer.weights(matrix @ matrix.T, detached)
        update = {n: torch.tensordot(weights, rows[n], 1) for n in shared}
    else:
        weights = torch.ones(len(values))
        blocks = balancer.aggregate([rows[n] for n in shared], detached).blocks
        update = dict(zip(shared, blocks, strict=True))
    weigh = weights if balancer.weighs_task_parameters else torch.ones_like(detached)
    for n in named:
        if reached[n] == 1:
            update[n] = torch.tensordot(weigh.to(detached), rows[n], 1)
    return update


def check(net, wanted: dict[str, Tensor], factor: float = 1.0, rtol: float = 1e-9) -> None:
    for name, parameter in net.named_parameters():
        if name not in wanted:
            assert parameter.grad is None, name
            continue
        assert parameter.grad is not None, name
        torch.testing.assert_close(
            parameter.grad, factor * wanted[name], rtol=rtol, atol=1e-12, msg=name
        )


@pytest.mark.parametrize("gradient_method", GRADIENT_METHODS)
@pytest.mark.parametrize("kind", NETWORKS)
def test_gramian_weighting_equals_the_naive_computation(kind, gradient_method):
    for balancer in (Peculiar(), MGDA(), Everything()):
        torch.manual_seed(1)
        net, losses = NETWORKS[kind]()
        wanted = naive(net, losses(), copy.deepcopy(balancer))
        step = backward(losses(), balancer=balancer, gradient_method=gradient_method)
        check(net, wanted)
        assert step.gramian is not None
        if gradient_method == "layerwise":
            assert step.gradient_method == "layerwise"


@pytest.mark.parametrize("gradient_method", GRADIENT_METHODS)
@pytest.mark.parametrize("kind", NETWORKS)
def test_jacobian_aggregation_equals_the_naive_computation(kind, gradient_method):
    torch.manual_seed(1)
    net, losses = NETWORKS[kind]()
    wanted = naive(net, losses(), Middle())
    backward(losses(), balancer=Middle(), gradient_method=gradient_method)
    check(net, wanted)


@pytest.mark.parametrize("kind", NETWORKS)
def test_gradients_accumulate_and_absent_tasks_are_left_out(kind):
    torch.manual_seed(1)
    net, losses = NETWORKS[kind]()
    everything, some = losses(), losses()
    some.pop("task 1")
    first = naive(net, everything, Peculiar())
    second = naive(net, some, Peculiar())
    backward(losses(), balancer=Peculiar())
    less = losses()
    less.pop("task 1")
    step = backward(less, balancer=Peculiar())
    assert step.tasks == ("task 0", "task 2")
    wanted = {n: g + second.get(n, 0.0) for n, g in first.items()}
    check(net, wanted)


@pytest.mark.parametrize("kind", NETWORKS)
def test_reused_weights_and_the_plain_sum_are_exact(kind):
    torch.manual_seed(1)
    net, losses = NETWORKS[kind]()
    balancer = Peculiar()
    wanted = naive(net, losses(), Peculiar())
    for expected in ("fresh", "reused", "reused", "fresh"):
        net.zero_grad()
        step = backward(losses(), balancer=balancer, refresh_every=3)
        assert (step.gradient_method == "reused") == (expected == "reused")
        if kind != "conv":
            check(net, wanted)
    net.zero_grad()
    backward(losses(), balancer=Equal())
    got = {n: p.grad.clone() for n, p in net.named_parameters() if p.grad is not None}
    net.zero_grad()
    sum(losses().values()).backward()
    check(net, got)


@pytest.mark.parametrize("kind", ["mlp", "conv", "attention", "partly_shared"])
def test_named_shared_parameters_give_the_same(kind):
    torch.manual_seed(1)
    net, losses = NETWORKS[kind]()
    wanted = naive(net, losses(), Peculiar())
    shared = [p for n, p in net.named_parameters() if "heads" not in n]
    backward(losses(), balancer=Peculiar(), shared=shared)
    check(net, wanted)


def test_the_plain_loss_weighting_moves_its_own_parameters():
    torch.manual_seed(1)
    _, losses = NETWORKS["mlp"]()
    balancer = Uncertainty(["task 0", "task 1", "task 2"])
    step = backward(losses(), balancer=balancer)
    assert torch.allclose(step.weights, torch.full((3,), 0.5, dtype=torch.float64))
    assert balancer.log_variance.grad is not None


def test_a_compiled_trunk_gives_the_naive_gradients():
    torch.manual_seed(1)
    net, losses = NETWORKS["conv"]()
    wanted = naive(net, losses(), Peculiar())
    torch.compiler.reset()
    net.trunk.compile(backend="aot_eager")
    with torch._functorch.config.patch(donated_buffer=False):
        backward(losses(), balancer=Peculiar())
    torch.compiler.reset()
    check(net, wanted)


def half_precision_losses(device: torch.device, dtype: torch.dtype):
    """Return a float32 network and its losses under autocast, with their dtype float32 again."""
    torch.manual_seed(1)
    net, _ = NETWORKS["mlp"](n=16)
    net.float().to(device)
    x, y = torch.randn(16, 5, device=device), torch.randn(3, 16, device=device)

    def losses() -> dict[str, Tensor]:
        with torch.autocast(device.type, dtype):
            z = net.trunk(x)
            found = [head(z).squeeze(-1) for head in net.heads]
        return {
            f"task {k}": torch.nn.functional.mse_loss(o.float(), target)
            for k, (o, target) in enumerate(zip(found, y, strict=True))
        }

    return net, losses


@pytest.mark.parametrize("gradient_method", ["auto", "per_task", "layerwise"])
def test_under_bf16_autocast_it_is_what_one_pass_per_task_gives(gradient_method, device):
    net, losses = half_precision_losses(device, torch.bfloat16)
    wanted = naive(net, losses(), Peculiar())
    backward(losses(), balancer=Peculiar(), gradient_method=gradient_method)
    # the same passes, but weights from a float32 Gramian; the weighted pass rounds once more
    for name, parameter in net.named_parameters():
        limit = 1e-5 if gradient_method == "per_task" else 2e-2
        error = (parameter.grad - wanted[name]).norm() / wanted[name].norm()
        assert float(error) < limit, name


@pytest.mark.parametrize("balancer", [Peculiar, Middle, Equal])
def test_with_fp16_and_a_grad_scaler_the_step_is_the_unscaled_one(balancer, device):
    net, losses = half_precision_losses(device, torch.float16)
    scaler = torch.amp.GradScaler(device.type, init_scale=2.0**12)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    start = {n: p.detach().clone() for n, p in net.named_parameters()}
    wanted = plain_sum(net, losses()) if balancer is Equal else naive(net, losses(), balancer())
    step = backward(losses(), balancer=balancer(), scaler=scaler)
    assert not step.overflow
    scaler.step(optimizer)
    scaler.update()
    for name, parameter in net.named_parameters():
        moved = (start[name] - parameter.detach()) / 0.1
        assert float((moved - wanted[name]).norm() / wanted[name].norm()) < 2e-2, name


@pytest.mark.parametrize("balancer", [Peculiar, Middle, Equal])
def test_an_overflow_in_fp16_skips_the_step_and_lowers_the_scale(balancer, device):
    net, losses = half_precision_losses(device, torch.float16)
    scaler = torch.amp.GradScaler(device.type, init_scale=2.0**30)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    start = {n: p.detach().clone() for n, p in net.named_parameters()}
    backward(losses(), balancer=balancer(), scaler=scaler)
    scaler.step(optimizer)
    scaler.update()
    assert scaler.get_scale() == 2.0**29
    for name, parameter in net.named_parameters():
        assert torch.equal(parameter.detach(), start[name])


def plain_sum(net, losses: dict[str, Tensor]) -> dict[str, Tensor]:
    named = dict(net.named_parameters())
    found = torch.autograd.grad(sum(losses.values()), list(named.values()))
    return dict(zip(named, found, strict=True))


@pytest.mark.parametrize("kind", ["mlp", "attention", "multi_input"])
def test_micro_batches_with_other_tasks_accumulate(kind):
    """Two micro-batches of the same data, the second without a task, gradients halved."""
    torch.manual_seed(1)
    net, losses = NETWORKS[kind]()
    first = naive(net, {n: v / 2 for n, v in losses().items()}, MGDA())
    some = {n: v / 2 for n, v in losses().items() if n != "task 2"}
    second = naive(net, some, MGDA())
    backward({n: v / 2 for n, v in losses().items()}, MGDA())
    backward({n: v / 2 for n, v in losses().items() if n != "task 2"}, MGDA())
    check(net, {n: g + second.get(n, 0.0) for n, g in first.items()})
