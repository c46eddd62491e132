"""The command line."""

from __future__ import annotations

from collections.abc import Sequence

from jointrain.system.stop_signals import end_at_once, on_stop

__all__ = [
    "main",
    "run",
]


def main() -> None:
    """Run the command line; every user fault is one line and exit code 2."""
    # until the commands are imported
    on_stop(end_at_once)
    from jointrain.cli import _command_line

    _command_line.main()


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    from jointrain.cli import _command_line

    return _command_line.run(arguments)
