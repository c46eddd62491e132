from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from jointrain.balancing.solvers._dense import FLOAT64, Array, solve_positive
from jointrain.balancing.solvers._nonnegative import equilibrate, nonnegative_quadratic

_MOST_TRIES = 60


def conflict_averse_weights(gramian: Tensor, c: float, rounding: float = FLOAT64) -> Tensor:
    r"""Return what has to be added to the mean so that the worst-off task gains most in a ball.

    .. math:: \max_d \min_i g_i^\top d
        \quad \text{with}\quad \lVert d - g_0 \rVert \le c \lVert g_0 \rVert,

    :math:`g_0` the mean gradient. The answer is :math:`d = g_0 + J^\top y` with :math:`y \ge 0`;
    this returns y. The problem is cut by the gain t of the worst-off task: for a given t, the
    nearest d with :math:`J d \ge t` is a non-negative quadratic problem, its distance from
    :math:`g_0` grows with t, and while the same entries of y stay free, the distance squared is a
    quadratic in t. So the t whose d is on the ball's surface is found by solving these quadratics,
    guarded by bisection; most often the first, with all entries free, is the right one.

    Where the formula of the paper divides by zero, as the gradients can cancel out, the ball is
    not used up: the answer is then the nearest d that makes no task worse.

    Shape:
        gramian: [t, t], float64, symmetric positive semi-definite up to rounding.
        rounding: that of an entry of the Gramian over the lengths of its two gradients.
        returns: [t], float64, non-negative.

    Source: Liu et al., "Conflict-averse gradient descent for multi-task learning", NeurIPS 2021,
        https://arxiv.org/abs/2110.14048, Eq. (3). The way to solve it is of our own.
    """
    g = gramian.numpy()
    zeros = torch.zeros(len(g), dtype=torch.float64)
    top = float(np.diagonal(g).max())
    if c == 0.0 or not top > 0.0:
        return zeros
    g = g / top
    mean_slope = g.mean(axis=1)
    mean_square = float(mean_slope.mean())
    if mean_square <= 1e-30:
        return zeros
    matrix, scale = equilibrate(g, rounding)
    problem = _Ball(matrix, scale, mean_slope, c * math.sqrt(mean_square))
    return torch.from_numpy(problem.solve())


class _Ball:
    """The problem with scaled Gramian, seen as a function of the worst-off task's gain."""

    def __init__(self, matrix: Array, scale: Array, mean_slope: Array, radius: float) -> None:
        self.matrix, self.scale, self.mean_slope = matrix, scale, mean_slope
        self.ridge = float(matrix[0, 0]) - 1.0
        self.square = radius * radius
        self.low = float(mean_slope.min())
        lengths = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0.0)
        high = float((mean_slope + radius * lengths).min())
        self.high = high + 1e-12 * (abs(high) + radius)
        self.free = np.ones((1, len(scale)), dtype=bool)

    def solve(self) -> Array:
        """Return y, [t]."""
        gain = self.next_gain(self.high)
        best = np.zeros_like(self.scale)
        tried_zero = False
        for _ in range(_MOST_TRIES):
            y, square, feasible = self.nearest(gain)
            if feasible and abs(square - self.square) <= 1e-11 * self.square:
                return y
            if feasible and square < self.square:
                self.low, best = gain, y
            else:
                self.high = gain
            if not feasible and not tried_zero:
                # gradients cancel out: no gain above zero can be had, zero always
                tried_zero, self.high = True, 0.0
                y, square, _ = self.nearest(0.0)
                if square <= self.square:
                    return y
            gain = self.next_gain()
            if not self.low < gain < self.high:
                break
        return best

    def nearest(self, gain: float) -> tuple[Array, float, bool]:
        """Return y for the nearest d with that gain, its distance squared, and if there is any."""
        need = (gain - self.mean_slope) * self.scale
        if not need.max() > 0.0:
            return np.zeros_like(need), 0.0, True
        z = nonnegative_quadratic(self.matrix, need[None], self.free)[0]
        self.free = (z > 0.0)[None]
        slope = self.matrix @ z - self.ridge * z
        short = need - slope
        feasible = bool(short.max() <= max(1e-7, 100.0 * self.ridge) * np.abs(need).max())
        if gain > 0.0:
            # a zero gradient can't gain, nor do others if the ridge alone makes it look so
            feasible = feasible and bool((short < 0.01 * gain * self.scale).all())
        return z * self.scale, float(z @ slope), feasible

    def next_gain(self, otherwise: float | None = None) -> float:
        """Return the gain at which the ball's surface is met if the same entries stay free."""
        index = self.free[0].nonzero()[0]
        middle = 0.5 * (self.low + self.high) if otherwise is None else otherwise
        if not len(index):
            return middle
        sides = np.stack([self.scale[index], (self.mean_slope * self.scale)[index]], axis=1)
        block = self.matrix if len(index) == len(self.scale) else self.matrix[np.ix_(index, index)]
        solved = solve_positive(block, sides)[0]
        (a, b), (_, e) = sides.T @ solved
        # a t^2 - 2 b t + e = radius^2
        root = b * b - a * (e - self.square)
        if not (a > 0.0 and root >= 0.0):
            return middle
        gain = (float(b) + math.sqrt(root)) / float(a)
        return gain if self.low < gain < self.high else middle
