"""Dates and times as people write them."""

from __future__ import annotations

import re
from dataclasses import dataclass

import polars as pl

from jointrain.errors import InvalidInputError

_NAMED_DAY = r"(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*,?\s+)?"
_DAY, _MONTH, _YEAR = r"(?P<day>\d{1,2})", r"(?P<month>\d{1,2})", r"(?P<year>\d{4})"
_NAME = (
    r"(?P<name>(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec))"
    r"(?i:uary|ruary|ch|il|e|y|ust|t|tember|ober|ember)?\.?"
)
DATE_FORMS = {
    "%Y-%m-%d": rf"{_YEAR}-{_MONTH}-{_DAY}",
    "%Y/%m/%d": rf"{_YEAR}/{_MONTH}/{_DAY}",
    "%Y.%m.%d": rf"{_YEAR}\.{_MONTH}\.{_DAY}",
    "%d.%m.%Y": rf"{_DAY}\.{_MONTH}\.{_YEAR}",
    "%d/%m/%Y": rf"{_DAY}/{_MONTH}/{_YEAR}",
    "%m/%d/%Y": rf"{_MONTH}/{_DAY}/{_YEAR}",
    "%d-%m-%Y": rf"{_DAY}-{_MONTH}-{_YEAR}",
    "%m-%d-%Y": rf"{_MONTH}-{_DAY}-{_YEAR}",
    "%d %b %Y": rf"{_NAMED_DAY}{_DAY}[ -]{_NAME}[ -]{_YEAR}",
    "%b %d, %Y": rf"{_NAMED_DAY}{_NAME} {_DAY},? {_YEAR}",
}
"""What may stand for a date without being asked for; a time of day and a zone may follow."""

DAY_OR_MONTH_FIRST = {"%d/%m/%Y": "%m/%d/%Y", "%d-%m-%Y": "%m-%d-%Y"}
"""Forms that can be told apart only by a day after the 12th."""

LIKE_DATE = (
    r"^(?:(?:\d|[0-3]\d)([./-])(?:\d|[0-3]\d)[./-]\d\d(?:\d\d)?|\d{4}[./-]\d{1,2}(?:[./-]\d{1,2})?"
    r"|\d{1,2}\.? ?\p{L}{3,9}\.? ?\d{2,4}|\d{8}T\d{4}"
    r"|(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}[-/. ']{1,2}\d\d(?:\d\d)?)"
    r"(?:$|[\sT,Z\d])"
)
"""What looks like a date, of whatever form."""

TIME = (
    r"(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,9}))?)?"
    r"(?:\s?(?P<half>[AaPp])\.?[Mm]\.?)?"
)
_ZONE = r"\s?(?P<zone>Z|UTC|GMT|[+-](?:0\d|1[0-4])(?::?[0-5]\d)?)"
_PART = re.compile(r"%[-_0#:.\d]*([A-Za-z+%])")
_OF_TIME, _OF_ZONE = set("HIklpPMSfTRrXcs+"), set("zs+")
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]


@dataclass(frozen=True)
class ParsedDates:
    """Cells read as dates.

    Args:
        value: [n], datetime without zone as it is written, null where a cell is no date.
        has_time: [n], whether a time of day is written.
        offset: [n], minutes east of UTC, null where no zone is written.
    """

    value: pl.Series
    has_time: pl.Series
    offset: pl.Series


