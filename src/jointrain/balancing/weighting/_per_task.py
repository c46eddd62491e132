"""What several loss weightings need: checks, small sums."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from jointrain.balancing._balancer import Balancer
from jointrain.errors import InvalidInputError

LARGEST = 700.0
"""The largest number whose exponential is asked for; from 710 on it isn't finite."""


def dot(left: Sequence[float], right: Sequence[float]) -> float:
    """Return the sum of the products."""
    return sum(x * y for x, y in zip(left, right, strict=True))


def softmax(values: Sequence[float]) -> list[float]:
    """Return shares in proportion to the exponentials of `values` [t]."""
    largest = max(values)
    parts = [math.exp(x - largest) for x in values]
    total = sum(parts)
    return [part / total for part in parts]


def add_to_average(total: Tensor, count: Tensor, present: Tensor, losses: Sequence[float]) -> None:
    """Add losses [t] to the sums [T] and numbers [T] of which an epoch's means are made."""
    total.index_add_(0, present, torch.tensor(losses, dtype=total.dtype))
    count.index_add_(0, present, torch.ones(len(losses), dtype=count.dtype))


def known_or_first(
    balancer: Balancer, name: str, values: Sequence[float], least: float
) -> list[float]:
    """Return what the state `name` [T] holds for the step's tasks, [t].

    A task of which nothing is known yet, not a number, gets its value here, at least `least`, and
    keeps it.
    """
    found: list[float] = balancer.entries(name, len(values)).tolist()
    if any(map(math.isnan, found)):
        pairs = zip(values, found, strict=True)
        found = [max(x, least) if math.isnan(known) else known for x, known in pairs]
        balancer.set_entries(name, torch.tensor(found, dtype=torch.float64))
    return found


def require_at_least(
    losses: Sequence[float], low: Sequence[float] | float, balancer: Balancer
) -> None:
    """Check that no loss is below `low`, as methods that take a logarithm, root or ratio need.

    Shape:
        losses: [t]; low: a number or [t].

    Raises:
        InvalidInputError: A loss is below its bound or not a number.
    """
    bounds = [low] * len(losses) if isinstance(low, float) else low
    # not so for a loss that isn't a number
    fine = [x >= bound for x, bound in zip(losses, bounds, strict=True)]
    if all(fine):
        return
    i = fine.index(False)
    task = balancer.name_of(i, len(losses))
    message = f"`losses` must be at least {bounds[i]:g} for balancer {balancer.name!r}, got"
    raise InvalidInputError(
        f"{message} {losses[i]:g} for task {task!r}. Shift that loss so that it can't go below "
        "its bound, or choose a balancer that takes any loss."
    )
