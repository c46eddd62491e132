"""Jacobians of controlled rank and scale, in float64, seeded."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor


def jacobian(t: int, p: int = 20, *, rank: int | None = None, seed: int = 0) -> Tensor:
    """Return a [t, p] matrix of that rank with entries of about one."""
    rng = torch.Generator().manual_seed(seed)
    if rank is None:
        return torch.randn(t, p, generator=rng, dtype=torch.float64)
    left = torch.randn(t, rank, generator=rng, dtype=torch.float64)
    right = torch.randn(rank, p, generator=rng, dtype=torch.float64)
    return (left @ right).div(float(max(rank, 1)) ** 0.5)


def conflicting(t: int, p: int = 20, *, seed: int = 0) -> Tensor:
    """Return a [t, p] matrix whose rows mostly oppose each other."""
    base = jacobian(t, p, seed=seed)
    return base.sub(0.9 * base.mean(0) * float(t) ** 0.5)


def with_zero_row(t: int, p: int = 20, *, seed: int = 0) -> Tensor:
    """Return a [t, p] matrix whose last row is zero."""
    matrix = jacobian(t, p, seed=seed)
    matrix[-1] = 0.0
    return matrix


def losses(t: int, *, seed: int = 0) -> Tensor:
    """Return [t] losses between 0.5 and 1.5."""
    rng = torch.Generator().manual_seed(seed + 100)
    return 0.5 + torch.rand(t, generator=rng, dtype=torch.float64)


MATRICES: Mapping[str, Callable[[int], Tensor]] = {
    "full rank": lambda t: jacobian(t),
    "conflicting": lambda t: conflicting(t),
    "rank 1": lambda t: jacobian(t, rank=1),
    "rank t - 1": lambda t: jacobian(t, rank=max(t - 1, 1)),
    "zero row": lambda t: with_zero_row(t),
    "all zero": lambda t: torch.zeros(t, 20, dtype=torch.float64),
    "tiny": lambda t: 1e-6 * jacobian(t),
    "huge": lambda t: 1e6 * jacobian(t),
    "unlike scales": lambda t: torch.logspace(-4, 4, t, dtype=torch.float64)[:, None] * jacobian(t),
    "equal rows": lambda t: jacobian(1).expand(t, -1).clone(),
}
"""Jacobians [t, 20] of t tasks that are easy and hard for a balancer, by what they are."""
