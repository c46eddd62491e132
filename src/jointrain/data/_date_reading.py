"""Whether a column of text holds dates or times, and how they are written."""

from __future__ import annotations

import shlex
from dataclasses import replace

import polars as pl

from jointrain.data._date_text import (
    DATE_FORMS,
    DAY_OR_MONTH_FIRST,
    LIKE_DATE,
    ParsedDates,
    parse_dates,
    parse_times,
)
from jointrain.data._reading_notes import ColumnText, ReadingNotes, listed, missing_flag, share
from jointrain.data._table_schema import ColumnReading


def date_reading(
    column: ColumnText, form: str | None, zone: str | None, *, own_form: bool
) -> ColumnReading | None:
    """Return how the dates of a column are written, None if it holds none.

    Where at most a tenth of the cells are no dates, these are faults.

    Args:
        column: The column.
        form: The form that the user says, None to recognise it.
        zone: The zone that the user says.
        own_form: Whether the form is said of this very column.

    Raises:
        InvalidInputError: A few cells are no dates, some have a zone and others none, or day and
            month can't be told apart.
    """
    asked = own_form or column.said == "date"
    forms = [form] if form is not None else []
    if not forms or not (own_form or _has_form(column.sample, form)):
        forms = _possible_forms(column.sample, asked=asked)
    known = column.known
    if not forms:
        _note_unknown_form(column, asked=asked)
        return None
    parsed = {form: parse_dates(known, form) for form in forms}
    shares = {form: share(dates.value.is_not_null()) for form, dates in parsed.items()}
    best = max(forms, key=lambda form: shares[form])
    if shares[best] < 1:
        wrong = known.filter(parsed[best].value.is_null())
        if asked or column.is_almost(shares[best]):
            column.refuse_few(wrong, f"dates like {_shown(best)}")
        if shares[best] > 0.5:
            remedy = f"if it means a missing value, {missing_flag(wrong[0])} says so"
            column.note_text(wrong[0], "is no date", remedy)
        else:
            _note_several_forms(column, parsed, best)
        return None
    other = DAY_OR_MONTH_FIRST.get(best)
    if other is not None and shares.get(other) == 1:
        _check_order(column, parsed, best, other)
    if best != "%Y-%m-%d":
        column.notes.group(
            f"dates read as {_shown(best)}", column.name, "--date-format reads them otherwise"
        )
    timed = parsed[best].has_time
    reading = ColumnReading("date", date_form=best, midnight=not timed.all())
    if not timed.any():
        return reading
    if zone is not None:
        return replace(reading, zone=zone, other_zone=zone)
    return replace(reading, zone=_zone(column, parsed[best].offset.filter(timed), timed))


def is_time(column: ColumnText) -> bool:
    """Return whether a column holds times of day.

    Raises:
        InvalidInputError: A few cells are none.
    """
    asked = column.said == "time"
    if not asked and share(parse_times(column.sample).is_not_null()) < 0.5:
        return False
    known = column.known
    times = parse_times(known)
    found = share(times.is_not_null())
    if found < 1:
        wrong = known.filter(times.is_null())
        if column.is_almost(found):
            column.refuse_few(wrong, "times of day")
        if found > 0.5:
            remedy = f"if it means a missing value, {missing_flag(wrong[0])} says so"
            column.note_text(wrong[0], "is no time of day", remedy)
    return found == 1


def note_like_dates(column: ColumnText, values: pl.Series) -> None:
    """Note a column of whole numbers each of which looks like a date."""
    if not values.dtype.is_integer() or values.count() < 10:
        return
    low, high = values.min(), values.max()
    if not 19000101 <= low <= high <= 21001231:  # type: ignore[operator]
        return
    if parse_dates(values.cast(pl.String), "%Y%m%d").value.count() == values.count():
        flag = shlex.quote(f"{values.name}=%Y%m%d")
        column.notes.add(
            f"column {values.name} holds numbers such as {values.drop_nulls()[0]} that look like "
            f"dates; --date-format {flag} reads dates"
        )


def _note_unknown_form(column: ColumnText, *, asked: bool) -> None:
    known = column.known
    if share(column.sample.str.contains(LIKE_DATE)) > 0.5:
        flag = shlex.quote(f"{column.name}=%d.%m.%y")
        remedy = f"--date-format, such as {flag}, reads dates"
        like = known.filter(known.str.contains(LIKE_DATE))
        column.note_text(like[0], "looks like a date of a form that is not known", remedy)
    if asked:
        column.refuse_few(known, "dates")


