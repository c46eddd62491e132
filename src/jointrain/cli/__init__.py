"""The command line."""

from jointrain.cli._command_line import main, run

__all__ = [
    "main",
    "run",
]
