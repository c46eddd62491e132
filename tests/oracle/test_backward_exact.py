"""The gradients of `backward` against a naive computation by one full backward pass per task."""

from __future__ import annotations

import copy

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

WAYS = ("auto", "per_task", "batched", "ghost", "layerwise")


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


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", NETWORKS)
def test_gramian_weighting_equals_the_naive_computation(kind, way):
    for balancer in (Peculiar(), MGDA(), Everything()):
        torch.manual_seed(1)
        net, losses = NETWORKS[kind]()
        wanted = naive(net, losses(), copy.deepcopy(balancer))
        step = backward(losses(), balancer=balancer, way=way)
        check(net, wanted)
        assert step.gramian is not None
        if way == "layerwise":
            assert step.way == "layerwise"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", NETWORKS)
def test_jacobian_aggregation_equals_the_naive_computation(kind, way):
    torch.manual_seed(1)
    net, losses = NETWORKS[kind]()
    wanted = naive(net, losses(), Middle())
    backward(losses(), balancer=Middle(), way=way)
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
        assert (step.way == "reused") == (expected == "reused")
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
