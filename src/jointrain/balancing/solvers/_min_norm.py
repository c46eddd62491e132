from __future__ import annotations

import torch
from torch import Tensor


def min_norm_weights(gramian: Tensor) -> Tensor:
    r"""Return the weights on the simplex whose combination of the gradients is the shortest.

    .. math:: \min_{w \ge 0,\ \sum_i w_i = 1} \tfrac12 w^\top G w

    By Wolfe's active-set method, which is exact after finitely many K x K solves, where
    Frank-Wolfe would creep. For two tasks this is the closed form.

    Shape:
        gramian: [t, t], float64, symmetric positive semi-definite up to rounding.
        returns: [t], float64, non-negative, sums to 1.

    Source: P. Wolfe, "Finding the nearest point in a polytope", Mathematical Programming 1976.
    """
    t = len(gramian)
    scale = float(gramian.diagonal().max()) if t else 0.0
    if scale <= 0.0:
        return torch.full((t,), 1.0 / t, dtype=gramian.dtype)
    g = gramian / scale
    w = torch.zeros(t, dtype=g.dtype)
    w[int(g.diagonal().argmin())] = 1.0
    active = w > 0
    for _ in range(10 * t + 20):
        slope = g @ w
        value = float(w @ slope)
        best = int(slope.argmin())
        if float(slope[best]) >= value - 1e-13 or bool(active[best]):
            break
        active[best] = True
        w, active = _to_affine_minimum(g, w, active)
    return w / w.sum()


def _to_affine_minimum(g: Tensor, w: Tensor, active: Tensor) -> tuple[Tensor, Tensor]:
    """Walk to the minimum on the affine hull of the active corners, dropping those that bind."""
    while True:
        index = active.nonzero().squeeze(1)
        k = len(index)
        system = torch.zeros(k + 1, k + 1, dtype=g.dtype)
        system[:k, :k] = g[index][:, index]
        system[k, :k] = system[:k, k] = 1.0
        right = torch.zeros(k + 1, dtype=g.dtype)
        right[k] = 1.0
        target = torch.linalg.lstsq(system, right.unsqueeze(1), driver="gelsd").solution[:k, 0]
        if bool((target > 1e-14).all()):
            new = torch.zeros_like(w)
            new[index] = target / target.sum()
            return new, active
        now = w[index]
        falling = target < now
        ratio = torch.where(
            falling & (target <= 1e-14), now / (now - target).clamp_min(1e-300), torch.inf
        )
        step = float(ratio.min().clamp(max=1.0))
        moved = (now + step * (target - now)).clamp_min(0.0)
        moved[int(ratio.argmin())] = 0.0
        w = torch.zeros_like(w)
        w[index] = moved / moved.sum()
        active = w > 0
