"""A small network in float64, and SAM's gradients of it by a few lines of autograd."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Net(nn.Module):
    """A trunk, and a head for each of three tasks whose losses differ in size."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5), nn.Tanh())
        self.heads = nn.ModuleList(nn.Linear(5, 1) for _ in range(3))
        self.double()
        self.x = torch.randn(12, 4, dtype=torch.float64)
        self.y = torch.randn(12, 3, dtype=torch.float64) * torch.tensor([1.0, 3.0, 10.0])

    def losses(self) -> list[Tensor]:
        z = self.trunk(self.x)
        return [
            (head(z)[:, 0] - y).square().mean()
            for head, y in zip(self.heads, self.y.T, strict=True)
        ]


def slopes(net: Net, loss: Tensor) -> tuple[list[Tensor], list[list[Tensor]]]:
    """Return the gradients of the trunk, and of each head."""
    shared = list(net.trunk.parameters())
    own = [list(head.parameters()) for head in net.heads]
    found = torch.autograd.grad(
        loss,
        [*shared, *(p for head in own for p in head)],
        retain_graph=True,
        materialize_grads=True,
        allow_unused=True,
    )
    n = len(shared)
    return list(found[:n]), [list(found[n + 2 * k : n + 2 * k + 2]) for k in range(3)]


def length(parts: list[Tensor]) -> Tensor:
    return torch.cat([x.flatten() for x in parts]).norm()


def moved(net: Net, task: int, shared: list[Tensor], own: list[Tensor], radius: float):
    """Return the gradients of a task's loss after a move along these directions."""
    pairs = [(p, g / length(shared)) for p, g in zip(net.trunk.parameters(), shared, strict=True)]
    pairs += [(p, g / length(own)) for p, g in zip(net.heads[task].parameters(), own, strict=True)]
    with torch.no_grad():
        for p, d in pairs:
            p.add_(d, alpha=radius)
    found = slopes(net, net.losses()[task])
    with torch.no_grad():
        for p, d in pairs:
            p.sub_(d, alpha=radius)
    return found


def matrix(rows: list[list[Tensor]]) -> Tensor:
    return torch.stack([torch.cat([x.flatten() for x in row]) for row in rows])


def gradients(module: nn.Module) -> Tensor:
    return torch.cat([p.grad.flatten() for p in module.parameters()])
