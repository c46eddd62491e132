"""Where passes may stop: at nodes that are all that leads on."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from jointrain.balancing.engine._prepare import prepare
from jointrain.balancing.engine._step import Step


class Residual(nn.Module):
    def __init__(self, inner: nn.Module, *, again: bool = False) -> None:
        super().__init__()
        self.inner, self.again = inner, again

    def forward(self, x: Tensor) -> Tensor:
        return x + (checkpoint(self.inner, x, use_reentrant=False) if self.again else self.inner(x))


def block(*, again: bool = False) -> Residual:
    return Residual(nn.Sequential(nn.Linear(20, 20), nn.Tanh(), nn.Linear(20, 20)), again=again)


def step_through(trunk: nn.Module, x: Tensor, t: int = 3) -> Step:
    z = trunk(x)
    losses = [head(z).square().mean() for head in (nn.Linear(20, 1) for _ in range(t))]
    step = prepare(losses)
    step.factors = [torch.ones(()) for _ in losses]
    step.gradient_method = "layerwise"
    return step


def sizes(step: Step) -> list[int]:
    plan = step.plan()
    assert plan is not None
    found = [sum(leaf.tensor.numel() for leaf in s.leaves) for s in plan.segments]
    assert sum(found) == sum(leaf.tensor.numel() for leaf in step.shared)
    return found


def test_layers_in_a_row_are_cut_apart():
    trunk = nn.Sequential(*(m for _ in range(3) for m in (nn.Linear(20, 20), nn.Tanh())))
    assert sizes(step_through(trunk, torch.randn(2, 20))) == [420, 420, 420]


def test_cuts_lie_between_residual_blocks_and_not_inside_of_them():
    step = step_through(nn.Sequential(block(), block(), block()), torch.randn(2, 20))
    # the lowest has nothing to skip to: its input needs no gradient
    assert sizes(step) == [840, 840, 420, 420]


def test_checkpoints_are_never_cut_and_always_cut_apart():
    step = step_through(nn.Sequential(*(block(again=True) for _ in range(3))), torch.randn(900, 20))
    assert sizes(step) == [840, 840, 840]
    assert all(segment.whole for segment in step.plan().segments)
    apart = step_through(nn.Sequential(*(block() for _ in range(3))), torch.randn(900, 20))
    assert len(sizes(apart)) == 1  # what is carried would take more than the parameters


def test_the_lowest_checkpoint_has_a_segment_of_its_own():
    layers = [nn.Sequential(nn.Linear(20, 20, bias=False), nn.Tanh()) for _ in range(4)]

    def trunk(x: Tensor) -> Tensor:
        for layer in layers:
            x = checkpoint(layer, x, use_reentrant=False)
        return x

    assert sizes(step_through(trunk, torch.randn(2, 20))) == [400, 400, 400, 400]


def test_a_layer_that_is_used_twice_stays_in_one_segment():
    tied = nn.Linear(20, 20)
    trunk = nn.Sequential(tied, nn.Tanh(), nn.Linear(20, 20), nn.Tanh(), tied, nn.Tanh(), block())
    assert sizes(step_through(trunk, torch.randn(2, 20))) == [840, 840]  # the block is on top


def test_no_cut_is_where_a_hook_would_be_called_twice():
    lower, upper = nn.Linear(20, 20), nn.Linear(20, 20)
    z = lower(torch.randn(2, 20)).tanh()
    z.register_hook(lambda gradient: 2 * gradient)
    step = step_through(upper, z)
    assert sizes(step) == [420, 420]
    (end,) = step.plan().segments[0].ends
    assert end.node is z.grad_fn.next_functions[0][0]


class Counted(torch.autograd.Function):
    """Hands its input on, and notes how often a pass has come through."""

    calls: ClassVar[list[int]] = []

    @staticmethod
    def forward(ctx, x, number):
        ctx.number = number
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        Counted.calls.append(ctx.number)
        return gradient, None


def test_a_task_passes_every_operation_once():
    layers = [nn.Linear(20, 20) for _ in range(4)]

    def trunk(x: Tensor) -> Tensor:
        for i, layer in enumerate(layers):
            x = Counted.apply(layer(x).tanh(), i)
        return x

    Counted.calls.clear()
    seen: list[int] = []
    step_through(trunk, torch.randn(2, 20)).by_layer(lambda rows: seen.append(len(rows.ordered())))
    assert seen == [2, 2, 2, 2]
    assert sorted(Counted.calls) == sorted([0, 1, 2, 3] * 3)
