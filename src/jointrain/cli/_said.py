"""The command that was given, as a report repeats it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from jointrain.system.database_address import without_password

_said: list[str] = []


def remember_command(arguments: Sequence[str]) -> None:
    """Keep the arguments of the command that runs now."""
    _said[:] = arguments


def command_line() -> str:
    """Return the command that makes the same again, without passwords of databases."""
    return shlex.join(["jointrain", *map(without_password, _said)])
