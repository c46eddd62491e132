"""Linear algebra on small matrices: LAPACK by the shortest way while they are small, torch beyond.

A call of torch costs several times a small factorisation, so the small ones go to LAPACK directly.
From about a hundred rows on, that library starts threads of its own, whatever torch was told.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg.lapack import dposv, dpotrf

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

_SMALL = 80


def solve_positive(matrix: Array, right: Array) -> tuple[Array, bool]:
    """Solve for one right-hand side [t] or several [t, n]; false if `matrix` is not positive."""
    if len(matrix) <= _SMALL:
        _, x, info = dposv(matrix, right, lower=1)
        return x, info == 0
    factor, info = torch.linalg.cholesky_ex(torch.from_numpy(matrix))
    columns = torch.from_numpy(right.reshape(len(right), -1))
    return torch.cholesky_solve(columns, factor).numpy().reshape(right.shape), int(info) == 0


def cholesky(matrix: Array) -> Array | None:
    """Return the lower Cholesky factor, or None if `matrix` is not positive definite."""
    if len(matrix) <= _SMALL:
        factor, info = dpotrf(matrix, lower=1)
        return None if info else factor
    torch_factor, torch_info = torch.linalg.cholesky_ex(torch.from_numpy(matrix))
    return None if int(torch_info) else torch_factor.numpy()


def product(left: Array, right: Array) -> Array:
    """Return ``left @ right`` of two matrices."""
    if len(right) <= _SMALL:
        return np.asarray(left @ right)
    return (torch.from_numpy(left) @ torch.from_numpy(right)).numpy()


def eigen(matrix: Array) -> tuple[Array, Array]:
    """Return the eigenvalues, rising, and eigenvectors (columns) of a symmetric matrix."""
    if len(matrix) <= _SMALL:
        values, vectors = np.linalg.eigh(matrix)
        return values, vectors
    torch_values, torch_vectors = torch.linalg.eigh(torch.from_numpy(matrix))
    return torch_values.numpy(), torch_vectors.numpy()
