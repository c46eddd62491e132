"""Tables as they are written: every cell of a text file byte for byte, before any typing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Literal
from zoneinfo import available_timezones

import polars as pl

from jointrain.data._text_encoding import check_encoding
from jointrain.errors import InvalidInputError, closest

READING_KINDS = ("number", "boolean", "text", "date", "time")
"""What a column can be said to hold."""


@cache
def time_zones() -> set[str]:
    """Return the known names; kept, as finding them walks through a folder for a long time."""
    return available_timezones()


def check_zone(zone: str | None) -> None:
    """Refuse a name that is no time zone."""
    if zone is not None and zone not in time_zones():
        raise InvalidInputError(
            f"time zone {zone!r} is not known{closest(zone, time_zones())}; give a name such as "
            "Europe/Berlin or UTC"
        )


def checked_separator(separator: str | None) -> str | None:
    """Return the character between the fields, of which a tab may have its name.

    Raises:
        InvalidInputError: It is no single character, or one that can't stand there.
    """
    if separator is None:
        return None
    separator = {"tab": "\t", r"\t": "\t"}.get(separator, separator)
    if len(separator) != 1 or not separator.isascii() or separator in '"\r\n':
        raise InvalidInputError(
            f"--separator must be one character such as ';' or 'tab', got {separator!r}"
        )
    return separator


@dataclass(frozen=True)
class ReadingOptions:
    """How a table is to be read; None recognises what the file shows.

    Args:
        encoding: Encoding of a text file, by its Python name (``cp1252``, ``utf-16``).
        separator: What stands between the fields of a text file, one character.
        comment: What lines begin with that are no part of the table.
        missing: Cells that mean a missing value, in every column.
        decimal: What stands before the fraction of a number.
        thousands: What stands between the thousands of a number.
        date_format: Form of dates, as in `datetime.strptime`, of all columns or by name.
        time_zone: Zone that hours are counted in, by its IANA name; dates without zone are of it.
        columns: What columns hold where it is not to be recognised: ``number``, ``boolean``,
            ``text``, ``date`` or ``time``, by name.
    """

    encoding: str | None = None
    separator: str | None = None
    comment: str | None = None
    missing: tuple[str, ...] | None = None
    decimal: Literal[".", ","] | None = None
    thousands: str | None = None
    date_format: str | Mapping[str, str] | None = None
    time_zone: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse marks that can't be those of numbers, and names that are unknown."""
        if self.encoding is not None:
            check_encoding(self.encoding)
        checked_separator(self.separator)
        check_zone(self.time_zone)
        for name, kind in self.columns.items():
            if kind not in READING_KINDS:
                raise InvalidInputError(
                    f"column {name!r} is said to hold {kind!r}{closest(kind, READING_KINDS)}; "
                    f"known are {', '.join(READING_KINDS)}"
                )
        if self.decimal not in (None, ".", ","):
            raise InvalidInputError(f"decimal mark must be . or a comma, got {self.decimal!r}")
        marks = ("", ",", ".", " ", "'", "_", None)
        if self.thousands not in marks or self.thousands == (self.decimal or "none"):
            raise InvalidInputError(
                f"mark between thousands must be one of , . ' _ a space or '' for none, and not "
                f"the decimal mark, got {self.thousands!r}"
            )


@dataclass(frozen=True)
class RawTable:
    """A table before any typing.

    Args:
        frame: The cells. Of a text file every column is text, each cell byte for byte as it is
            written, with the spaces around it; an unquoted empty cell is null, a quoted one is
            "". Other containers keep their types.
        is_text: Whether the cells are text that must be typed.
        where: What messages call the source.
        quoted: Which cells of a column are in quotes, [n], for the columns in which some cell is
            and in which it could matter: cells that look like a missing value.
        row_to_line: The line of the file on which a row (from 0) begins, from 1.
        separator: What stands between the fields, for text with separators.
        notes: What was decided about the file, a sentence each.
        indices: Columns that pandas wrote to number its rows; they are no features.
        lost: Words among numbers or dates that were read as missing already, by column.
    """

    frame: pl.DataFrame
    is_text: bool
    where: str
    quoted: Mapping[str, pl.Series] = field(default_factory=dict)
    row_to_line: Callable[[int], int] | None = None
    separator: str | None = None
    notes: tuple[str, ...] = ()
    indices: tuple[str, ...] = ()
    lost: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def place(self, row: int) -> str:
        """Return a row (from 0) in words for a message: its number, and its line if it has one."""
        if self.row_to_line is None:
            return f"row {row + 1}"
        return f"row {row + 1} (line {self.row_to_line(row)})"
