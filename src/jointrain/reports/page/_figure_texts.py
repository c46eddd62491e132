"""How the sections of a page print figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jointrain.reports._words import signed


def number(value: float | None) -> str:
    """Return a figure of a table."""
    return "-" if value is None else f"{value:.4g}"


def change_text(row: Mapping[str, Any]) -> str:
    """Return a change with its interval."""
    if row.get("change") is None:
        return "" if "change" not in row else "undefined"
    unit, verdict = row.get("unit", "difference"), row.get("verdict", "")
    sign = " %" if unit == "percent" else ""
    change = signed(row["change"], unit, verdict, bound=False) + sign
    if row.get("low") is None:
        return change
    low, high = (signed(row[name], unit, verdict, bound=True) for name in ("low", "high"))
    return f"{change} [{low}, {high}]"
