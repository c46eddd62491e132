"""What methods make of gradients that are finite: of any length, or it is said what is wrong."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from jointrain.balancing import (
    FORUM,
    MOML,
    BilevelProblem,
    BilevelWeighting,
    ConsMTL,
    Direction,
    GCond,
    GramianWeighting,
    JacobianAggregation,
    LossWeighting,
    MoCo,
    backward,
)
from jointrain.errors import NonFiniteError


class Net(nn.Module):
    """A trunk and five heads."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Linear(3, 4)
        self.heads = nn.ModuleList(nn.Linear(4, 1) for _ in range(5))
        self.to(dtype)

    def losses(self, scale: float, *, seed: int = 0) -> list[Tensor]:
        rows = torch.randn(6, 3, generator=torch.Generator().manual_seed(seed))
        z = self.trunk(rows.to(self.trunk.weight)).tanh()
        return [(head(z) - k).square().mean() * scale for k, head in enumerate(self.heads)]

    def gradient(self) -> Tensor:
        return torch.cat([p.grad.flatten() for p in self.parameters() if p.grad is not None])


def run(balancer, scale: float, dtype: torch.dtype, steps: int = 3) -> Tensor:
    """Return the gradients of several steps over the scale."""
    found = []
    for seed in range(steps):
        net = Net(dtype)
        backward(
            net.losses(scale, seed=seed),
            balancer,
            train=lambda net=net, seed=seed: net.losses(scale, seed=seed),
            held_out=lambda net=net, seed=seed: net.losses(scale, seed=seed + 9),
        )
        found.append(net.gradient().double() / scale)
    return torch.cat(found)


# powers of two, which leave all digits as they are: near-ties of a method stay what they are
@pytest.mark.parametrize("scale", [2.0**-83, 2.0**-70, 2.0**73])
@pytest.mark.parametrize("build", [GCond, MoCo, lambda: ConsMTL(strength=0.1)])
def test_float32_gradients_of_any_length_give_what_those_of_float64_give(build, scale):
    wanted = run(build(), scale, torch.float64)
    found = run(build(), scale, torch.float32)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scale", [2.0**-83, 2.0**-70, 2.0**70])
@pytest.mark.parametrize("kind", [FORUM, MOML])
def test_held_out_float32_gradients_of_any_length_do_so_too(kind, scale):
    options = {
        "step_size": 0.1,
        "inner_step_size": 0.1 / scale,
    }  # lest the parameters go far, or nowhere
    wanted = run(kind(**options), scale, torch.float64)
    found = run(kind(**options), scale, torch.float32)
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)


def test_a_step_of_the_weights_that_is_not_finite_is_said_so():
    net = Net(torch.float64)
    with pytest.raises(NonFiniteError, match="step of the weights"):
        backward(net.losses(1e170), MoCo())
    assert net.trunk.weight.grad is None


class _Weighs(GramianWeighting):
    name = "weighs"

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:
        return torch.full_like(losses, math.nan)


class _Aggregates(JacobianAggregation):
    name = "aggregates"

    def aggregate(self, blocks, losses: Tensor) -> Direction:
        return Direction([block.sum(0) / 0.0 for block in blocks])


class _WeighsInfinitely(_Aggregates):
    name = "weighs-infinitely"

    def aggregate(self, blocks, losses: Tensor) -> Direction:
        weights = torch.full_like(losses, math.inf)
        return Direction([block.sum(0) for block in blocks], weights)


class _WeighsLosses(LossWeighting):
    name = "weighs-losses"

    def objective(self, losses: Tensor) -> Tensor:
        return (losses * math.nan).sum()


class _AddsGradients(BilevelWeighting):
    name = "adds-gradients"

    def weights(self, problem: BilevelProblem) -> Tensor:
        problem.add_gradient([torch.full_like(p, math.nan) for p in problem.parameters])
        return torch.ones(len(problem.losses))


@pytest.mark.parametrize(
    "kind", [_Weighs, _Aggregates, _WeighsInfinitely, _WeighsLosses, _AddsGradients]
)
def test_what_a_method_makes_is_looked_at_before_it_is_written(kind):
    net = Net(torch.float32)
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    with pytest.raises(
        NonFiniteError if kind is not _AddsGradients else ValueError, match=kind.__name__
    ):
        backward(
            net.losses(1.0), kind(), accumulate="per-batch", train=lambda: net.losses(1.0),
            held_out=lambda: net.losses(1.0),
        )  # fmt: skip
    assert all(bool((p.grad == 1.0).all()) for p in net.parameters())
