"""Hyper-parameters of one number per task: by name, or in the order of the tasks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from jointrain.balancing._balancer import Balancer
from jointrain.balancing._checks import check_number, check_vector
from jointrain.balancing.solvers import Array
from jointrain.errors import InvalidInputError, closest

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


def check_preference(
    value: PerTask, *, all_positive: bool = False
) -> dict[str, float] | tuple[float, ...] | None:
    """Return a preference as a plain dict or tuple, or None as it is.

    Args:
        value: Numbers >= 0, not all zero.
        all_positive: Refuse a zero, too.

    Raises:
        InvalidInputError: An entry is out of range.
    """
    checked = check_some_positive(check_per_task(value, "preference", low=0.0), "preference")
    numbers = checked.values() if isinstance(checked, dict) else checked or ()
    if all_positive and not all(numbers):
        raise InvalidInputError(
            f"`preference` must have entries above zero, got {checked!r}. Give a task that hardly "
            "counts a small number."
        )
    return checked


def preference_vector(
    value: dict[str, float] | tuple[float, ...] | None, task_names: tuple[str, ...]
) -> Tensor:
    """Return a preference in the order of the tasks, [T], float64; 1 for each where it is None.

    Raises:
        InvalidInputError: There are more or fewer numbers than tasks, or other names.
    """
    return per_task_vector(value, "preference", task_names, 1.0)


def off_ray(losses: Array, preference: Array) -> Array:
    """Return what has to be taken from the losses [t] to bring them onto the preference's ray."""
    square = float(preference @ preference) or 1.0  # 0: the tasks that count are absent
    return np.asarray(losses - float(losses @ preference) / square * preference)


def known_tasks(balancer: Balancer, method: str) -> tuple[str, ...]:
    """Return the tasks that the balancer is bound to, for a method that can't do without.

    Raises:
        InvalidInputError: It isn't bound to any yet.
    """
    if balancer.task_names is None:
        message = f"`{method}` must be called with the tasks known, got a balancer without tasks."
        raise InvalidInputError(f"{message} Pass `tasks` or call `bind` before.")
    return balancer.task_names


def noted(
    balancer: Balancer,
    figures: Mapping[str, float],
    name: str,
    low: float = -math.inf,
    high: float = math.inf,
) -> Iterator[tuple[int, float]]:
    """Yield the place in the state, and the figure, of each task that `note` is told of.

    Raises:
        InvalidInputError: The balancer has no tasks yet, a name is unknown to it, or a figure is
            out of the bounds of `check_number`.
    """
    known_tasks(balancer, "note")
    for place, task in zip(balancer.positions_of(list(figures)).tolist(), figures, strict=True):
        yield place, check_number(figures[task], f"{name}[{task!r}]", low=low, high=high)
