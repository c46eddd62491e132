"""Numbers and bounds of numbers, such as ``>10`` and ``<0.5``, as targets of censored tasks."""

from __future__ import annotations

import math
from typing import Any

import polars as pl
import torch
from torch import Tensor

from jointrain.errors import InvalidInputError

_LOWER = (">=", "=>", "≥", ">")
_UPPER = ("<=", "=<", "≤", "<")


def read_bounds(values: Any, name: str = "values") -> Tensor:
    """Return the lower and the upper bound of each value, as `Task.censored` takes them.

    ``12.5`` is known, ``>10`` and ``>=10`` are at least 10, ``<0.5`` and ``<=0.5`` at most 0.5.
    None, NaN and empty text are missing.

    Args:
        values: A list, a column of a table, or an array, of text or numbers.
        name: What errors call it.

    Shape:
        returns: [n, 2], float64; NaN where a value is missing.

    Raises:
        InvalidInputError: A value is neither a number nor a bound; its row (from 1) is named.

    Example:
        >>> read_bounds([12.5, ">10", "< 0.5", ""]).tolist()
        [[12.5, 12.5], [10.0, inf], [-inf, 0.5], [nan, nan]]
    """
    rows = values.to_list() if isinstance(values, pl.Series) else list(values)
    return torch.tensor(
        [_bounds(value, row, name) for row, value in enumerate(rows)], dtype=torch.float64
    ).reshape(len(rows), 2)


def _bounds(value: Any, row: int, name: str) -> tuple[float, float]:
    if value is None or (isinstance(value, str) and not value.strip()):
        return math.nan, math.nan
    text = str(value).strip()
    sign = next((one for one in (*_LOWER, *_UPPER) if text.startswith(one)), "")
    try:
        number = float(text[len(sign) :])
    except ValueError:
        number = math.inf
    if math.isinf(number) or "_" in text or (sign and math.isnan(number)):
        raise InvalidInputError(
            f"{name} holds {value!r} in row {row + 1}, which is neither a number nor a bound such "
            "as >10 or <0.5; mend it, or leave it empty"
        )
    return (
        -math.inf if sign in _UPPER else number,
        math.inf if sign in _LOWER else number,
    )
