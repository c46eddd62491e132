"""jointrain: train related tasks together, and learn whether that beats training them apart."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "InvalidInputError": "jointrain.errors",
    "JointrainError": "jointrain.errors",
    "Metric": "jointrain.metrics",
    "Task": "jointrain.task",
}
"""Where each public name lives; a room is imported when its first name is used."""

__all__ = sorted([*_HOMES, "__version__"])


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'jointrain' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
