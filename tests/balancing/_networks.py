"""Small networks of every kind that the engine has to get right, in float64."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

T = 3
Made = tuple[nn.Module, Callable[[], dict[str, Tensor]]]


class _Net(nn.Module):
    def __init__(self, trunk: nn.Module, heads: list[nn.Module]) -> None:
        super().__init__()
        self.trunk = trunk
        self.heads = nn.ModuleList(heads)


def _regress(net: _Net, z: Callable[[], Tensor], n: int, t: int = T) -> Made:
    targets = torch.randn(t, n, dtype=torch.float64)

    def losses() -> dict[str, Tensor]:
        features = z()
        return {
            f"task {k}": (1 + k) * functional.mse_loss(head(features).squeeze(-1), y)
            for k, (head, y) in enumerate(zip(net.heads, targets, strict=True))
        }

    return net, losses


def mlp(n: int = 6, t: int = T) -> Made:
    trunk = nn.Sequential(nn.Linear(5, 9), nn.Tanh(), nn.Linear(9, 7, bias=False), nn.ReLU())
    net = _Net(trunk, [nn.Linear(7, 1) for _ in range(t)]).double()
    x = torch.randn(n, 5, dtype=torch.float64)
    return _regress(net, lambda: net.trunk(x), n, t)


def mlp_large_batch() -> Made:
    return mlp(n=40)


def conv() -> Made:
    trunk = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3, stride=2, padding=1, bias=False),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3, padding=1, groups=2),
        nn.Flatten(),
        nn.Linear(24, 8),
        nn.ReLU(),
    )
    net = _Net(trunk, [nn.Linear(8, 1) for _ in range(T)]).double()
    x = torch.randn(5, 2, 8, 8, dtype=torch.float64)
    return _regress(net, lambda: net.trunk(x), 5)


class _Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(30, 8, padding_idx=0)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.block(self.table(tokens)).mean(1)


def attention() -> Made:
    net = _Net(_Attention(), [nn.Linear(8, 1) for _ in range(T)]).double()
    tokens = torch.randint(0, 30, (4, 6))
    return _regress(net, lambda: net.trunk(tokens), 4)


def tied() -> Made:
    """The trunk's last weight is used again by the last head: no boundary to stop at."""
    net = _Net(nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 7)), []).double()
    net.heads = nn.ModuleList([nn.Linear(7, 1).double() for _ in range(T)])
    x = torch.randn(6, 5, dtype=torch.float64)
    targets = torch.randn(T, 6, dtype=torch.float64)

    def losses() -> dict[str, Tensor]:
        z = net.trunk(x)
        found = {}
        for k, (head, y) in enumerate(zip(net.heads, targets, strict=True)):
            h = torch.tanh(net.trunk[2](z)) if k == T - 1 else z
            found[f"task {k}"] = functional.mse_loss(head(h).squeeze(-1), y)
        return found

    return net, losses


def two_levels() -> Made:
    """The heads take two features, one computed from the other."""
    net = nn.ModuleDict(
        {
            "low": nn.Linear(5, 6),
            "high": nn.Linear(6, 6),
            "heads": nn.ModuleList([nn.Linear(12, 1) for _ in range(T)]),
        }
    ).double()
    x = torch.randn(6, 5, dtype=torch.float64)

    def losses() -> dict[str, Tensor]:
        low = torch.tanh(net["low"](x))
        high = torch.tanh(net["high"](low))
        z = torch.cat([low, high], 1)
        return {
            f"task {k}": (head(z) if k else head(torch.cat([low.sin(), high.sin()], 1)))
            .square()
            .mean()
            for k, head in enumerate(net["heads"])
        }

    return net, losses


def partly_shared() -> Made:
    """One block is reached by two of the three tasks only."""
    net = nn.ModuleDict(
        {
            "trunk": nn.Linear(5, 6),
            "some": nn.Linear(6, 6),
            "heads": nn.ModuleList([nn.Linear(6, 1) for _ in range(T)]),
        }
    ).double()
    x = torch.randn(6, 5, dtype=torch.float64)

    def losses() -> dict[str, Tensor]:
        z = torch.tanh(net["trunk"](x))
        s = torch.tanh(net["some"](z))
        return {
            f"task {k}": head(s if k < 2 else z).square().mean() + 0.1 * k
            for k, head in enumerate(net["heads"])
        }

    return net, losses


def multi_input() -> Made:
    trunk = nn.Sequential(nn.Linear(5, 9), nn.Tanh(), nn.Linear(9, 7), nn.ReLU())
    net = _Net(trunk, [nn.Linear(7, 1) for _ in range(T)]).double()
    batches = [torch.randn(3 + k, 5, dtype=torch.float64) for k in range(T)]

    def losses() -> dict[str, Tensor]:
        return {
            f"task {k}": head(net.trunk(x)).square().mean()
            for k, (head, x) in enumerate(zip(net.heads, batches, strict=True))
        }

    return net, losses


def checkpointed() -> Made:
    net, _ = mlp()
    x = torch.randn(6, 5, dtype=torch.float64)
    return _regress(net, lambda: checkpoint(net.trunk, x, use_reentrant=False), 6)


def sequences() -> Made:
    """Linear layers on three-dimensional inputs."""
    trunk = nn.Sequential(nn.Linear(5, 9), nn.Tanh(), nn.Linear(9, 7, bias=False), nn.LayerNorm(7))
    net = _Net(trunk, [nn.Linear(7, 1) for _ in range(T)]).double()
    x = torch.randn(4, 3, 5, dtype=torch.float64)
    return _regress(net, lambda: net.trunk(x).mean(1), 4)


NETWORKS = {
    made.__name__: made
    for made in (
        mlp,
        mlp_large_batch,
        conv,
        attention,
        tied,
        two_levels,
        partly_shared,
        multi_input,
        checkpointed,
        sequences,
    )
}
