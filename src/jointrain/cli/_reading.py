"""How a table is written: from flags, and from what a bundle keeps of its own table."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from jointrain.system.quick_imports import quick_imports

if TYPE_CHECKING:
    from jointrain.data import ReadingOptions


def reading_options(
    *,
    missing: str | Sequence[str] | None = None,
    date_format: str | Mapping[str, str] | None = None,
    **others: Any,
) -> ReadingOptions:
    """Return how a table is to be read, from what flags say.

    Args:
        missing: Tokens, or a text with commas between them; "" for none.
        date_format: A form of dates, ``name=form``, or forms by name.
        others: Further fields of `ReadingOptions`, as they are.
    """
    with quick_imports():
        from jointrain.data import ReadingOptions

    if isinstance(missing, str):
        missing = [] if not missing.strip() else next(csv.reader([missing], skipinitialspace=True))
    if isinstance(date_format, str) and not date_format.startswith("%"):
        name, equals, form = date_format.partition("=%")
        if equals:
            date_format = {name: "%" + form}
    tokens = None if missing is None else tuple(token.strip() for token in missing)
    return ReadingOptions(missing=tokens, date_format=date_format, **others)


def kept_reading(options: ReadingOptions) -> dict[str, str]:
    """Return what a bundle keeps of how its table's file was read."""
    values = {name: getattr(options, name) for name in _KEPT}
    return {name: value for name, value in values.items() if value is not None}


def with_kept_reading(options: ReadingOptions, notes: Mapping[str, Any]) -> ReadingOptions:
    """Return the options, those that say nothing as in the notes of a bundle."""
    kept = notes.get("reading") or {}
    return replace(
        options,
        **{name: kept[name] for name in _KEPT if name in kept and getattr(options, name) is None},
    )


_KEPT = ("encoding", "separator", "comment")
