"""Linear algebra on small matrices: LAPACK by the shortest way while they are small, torch beyond.

A call of torch costs several times a small factorisation, so the small ones go to LAPACK directly.
From about a hundred rows on, that library starts threads of its own, whatever torch was told.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

FLOAT64 = float(np.finfo(np.float64).eps)
_SMALL = 80


def cutoff(t: int, rounding: float) -> float:
    """Return up to where eigenvalues of the cosines of t gradients are nothing but rounding.

    Args:
        t: The number of gradients.
        rounding: That of one cosine.
    """
    return 8.0 * t * rounding


def solve_positive(matrix: Array, right: Array) -> tuple[Array, bool]:
    """Solve for one right-hand side [t] or several [t, n]; false if `matrix` is not positive."""
    if len(matrix) <= _SMALL:
        from scipy.linalg.lapack import dposv  # an import that who only predicts is spared

        _, x, info = dposv(matrix, right, lower=1)
        return x, info == 0
    factor, info = torch.linalg.cholesky_ex(torch.from_numpy(matrix))
    columns = torch.from_numpy(right.reshape(len(right), -1))
    return torch.cholesky_solve(columns, factor).numpy().reshape(right.shape), int(info) == 0


def cholesky(matrix: Array) -> Array | None:
    """Return the lower Cholesky factor, or None if `matrix` is not positive definite."""
    if len(matrix) <= _SMALL:
        from scipy.linalg.lapack import dpotrf

        factor, info = dpotrf(matrix, lower=1)
        return None if info else factor
    torch_factor, torch_info = torch.linalg.cholesky_ex(torch.from_numpy(matrix))
    return None if int(torch_info) else torch_factor.numpy()


def product(left: Array, right: Array) -> Array:
    """Return ``left @ right`` of two matrices."""
    if len(right) <= _SMALL:
        return np.asarray(left @ right)
    return (torch.from_numpy(left) @ torch.from_numpy(right)).numpy()


def components(gramian: Array, rounding: float) -> tuple[Array, Array]:
    """Return the eigenvalues of a Gramian that aren't rounding, rising, and eigenvectors (columns).

    The rank is that of the cosines, so that a short gradient counts as much as a long one.
    """
    lengths = np.sqrt(np.maximum(np.diagonal(gramian), 0.0))
    limit = cutoff(len(gramian), rounding)
    if (
        lengths.max() <= 4.0 * lengths.min()
    ):  # as long as each other: their cosines' rank is its own
        values, vectors = eigen(gramian)
        kept = values > limit * values[-1]
        return values[kept], vectors[:, kept]
    scale = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0.0)
    values, vectors = eigen(gramian * scale[:, None] * scale)
    kept = values > limit * values[-1]
    # a factor of the Gramian: its singular values have twice as many digits of the small ones
    factor = lengths[:, None] * vectors[:, kept] * np.sqrt(values[kept])
    left, singular, _ = np.linalg.svd(factor, full_matrices=False)
    return singular[::-1] ** 2, left[:, ::-1]


def eigen(matrix: Array) -> tuple[Array, Array]:
    """Return the eigenvalues, rising, and eigenvectors (columns) of a symmetric matrix."""
    if len(matrix) <= _SMALL:
        values, vectors = np.linalg.eigh(matrix)
        return values, vectors
    torch_values, torch_vectors = torch.linalg.eigh(torch.from_numpy(matrix))
    return torch_values.numpy(), torch_vectors.numpy()
