"""What is written to `.grad` is nobody else's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from jointrain.balancing import BALANCERS, Needs, backward, balancer_from_name
from jointrain.balancing.engine import grad

KINDS = ["equal", "upgrad", "gradnorm", "moco", "graddrop"]


class Known(torch.autograd.Function):
    """A gradient that is known beforehand: the caller's tensor, or one that was saved."""

    @staticmethod
    def forward(ctx, weight: Tensor, known: Tensor, saved: bool) -> Tensor:
        ctx.saved = saved
        if saved:
            ctx.save_for_backward(known)
        else:
            ctx.known = known
        return (weight * known).sum()

    @staticmethod
    def backward(ctx, _: Tensor) -> tuple[Tensor, None, None]:
        return (ctx.saved_tensors[0] if ctx.saved else ctx.known), None, None


class Net(nn.Module):
    """A trunk, a head for each of two tasks, and a parameter of the first task alone."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk, self.heads = nn.Linear(4, 8), nn.ModuleList(nn.Linear(8, 1) for _ in "ab")
        self.own = nn.Parameter(torch.zeros(8))
        self.x = torch.randn(16, 4)

    def losses(self, known: Tensor, *, saved: bool = False) -> list[Tensor]:
        z = self.trunk(self.x).tanh()
        first, second = ((head(z) - k).square().mean() for k, head in enumerate(self.heads))
        return [first + Known.apply(self.own, known, saved), second]


@pytest.mark.parametrize("saved", [False, True])
@pytest.mark.parametrize("name", KINDS)
def test_a_tensor_that_an_operation_returned_stays_the_callers(name, saved):
    known = torch.full((8,), 2.0)
    net = Net()
    backward(net.losses(known, saved=saved), balancer_from_name(name))
    assert net.own.grad.any()
    net.own.grad.zero_()
    assert known.tolist() == [2.0] * 8


@pytest.mark.parametrize("name", KINDS)
def test_what_a_kept_graph_saved_stays_as_it_is(name):
    net, balancer = Net(), balancer_from_name(name)
    losses = net.losses(torch.full((8,), 2.0), saved=True)
    backward(losses, balancer, retain_graph=True)
    net.own.grad.zero_()
    assert torch.autograd.grad(losses[0], net.own)[0].tolist() == [2.0] * 8


@pytest.mark.parametrize("name", KINDS)
def test_what_a_hook_keeps_or_returns_stays_as_it_is(name):
    net, seen, given = Net(), [], torch.ones(1)
    net.heads[0].weight.register_hook(seen.append)
    net.heads[1].bias.register_hook(lambda _: given)
    backward(net.losses(torch.full((8,), 2.0)), balancer_from_name(name))
    before = [x.clone() for x in seen]
    nn.utils.clip_grad_norm_(net.parameters(), 1e-3)
    for ours, theirs in zip(before, seen, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    assert given.tolist() == [1.0]


def test_so_does_that_of_a_penalty_over_batches():
    net, known, balancer = Net(), torch.full((8,), 2.0), balancer_from_name("upgrad")
    unused = nn.Parameter(torch.zeros(8))
    unused.register_post_accumulate_grad_hook(lambda p: p.grad.mul_(2))
    for _ in range(2):
        penalty = Known.apply(unused, known, False)
        losses = [head(net.trunk(net.x)).square().mean() for head in net.heads]
        backward(losses, balancer, penalty=penalty, accumulate="exact")
    assert unused.grad.tolist() == [8.0] * 8
    assert known.tolist() == [2.0] * 8


def test_a_gradient_of_its_own_is_not_copied(monkeypatch):
    net = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Tanh(), nn.Linear(4, 1))
    losses = net(torch.randn(5, 3)).square().mean()
    parameters = list(net.parameters())
    copies = []
    clone = Tensor.clone
    monkeypatch.setattr(Tensor, "clone", lambda x, **more: copies.append(x) or clone(x, **more))
    grad([losses], parameters, [torch.ones(())], retain=False)
    assert not copies


def test_the_kinds_are_all_there():
    assert {BALANCERS[name].needs for name in KINDS} == {
        Needs.LOSSES,
        Needs.GRAMIAN,
        Needs.JACOBIAN,
    }
