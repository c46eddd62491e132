"""Forms in which flags and the config file write values: names, pairs, groups, durations."""

from __future__ import annotations

import csv
import math
import re
import reprlib
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator

from jointrain.errors import InvalidInputError


def names_code(text: str) -> bool:
    """Return whether a command's first argument is ``module:name`` and no table."""
    return re.fullmatch(r"[^\W\d][\w.]*:[^\W\d][\w.]*", text) is not None and not (
        Path(text).exists()
    )


def _names(value: Any) -> Any:
    """Read ``a,b,"c, d"`` (or several such) as a list of names."""
    if isinstance(value, str):
        value = [value]
    if isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
        rows = csv.reader(value, skipinitialspace=True)
        return [name.strip() for row in rows for name in row if name.strip()]
    return value


def column_names(said: list[str]) -> list[str]:
    """Return the names in what a repeatable flag was given: each may hold several, with commas."""
    return list(_names(said))


def _listed(value: Any) -> Any:
    """Read names from a config file's list as they are, or from a string with commas."""
    if isinstance(value, str):
        return _names(value)
    return value


def _pairs(value: Any) -> Any:
    """Read ``a=x,b=y`` (or several such) as a mapping; the name may hold an equals sign."""
    if isinstance(value, str):
        value = [value]
    if isinstance(value, (list, tuple)):
        pairs = {}
        for item in _names(list(value)):
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


def numbers_by_name(said: str, flag: str) -> dict[str, float]:
    """Return what a flag was given as ``a=0.7,b=0.3``.

    Raises:
        InvalidInputError: It has another form.
    """
    try:
        return {name: float(number) for name, number in _pairs(said).items()}
    except ValueError as error:
        raise InvalidInputError(f"{flag} must look like a=0.7,b=0.3: {error}") from None


def _options(value: Any) -> Any:
    """Read ``a=x`` pairs whose values are numbers, true, false or text."""
    pairs = _pairs(value)
    if not isinstance(pairs, dict):
        return pairs
    return {name: _number(item) if isinstance(item, str) else item for name, item in pairs.items()}


def _number(text: str) -> bool | int | float | str:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text


def _rule_or_pairs(value: Any) -> Any:
    pairs = _pairs(value) if isinstance(value, str) and "=" in value else value
    if isinstance(pairs, dict):
        for name, item in pairs.items():
            number = _number(item) if isinstance(item, str) else item
            # what is of another form than a number, pydantic refuses
            if isinstance(number, (str, float)) and not _is_finite(number):
                raise ValueError(f"expected a number for {name!r}, got {item!r}")
    return pairs


def _is_finite(value: str | float) -> bool:
    return not isinstance(value, str) and math.isfinite(value)


def _duration(value: Any) -> Any:
    """Check a duration such as ``90``, ``60s`` or ``2m``; it stays as it was written."""
    if value is not None and seconds_of(str(value)) is None:
        raise ValueError("expected a duration such as 60s, 2m or 1h")
    return None if value is None else str(value)


def seconds_of(text: str) -> float | None:
    """Return the seconds of a duration, None if it is none."""
    number, unit = (text[:-1], text[-1]) if text[-1:] in ("s", "m", "h") else (text, "s")
    try:
        seconds = float(number) * {"s": 1, "m": 60, "h": 3600}[unit]
    except ValueError:
        return None
    return seconds if 0 < seconds < math.inf else None


def _interval(value: Any) -> Any:
    """Check a number of steps, or a time as `jointrain.training.Checkpoints` takes it."""
    text = str(value)
    if re.fullmatch(r"[1-9]\d*|\d+(\.\d+)? ?(s|min|h)", text) and float(text.rstrip(" smihn")) > 0:
        return text
    raise ValueError("expected a number of steps, or a time such as 30s, 10min or 2h")


def _groups(value: Any) -> Any:
    """Read ``a,b;c`` (or a list of lists) as groups of names; quotes keep a semicolon whole."""
    if isinstance(value, str):
        return [_names(group) for group in _BETWEEN_GROUPS.split(value) if group.strip()]
    return value


_BETWEEN_GROUPS = re.compile(r';(?=(?:[^"]*"[^"]*")*[^"]*$)')
"""A semicolon with an even number of quotes after it."""


def _table(value: Any) -> Any:
    if isinstance(value, (str, Path)):
        return str(value)
    raise ValueError("expected the name of a file")


Names = Annotated[list[str], BeforeValidator(_listed)]

Pairs = Annotated[dict[str, str], BeforeValidator(_pairs)]

Numbers = Annotated[dict[str, float], BeforeValidator(_pairs)]

Options = Annotated[dict[str, bool | int | float | str], BeforeValidator(_options)]

Duration = Annotated[str, BeforeValidator(_duration)]

Interval = Annotated[str, BeforeValidator(_interval)]

Groups = Annotated[str | list[list[str]], BeforeValidator(_groups)]

TableName = Annotated[str, BeforeValidator(_table)]

RuleOrNumbers = Annotated[str | dict[str, float], BeforeValidator(_rule_or_pairs)]
