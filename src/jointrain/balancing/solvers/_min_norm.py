from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from jointrain.balancing.solvers._dense import FLOAT64
from jointrain.balancing.solvers._nonnegative import equilibrate, nonnegative_quadratic


def min_norm_weights(gramian: Tensor, rounding: float = FLOAT64) -> Tensor:
    r"""Return the weights on the simplex whose combination of the gradients is the shortest.

    .. math:: \min_{w \ge 0,\ \sum_i w_i = 1} \tfrac12 w^\top G w

    The simplex is got rid of: for any c > 0 the minimiser of
    :math:`x^\top G x + c (\sum_i x_i - 1)^2` over :math:`x \ge 0` is a multiple of w. With c the
    shortest gradient's squared length, both terms have the same size at the minimum. Two tasks
    have a closed form.

    Shape:
        gramian: [t, t], float64, symmetric positive semi-definite up to rounding.
        rounding: that of an entry of the Gramian over the lengths of its two gradients.
        returns: [t], float64, non-negative, sums to 1.

    Source: P. Wolfe, "Finding the nearest point in a polytope", Mathematical Programming 1976, for
        the equivalence; written from the papers.
    """
    g = gramian.numpy()
    lengths = np.maximum(np.diagonal(g), 0.0)
    shortest = lengths.min()
    longest = lengths.max()
    if len(g) == 1 or not shortest > longest * 1e-30:
        lowest = (lengths <= longest * 1e-30).astype(np.float64)
        return torch.from_numpy(lowest / lowest.sum() if lowest.any() else np.ones(1))
    g = g / longest
    if len(g) == 2:
        whole = g[0, 0] + g[1, 1] - g[0, 1] - g[1, 0]
        first = (g[1, 1] - g[0, 1]) / whole if whole > 0.0 else 0.5
        first = min(max(float(first), 0.0), 1.0)
        return torch.tensor([first, 1.0 - first], dtype=torch.float64)
    matrix, scale = equilibrate(g + shortest / longest, rounding)
    x = nonnegative_quadratic(matrix, scale[None], np.ones((1, len(g)), dtype=bool))[0] * scale
    return torch.from_numpy(x / x.sum())
