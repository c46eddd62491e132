"""Whether a column of text holds numbers, and how they are written."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import replace
from typing import NoReturn

import polars as pl

from jointrain.data._number_text import (
    UNITS,
    Marks,
    NumberFormat,
    are_like_grades,
    are_whole,
    leading_zero,
    marks_of,
    minus_behind,
    number_format,
    split_cells,
)
from jointrain.data._raw_table import ReadingOptions
from jointrain.data._reading_notes import FEW, ColumnText, missing_flag, share

_SCALES = (
    "k", "K", "M", "B", "G", "T", "bn", "mn", "mln", "tsd", "Tsd", "Tsd.", "Mio", "Mio.", "Mrd",
    "Mrd.", "thousand", "million", "billion",
)  # fmt: skip
"""What stands behind a number for a power of ten."""


def number_reading(
    column: ColumnText,
    options: ReadingOptions,
    evidence: Callable[[], frozenset[str]],
    *,
    semicolons: bool,
) -> NumberFormat | None:
    """Return how the numbers of a column are written, None if it holds none.

    Where at most a tenth of the cells are no numbers, these are faults. Where more than half are
    numbers, the column is text with a note. Digits that begin with 0 are codes, which are text.

    Args:
        column: The column.
        options: What the user says.
        evidence: Gives the decimal marks of the other columns.
        semicolons: Whether the file's fields are separated by semicolons.

    Raises:
        InvalidInputError: A few cells are no numbers, units differ, or the marks can be read in two
            ways.
    """
    forced = column.said == "number"
    if not forced and share(split_cells(column.sample)["body"].is_not_null()) < 0.5:
        return None
    known = column.known
    cells = split_cells(known)
    marks, numbers = marks_of(cells, known)
    if not forced:
        numbers &= ~_odd_units(column, known, cells["unit"])
    found = share(numbers)
    if not forced and found > 0.5 and _is_text(column, known):
        return None
    if found < 1:
        wrong = known.filter(~numbers)
        if column.is_almost(found):
            column.refuse_few(wrong, "numbers")
        if found > 0.5:
            remedy = f"if it means a missing value, {missing_flag(wrong[0])} says so"
            column.note_text(wrong[0], "is no number", remedy)
        return None
    unit = _one_unit(column, known, cells["unit"])
    limits = cells["limit"] != ""
    if limits.any():
        _note_limits(column, known, limits)
    form = _chosen_marks(column, marks, options, evidence, semicolons=semicolons)
    grouped = cells["body"].str.contains(form.thousands or "\0", literal=True).any()
    form = replace(
        form, unit=unit, limits=bool(limits.any()),
        grouped=bool(grouped) or options.thousands is not None,
    )  # fmt: skip
    _note_format(column, form)
    return form


def _is_text(column: ColumnText, known: pl.Series) -> bool:
    """Return whether numbers are meant as text: codes, and classes that are no whole numbers."""
    if column.is_class:
        values = known.cast(pl.Float64, strict=False)
        return values.count() < len(known) or not are_whole(known, values)
    if are_like_grades(known):
        _no_number(
            column, str(minus_behind(known)), "looks like a grade, or a number below 0",
            f"{column.flag('number')} reads numbers below 0",
        )  # fmt: skip
        return True
    whole = known.filter(known.str.contains(r"^[-+]?\d+$"))
    if len(whole) == len(known) and whole.cast(pl.Int128, strict=False).null_count():
        _no_number(
            column, known.filter(whole.cast(pl.Int128, strict=False).is_null())[0],
            "has more digits than whole numbers can", f"{column.flag('number')} rounds them",
        )  # fmt: skip
        return True
    code = leading_zero(known)
    if code is not None:
        column.note_text(
            code, "begins with 0 as codes do", f"{column.flag('number')} reads numbers"
        )
    return code is not None


def _odd_units(column: ColumnText, known: pl.Series, units: pl.Series) -> pl.Series:
    """Return which cells have a unit that is not known; note one that all of them have."""
    odd = ((units != "") & ~units.is_in(list(UNITS))).fill_null(value=False)
    kinds = units.filter(odd).unique(maintain_order=True)
    if len(kinds) > 1 and share(odd) > 0.5 and kinds.is_in(_SCALES).all():
        _no_number(
            column, known.filter(odd)[0],
            f"looks like a number, but others have other powers of ten ({', '.join(kinds)})",
            "write all digits to have numbers",
        )  # fmt: skip
    elif FEW < share(~odd & units.is_not_null()) <= 0.5 and _few_kinds(units, kinds):
        _no_number(
            column, known.filter(odd)[0],
            f"looks like a number with the unit {kinds[0]!r}, which is not known, and others have "
            "no unit",
            "write all digits without units to have numbers",
        )  # fmt: skip
    if odd.all() and units.n_unique() == 1:
        _no_number(
            column, known[0],
            f"looks like a number with the unit {units[0]!r}, which is not known",
            f"{column.flag('number')} reads numbers",
        )  # fmt: skip
    return odd


def _few_kinds(units: pl.Series, kinds: pl.Series) -> bool:
    """Return whether nearly all cells are numbers, with few units that are not known."""
    return 0 < len(kinds) <= 3 and share(units.is_not_null()) >= 1 - FEW


def _no_number(column: ColumnText, cell: str, why: str, remedy: str) -> None:
    """Note a column of text that looks like numbers; refuse a target that has many of them."""
    if column.is_target and not column.is_class and column.known.n_unique() > _MOST_CLASSES:
        flag = shlex.quote(f"{column.name}=multiclass")
        column.refuse(cell, f"which {why}; {remedy}, and --task {flag} takes them as classes")
    column.note_text(cell, why, remedy)


_MOST_CLASSES = 10
"""A target of more different values that look like numbers is hardly one of classes."""


def _one_unit(column: ColumnText, known: pl.Series, units: pl.Series) -> str:
    kinds = units.unique(maintain_order=True).to_list()
    if len(kinds) > 1:
        first, other = (known.filter(units == kind)[0] for kind in kinds[:2])
        column.refuse(
            other,
            f"and {first!r} in {column.where(first)}: numbers with different units; write all in "
            f"one unit, or read them as text with {column.flag('text')}",
        )
    return str(kinds[0])


def _note_limits(column: ColumnText, known: pl.Series, limits: pl.Series) -> None:
    first, count = known.filter(limits)[0], int(limits.sum())
    flag = missing_flag(*known.filter(limits).unique(maintain_order=True)[:3])
    if column.is_target:
        column.refuse(
            first,
            f"which is a limit or an estimate and no value ({count} of {len(known)} labels); put a "
            f"value there or take it as missing with {flag}",
        )
    column.notes.add(
        f"column {column.name}: {count} of {len(known)} values are limits or estimates such as "
        f"{first!r}, read as the number itself; {flag} takes them as missing"
    )


def _chosen_marks(
    column: ColumnText,
    marks: Marks,
    options: ReadingOptions,
    evidence: Callable[[], frozenset[str]],
    *,
    semicolons: bool,
) -> NumberFormat:
    if options.decimal is not None or options.thousands is not None:
        decimal = options.decimal or ("," if options.thousands == "." else ".")
        other = marks.thousands or ("," if decimal == "." else ".")
        return NumberFormat(decimal, other if options.thousands is None else options.thousands)
    others = evidence() if marks.says_nothing else frozenset()
    form = number_format(marks, others, semicolons=semicolons)
    if form is None:
        _refuse_marks(column, marks)
    return form


def _refuse_marks(column: ColumnText, marks: Marks) -> NoReturn:
    if marks.point is not None and marks.comma is not None:
        column.refuse(
            marks.comma,
            f"and {marks.point!r} in {column.where(marks.point)}: a comma and a point can't both "
            f"be decimal; mend the cells, or read them as text with {column.flag('text')}",
        )
    column.refuse(
        marks.unclear,
        "whose mark may stand between thousands or before a fraction; say which mark is decimal "
        "with --decimal , or --decimal .",
    )


def _note_format(column: ColumnText, form: NumberFormat) -> None:
    known, name = column.known, column.name
    if form.unit:
        column.notes.add(
            f"column {name}: numbers with the unit {form.unit!r}; {column.flag('text')} keeps text"
        )
    in_brackets = known.filter(known.str.starts_with("("))
    if len(in_brackets):
        column.notes.group(
            "numbers in brackets, read as negative", f"{name} {in_brackets[0]}",
            "--column NAME=text keeps text",
        )  # fmt: skip
    behind = minus_behind(known)
    if behind is not None:
        column.notes.group(
            "numbers with a minus behind them, read as negative", f"{name} {behind}",
            "--column NAME=text keeps text",
        )  # fmt: skip
    body = split_cells(known)["body"]
    used = known.filter(body.str.contains(form.thousands or "\0", literal=True))
    if len(used):
        mark = "spaces" if form.thousands == " " else repr(form.thousands)
        column.notes.group(
            f"numbers with {mark} between thousands",
            f"{name} ({used[0]})",
            f"--decimal {'.' if form.decimal == ',' else ','} reads them otherwise",
        )
    if form.decimal == ",":
        column.notes.group("numbers with a decimal comma", name, "--decimal . reads them otherwise")
