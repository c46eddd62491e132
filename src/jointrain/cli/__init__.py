"""The command line."""

from jointrain.cli._commands import main, run

__all__ = [
    "main",
    "run",
]
