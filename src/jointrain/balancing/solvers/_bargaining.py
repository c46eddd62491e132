from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from jointrain.balancing.solvers._dense import FLOAT64, Array, cutoff, solve_positive
from jointrain.balancing.solvers._nonnegative import equilibrate, nonnegative_quadratic

_MOST_STEPS = 200
_RIDGE = 1e-9  # where gradients cancel out


def bargaining_weights(gramian: Tensor, power: float = 1.0, rounding: float = FLOAT64) -> Tensor:
    r"""Solve :math:`G w = w^{-p}` (entry by entry) for positive weights.

    With p = 1 this is Nash's bargaining solution, with p = 1 / alpha the alpha-fair one. The
    equations say that the gradient of a strictly convex function is zero,

    .. math:: \tfrac12 w^\top G w - \sum_i \int^{w_i} s^{-p}\, ds,

    so a damped Newton method finds the one solution in a few t x t solves from a start that needs
    no memory of the last step. Where gradients cancel out exactly there is no solution; the ridge
    of the scaled Gramian then bounds the weights, by about 1e5 times the usual ones for p = 1, and
    what they leave of conflict is projected out.

    Shape:
        gramian: [t, t], float64, symmetric positive semi-definite up to rounding.
        rounding: that of an entry of the Gramian over the lengths of its two gradients.
        returns: [t], float64, positive; 0 for a zero gradient, which has no say.

    Source: Navon et al., "Multi-task learning as a bargaining game", ICML 2022,
        https://arxiv.org/abs/2202.01017, Claim 3.1; Ban, Ji, "Fair resource allocation in
        multi-task learning", ICML 2024, https://arxiv.org/abs/2402.15638, Eq. (4). The convex form
        and its solution are of our own.
    """
    g = gramian.numpy()
    matrix, scale = equilibrate(g, rounding)
    alive = scale > 0.0
    if not alive.any():
        return torch.zeros(len(g), dtype=torch.float64)
    if not alive.all():
        matrix, scale = matrix[np.ix_(alive, alive)], scale[alive]
    z = _cosine_weights(matrix, scale, power)
    slope = matrix @ z - (matrix[0, 0] - 1.0) * z
    if (slope < 0.0).any():
        # only the ridge has ended the growth of z: once more with one that leaves some digits,
        # and from there to the nearest update that does no harm
        first = float(matrix[0, 0])
        ridge = max(_RIDGE, 100.0 * cutoff(len(z), rounding), first - 1.0)
        diagonal = np.diag_indices_from(matrix)
        matrix[diagonal] = 1.0 + ridge
        z = _cosine_weights(matrix, scale, power)
        matrix[diagonal] = first
        slope = matrix @ z - (first - 1.0) * z
        z = z + nonnegative_quadratic(matrix, -slope[None])[0]
    weights = np.zeros(len(g))
    weights[alive] = z * scale
    return torch.from_numpy(weights)


def _cosine_weights(matrix: Array, scale: Array, power: float) -> Array:
    """Return z, the weights of the unit gradients, w over `scale`."""
    # in the unknown v = w / own, where `own` solves the problem without the other tasks, this is
    # A v = c v^-p with A = diag(c) times cosines; a common factor of all gradients is taken out
    own_log = np.log(scale) * (2.0 / (1.0 + power))
    own = np.exp(own_log - own_log.mean())
    ratio = own ** (1.0 - power)
    root = np.sqrt(ratio)
    v = _newton(matrix * root[:, None] * root, ratio, power)
    return np.asarray(v * np.exp(own_log - np.log(scale)))


def _newton(a: Array, c: Array, power: float) -> Array:
    """Solve ``a @ v = c * v ** -power`` for v > 0 by Newton's method with a line search."""
    total = float(a.sum())
    middle = (float(c.sum()) / total) ** (1.0 / (1.0 + power)) if total > 0.0 else 1.0
    v = np.full(len(c), min(max(middle, 1e-2), 1e2))
    pull = c * v**-power
    slope = a @ v - pull
    before = np.inf
    for _ in range(_MOST_STEPS):
        hessian = a + np.diag(power * pull / v)
        step, solved = solve_positive(hessian, slope)
        if not solved:
            break
        decrement = float(slope @ step)
        small = decrement / float(pull @ v)
        # quadratic convergence has ended: what is left is rounding
        if not small > 1e-24 or (small < 1e-7 and small > 0.1 * before):
            break
        before = small
        length = min(1.0, 0.9 / max(float((step / v).max()), 1e-300))
        for _ in range(30):
            new = v - length * step
            pull = c * new**-power
            new_slope = a @ new - pull
            # along a line a convex function has fallen as long as its slope has not turned up
            if float(new_slope @ step) >= -0.5 * decrement:
                break
            length *= 0.5
        v, slope = new, new_slope
    return v
