"""The device that these tests run on, and a small network on it with the losses of four tasks."""

from __future__ import annotations

import copy
import itertools
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from jointrain.balancing import BALANCERS, BalancedStep, Balancer, backward

DEVICE = os.environ.get("JOINTRAIN_TEST_DEVICE", "cuda")
TASKS = ("a", "b", "c", "d")
METHODS = sorted(BALANCERS)

needs_gpu = pytest.mark.skipif(
    DEVICE == "cuda" and not torch.cuda.is_available(), reason="needs a GPU"
)


@pytest.fixture(autouse=True)
def exact_products() -> Iterator[None]:
    """Multiply in float32 proper: TF32 has the digits of half precision."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.manual_seed(0)
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(12, 32), nn.Tanh(), nn.Linear(32, 24), nn.GELU())


def conv() -> nn.Module:
    return nn.Sequential(
        *(nn.Unflatten(1, (3, 2, 2)), nn.Conv2d(3, 8, 3, padding=1), nn.GELU()),
        *(nn.Conv2d(8, 8, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(32, 24), nn.Tanh()),
    )


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block = nn.TransformerEncoderLayer(12, 2, 24, dropout=0.0, batch_first=True)
        self.out = nn.Linear(12, 24)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.block(x[:, None] * torch.linspace(0.5, 1.5, 5).to(x)[:, None]).mean(1))


TRUNKS: dict[str, Callable[[], nn.Module]] = {"mlp": mlp, "conv": conv, "attention": Attention}


class Net(nn.Module):
    """A trunk with four heads whose losses differ in size and pull in different directions."""

    def __init__(self, trunk: str = "mlp", *, checkpointed: bool = False) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(7)
        torch.manual_seed(3)
        self.trunk = TRUNKS[trunk]()
        self.heads = nn.ModuleList(nn.Linear(24, 1) for _ in TASKS)
        self.checkpointed = checkpointed
        self.batches = [
            (torch.randn(32, 12, generator=generator), torch.randn(4, 32, generator=generator))
            for _ in range(6)
        ]

    def features(self, number: int) -> Tensor:
        like = next(self.parameters())
        x = self.batches[number % 6][0].to(like)
        return (
            checkpoint(self.trunk, x, use_reentrant=False) if self.checkpointed else self.trunk(x)
        )

    def losses(self, number: int, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
        like = next(self.parameters())
        with torch.autocast(like.device.type, dtype, enabled=dtype is not None):
            z = self.features(number)
            outputs = [head(z)[:, 0] for head in self.heads]
        kind = torch.float64 if like.dtype == torch.float64 else torch.float32
        targets = self.batches[number % 6][1].to(like)
        return {
            task: (1 + k) * functional.mse_loss(out.to(kind), targets[k].to(kind))
            for k, (task, out) in enumerate(zip(TASKS, outputs, strict=True))
        }


def build(name: str, **options: Any) -> Balancer:
    # at its default, 10, rounding is enough to lead SDMGrad's inner steps elsewhere
    calm = {"step_size": 0.1} if name == "sdmgrad" else {}
    balancer = BALANCERS[name](**getattr(BALANCERS[name], "example", {}) | calm | options)
    balancer.bind(TASKS)
    return balancer


def pair(trunk: str = "mlp") -> tuple[Net, Net]:
    """Return the same network on the device in float32 and on the CPU in float64."""
    net = Net(trunk)
    return copy.deepcopy(net).to(DEVICE), net.double()


def step(
    net: Net, balancer: Balancer, number: int, dtype: torch.dtype | None = None, **options: Any
) -> BalancedStep:
    further = itertools.count(number + 1)
    for module in (net, balancer):
        module.zero_grad()
    return backward(
        net.losses(number, dtype),
        balancer,
        extra=lambda: net.losses(next(further), dtype),
        train=lambda: net.losses(number, dtype),
        held_out=lambda: net.losses(number + 1, dtype),
        **options,
    )


def flat(*modules: nn.Module) -> Tensor:
    """Return all gradients as one vector in float64 on the CPU."""
    found = [p.grad for module in modules for p in module.parameters() if p.grad is not None]
    return torch.cat([g.detach().cpu().double().flatten() for g in found])


def distance(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm().clamp_min(1e-12))