def _note_several_forms(column: ColumnText, parsed: dict[str, ParsedDates], best: str) -> None:
    """Note a column of which most cells are dates, but not of one form."""
    are_dates = pl.select(
        pl.any_horizontal(pl.lit(dates.value.is_not_null()) for dates in parsed.values())
    ).to_series()
    if share(are_dates) > 0.5:
        other = column.known.filter(are_dates & parsed[best].value.is_null())[0]
        remedy = "write all in one form to have dates"
        column.note_text(other, f"is a date, but others are like {_shown(best)}", remedy)


def note_dates_as_text(column: pl.Series, notes: ReadingNotes) -> None:
    """Note a column of text, in a table with types, whose values look like dates."""
    known = column.drop_nulls()
    sample = known.gather_every(max(1, -(-len(known) // 1000)))
    if len(sample) and share(sample.str.contains(LIKE_DATE)) > 0.9:
        flag = shlex.quote(f"{column.name}=date")
        notes.group(
            "text that looks like dates", f"{column.name} ({sample[0]})",
            f"--column {flag} reads dates",
        )  # fmt: skip


def _has_form(sample: pl.Series, form: str | None) -> bool:
    return form is not None and share(parse_dates(sample, form).value.is_not_null()) >= 0.5


def _possible_forms(sample: pl.Series, *, asked: bool) -> list[str]:
    """Return the known forms that some cells have, if one of them is that of most."""
    shares = {form: share(parse_dates(sample, form).value.is_not_null()) for form in DATE_FORMS}
    if max(shares.values()) < 0.5 and not asked:
        return []
    return [form for form, found in shares.items() if found]


def _check_order(column: ColumnText, parsed: dict[str, ParsedDates], best: str, other: str) -> None:
    differs = parsed[best].value != parsed[other].value
    if differs.any():
        column.refuse(
            column.known.filter(differs)[0],
            f"which may begin with the day or the month; say --date-format {best} or --date-format "
            f"{other}",
        )


def _zone(column: ColumnText, offset: pl.Series, timed: pl.Series) -> str | None:
    """Return the zone that hours are counted in: that of all cells, or UTC if they differ."""
    aware = offset.is_not_null()
    if not aware.any():
        return None
    if not aware.all():
        most_aware = share(aware) > 0.5
        few = column.known.filter(timed).filter(~aware if most_aware else aware)
        column.refuse(
            few[0],
            f"which has {'no' if most_aware else 'a'} time zone, other than most of this column's "
            "cells; write it alike everywhere, or name the zone of those without with --time-zone",
        )
    offsets = offset.unique().sort().to_list()
    shown = listed([_offset(minutes) for minutes in offsets])
    # zones of whole hours reach from 12 west to 14 east
    if len(offsets) > 1 or offsets[0] % 60 or offsets[0] < -720:
        one = len(offsets) == 1
        column.notes.add(
            f"column {column.name} has dates with the {'offset' if one else 'offsets'} {shown}: "
            "hours are counted in UTC; --time-zone, such as Europe/Berlin, counts them as clocks "
            "there show them"
        )
        return "UTC"
    hours = offsets[0] // 60
    return f"Etc/GMT{'-' if hours > 0 else '+'}{abs(hours)}" if hours else "UTC"


def _offset(minutes: int) -> str:
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"


def _shown(form: str) -> str:
    """Return a date of a form, to be understood by everyone."""
    return f"{form} (31 December 2026 is {_EXAMPLES[form]})" if form in _EXAMPLES else form


_EXAMPLES = {
    "%Y-%m-%d": "2026-12-31",
    "%Y/%m/%d": "2026/12/31",
    "%Y.%m.%d": "2026.12.31",
    "%d.%m.%Y": "31.12.2026",
    "%d/%m/%Y": "31/12/2026",
    "%m/%d/%Y": "12/31/2026",
    "%d-%m-%Y": "31-12-2026",
    "%m-%d-%Y": "12-31-2026",
    "%d %b %Y": "31 Dec 2026",
    "%b %d, %Y": "Dec 31, 2026",
}
