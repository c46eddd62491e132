"""The small quadratic problem of FORUM."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def simplex_and_ray_weights(gramian: Tensor, reward: float) -> Tensor:
    r"""Return weights on the simplex for all vectors but the last, and a length for the last.

    .. math:: \min_{x \ge 0,\ x_1 + \dots + x_t = 1} \tfrac12 x^\top G x - c\, x_{t+1}

    By an active-set method, exact after finitely many small solves; a reward so large that the
    squares hardly count is lowered to where they are a millionth of it, to keep the solves sound.

    Shape:
        gramian: [t + 1, t + 1], float64, positive semi-definite up to rounding, the last diagonal
            entry above zero; reward: c >= 0.
        returns: [t + 1], float64, non-negative.
    """
    g = gramian.numpy()
    n = len(g)
    # vectors of length one, but for the ray alone: the simplex fixes the others' scale
    scale = np.sqrt(max(float(np.diagonal(g)[:-1].max()), 0.0)) or 1.0
    unit = np.ones(n)
    unit[:-1] /= scale
    unit[-1] /= np.sqrt(g[-1, -1])
    g = g * np.outer(unit, unit)
    pull = reward * float(unit[-1]) / float(scale)
    gain = np.zeros(n)
    gain[-1] = min(pull, 1e6)
    g[-1, :-1] = g[:-1, -1] = np.clip(g[:-1, -1], -1.0, 1.0)
    x = np.zeros(n)
    x[int(np.argmin(np.diagonal(g)[:-1]))] = 1.0
    active = x > 0
    for _ in range(20 * n):
        x, active, price = _settle(g, gain, x, active)
        slope = g @ x - gain
        slope[:-1] -= price
        slope[active] = 0.0
        worst = int(np.argmin(slope))
        if slope[worst] >= -1e-12 * (1.0 + gain[-1]):
            break
        active[worst] = True
    x[:-1] /= x[:-1].sum()
    x[-1] = max(pull - float(g[-1, :-1] @ x[:-1]), 0.0) * scale * unit[-1]
    return torch.from_numpy(x)


def _settle(
    g: NDArray[np.float64],
    gain: NDArray[np.float64],
    x: NDArray[np.float64],
    active: NDArray[np.bool_],
) -> tuple[NDArray[np.float64], NDArray[np.bool_], float]:
    """Go to the minimum over the active entries, dropping those that fall to zero on the way."""
    while True:
        index = np.flatnonzero(active)
        k = len(index)
        on_simplex = (index < len(x) - 1).astype(float)
        system = np.zeros((k + 1, k + 1))
        system[:k, :k] = g[np.ix_(index, index)]
        system[k, :k] = system[:k, k] = on_simplex
        solution = np.linalg.lstsq(system, np.append(gain[index], 1.0), rcond=1e-13)[0]
        target, now = solution[:k], x[index]
        falling = (target < 0) & (target < now)
        if not falling.any():
            settled = np.zeros_like(x)
            settled[index] = target
            return settled, active, -float(solution[k])
        ratio = np.full(k, np.inf)
        ratio[falling] = now[falling] / (now[falling] - target[falling])
        first = int(np.argmin(ratio))
        x = x.copy()
        x[index] = np.maximum(now + ratio[first] * (target - now), 0.0)
        x[index[first]] = 0.0
        active = active.copy()
        active[index[first]] = False
