"""Classes found by their folder: a new file is all that it takes to add one."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Collection, Sequence
from typing import TypeVar

_Root = TypeVar("_Root")


def classes_of(
    package: str, path: Sequence[str], root: type[_Root], *, without: Collection[str] = ()
) -> dict[str, type[_Root]]:
    """Import the modules of a package and return its named classes by class name.

    Args:
        package: The package's name.
        path: Its folders, ``__path__``.
        root: What the classes derive from. Those count that have a ``name`` of their own and can be
            made.
        without: Modules that are not looked into, such as the one that asks.
    """
    modules = [
        importlib.import_module(f"{package}.{one.name}")
        for one in pkgutil.iter_modules(path)
        if one.name not in without
    ]
    return {
        name: value
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, root)
        if value.__module__ == module.__name__ and "name" in vars(value)
        if not name.startswith("_") and not inspect.isabstract(value)
    }
