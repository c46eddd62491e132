"""Forms in which flags and the config file write values: names, pairs, groups, durations."""

from __future__ import annotations

import math
import re
import reprlib
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator

from jointrain.system.text_pairs import names_in, pairs_in


def names_code(text: str) -> bool:
    """Return whether a command's first argument is ``module:name`` and no table."""
    return re.fullmatch(r"[^\W\d][\w.]*:[^\W\d][\w.]*", text) is not None and not (
        Path(text).exists()
    )


def column_names(said: list[str]) -> list[str]:
    """Return the names in what a repeatable flag was given: each may hold several, with commas."""
    return list(names_in(said))


def _listed(value: Any) -> Any:
    """Read names from a config file's list as they are, or from a string with commas."""
    if isinstance(value, str):
        return names_in(value)
    return value


def _options(value: Any) -> Any:
    """Read ``a=x`` pairs whose values are numbers, true, false or text."""
    pairs = pairs_in(value)
    if not isinstance(pairs, dict):
        return pairs
    return {name: _number(item) if isinstance(item, str) else item for name, item in pairs.items()}


def _options_with_lists(value: Any) -> Any:
    """Read options whose values may be lists, ``a=1,2``, or name tasks, ``a=price:2,sold:1``."""
    if isinstance(value, str):
        value = [value]
    if isinstance(value, (list, tuple)):
        given: dict[str, list[str]] = {}
        name = ""
        for item in names_in(list(value)):
            before, equals, after = str(item).partition("=")
            if equals:
                name = before.strip()
                if name in given:
                    raise ValueError(f"{name!r} is given twice")
            if not name:
                raise ValueError(f"expected name=value, got {reprlib.repr(item)}")
            # what has no equals sign goes on with the value before it
            given.setdefault(name, []).append(after.strip() if equals else str(item))
        return {name: _value_of(name, pieces) for name, pieces in given.items()}
    if isinstance(value, dict):
        return {
            name: _value_of(name, names_in(item)) if isinstance(item, str) else item
            for name, item in value.items()
        }
    return value


def _value_of(name: str, pieces: list[str]) -> Any:
    """Return what an option is given: a number or text, a list of them, or numbers by name."""
    parts = [piece.rpartition(":") for piece in pieces]
    numbers = [_number(number) if colon else None for _, colon, number in parts]
    named = [isinstance(x, (int, float)) and not isinstance(x, bool) for x in numbers]
    if pieces and all(named):
        by_name = {task.strip(): x for (task, _, _), x in zip(parts, numbers, strict=True)}
        if len(by_name) < len(pieces):
            raise ValueError(f"{name!r} names a task twice")
        return by_name
    if any(named):
        raise ValueError(f"{name!r} must have a number for each name, as in price:2,sold:1")
    values = [_number(piece) for piece in pieces]
    return values if len(values) > 1 else values[0] if values else ""


def _number(text: str) -> bool | int | float | str:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text


def _rule_or_pairs(value: Any) -> Any:
    pairs = pairs_in(value) if isinstance(value, str) and "=" in value else value
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
        return [names_in(group) for group in _BETWEEN_GROUPS.split(value) if group.strip()]
    return value


_BETWEEN_GROUPS = re.compile(r';(?=(?:[^"]*"[^"]*")*[^"]*$)')
"""A semicolon with an even number of quotes after it."""


def _table(value: Any) -> Any:
    if isinstance(value, (str, Path)):
        return str(value)
    raise ValueError("expected the name of a file")


Names = Annotated[list[str], BeforeValidator(_listed)]

Pairs = Annotated[dict[str, str], BeforeValidator(pairs_in)]

Numbers = Annotated[dict[str, float], BeforeValidator(pairs_in)]

Options = Annotated[dict[str, bool | int | float | str], BeforeValidator(_options)]

OptionsWithLists = Annotated[dict[str, Any], BeforeValidator(_options_with_lists)]

Duration = Annotated[str, BeforeValidator(_duration)]

Interval = Annotated[str, BeforeValidator(_interval)]

Groups = Annotated[str | list[list[str]], BeforeValidator(_groups)]

TableName = Annotated[str, BeforeValidator(_table)]

RuleOrNumbers = Annotated[str | dict[str, float], BeforeValidator(_rule_or_pairs)]
