"""A small network in half and in single precision, and a step of any method on it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from jointrain.balancing import BALANCERS, BalancedStep, Balancer, backward

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


TASKS = ("task 0", "task 1", "task 2")


def build(name: str, tasks: Sequence[str] = TASKS, **options) -> Balancer:
    balancer = BALANCERS[name](**getattr(BALANCERS[name], "example", {}) | options)
    balancer.bind(tasks)
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
