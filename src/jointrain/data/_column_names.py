"""Names of columns, and what is wrong with them."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

import polars as pl

from jointrain.errors import InvalidInputError

_NUMBER = re.compile(r"[-+]?(\d+([.,]\d*)?|[.,]\d+)([eE][-+]?\d+)?")
_UNSEEN = " \t\r\n\ufeff\u200b\u00a0"


def check_names(names: Sequence[str], where: str) -> None:
    """Refuse column names that occur more than once, or that Polars takes for a pattern."""
    if "*" in names:
        raise InvalidInputError(
            f"{where} names a column '*', which stands for all columns in Polars; give it a name "
            "in words"
        )
    for name in names:
        if name.startswith("^") and name.endswith("$"):
            raise InvalidInputError(
                f"{where} names a column {name!r}, which stands for a pattern of names in Polars; "
                "leave out the ^ or the $"
            )
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        shown = ", ".join(repr(name) for name in repeated[:5])
        more = f" and {len(repeated) - 5} more" if len(repeated) > 5 else ""
        advice = "give each column its own name"
        if all(_NUMBER.fullmatch(name) for name in names):
            advice = "if that line is the first row, put a line of names above it"
        raise InvalidInputError(f"{where} names column {shown}{more} more than once; {advice}")


def stripped(name: str) -> str:
    """Return a name without what can't be seen at its ends."""
    return name.strip().strip(_UNSEEN)


def alike_notes(names: Sequence[str], where: str) -> list[str]:
    """Return a note on names that differ by nothing that a reader would see."""
    folded: dict[str, list[str]] = {}
    for name in names:
        key = " ".join(unicodedata.normalize("NFKC", name).casefold().split())
        folded.setdefault(key, []).append(name)
    alike = [group for group in folded.values() if len(group) > 1]
    if not alike:
        return []
    shown = "; ".join(" and ".join(map(repr, group)) for group in alike[:5])
    more = f" and {len(alike) - 5} more" if len(alike) > 5 else ""
    return [
        f"names of {where} differ only by case, spaces or the form of a letter: {shown}{more}; "
        "they are different columns"
    ]


def number_notes(names: Sequence[str], where: str) -> list[str]:
    """Return a note if the names are numbers, as the first row of a table without header is."""
    counted = [[str(i + first) for i in range(len(names))] for first in (0, 1)]
    if list(names) in counted:
        return []
    numbers = [name for name in names if _NUMBER.fullmatch(name)]
    broken = [name for name in numbers if not name.lstrip("+-").isdigit()]
    if len(numbers) < len(names) and 2 * len(broken) < len(names):
        return []
    return [
        f"{where} has numbers as names, such as {numbers[0]!r}; if that line is the first row, "
        "put a line of names above it"
    ]


def named_columns(
    written: Sequence[str], cells: pl.DataFrame, where: str
) -> tuple[dict[str, str], list[str]]:
    """Give columns their names; those without name and content are left out.

    Args:
        written: The names in the file.
        cells: The columns in the same order; if there are more, they have no name.
        where: What messages call the header.

    Returns:
        The name of each column by its name in `cells`, and notes.

    Raises:
        InvalidInputError: There is no name, or two are the same.
    """
    found: dict[str, str] = {}
    unnamed, left_out = [], []
    names = [stripped(name) for name in written] + [""] * (cells.width - len(written))
    for number, (name, column) in enumerate(zip(names, cells.columns, strict=True), start=1):
        if name:
            found[column] = name
        elif _is_empty(cells[column]):
            left_out.append(str(number))
        else:
            found[column] = f"unnamed_{number}"
            unnamed.append(found[column])
    if not found:
        raise InvalidInputError(f"{where} has no names; give each column a name")
    notes = []
    if left_out:
        columns, are = ("column", "is") if len(left_out) == 1 else ("columns", "are")
        listed = ", ".join(left_out)
        notes.append(f"{where} has no name for {columns} {listed}, which {are} empty: left out")
    if unnamed:
        notes.append(f"{where} lacks names; the columns are called {', '.join(unnamed)}")
    found_names = list(found.values())
    check_names(found_names, where)
    return found, notes + number_notes(found_names, where) + alike_notes(found_names, where)


def _is_empty(cells: pl.Series) -> bool:
    if cells.dtype == pl.String:
        return bool(cells.str.strip_chars().fill_null("").eq("").all())
    return bool(cells.is_null().all())
