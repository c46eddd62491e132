"""The command line."""

from __future__ import annotations

from collections.abc import Sequence

from jointrain.system.stop_signals import end_at_once, on_stop
from jointrain.system.terminal_streams import open_closed_streams

__all__ = [
    "main",
    "run",
]


def main() -> None:
    """Run the command line; every user fault is one line and exit code 2."""
    open_closed_streams()
    # until the commands are imported
    on_stop(end_at_once)
    from jointrain.cli import _command_line

    _command_line.main()


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    from jointrain.cli import _command_line

    return _command_line.run(arguments)
