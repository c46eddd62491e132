"""Gramians of controlled rank and scale for the solvers, up to 128 tasks."""

from __future__ import annotations

import torch
from torch import Tensor

from jointrain.testing._jacobians import conflicting, jacobian

SIZES = (1, 2, 3, 8, 17, 32, 128)


def _opposite(t: int, p: int) -> Tensor:
    matrix = jacobian(t, p)
    matrix[t // 2] = -matrix[0]
    return matrix


def _zero_row(t: int, p: int) -> Tensor:
    matrix = conflicting(t, p)
    matrix[-1] = 0.0
    return matrix


KINDS = {
    "full rank": jacobian,
    "conflicting": conflicting,
    "half rank": lambda t, p: jacobian(t, p, rank=max(t // 2, 1)),
    "zero row": _zero_row,
    "tiny": lambda t, p: 1e-6 * conflicting(t, p),
    "huge": lambda t, p: 1e6 * conflicting(t, p),
    "unlike scales": lambda t, p: (
        torch.logspace(-6, 6, t, dtype=torch.float64)[:, None] * conflicting(t, p)
    ),
    "equal rows": lambda t, p: jacobian(1, p).expand(t, -1).clone(),
    "opposite": _opposite,
}


def rows(kind: str, t: int) -> Tensor:
    """Return a Jacobian [t, p] with more columns than rows."""
    return KINDS[kind](t, max(20, 2 * t))
