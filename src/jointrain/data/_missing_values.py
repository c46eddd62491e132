"""What stands for a missing value in the arrays of Python."""

from __future__ import annotations

from datetime import datetime, time
from decimal import Decimal
from typing import Any

import numpy as np


def is_missing(value: Any) -> bool:
    """Return whether an object stands for a missing value: None, NaN, NaT, pandas.NA or masked."""
    if value is None or value is np.ma.masked:
        return True
    try:
        # NaN and NaT are the values that differ from themselves
        return bool(value != value)
    except (TypeError, ValueError, ArithmeticError):
        # pandas.NA is neither true nor false, a signalling NaN compares with nothing
        return type(value).__name__ in ("NAType", "Decimal")


def mixed_kinds(values: Any) -> tuple[int, int] | None:
    """Return two positions whose objects are of different kinds; None if all are of one.

    The kinds are truth values, numbers, text, dates and times with a zone, and the rest together.

    Args:
        values: Objects, some of which may be missing.
    """
    first: dict[str, int] = {}
    for position, value in enumerate(values):
        kind = _kind(value)
        if kind not in first and not is_missing(value):
            first[kind] = position
            if len(first) == 2:
                one, other = first.values()
                return one, other
    return None


def _kind(value: Any) -> str:
    if isinstance(value, (bool, np.bool_)):
        return "truth value"
    if isinstance(value, (int, float, np.number, Decimal)):
        return "number"
    if isinstance(value, (datetime, time)) and value.tzinfo is not None:
        return "with zone"
    return "text" if isinstance(value, str) else "rest"


def unmasked(array: np.ndarray) -> np.ndarray:
    """Return a masked array as a plain one, with NaN, NaT or None where it is masked."""
    if not isinstance(array, np.ma.MaskedArray):
        return array
    mask = np.ma.getmaskarray(array)
    if not mask.any():
        return np.asarray(array.data)
    if array.dtype.kind == "f":
        return np.where(mask, np.nan, array.data)
    if array.dtype.kind in "mM":
        return np.where(mask, np.array("NaT", dtype=array.dtype), array.data)
    # whole numbers would lose digits as floating-point ones
    plain: np.ndarray = np.asarray(array.data).astype(object)
    plain[mask] = None
    return plain
