from __future__ import annotations

import numpy as np

from jointrain.balancing.solvers._dense import (
    FLOAT64,
    Array,
    Mask,
    cholesky,
    cutoff,
    product,
    solve_positive,
)

_RIDGES = (1e-12, 1e-10, 1e-8, 1e-6, 1e-4, 1e-2, 1.0)
_BATCHED_UP_TO = 16
_TRIES_WITHOUT_PROGRESS = 4


def equilibrate(gramian: Array, rounding: float = FLOAT64) -> tuple[Array, Array]:
    r"""Return :math:`D G D` with ones on its diagonal, plus a ridge, and the diagonal of D, [t].

    Whatever the lengths of the gradients, the work is then on their cosines. The ridge is the
    smallest of 1e-12, 1e-10, ... that is above the rounding of the cosines and makes the matrix
    positive definite. A zero gradient has 0 in D.

    Args:
        gramian: The inner products, [t, t].
        rounding: That of an entry, over the lengths of its two gradients.
    """
    length = np.sqrt(np.maximum(np.diagonal(gramian), 0.0))
    scale = np.divide(1.0, length, out=np.zeros_like(length), where=length > 0.0)
    cosines = gramian * scale[:, None] * scale
    cosines = 0.5 * (cosines + cosines.T)
    diagonal = np.einsum("ii->i", cosines)
    limit = cutoff(len(gramian), rounding)
    least = max(0.5 * limit, _RIDGES[0])
    for ridge in (_RIDGES[0], least, *(x for x in _RIDGES if x > least)):
        diagonal[:] = 1.0 + ridge
        factor = cholesky(cosines)
        # a small pivot may be rounding: only a ridge above that makes the matrix sound
        if factor is not None and (ridge >= least or factor.diagonal().min() ** 2 > 100.0 * limit):
            break
    return cosines, scale


def nonnegative_quadratic(matrix: Array, rights: Array, start: Mask | None = None) -> Array:
    r"""Minimise :math:`\tfrac12 x^\top M x - b^\top x` over :math:`x \ge 0`, for each b.

    By block principal pivoting: guess which entries are free, solve for these, swap all that
    break a condition of optimality. It ends after a few linear solves where an active-set method
    needs one per free entry; that method takes over where pivoting makes no progress.

    Args:
        matrix: What :func:`equilibrate` gives.
        rights: The linear terms, one problem a row.
        start: Which entries to try as free ones first; by default those with a positive b.

    Shape:
        matrix: [t, t], positive definite, ones on the diagonal; rights, start: [n, t].
        returns: [n, t], non-negative.

    Source: J. Kim, H. Park, "Fast nonnegative matrix factorization: an active-set-like method and
        comparisons", SIAM J. Sci. Comput. 2011, Alg. 2. Written from the paper.
    """
    n, t = rights.shape
    if t == 1:
        return np.maximum(rights / matrix, 0.0)
    size = np.abs(rights).max(axis=1, keepdims=True)
    b = rights / np.where(size > 0.0, size, 1.0)
    free: Mask = b > 0.0 if start is None else start.copy()
    x = np.zeros_like(b)
    todo = np.arange(n)
    fewest = np.full(n, t + 1)
    tries = np.full(n, _TRIES_WITHOUT_PROGRESS)
    while len(todo):
        now = free[todo]
        found = _solve_free(matrix, b[todo], now)
        x[todo] = found
        slack = product(found, matrix) - b[todo]
        worst = 1e-13 * (1.0 + np.abs(found).max(axis=1, keepdims=True))
        wrong = np.where(now, found, slack) < -worst
        count = wrong.sum(axis=1)
        if not count.any():
            break
        progress = count < fewest[todo]
        fewest[todo] = np.minimum(fewest[todo], count)
        tries[todo] = np.where(progress, _TRIES_WITHOUT_PROGRESS, tries[todo] - 1)
        for row in todo[tries[todo] < 0]:
            x[row] = _active_set(matrix, b[row])
        free[todo] = now ^ wrong
        todo = todo[(count > 0) & (tries[todo] >= 0)]
    return np.asarray(np.maximum(x, 0.0) * size)


def _active_set(matrix: Array, right: Array) -> Array:
    """Solve one problem by freeing the entry with the steepest slope, one after the other.

    Slower than pivoting, but each step lowers the objective, so that it can't go round in circles.

    Source: C. Lawson, R. Hanson, "Solving least squares problems", 1974, chapter 23.
    """
    t = len(right)
    x = np.zeros(t)
    free = np.zeros(t, dtype=bool)
    for _ in range(3 * t):
        slope = right - matrix @ x
        slope[free] = 0.0
        steepest = int(slope.argmax())
        if slope[steepest] <= 1e-12 * (1.0 + x.max()):
            break
        free[steepest] = True
        for _ in range(t):
            target = _solve_free(matrix, right[None], free[None])[0]
            below = free & (target <= 0.0)
            if not below.any():
                x = target
                break
            share = np.full(t, np.inf)
            share[below] = x[below] / np.maximum(x[below] - target[below], 1e-300)
            first = int(share.argmin())
            x = np.maximum(x + min(share[first], 1.0) * (target - x), 0.0)
            x[first], free[first] = 0.0, False
    return x


def _solve_free(matrix: Array, rights: Array, free: Mask) -> Array:
    """Solve each system restricted to its free entries; the others are 0."""
    n, t = rights.shape
    if n > 1 and t <= _BATCHED_UP_TO:
        both = free[:, :, None] & free[:, None, :]
        systems = np.where(both, matrix, np.eye(t))
        return np.linalg.solve(systems, np.where(free, rights, 0.0)[..., None])[..., 0]
    x = np.zeros_like(rights)
    for row, right, mask in zip(x, rights, free, strict=True):
        if mask.all():
            row[:] = solve_positive(matrix, right)[0]
        elif mask.any():
            index = mask.nonzero()[0]
            row[index] = solve_positive(matrix[index[:, None], index], right[index])[0]
    return x
