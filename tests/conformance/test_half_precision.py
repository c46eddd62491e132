"""Every method under autocast, in bfloat16 and in float16 with a GradScaler, against float32.

Half precision has some three digits; what a method makes of the gradients may have two.
"""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from jointrain.balancing import BALANCERS, BalancedStep, Balancer, backward

METHODS = sorted(BALANCERS)
PRECISIONS = {"bfloat16": torch.bfloat16, "float16": torch.float16}
SCALE = 2.0**12


class Net(nn.Module):
    """A trunk with three heads whose losses differ in size."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.trunk = nn.Sequential(
            nn.Linear(16, 64), nn.GELU(), nn.LayerNorm(64), nn.Linear(64, 64)
        )
        self.heads = nn.ModuleList(nn.Linear(64, 1) for _ in range(3))
        self.batches = [(torch.randn(64, 16), torch.randn(3, 64)) for _ in range(3)]

    def losses(self, batch: int, dtype: torch.dtype | None) -> dict[str, Tensor]:
        x, y = self.batches[batch]
        with torch.autocast("cpu", dtype, enabled=dtype is not None):
            z = self.trunk(x)
            outputs = [head(z)[:, 0] for head in self.heads]
        return {
            f"task {k}": (1 + k) * (out.float() - y[k]).square().mean()
            for k, out in enumerate(outputs)
        }


def build(name: str) -> Balancer:
    balancer = BALANCERS[name](**getattr(BALANCERS[name], "example", {}))
    balancer.bind(["task 0", "task 1", "task 2"])
    return balancer


def step(net: Net, balancer: Balancer, dtype: torch.dtype | None, **options) -> BalancedStep:
    further = iter((1, 2))
    return backward(
        net.losses(0, dtype),
        balancer,
        extra=lambda: net.losses(next(further), dtype),
        train=lambda: net.losses(0, dtype),
        held_out=lambda: net.losses(1, dtype),
        **options,
    )


def flat(module: nn.Module) -> Tensor:
    found = [p.grad.flatten() for p in module.parameters() if p.grad is not None]
    return torch.cat(found) if found else torch.zeros(1)


def distance(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm().clamp_min(1e-12))


@pytest.mark.parametrize("way", ["auto", "ghost"])
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", METHODS)
def test_weights_and_updates_are_those_of_float32(name, precision, way):
    """Two steps, so that methods that remember are tried on what they remember, too."""
    dtype = PRECISIONS[precision]
    scaler = torch.amp.GradScaler("cpu", init_scale=SCALE, enabled=precision == "float16")
    net, balancer = Net(), build(name)
    other_net, other = copy.deepcopy(net), copy.deepcopy(balancer)
    limit = _SENSITIVE.get(name, 0.03)
    for _ in range(2):
        for module in (net, other_net, balancer, other):
            module.zero_grad()
        wanted = step(other_net, other, None, way=way)
        got = step(net, balancer, dtype, scaler=scaler, way=way)
        assert not got.overflow
        scale = SCALE if precision == "float16" else 1.0
        if wanted.weights is not None:
            assert distance(got.weights, wanted.weights) < limit, (got.weights, wanted.weights)
        if wanted.gramian is not None:
            assert distance(got.gramian, wanted.gramian) < 0.03
        assert distance(flat(net) / scale, flat(other_net)) < limit
        assert distance(flat(balancer) / scale, flat(other)) < 0.03
        assert all(p.grad is None or p.grad.dtype == p.dtype for p in net.parameters())


# what the first two take of each number depends on its sign or rank among the tasks; the last
# goes twenty steps to and fro between corners of the simplex
_SENSITIVE = {"graddrop": 0.1, "trimmed-mean": 0.1, "sdmgrad": 0.06}


@pytest.mark.parametrize("name", METHODS)
def test_the_scaler_steps_as_it_would_without_scale(name):
    """Under one precision, the scale itself changes nothing but rounding."""
    net, balancer = Net(), build(name)
    other_net, other = copy.deepcopy(net), copy.deepcopy(balancer)
    optimizers = [
        torch.optim.SGD([*m.parameters(), *b.parameters()], 0.1)
        for m, b in ((net, balancer), (other_net, other))
    ]
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**20)
    for _ in range(2):
        for optimizer in optimizers:
            optimizer.zero_grad()
        step(net, balancer, None, scaler=scaler)
        step(other_net, other, None)
        scaler.step(optimizers[0])
        scaler.update()
        optimizers[1].step()
    for mine, theirs in zip(net.parameters(), other_net.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-5)
    for mine, theirs in zip(balancer.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-5)
