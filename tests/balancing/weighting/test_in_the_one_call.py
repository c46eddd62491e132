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
