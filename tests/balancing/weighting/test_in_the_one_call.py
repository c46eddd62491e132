"""Every loss weighting through `backward`: the gradients are those of the reported weights."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from jointrain.balancing import backward, weighting

CLASSES = [getattr(weighting, name) for name in weighting.__all__]
NAMES = ("a", "b", "c")


def network():
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Linear(5, 8), nn.Tanh()).double()
    heads = nn.ModuleDict({name: nn.Linear(8, 1).double() for name in NAMES})
    return nn.ModuleDict({"trunk": trunk, "heads": heads})


def losses_of(model, batch, names):
    x, y = batch
    z = model["trunk"](x)
    return {n: (model["heads"][n](z)[:, 0] - y[NAMES.index(n)]).square().mean() for n in names}


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.name)
def test_gradients_are_those_of_the_weighted_losses(cls):
    model, balancer = network(), cls()
    balancer.bind(NAMES)
    optimizer = torch.optim.SGD([*model.parameters(), *balancer.parameters()], lr=0.05)
    rng = torch.Generator().manual_seed(1)
    for names in (NAMES, ("c", "a"), ("b",), NAMES, NAMES):
        batch = torch.randn(16, 5, generator=rng).double(), torch.randn(3, 16, generator=rng)
        optimizer.zero_grad()
        step = backward(losses_of(model, batch, names), balancer=balancer)
        twin = copy.deepcopy(model)
        twin.zero_grad()
        losses = torch.stack(list(losses_of(twin, batch, names).values()))
        torch.dot(step.weights, losses).backward()
        for p, q in zip(model.parameters(), twin.parameters(), strict=True):
            wanted = torch.zeros_like(p) if q.grad is None else q.grad
            found = torch.zeros_like(p) if p.grad is None else p.grad
            torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)
        optimizer.step()
        if balancer.wants_after_step:
            after = torch.stack(list(losses_of(model, batch, names).values()))
            with balancer.taking_part(balancer.positions_of(names)):
                balancer.after_step(after.detach())
        if balancer.wants_end_epoch:
            balancer.end_epoch()


@pytest.mark.parametrize("scale", [1.0, 8.0])
@pytest.mark.parametrize("cls", [weighting.IMTLL, weighting.Uncertainty], ids=lambda c: c.name)
def test_own_parameters_get_the_gradient_of_the_objective(cls, scale):
    """By autograd, over two passes that add up, one of them without a task."""
    model, balancer = network(), cls(NAMES)
    (parameter,) = balancer.parameters()
    with torch.no_grad():
        parameter.copy_(torch.tensor([0.3, -0.7, 1.1]))
    scaler = torch.amp.GradScaler("cpu", init_scale=scale, enabled=scale != 1.0)
    wanted = torch.zeros(3)
    for names in (NAMES, ("c", "a")):
        losses = losses_of(model, (torch.randn(16, 5).double(), torch.randn(3, 16)), names)
        with balancer.taking_part(balancer.positions_of(names)):
            objective = balancer.objective(torch.stack(list(losses.values())).detach())
        wanted += scale * torch.autograd.grad(objective, parameter)[0]
        backward(losses, balancer=balancer, scaler=scaler)
        torch.testing.assert_close(parameter.grad, wanted, rtol=1e-6, atol=1e-6)
