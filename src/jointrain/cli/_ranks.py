"""Commands under torchrun: which of several processes this one is, and who prints."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from jointrain.errors import InvalidInputError
from jointrain.system.terminal_streams import be_quiet

_TOGETHER = ("fit",)
"""The commands that several processes do together."""


def started_by_torchrun() -> bool:
    """Return whether torchrun, or what works like it, has started several such processes."""
    return "RANK" in os.environ and os.environ.get("WORLD_SIZE", "1") != "1"


def is_first_rank() -> bool:
    """Return whether this process is the one that prints and writes."""
    return not started_by_torchrun() or os.environ["RANK"] == "0"


def prefix_of_errors() -> str:
    """Return what the errors of this process begin with, so that each tells whose it is."""
    return "" if is_first_rank() else f"rank {os.environ['RANK']}: "


def prepare_rank(arguments: Sequence[str]) -> None:
    """Let processes but the first print errors alone.

    Raises:
        InvalidInputError: The command is one that a process does by itself.
    """
    if not started_by_torchrun():
        return
    if not is_first_rank():
        be_quiet()
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    command = next((one for one in arguments if not one.startswith("-")), None)
    if command is not None and command not in _TOGETHER:
        raise InvalidInputError(
            f"torchrun starts several processes, and {command} is the work of one; start it by "
            f"itself: its --workers and --study let processes and machines share it"
        )
