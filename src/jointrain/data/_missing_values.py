"""What stands for a missing value in the arrays of Python."""

from __future__ import annotations

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
