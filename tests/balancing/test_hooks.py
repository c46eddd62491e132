"""Hooks that change gradients: as in plain passes, wherever the engine takes gradients from."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from jointrain.balancing import backward
from tests.balancing._plain_passes import Case
from tests.balancing._weigh_by_position import GRADIENT_METHODS, Fixed

ROWS = 40  # more than the layers are wide, so that output gradients don't pay by themselves


def double(gradient: Tensor) -> Tensor:
    return 2 * gradient


class Net(nn.Module):
    """A lookup, a convolution and two layers, all of whose outputs may have hooks."""

    def __init__(self, t: int) -> None:
        super().__init__()
        self.table = nn.Embedding(5, 6)
        self.filter = nn.Conv2d(1, 3, (1, 3), padding=(0, 1))
        self.lower, self.upper = nn.Linear(6, 7), nn.Linear(7, 7)
        self.scale = nn.Parameter(torch.randn(7))
        self.heads = nn.ModuleList(nn.Linear(7, 1) for _ in range(t))


def hooked(t: int, place: str) -> Case:
    torch.manual_seed(0)
    net = Net(t).double()
    x = torch.randn(ROWS, 6, dtype=torch.float64)
    rows = torch.randint(0, 5, (ROWS,))
    if place == "parameter":
        net.lower.weight.register_hook(double)
    if place == "parameter that heads start from":
        net.scale.register_hook(double)

    def losses() -> list[Tensor]:
        found = []
        steps = {"lookup": x + net.table(rows)}
        steps["convolution"] = net.filter(steps["lookup"][:, None, None]).sum((1, 2))
        steps["lower layer"] = net.lower(steps["convolution"])
        steps["upper layer"] = net.upper(steps["lower layer"].tanh())
        steps["features"] = steps["upper layer"].tanh()
        for k, head in enumerate(net.heads):
            linear_first = place in ("head", "features of linear heads")
            z = steps["features"] if linear_first else steps["features"].sin() * net.scale
            output = head(z)
            if place == "head":
                output.register_hook(double)
            found.append((output - k).square().mean())
            if place == "loss":
                found[-1].register_hook(double)
        if place in ("features of linear heads", *steps):
            steps[place if place in steps else "features"].register_hook(double)
        return found

    return Case(net, losses)


PLACES = (
    "lookup",
    "convolution",
    "lower layer",
    "upper layer",
    "features",
    "features of linear heads",
    "head",
    "loss",
    "parameter",
    "parameter that heads start from",
)


@pytest.mark.parametrize("gradient_method", GRADIENT_METHODS)
@pytest.mark.parametrize("t", [2, 5, 9])
@pytest.mark.parametrize("place", PLACES)
def test_a_hook_changes_gradients_once_as_in_plain_passes(place, t, gradient_method):
    hooked(t, place).check(Fixed(), gradient_method=gradient_method)


@pytest.mark.parametrize("compare_at", ["shared", "features"])
def test_features_that_are_named_may_have_hooks(compare_at):
    torch.manual_seed(0)
    trunk, heads = nn.Linear(6, 7), nn.ModuleList(nn.Linear(7, 1) for _ in range(4))
    x = torch.randn(ROWS, 6)

    def run(*, hook: bool) -> Tensor:
        z = trunk(x)
        if hook:
            z.register_hook(double)
        losses = [head(z.sin()).square().mean() for head in heads]
        trunk.zero_grad()
        backward(losses, Fixed(), features=z, compare_at=compare_at)
        return trunk.weight.grad.clone()

    torch.testing.assert_close(run(hook=True), 2 * run(hook=False))


def test_hooks_on_own_parameters_see_the_plain_gradient_where_weights_are_reused():
    torch.manual_seed(0)
    trunk = nn.Linear(6, 7)
    heads = nn.ModuleList(nn.Sequential(nn.Tanh(), nn.Linear(7, 1)) for _ in range(4))
    for parameter in heads.parameters():
        parameter.register_hook(lambda gradient: gradient.clamp(-1e-2, 1e-2))
    x = torch.randn(ROWS, 6)
    balancer, found = Fixed(), []
    for _ in range(2):
        trunk.zero_grad()
        heads.zero_grad()
        losses = [(head(trunk(x)) - k).square().mean() for k, head in enumerate(heads)]
        backward(losses, balancer, refresh_every=2)
        found.append([p.grad for p in heads.parameters()])
    torch.testing.assert_close(*found)


def test_hooks_on_shared_parameters_see_each_tasks_gradient_layer_by_layer():
    case = hooked(4, "nowhere")
    case.net.lower.weight.register_hook(lambda gradient: gradient.clamp(-1e-2, 1e-2))
    case.check(Fixed(), gradient_method="layerwise")
