"""What people write in one line: names, and values by name."""

from __future__ import annotations

import csv
import reprlib
from typing import Any

from jointrain.errors import InvalidInputError


def names_in(value: Any) -> Any:
    """Read ``a,b,"c, d"`` (or several such) as a list of names."""
    if isinstance(value, str):
        value = [value]
    if isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
        rows = csv.reader(value, skipinitialspace=True)
        return [name.strip() for row in rows for name in row if name.strip()]
    return value


def pairs_in(value: Any) -> Any:
    """Read ``a=x,b=y`` (or several such) as a mapping; the name may hold an equals sign.

    Raises:
        ValueError: It has another form.
    """
    if isinstance(value, str):
        value = [value]
    if isinstance(value, (list, tuple)):
        pairs = {}
        for item in names_in(list(value)):
            if not isinstance(item, str):
                raise ValueError(f"expected name=value, got {reprlib.repr(item)}")
            name, equals, what = item.rpartition("=")
            if not equals or not name.strip():
                raise ValueError(f"expected name=value, got {item!r}")
            if name.strip() in pairs:
                raise ValueError(f"{name.strip()!r} is given twice")
            pairs[name.strip()] = what.strip()
        return pairs
    return value


def numbers_by_name(said: str, what: str) -> dict[str, float]:
    """Return numbers that are written as ``a=0.7,b=0.3``.

    Args:
        said: What is written.
        what: What messages call it.

    Raises:
        InvalidInputError: It has another form.
    """
    try:
        return {name: float(number) for name, number in pairs_in(said).items()}
    except ValueError as error:
        raise InvalidInputError(f"{what} must look like a=0.7,b=0.3: {error}") from None
