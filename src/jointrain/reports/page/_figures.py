"""Figures: all that a page shows, as values that JSON can hold, in a file beside it."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jointrain.errors import InvalidInputError
from jointrain.reports._summary import comparison_to_json
from jointrain.studies import Comparison
from jointrain.system.stored_files import DamagedError, read_json

Figures = dict[str, Any]
"""Figures by section; `FORMAT` counts how they are laid out."""

FORMAT = 1

FIGURES = "report.json"
PAGE = "report.html"

_PACKAGES = ("jointrain", "torch", "numpy", "scikit-learn", "polars")


def circumstances(title: str, kind: str, command: str | None) -> Figures:
    """Return what the figures of any page begin with.

    Args:
        title: The heading.
        kind: ``study``, ``search`` or ``runs``.
        command: What makes them again; None if that is not known.
    """
    return {
        "format": FORMAT,
        "kind": kind,
        "title": title,
        "command": command,
        "made": datetime.now(UTC).strftime("%Y-%m-%d"),
        "versions": {"Python": platform.python_version(), **_versions()},
        "finished": True,
    }


def change_figures(comparison: Comparison) -> Figures:
    """Return the figures of a change that a page shows."""
    found = comparison_to_json(comparison)
    return {name: found[name] for name in ("change", "low", "high", "unit", "verdict")}


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # run from its sources
            continue
    return found


def read_figures(path: Path) -> Figures:
    """Return the figures of a file.

    Raises:
        InvalidInputError: It holds none, or those of another version.
    """
    try:
        figures = read_json(path)
    except (OSError, DamagedError):
        figures = None
    if not isinstance(figures, Mapping) or not isinstance(figures.get("format"), int):
        raise InvalidInputError(
            f"{path} is damaged, or no file of jointrain's; run the command again that made it"
        )
    if figures["format"] != FORMAT:
        by = figures.get("versions")
        version = by.get("jointrain", "unknown") if isinstance(by, Mapping) else "unknown"
        raise InvalidInputError(
            f"{path} is of another version of jointrain ({version}, format {figures['format']}; "
            f"this one reads format {FORMAT}); install that version, or run the command again"
        )
    return dict(figures)
