"""The command that was given, as a report repeats it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

_said: list[str] = []


def remember_command(arguments: Sequence[str]) -> None:
    """Keep the arguments of the command that runs now."""
    _said[:] = arguments


def command_line() -> str:
    """Return the command that makes the same again, without passwords of databases."""
    words = [re.sub(r"(://[^/@\s:]*):[^/@\s]*@", r"\1:***@", word) for word in _said]
    return shlex.join(["jointrain", *words])
