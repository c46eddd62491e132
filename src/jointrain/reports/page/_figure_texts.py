"""How the sections of a page print figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def number(value: float | None) -> str:
    """Return a figure of a table."""
    return "-" if value is None else f"{value:.4g}"


def change_text(row: Mapping[str, Any]) -> str:
    """Return a change with its interval."""
    if row.get("change") is None:
        return "" if "change" not in row else "undefined"
    percent = row.get("unit") == "percent"
    form = "{:+.1f}" if percent else "{:+.3g}"
    unit = " %" if percent else ""
    if row.get("low") is None:
        return form.format(row["change"]) + unit
    ends = f"{form.format(row['low'])}, {form.format(row['high'])}"
    return f"{form.format(row['change'])}{unit} [{ends}]"
