from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from jointrain.balancing.solvers._dense import FLOAT64, product
from jointrain.balancing.solvers._nonnegative import equilibrate, nonnegative_quadratic


def dual_cone_weights(gramian: Tensor, weights: Tensor, rounding: float = FLOAT64) -> Tensor:
    r"""Project combinations of the gradients onto the cone of updates that make no task worse.

    .. math:: \min_d \lVert d - J^\top u \rVert^2 \ \text{with}\ J d \ge 0

    The answer is :math:`d = J^\top v`, where v minimises :math:`v^\top G v` over
    :math:`v \ge u`; this returns v. All rows share one scaling and one pivoting loop.

    Shape:
        gramian: [t, t], float64, symmetric positive semi-definite up to rounding.
        weights: [n, t], float64, one combination u a row.
        rounding: that of an entry of the Gramian over the lengths of its two gradients.
        returns: [n, t], float64, at least `weights`.

    Source: Quinton, Rey, "Jacobian descent for multi-objective optimization", 2024,
        https://arxiv.org/abs/2406.16232, Prop. 1. Written from the paper.
    """
    matrix, scale = equilibrate(gramian.numpy(), rounding)
    u = weights.numpy()
    whole = np.divide(u, scale, out=np.zeros_like(u), where=scale > 0.0)
    slack = product(whole, matrix)
    if len(scale) == 2:
        # the only pair of gradients in conflict: add as much of the other as cancels it
        added = np.maximum(-slack, 0.0)
        if (added.min(axis=1) == 0.0).all() and ((added @ matrix + slack) > -1e-12).all():
            return torch.from_numpy(u + added * scale)
    return torch.from_numpy(u + nonnegative_quadratic(matrix, -slack) * scale)
