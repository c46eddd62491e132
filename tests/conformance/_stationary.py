"""Jacobians of every kind of conflict, rank and scale; float64, seeded.

A Jacobian J is stationary if some weights v >= 0, not all zero, make J^T v zero: there is no update
then that lowers all losses. It is strongly so if all of v can be above zero.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

SHAPES = ((2, 5, 1), (5, 3, 2), (9, 11, 8), (20, 6, 5))
SCALES = (1e-12, 1e15)


def orthonormal(t: int, n: int, rng: torch.Generator, away_from: Tensor | None = None) -> Tensor:
    """Return n orthonormal columns [t, n], orthogonal to those of `away_from` [t, k]."""
    found = torch.randn(t, n, generator=rng, dtype=torch.float64)
    first = torch.zeros(t, 0, dtype=torch.float64) if away_from is None else away_from
    basis, _ = torch.linalg.qr(torch.cat([first, found], 1))
    return basis[:, first.shape[1] :]


def with_left_vectors(left: Tensor, p: int, rng: torch.Generator) -> Tensor:
    """Return a Jacobian [t, p] whose left singular vectors are `left` [t, rank]."""
    rank = left.shape[1]
    size = 0.2 + torch.rand(rank, generator=rng, dtype=torch.float64)
    return left * size @ orthonormal(p, rank, rng).T


def positive(t: int, rng: torch.Generator) -> Tensor:
    """Return a unit vector [t, 1] without an entry near zero."""
    found = 0.2 + torch.rand(t, 1, generator=rng, dtype=torch.float64)
    return found / found.norm()


def any_conflict(t: int, p: int, rank: int, rng: torch.Generator) -> Tensor:
    """Return a Jacobian of that rank."""
    return with_left_vectors(orthonormal(t, rank, rng), p, rng)


def strongly_stationary(t: int, p: int, rank: int, rng: torch.Generator) -> Tensor:
    """Return a Jacobian with J^T v = 0 for some v > 0."""
    left = orthonormal(t, rank, rng, positive(t, rng))
    return with_left_vectors(left, p, rng)


def weakly_stationary(t: int, p: int, rank: int, rng: torch.Generator) -> Tensor:
    """Return one with J^T v = 0 for some v >= 0, but for no v > 0."""
    halves = positive(t, rng).repeat(1, 2)
    split = torch.randperm(t, generator=rng)
    halves[split[: t // 2], 0] = 0.0
    halves[split[t // 2 :], 1] = 0.0
    halves /= halves.norm(dim=0)
    more = orthonormal(t, rank - 1, rng, halves)
    return with_left_vectors(torch.cat([halves[:, 1:], more], 1), p, rng)


def not_stationary(t: int, p: int, rank: int, rng: torch.Generator) -> Tensor:
    """Return one with J^T v = 0 for no v >= 0 but zero: some update lowers all losses."""
    first = positive(t, rng)
    left = torch.cat([first, orthonormal(t, rank - 1, rng, first)], 1)
    return with_left_vectors(left, p, rng)


KINDS = {
    "any": any_conflict,
    "strong": strongly_stationary,
    "weak": weakly_stationary,
    "none": not_stationary,
}


def suite() -> Iterator[tuple[str, Tensor]]:
    """Yield the Jacobians with their names: each kind and shape, scaled, with zero rows."""
    for kind, make in KINDS.items():
        for t, p, rank in SHAPES:
            rng = torch.Generator().manual_seed(100 * t + rank)
            matrix = make(t, p, rank, rng)
            yield f"{kind} {t} x {p} rank {rank}", matrix
            if t == 5:
                for scale in SCALES:
                    yield f"{kind} times {scale:g}", scale * matrix
                without = matrix.clone()
                without[1] = 0.0
                yield f"{kind} with a zero row", without
                unlike = torch.logspace(-3, 3, t, dtype=torch.float64)[:, None]
                yield f"{kind} of unlike lengths", unlike * matrix
    yield "all zero", torch.zeros(4, 6, dtype=torch.float64)
    yield "equal rows", torch.ones(4, 1, dtype=torch.float64) * torch.arange(6.0).double()
