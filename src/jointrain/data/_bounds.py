"""Numbers and bounds of numbers, such as ``>10`` and ``<0.5``, as targets of censored tasks."""

from __future__ import annotations

import math
import re
from typing import Any

import polars as pl
import torch
from torch import Tensor

from jointrain.errors import InvalidInputError

_LOWER = (">=", "=>", "≥", ">")
_UPPER = ("<=", "=<", "≤", "<")


def read_bounds(values: Any, name: str = "values") -> Tensor:
    """Return the lower and the upper bound of each value, as `Task.censored` takes them.

    ``12.5`` is known, ``>10`` and ``>=10`` are at least 10, ``<0.5`` and ``<=0.5`` at most 0.5,
    ``[3, 7]`` is between them. A comma may be the decimal mark (``<0,5``), unless three digits
    follow it or another value has a decimal point. None, NaN and empty text are missing.

    Args:
        values: A list, a column of a table, or an array, of text or numbers.
        name: What errors call it.

    Shape:
        returns: [n, 2], float64; NaN where a value is missing.

    Raises:
        InvalidInputError: A value is neither a number nor a bound, its lower bound is above the
            upper one, or both point and comma are decimal; its row (from 1) is named.

    Examples:
        >>> read_bounds([12.5, ">10", "< 0.5", ""]).tolist()
        [[12.5, 12.5], [10.0, inf], [-inf, 0.5], [nan, nan]]
    """
    if isinstance(values, pl.Series) and values.dtype.is_numeric():
        # infinite numbers are refused below
        numbers = values.cast(pl.Float64)
        if not numbers.is_infinite().any():
            return torch.from_numpy(numbers.to_numpy().copy())[:, None].repeat(1, 2)
    rows = values.to_list() if isinstance(values, pl.Series) else list(values)
    known: dict[Any, tuple[float, float]] = {}
    found = []
    for row, value in enumerate(rows):
        if value not in known:
            known[value] = _bounds(value, row, name)
        found.append(known[value])
    _refuse_both_marks(rows, name)
    return torch.tensor(found, dtype=torch.float64).reshape(len(rows), 2)


def _bounds(value: Any, row: int, name: str) -> tuple[float, float]:
    if value is None or (isinstance(value, str) and not value.strip()):
        return math.nan, math.nan
    text = str(value).strip()
    between = _BETWEEN.fullmatch(text)
    if between is not None:
        low, high = (_number(end) for end in between.groups())
        if low is not None and high is not None and low > high:
            raise InvalidInputError(
                f"{name} holds {value!r} in row {row + 1}, whose lower bound is above the upper "
                "one; change their places"
            )
        if low is not None and high is not None:
            return low, high
    sign = next((one for one in (*_LOWER, *_UPPER) if text.startswith(one)), "")
    number = _number(text[len(sign) :])
    if number is None or between is not None or (sign and math.isnan(number)):
        raise InvalidInputError(
            f"{name} holds {value!r} in row {row + 1}, which is neither a number nor a bound such "
            "as >10, <0.5 or [3, 7]; mend it, or leave it empty"
        )
    return (
        -math.inf if sign in _UPPER else number,
        math.inf if sign in _LOWER else number,
    )


def _refuse_both_marks(rows: list[Any], name: str) -> None:
    """Refuse values of which some have a decimal point and others a decimal comma."""
    texts = [(row, value) for row, value in enumerate(rows) if isinstance(value, str)]
    # in brackets, a comma stands between bounds
    comma = next((at for at in texts if "," in at[1] and "[" not in at[1]), None)
    point = next((at for at in texts if "." in at[1]), None)
    if comma is not None and point is not None:
        raise InvalidInputError(
            f"{name} holds {comma[1]!r} in row {comma[0] + 1}, and {point[1]!r} in row "
            f"{point[0] + 1}: a comma and a point can't both be decimal; mend the cells"
        )


_BETWEEN = re.compile(r"\[\s*([^,;\]]+?)\s*[,;]\s*([^,;\]]+?)\s*\]")
_COMMA = re.compile(r"[+-]?\d*,(\d{1,2}|\d{4,})")
"""A number with a decimal comma: three digits behind it could as well be thousands."""


def _number(text: str) -> float | None:
    """Return a finite number or NaN, None if the text is none."""
    text = text.strip()
    if _COMMA.fullmatch(text):
        text = text.replace(",", ".")
    try:
        number = float(text)
    except ValueError:
        return None
    return None if math.isinf(number) or "_" in text else number
