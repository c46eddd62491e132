from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from jointrain.balancing._balancer import Balancer
from jointrain.balancing.solvers import Array


def register_equal_shares(balancer: Balancer, n_tasks: int) -> None:
    """Create the state ``simplex``, [T], float64: the same weight for each task, of sum 1."""
    equal = torch.full((n_tasks,), 1.0 / n_tasks, dtype=torch.float64)
    balancer.register_buffer("simplex", equal)


def take_share(balancer: Balancer, n_tasks: int) -> tuple[Array, float]:
    """Return the weights of the step's tasks, rescaled to sum to 1, and what they sum to.

    The balancer keeps them in its state ``simplex``, [T], float64.

    Shape:
        returns [t] and a scalar.
    """
    share = balancer.entries("simplex", n_tasks).cpu().numpy()
    total = float(share.sum())
    if not total > 0.0:
        return np.full(n_tasks, 1.0 / n_tasks), 0.0
    return share / total, total


def give_share(balancer: Balancer, share: Array, total: float) -> Tensor:
    """Write the weights back so that the absent tasks keep theirs; return them, [t]."""
    weights = torch.from_numpy(share)
    balancer.set_entries("simplex", weights * total)
    return weights
