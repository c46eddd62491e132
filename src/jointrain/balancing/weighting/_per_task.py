"""What several loss weightings need: hyper-parameters per task, checks, small sums."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from jointrain.balancing._balancer import Balancer
from jointrain.balancing._checks import check_vector
from jointrain.errors import InvalidInputError, closest

LARGEST = 700.0
"""The largest number whose exponential is asked for; from 710 on it isn't finite."""

PerTask = Mapping[str, float] | Iterable[float] | Tensor | None
"""One number per task: by name, or in the order of the tasks; None for the method's default."""


def check_per_task(
    value: PerTask, name: str, *, low: float
) -> dict[str, float] | tuple[float, ...] | None:
    """Return `value` as a plain dict or tuple of finite numbers >= `low`, or None as it is.

    Raises:
        InvalidInputError: An entry is no finite number or below `low`, or there is no entry.
    """
    if value is None:
        return None
    if isinstance(value, Mapping):
        numbers = check_vector(list(value.values()), name, low=low).tolist()
        return dict(zip((str(key) for key in value), numbers, strict=True))
    return tuple(check_vector(value, name, low=low).tolist())


def check_some_positive(
    value: dict[str, float] | tuple[float, ...] | None, name: str
) -> dict[str, float] | tuple[float, ...] | None:
    """Return `value` if it is None or has an entry above zero, so that some task counts."""
    if value is not None and not any(value.values() if isinstance(value, dict) else value):
        message = f"`{name}` must have at least one entry above zero, got {value!r}."
        raise InvalidInputError(f"{message} Give a positive number to the tasks that count.")
    return value


def per_task_vector(
    value: dict[str, float] | tuple[float, ...] | None,
    name: str,
    task_names: tuple[str, ...],
    default: float,
) -> Tensor:
    """Return the numbers in the order of the tasks, [T], float64.

    Raises:
        InvalidInputError: There are more or fewer numbers than tasks, or other names.
    """
    if value is None:
        return torch.full((len(task_names),), default, dtype=torch.float64)
    if isinstance(value, dict):
        for key in value:
            if key not in task_names:
                message = f"`{name}` has an entry for task {key!r}, the balancer knows"
                hint = closest(key, task_names)
                raise InvalidInputError(f"{message} {list(task_names)}{hint}. Mend the name.")
        for key in task_names:
            if key not in value:
                message = f"`{name}` must have an entry for every task, it lacks {key!r}."
                raise InvalidInputError(f"{message} Add one.")
        return torch.tensor([value[key] for key in task_names], dtype=torch.float64)
    if len(value) != len(task_names):
        message = f"`{name}` must have one entry per task, got {len(value)} for {len(task_names)}"
        raise InvalidInputError(f"{message} tasks {list(task_names)}. Pass as many as tasks.")
    return torch.tensor(value, dtype=torch.float64)


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
    task = str(i)
    if balancer.task_names is not None:
        task = balancer.task_names[int(balancer.present(len(losses))[i])]
    message = f"`losses` must be at least {bounds[i]:g} for balancer {balancer.name!r}, got"
    raise InvalidInputError(
        f"{message} {losses[i]:g} for task {task!r}. Shift that loss so that it can't go below "
        "its bound, or choose a balancer that takes any loss."
    )
