"""Groups and weights as flags of the command line take them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def groups_text(groups: Sequence[Sequence[str]]) -> str:
    """Return groups as ``a,b;c``."""
    return ";".join(_line(group) for group in groups)


def pairs_text(pairs: Mapping[str, float]) -> str:
    """Return names and numbers as ``a=1,b=0.3``."""
    return _line([f"{name}={value:g}" for name, value in pairs.items()])


def _line(items: Sequence[str]) -> str:
    """Return items separated by commas, in quotes where they hold a mark that separates."""
    return ",".join(
        '"' + item.replace('"', '""') + '"' if any(mark in item for mark in ',;"\n\r') else item
        for item in items
    )
