"""Checks of hyper-parameters: a value and its name in, the value or an error out."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable

import torch
from torch import Tensor

from jointrain.errors import InvalidInputError, closest


def check_number(
    value: float,
    name: str,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    strict_low: bool = False,
    strict_high: bool = False,
) -> float:
    """Return `value` as a float if it is a finite number in the range, which `strict_*` opens."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    ok = number and math.isfinite(value)
    ok = ok and (value > low if strict_low else value >= low)
    ok = ok and (value < high if strict_high else value <= high)
    if not ok:
        left, right = "(" if strict_low else "[", ")" if strict_high else "]"
        message = f"`{name}` must be a number in {left}{low:g}, {high:g}{right}, got {value!r}."
        raise InvalidInputError(f"{message} Pass a value in that range.")
    return float(value)


def check_positive(value: float, name: str) -> float:
    """Return `value` as a float if it is a finite number above zero."""
    return check_number(value, name, low=0.0, strict_low=True)


def check_count(value: int, name: str, *, low: int = 1) -> int:
    """Return `value` if it is an integer of at least `low`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < low:
        message = f"`{name}` must be an integer of at least {low}, got {value!r}."
        raise InvalidInputError(f"{message} Pass a larger integer.")
    return value


def check_choice(value: str, name: str, choices: Collection[str]) -> str:
    """Return `value` if it is one of `choices`."""
    if value not in choices:
        known = list(choices)
        hint = closest(str(value), known)
        raise InvalidInputError(f"`{name}` must be one of {known}, got {value!r}{hint}.")
    return value


def check_vector(value: Iterable[float] | Tensor, name: str, *, low: float = -math.inf) -> Tensor:
    """Return `value` as a float64 tensor [t] if it is a vector of finite numbers >= `low`."""
    try:
        vector = torch.as_tensor(
            value if isinstance(value, Tensor) else list(value), dtype=torch.float64
        ).detach()
    except (TypeError, ValueError) as error:
        message = f"`{name}` must be a sequence of numbers, got {value!r}."
        raise InvalidInputError(f"{message} Pass one number per task.") from error
    if vector.ndim != 1 or not len(vector):
        message = f"`{name}` must be a vector with one number per task"
        raise InvalidInputError(f"{message}, got shape {tuple(vector.shape)}.")
    if not bool(torch.isfinite(vector).all()) or bool((vector < low).any()):
        message = f"`{name}` must hold finite numbers of at least {low:g}, got {vector.tolist()}."
        raise InvalidInputError(f"{message} Mend the entry that is out of range.")
    return vector.clone()