def parse_dates(text: pl.Series, form: str) -> ParsedDates:
    """Read each cell by itself as a date with or without time of day and zone.

    Args:
        text: Cells without outer spaces.
        form: A key of `DATE_FORMS`, or any other form of `datetime.strptime`.
    """
    if form not in DATE_FORMS:
        return _by_strptime(text, form)
    if form == "%Y-%m-%d":
        plain = _plain_dates(text)
        if plain is not None:
            return plain
    pattern = rf"^{DATE_FORMS[form]}(?:(?:[T ]|,\s?|T\s)\s?{TIME}(?:{_ZONE})?)?$"
    fields = text.str.extract_groups(pattern).struct.unnest()
    if "name" in fields.columns:
        names = pl.col("name").str.to_lowercase()
        number = names.replace_strict(_MONTHS, [f"{i:02}" for i in range(1, 13)], default=None)
        fields = fields.with_columns(month=number)
    zone = pl.col("zone").str.replace_all(":", "", literal=True)
    sign = pl.when(zone.str.starts_with("-")).then(-1).otherwise(1)
    minutes = zone.str.slice(1, 2).cast(pl.Int32, strict=False) * 60 + zone.str.slice(3, 2).replace(
        "", "00"
    ).cast(pl.Int32, strict=False)
    out = fields.select(
        value=pl.concat_str(
            [
                pl.col("year"), pl.lit("-"), pl.col("month").str.zfill(2), pl.lit("-"),
                pl.col("day").str.zfill(2), pl.lit("T"), _clock(),
            ]
        ).str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", time_unit="us", strict=False),
        has_time=pl.col("hour").is_not_null(),
        offset=pl.when(zone.is_in(["Z", "UTC", "GMT"])).then(0).otherwise(sign * minutes)
        .cast(pl.Int32),
    )  # fmt: skip
    return ParsedDates(out["value"].alias(text.name), out["has_time"], out["offset"])


def parse_times(text: pl.Series) -> pl.Series:
    """Read each cell by itself as a time of day, null where it is none."""
    fields = text.str.extract_groups(rf"^{TIME}$").struct.unnest()
    clock = fields.select(
        value=pl.when(pl.col("hour").is_not_null()).then(_clock()).otherwise(None)
    )
    return clock["value"].str.to_time("%H:%M:%S%.f", strict=False).alias(text.name)


def _clock() -> pl.Expr:
    """Return hours, minutes, seconds and fraction as text; midnight where there are none."""
    hour = pl.col("hour").cast(pl.Int32)
    late = pl.col("half").str.to_lowercase() == "p"
    civil = (
        pl.when(pl.col("half").is_null())
        .then(hour)
        .when((hour < 1) | (hour > 12))
        .then(99)  # no hour of a clock with twelve hours; not read as a time below
        .otherwise(hour % 12 + pl.when(late).then(12).otherwise(0))
    )
    return pl.concat_str(
        [
            civil.fill_null(0).cast(pl.String).str.zfill(2), pl.lit(":"),
            pl.col("minute").fill_null("00"), pl.lit(":"), pl.col("second").fill_null("00"),
            pl.lit("."), pl.col("fraction").fill_null("0"),
        ]
    )  # fmt: skip


def _plain_dates(text: pl.Series) -> ParsedDates | None:
    """Read a column of plain ISO dates or moments the quick way; None if it holds anything else."""
    length = text.str.len_bytes()
    for form, size in (("%Y-%m-%d", 10), ("%Y-%m-%d %H:%M:%S", 19), ("%Y-%m-%dT%H:%M:%S", 19)):
        if not length.eq(size).all():
            continue
        timed = size > 10
        parse = text.str.to_datetime if timed else text.str.to_date
        values = parse(form, strict=False).cast(pl.Datetime("us"))
        if values.count() == text.count():
            has_time = pl.repeat(value=timed, n=len(text), eager=True)
            return ParsedDates(
                values, has_time, pl.repeat(None, len(text), dtype=pl.Int32, eager=True)
            )
    return None


def _by_strptime(text: pl.Series, form: str) -> ParsedDates:
    parts = set(_PART.findall(form))
    timed, zoned = bool(parts & _OF_TIME), bool(parts & _OF_ZONE)
    try:
        if not timed:
            value = text.str.to_date(form, strict=False).cast(pl.Datetime("us"))
        elif zoned:
            aware = text.str.to_datetime(form, time_unit="us", time_zone="UTC", strict=False)
            value = aware.dt.replace_time_zone(None)
        else:
            value = text.str.to_datetime(form, time_unit="us", strict=False)
    except pl.exceptions.ComputeError as error:
        reason = str(error).splitlines()[0].removeprefix("Invalid format string: ").rstrip(".")
        raise InvalidInputError(
            f"--date-format {form!r} can't be used ({reason}); name hours with minutes, as in "
            "%H:%M, or as in %I:%M %p"
        ) from None
    offset = 0 if zoned else None
    return ParsedDates(
        value.alias(text.name),
        pl.repeat(value=timed, n=len(text), eager=True),
        pl.repeat(offset, len(text), dtype=pl.Int32, eager=True),
    )
