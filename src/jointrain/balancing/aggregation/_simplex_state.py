from __future__ import annotations

import torch
from torch import Tensor

from jointrain.balancing.solvers import Array


def take_share(kept: Tensor, present: Tensor) -> tuple[Array, float]:
    """Return the weights of the step's tasks, rescaled to sum to 1, and what they sum to in `kept`.

    Shape:
        kept: [T], float64, on the simplex; present: [t]; returns [t] and a scalar.
    """
    share = kept[present]
    total = float(share.sum())
    if not total > 0.0:
        return share.new_full(share.shape, 1.0 / len(share)).cpu().numpy(), 0.0
    return (share / total).cpu().numpy(), total


def give_share(kept: Tensor, present: Tensor, share: Array, total: float) -> Tensor:
    """Write the weights back so that the absent tasks keep theirs; return them, [t]."""
    weights = torch.from_numpy(share)
    kept[present] = (weights * total).to(kept)
    return weights
