"""What a column of text seems to mean though each of its cells stays as it is written."""

from __future__ import annotations

import shlex

import polars as pl

from jointrain.data._reading_notes import ReadingNotes, share
from jointrain.data._table_schema import FALSE_WORDS, MISSING_NUMBERS, TRUE_WORDS

_MOST_VALUES = 40
"""A column of more different values is hardly one of categories."""

_NUMBER_FORMS = {
    "is a number in base 16": r"^[-+]?0[xX][0-9a-fA-F]+$",
    "has the exponent of Fortran": r"^[-+]?(?:\d+\.?\d*|\.\d+)[dD][-+]?\d+$",
    "is a fraction": r"^[-+]?(?:\d+ )?\d+/\d{1,3}$",
    "is a duration": r"^-?P(?:\d+D)?T(?:\d+(?:\.\d+)?[HMS])+$",
}
"""Ways to write numbers that are not read as such, by what is said of a cell."""


def note_text_values(text: pl.Series, notes: ReadingNotes) -> None:
    """Note truth values in several ways, values that differ by case, and numbers that are not read.

    At most 1000 cells are looked at, evenly spread.

    Args:
        text: The cells, null where missing, [n].
        notes: Where it is noted.
    """
    known = text.drop_nulls()
    sample = known.gather_every(max(1, -(-len(known) // 1000)))
    if sample.is_empty():
        return
    for what, form in _NUMBER_FORMS.items():
        if share(sample.str.contains(form)) > 0.9:
            notes.group(
                f"text whose cells look like numbers, but each {what}",
                f"{text.name} ({sample[0]})", "write decimal numbers to have numbers",
            )  # fmt: skip
            return
    values = sample.unique(maintain_order=True)
    if len(values) > _MOST_VALUES:
        return
    lower = values.str.to_lowercase()
    if _mixes_truths(lower):
        flag = shlex.quote(f"{text.name}=boolean")
        shown = " and ".join(repr(value) for value in values[:4])
        notes.add(
            f"column {text.name} writes truth values in several ways, {shown}, each of which is a "
            f"value of its own; --column {flag} reads them as true and false"
        )
        return
    twins = values.filter(lower.is_duplicated())
    if len(twins):
        alike = twins.filter(twins.str.to_lowercase() == twins.str.to_lowercase()[0])
        notes.group(
            "values that differ only by upper and lower case are different values",
            f"{text.name} ({' and '.join(repr(value) for value in alike)})",
            "write them alike if they are not",
        )


def note_outer_spaces(text: pl.Series, notes: ReadingNotes) -> None:
    """Note values that a text file changes: it can't keep the spaces around them.

    Values that come once are no categories, and get a note only where they differ by spaces alone.

    Args:
        text: The cells of a table with types, null where missing, [n].
        notes: Where it is noted.
    """
    known = text.drop_nulls()
    spaced = known.filter(known.str.strip_chars() != known)
    if spaced.is_empty():
        return
    values = known.unique(maintain_order=True)
    bare = values.str.strip_chars()
    twins = values.filter(bare.is_duplicated() & (bare != ""))
    if len(twins):
        alike = twins.filter(twins.str.strip_chars() == twins.str.strip_chars()[0])[:2]
        notes.group(
            "values that differ only by the spaces around them are different values, but are read "
            "as the same from text files",
            f"{text.name} ({' and '.join(repr(value[:40]) for value in alike)})",
            "write them alike if they are the same",
        )
    elif spaced.n_unique() < len(spaced):
        notes.group(
            "text begins or ends with spaces, which text files lose, so that its values are "
            "unknown there",
            f"{text.name} ({spaced[0][:40]!r})",
            "remove the spaces to predict from text files, too",
        )


def group_notes(values: pl.Series) -> tuple[str, ...]:
    """Return notes on groups that look alike, and on rows that may lack one.

    Args:
        values: The group of each row, [n].
    """
    if values.dtype not in (pl.String, pl.Categorical, pl.Enum):
        return ()
    name, groups = values.name, values.cast(pl.String).str.strip_chars()
    notes = []
    lacking = groups.filter(groups.is_in(["", *MISSING_NUMBERS]))
    if len(lacking) > 1:
        notes.append(
            f"{len(lacking)} rows hold {lacking[0]!r} or the like in group column {name} and are "
            "kept together; if it means that they have no group, give each one of its own"
        )
    written = values.cast(pl.String).unique(maintain_order=True)
    alike = written.str.strip_chars().str.to_lowercase()
    alike = alike.str.replace(r"^0+(\d)", "${1}").str.replace(r"^(\d+)\.0*$", "${1}")
    twins = written.filter(alike.is_duplicated())
    if len(twins):
        first = written.filter(alike == alike.filter(alike.is_duplicated())[0])
        notes.append(
            f"{len(twins)} groups of column {name} differ from others only by spaces, case or the "
            f"form of a number, such as {' and '.join(repr(one[:40]) for one in first[:2])}: they "
            "are different groups, which may lie on both sides of a split; write them alike if "
            "they are the same"
        )
    return tuple(notes)


def _mixes_truths(lower: pl.Series) -> bool:
    """Return whether values are truth values, more than one of which mean the same.

    Args:
        lower: The different values, in lower case.
    """
    counts = [int(lower.is_in(side).sum()) for side in (TRUE_WORDS, FALSE_WORDS)]
    return sum(counts) == len(lower) and max(counts) > 1
