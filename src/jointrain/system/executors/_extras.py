"""Packages that only some executors need."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from jointrain.errors import MissingDependencyError


def import_extra(module: str, extra: str) -> Any:
    """Return a module, or say which extra brings it.

    Raises:
        MissingDependencyError: It is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            f"the executor {extra} needs {module}, which is not installed: "
            f"pip install 'jointrain[{extra}]'"
        ) from error
