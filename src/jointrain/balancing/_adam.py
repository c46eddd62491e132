"""A step of Adam on per-task state, of which only the present tasks' entries move."""

from __future__ import annotations

import torch
from torch import Tensor


def adam_moments(n_tasks: int) -> Tensor:
    """Return the moments before the first step, [3, T]: first, second and number of steps."""
    return torch.zeros(3, n_tasks, dtype=torch.float64)


def adam_step(
    values: Tensor,
    gradient: Tensor,
    moments: Tensor,
    positions: Tensor,
    *,
    step_size: float,
    weight_decay: float = 0.0,
) -> None:
    r"""Move the entries of `values` at `positions` by one step of Adam, in place.

    As ``torch.optim.Adam`` with its default decays and :math:`\epsilon`, except that every entry
    counts its own steps: absent tasks keep value, moments and count.

    Shape:
        values: [T]; moments: [3, T], as of :func:`adam_moments`; both are written to.
        gradient: [t], without the weight decay; positions: [t].
    """
    gradient = gradient.to(values) + weight_decay * values[positions]
    first, second, count = moments[:, positions]
    count = count + 1
    first = 0.9 * first + 0.1 * gradient
    second = 0.999 * second + 0.001 * gradient.square()
    moments[:, positions] = torch.stack([first, second, count])
    length = (second / (1 - 0.999**count)).sqrt()
    values[positions] -= step_size * first / (1 - 0.9**count) / (length + 1e-8)
