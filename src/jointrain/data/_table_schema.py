"""How the columns of a table are read: decided once, at training, and obeyed at every later time.

A cell is read by itself, so what a row means doesn't depend on the other rows of its file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import lru_cache
from typing import Literal

import polars as pl

from jointrain.data._date_text import parse_dates, parse_times
from jointrain.data._list_columns import ITEM_MARK, is_list
from jointrain.data._number_text import NumberFormat, parse_numbers
from jointrain.data._raw_table import RawTable, ReadingOptions, time_zones
from jointrain.errors import InvalidInputError

Place = Callable[[int], str]
"""Puts a row (from 0) into words."""

TRUE_WORDS = ("true", "t", "yes", "y", "1", "1.0")
FALSE_WORDS = ("false", "f", "no", "n", "0", "0.0")

_WORDS = {
    "number": "number",
    "boolean": "truth value",
    "date": "date",
    "time": "time of day",
    "duration": "duration",
}


@dataclass(frozen=True)
class ColumnReading:
    """How a column is read.

    Args:
        kind: What its values are. ``verbatim`` keeps each cell byte for byte.
        missing: Cells that mean a missing value, beside the empty one; in text only without quotes.
        number: How numbers are written.
        date_form: How dates are written, as in `datetime.strptime`; a known form may be followed by
            a time of day and a zone.
        zone: IANA name of the zone in which hours are counted; None for dates without zone.
        other_zone: Zone of cells without one where the column has a zone, and the other way round;
            None refuses them.
        midnight: Whether a date without time of day is accepted.
        plain_numbers: Of text: whether all values that look like numbers are written as a number
            would be (``7``, ``1.5``), so that a column of numbers can stand for them.
        lists: Of text: whether the column held lists, which are needed later, too. Text is lists
            only where `lists_as_bags` has joined them.
    """

    kind: Literal["number", "boolean", "text", "date", "time", "duration", "verbatim"]
    missing: tuple[str, ...] = ()
    number: NumberFormat = field(default_factory=NumberFormat)
    date_form: str = "%Y-%m-%d"
    zone: str | None = None
    other_zone: str | None = None
    midnight: bool = True
    plain_numbers: bool = False
    lists: bool = False

    def __post_init__(self) -> None:
        """Refuse marks and zones that can't be."""
        if self.number.decimal not in (".", ",") or self.number.thousands == self.number.decimal:
            raise ValueError(f"no such marks of numbers: {self.number}")
        for zone in (self.zone, self.other_zone):
            if zone is not None and zone not in time_zones():
                raise ValueError(f"no such time zone: {zone!r}")


@dataclass(frozen=True)
class TableSchema:
    """How the columns of a table are read.

    Args:
        columns: The reading of each column, by name.
    """

    columns: Mapping[str, ColumnReading] = field(default_factory=dict)

    @classmethod
    def of(cls, frame: pl.DataFrame) -> TableSchema:
        """Return the schema that a table has by the types of its columns."""
        readings = {column.name: reading_of_type(column) for column in frame}
        return cls({name: one for name, one in readings.items() if one is not None})

    def only(self, names: Iterable[str]) -> TableSchema:
        """Return the schema of the named columns, as far as it knows them."""
        wanted = set(names)
        return TableSchema({name: r for name, r in self.columns.items() if name in wanted})

    def with_lists(self, names: Iterable[str]) -> TableSchema:
        """Return a schema that needs lists in the named columns."""
        needed = set(names)
        return TableSchema(
            {name: replace(r, lists=r.lists or name in needed) for name, r in self.columns.items()}
        )

    def after_joining(self) -> TableSchema:
        """Return a schema for tables whose lists `lists_as_bags` has joined already."""
        return TableSchema({name: replace(r, lists=False) for name, r in self.columns.items()})

    def after_reading(self) -> TableSchema:
        """Return a schema for tables that this one has read: a word left in text was in quotes."""
        return TableSchema(
            {
                name: replace(r, missing=()) if r.kind == "text" else r
                for name, r in self.columns.items()
            }
        )

    def quoted_words(self, options: ReadingOptions) -> ReadingOptions:
        """Return options for reading a file as it is written, with all words of the schema.

        Without quotes they mean a missing value, so that it has to be known which are in quotes.
        """
        words = [word for reading in self.columns.values() for word in reading.missing]
        return replace(options, missing=tuple(dict.fromkeys([*(options.missing or ()), *words])))

    def with_options(self, options: ReadingOptions) -> TableSchema:
        """Return a schema for a table that is written in another way, as `options` say."""
        columns = {}
        for name, reading in self.columns.items():
            if options.missing is not None and reading.kind != "verbatim":
                words = options.missing
                if words and reading.kind != "text":
                    words = (*words, *reading.missing)
                reading = replace(reading, missing=words)
            said = options.decimal is not None or options.thousands is not None
            if said and reading.kind == "number":
                decimal = options.decimal or reading.number.decimal
                default = "," if decimal == "." else "."
                thousands = default if options.thousands is None else options.thousands
                if thousands == decimal:
                    raise InvalidInputError(
                        f"--thousands {thousands} can't be: {decimal!r} is the decimal mark of "
                        f"column {name!r}, as in training; name another one with --decimal"
                    )
                number = replace(reading.number, decimal=decimal, thousands=thousands, grouped=True)
                reading = replace(reading, number=number)
            form = date_format_of(options, name)
            if form is not None:
                reading = replace(reading, date_form=form)
            if options.time_zone is not None:
                reading = replace(reading, other_zone=options.time_zone)
            columns[name] = reading
        return TableSchema(columns)

    def read(self, raw: RawTable) -> pl.DataFrame:
        """Return a raw table with its columns read; columns that the schema doesn't know stay.

        Raises:
            InvalidInputError: A cell is not what its column must hold; column, row and cell are
                named.
        """
        if not raw.is_text:
            return self.conform(raw.frame, raw.place)
        return raw.frame.with_columns(
            read_cells(raw.frame[name], reading, raw.place, raw.quoted.get(name))
            for name, reading in self.columns.items()
            if name in raw.frame.columns
        )

    def conform(self, frame: pl.DataFrame, place: Place | None = None) -> pl.DataFrame:
        """Return a table that has types already, with those of the schema; NaN is missing.

        Raises:
            InvalidInputError: A column has a type that can't be turned into its own exactly.
        """
        frame = without_nan(frame)
        there = {column.name: column for column in frame}
        columns = []
        for name, reading in self.columns.items():
            if name in there:
                column = conform_column(there[name], reading, place or _row)
                if column is not there[name]:
                    columns.append(column)
        return frame.with_columns(columns)


def without_nan(frame: pl.DataFrame) -> pl.DataFrame:
    """Put null where a floating-point column has NaN."""
    floats = [name for name, dtype in frame.schema.items() if dtype.is_float()]
    return frame.with_columns(pl.col(floats).fill_nan(None)) if floats else frame


def date_format_of(options: ReadingOptions, name: str) -> str | None:
    """Return the form of dates that options name for a column, None if none."""
    given = options.date_format
    return given.get(name) if isinstance(given, Mapping) else given


def written_cells(cells: pl.Series) -> pl.Series:
    """Return cells without outer spaces, null where they are empty."""
    text = cells.str.strip_chars()
    empty = text == ""
    return text.set(empty, None) if empty.any() else text


def known_cells(
    written: pl.Series, missing: Iterable[str], quoted: pl.Series | None = None
) -> pl.Series:
    """Return cells with null where they mean a missing value.

    Args:
        written: Cells as `written_cells` gives them.
        missing: Cells that mean a missing value.
        quoted: [n], which cells are in quotes and therefore no word for a missing value.
    """
    absent = written.is_in(list(missing))
    if quoted is not None:
        absent &= ~quoted
    return written.set(absent.fill_null(value=False), None) if absent.any() else written


def without_numbers(values: pl.Series, missing: Iterable[str]) -> pl.Series:
    """Return numbers with null for those that mean a missing value, such as -999 or -999.0.

    Args:
        values: Numbers, null where missing.
        missing: Cells that mean a missing value; those that are no plain numbers are passed over.
    """
    codes = _numbers_among(tuple(missing))
    if not codes:
        return values
    if values.dtype.is_integer():  # floats would round large ones
        whole = [int(code) for code in codes if code == int(code) and abs(code) < 2**127]
        same = values.cast(pl.Int128).is_in(pl.Series(whole, dtype=pl.Int128).implode())
    else:
        dtype = values.dtype if values.dtype.is_float() else pl.Float64
        numbers = pl.Series([float(code) for code in codes]).cast(dtype)
        same = values.cast(dtype).is_in(numbers.implode())
    absent = same.fill_null(value=False)
    return values.set(absent, None) if absent.any() else values


@lru_cache
def _numbers_among(missing: tuple[str, ...]) -> list[Decimal]:
    # of many columns with the same words, each is looked at once
    return [Decimal(token) for token in missing if _PLAIN_NUMBER.fullmatch(token)]


_PLAIN_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?")


def read_cells(
    cells: pl.Series, reading: ColumnReading, place: Place, quoted: pl.Series | None = None
) -> pl.Series:
    """Return the values of cells that are text.

    Args:
        cells: As they are written.
        reading: How to read them.
        place: Puts a row into words.
        quoted: [n], which cells are in quotes.

    Raises:
        InvalidInputError: A cell is not what the column must hold.
    """
    if reading.kind == "verbatim":
        return cells
    written = written_cells(cells)
    if reading.kind == "text":
        text = known_cells(written, reading.missing, quoted)
        _check_lists(text, reading, place)
        return text
    text = known_cells(written, reading.missing)
    match reading.kind:
        case "number":
            numbers = parse_numbers(text, reading.number)
            check_read(text, numbers, reading.kind, place)
            return without_numbers(numbers, reading.missing).alias(cells.name)
        case "boolean":
            words = dict.fromkeys(TRUE_WORDS, True) | dict.fromkeys(FALSE_WORDS, False)
            values = text.str.to_lowercase().replace_strict(
                words, default=None, return_dtype=pl.Boolean
            )
        case "time":
            values = parse_times(text)
        case "date":
            return read_dates(text, reading, place)
        case _:
            values = pl.repeat(None, len(text), dtype=pl.Duration("us"), eager=True)
    check_read(text, values, reading.kind, place)
    return values.alias(cells.name)


def check_read(text: pl.Series, values: pl.Series, kind: str, place: Place) -> None:
    """Refuse the first cell that has no value.

    Raises:
        InvalidInputError: Column, row and cell are named.
    """
    if values.count() == text.count():
        return
    row = int((values.is_null() & text.is_not_null()).arg_true()[0])
    hint = ""
    if kind == "number":
        hint = f", or say how numbers are written (--decimal, --thousands){_total_hint(text, row)}"
    if kind == "date":
        hint = ", or say how dates are written (--date-format)"
    raise InvalidInputError(
        f"column {text.name!r} holds {text[row]!r} in {place(row)}, which is not read as a "
        f"{_WORDS[kind]}; mend it, leave it empty, name it as missing (--missing){hint}"
    )


TOTAL_WORDS = frozenset(
    ("total", "totals", "grand total", "sum", "summe", "gesamt", "insgesamt", "totale", "totaal",
     "somme", "suma")
)  # fmt: skip
"""What names a last row that sums up the others."""


def _total_hint(text: pl.Series, row: int) -> str:
    is_total = row == len(text) - 1 and text[row].lower().rstrip(":") in TOTAL_WORDS
    return "; it looks like a row of totals, which must be removed" if is_total else ""


def read_dates(text: pl.Series, reading: ColumnReading, place: Place) -> pl.Series:
    """Return the dates of cells: days, or moments with or without zone.

    Raises:
        InvalidInputError: A cell is no date, has a zone where the column has none, or none where
            the column has one, or lacks the time of day.
    """
    parsed = parse_dates(text, reading.date_form)
    check_read(text, parsed.value, "date", place)
    name, known = text.name, text.is_not_null()
    if not reading.midnight:
        _refuse_first(
            text, known & ~parsed.has_time, place,
            "which has no time of day, but the column has; write one",
        )  # fmt: skip
    if not parsed.has_time.any() and reading.midnight and reading.zone is None:
        return parsed.value.cast(pl.Date).alias(name)
    aware = parsed.offset.is_not_null()
    # a day without time is the same day in every zone
    naive = known & ~aware & parsed.has_time
    moments = parsed.value - (parsed.offset.cast(pl.Int64).fill_null(0) * 60_000_000).cast(
        pl.Duration("us")
    )
    moments = moments.dt.replace_time_zone("UTC")
    if reading.zone is None:
        if not aware.any():
            return parsed.value.alias(name)
        if reading.other_zone is None:
            _refuse_first(
                text, aware, place,
                "which has a time zone, but the dates of this column have none; remove it, or "
                "name the zone to convert to with --time-zone",
            )  # fmt: skip
        local = moments.dt.convert_time_zone(str(reading.other_zone)).dt.replace_time_zone(None)
        return parsed.value.zip_with(~aware, local).alias(name)
    if reading.other_zone is None:
        _refuse_first(
            text, naive, place,
            "which has no time zone, but the dates of this column have one; write one such as "
            "+01:00 or Z, or name it with --time-zone",
        )  # fmt: skip
    own = moments.dt.convert_time_zone(reading.zone)
    if not (known & ~aware).any():
        return own.alias(name)
    placed = _in_zone(text, parsed.value, known & ~aware, reading.other_zone or reading.zone, place)
    return own.zip_with(aware, placed.dt.convert_time_zone(reading.zone)).alias(name)


def _in_zone(
    text: pl.Series, values: pl.Series, used: pl.Series, zone: str, place: Place
) -> pl.Series:
    """Return dates without zone as moments of a zone; an hour that comes twice is the first one."""
    placed = values.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    _refuse_first(
        text, used & placed.is_null() & values.is_not_null(), place,
        f"which no clock showed in {zone}: it was put forward; mend it",
    )  # fmt: skip
    return placed


def _refuse_first(text: pl.Series, wrong: pl.Series, place: Place, what: str) -> None:
    rows = wrong.fill_null(value=False).arg_true()
    if len(rows):
        row = int(rows[0])
        raise InvalidInputError(
            f"column {text.name!r} holds {str(text[row])!r} in {place(row)}, {what}"
        )


def _row(row: int) -> str:
    return f"row {row + 1}"


# ---------------------------------------------------------------------------- columns with types


def reading_of_type(column: pl.Series, place: Place | None = None) -> ColumnReading | None:
    """Return the reading of a column that has a type; None if no reading has that type.

    Raises:
        InvalidInputError: It has a date that can't be used, see `check_dates`.
    """
    check_dates(column, place)
    dtype = column.dtype
    if dtype in (pl.Categorical, pl.Enum, pl.String):
        text = column.cast(pl.String)
        return ColumnReading("text", plain_numbers=has_plain_numbers(text))
    if dtype.is_numeric():
        return ColumnReading("number", missing=MISSING_NUMBERS)
    if dtype == pl.Boolean:
        return ColumnReading("boolean", missing=MISSING_NUMBERS)
    if dtype == pl.Time:
        return ColumnReading("time", missing=MISSING_NUMBERS)
    if dtype == pl.Duration:
        return ColumnReading("duration", missing=MISSING_NUMBERS)
    if dtype == pl.Date:
        return ColumnReading("date", missing=MISSING_NUMBERS)
    if isinstance(dtype, pl.Datetime):
        days = column.dt.truncate("1d") == column
        zone = dtype.time_zone
        if zone is not None and zone not in time_zones():
            zone = "UTC"
        return ColumnReading("date", missing=MISSING_NUMBERS, zone=zone, midnight=bool(days.all()))
    return None


MISSING_NUMBERS = (
    "NA", "N/A", "n/a", "na", "N.A.", "n.a.", "#N/A", "#NA", "<NA>", "NaN", "nan", "NAN", "-nan",
    "NaT", "null", "NULL", "Null", "None", "none", "nil", "?", "-", "--", ".", "\\N",
    "#DIV/0!", "#NUM!", "#VALUE!", "#REF!", "#NAME?", "#NULL!",
)  # fmt: skip
"""What means a missing value in columns of numbers, dates and truth values by default."""


def has_plain_numbers(text: pl.Series) -> bool:
    """Return whether there are values that look like numbers, all written as numbers would be."""
    numbers = text.cast(pl.Float64, strict=False)
    looks = numbers.is_finite().fill_null(value=False)
    return bool(looks.any()) and bool(
        (number_text(numbers.filter(looks)) == text.filter(looks)).all()
    )


def number_text(numbers: pl.Series) -> pl.Series:
    """Return numbers as text, each by itself; one without fraction is written without it."""
    if isinstance(numbers.dtype, pl.Decimal) and numbers.dtype.scale:
        return numbers.cast(pl.String).str.strip_chars_end("0").str.strip_chars_end(".")
    if not numbers.dtype.is_float():
        return numbers.cast(pl.String)
    numbers = numbers.fill_nan(None)
    if str(numbers.dtype) == "Float16":  # Polars writes it with the digits of a longer one
        short = pl.Series(numbers.to_numpy().astype(str)).cast(pl.Float64).fill_nan(None)
        numbers = short.alias(numbers.name)
    whole = ((numbers == numbers.round()) & (numbers.abs() < 2.0**63)).fill_null(value=False)
    digits = numbers.set(~whole, None).cast(pl.Int64).cast(pl.String)
    return digits.zip_with(whole, numbers.cast(pl.String)).alias(numbers.name)


def has_empty_text(column: pl.Series) -> bool:
    """Return whether cells of a column that has a type are text of spaces alone, or none."""
    if column.dtype not in (pl.String, pl.Categorical, pl.Enum):
        return False
    return bool((column.cast(pl.String).str.strip_chars() == "").any())


def conform_column(column: pl.Series, reading: ColumnReading, place: Place) -> pl.Series:
    """Return a column that has a type with the type of its reading.

    Raises:
        InvalidInputError: It can't be turned into it exactly.
    """
    dtype, kind = column.dtype, reading.kind
    # lists are bags to the encoder, and nothing else
    if kind == "verbatim" or dtype == pl.Null or (kind == "text" and is_list(dtype)):
        return column
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        text = column.cast(pl.String)
        return (
            _known_text(text, reading, place)
            if kind == "text"
            else read_cells(text, reading, place)
        )
    if kind == "date" and (dtype == pl.Date or isinstance(dtype, pl.Datetime)):
        return _conform_date(column, reading, place)
    if kind == "text" and dtype.is_numeric() and reading.plain_numbers:
        return number_text(column)
    if kind == "boolean" and dtype.is_numeric():
        known = column.fill_nan(None) if dtype.is_float() else column
        if ((known == 0) | (known == 1)).all():
            return known == 1
    same = {"boolean": pl.Boolean, "time": pl.Time, "duration": pl.Duration}
    if kind == "number" and dtype.is_numeric():
        return without_numbers(column, reading.missing)
    if same.get(kind) == dtype:
        return column
    if column.null_count() == len(column):
        return pl.Series(column.name, [None] * len(column), dtype=pl.Null)
    raise _wrong_type(column, kind, place)


def _known_text(text: pl.Series, reading: ColumnReading, place: Place) -> pl.Series:
    """Return text with null where it is empty; spaces around a value stay, for they were meant.

    Raises:
        InvalidInputError: The column must hold lists.
    """
    if has_empty_text(text):
        text = text.set(text.str.strip_chars() == "", None)
    text = known_cells(text, reading.missing)
    _check_lists(text, reading, place)
    return text


def _check_lists(text: pl.Series, reading: ColumnReading, place: Place) -> None:
    """Refuse text where the model was fitted on lists; lists that are joined to text pass.

    Raises:
        InvalidInputError: Column, row and text are named.
    """
    if not reading.lists or text.str.contains(ITEM_MARK, literal=True).any():
        return
    _refuse_first(
        text, text.is_not_null(), place,
        "which is text, but the model was fitted on lists; give lists",
    )  # fmt: skip


def _wrong_type(column: pl.Series, kind: str, place: Place) -> InvalidInputError:
    row = int(column.is_not_null().arg_true()[0])
    was = "text" if kind == "text" else f"a {_WORDS[kind]}"
    why = ""
    if kind == "text" and column.dtype.is_numeric():
        why = " (as a number it may have lost zeros or digits)"
    return InvalidInputError(
        f"column {column.name!r} must be {was}, as the model was fitted with, got {column.dtype} "
        f"such as {column[row]!r} in {place(row)}{why}; give the column that type"
    )


_MOST_DAYS = 95_000_000
"""Before and after 1970: Polars has no date beyond the year 262142."""


def check_dates(column: pl.Series, place: Place | None = None) -> None:
    """Refuse a date that Polars can store, but not count in years: it panics.

    Raises:
        InvalidInputError: Column, row and what is stored are named.
    """
    if column.dtype not in (pl.Date, pl.Datetime):
        return
    stored = column.to_physical()
    unit = column.dtype.time_unit if isinstance(column.dtype, pl.Datetime) else None
    most = _MOST_DAYS * {"ms": 86_400_000, "us": 86_400_000_000}.get(unit or "", 1)
    rows = (~stored.is_between(-most, most)).fill_null(value=False).arg_true()
    if unit != "ns" and len(rows):
        row = int(rows[0])
        raise InvalidInputError(
            f"column {column.name!r} holds {stored[row]} {unit or 'days'} since 1970 in "
            f"{(place or _row)(row)}, farther away than {_MOST_DAYS} days; put a date there "
            "or leave it empty"
        )


def _conform_date(column: pl.Series, reading: ColumnReading, place: Place) -> pl.Series:
    check_dates(column, place)
    zone = column.dtype.time_zone if isinstance(column.dtype, pl.Datetime) else None
    known = column.is_not_null()
    if column.dtype == pl.Date:
        if not reading.midnight:
            _refuse_first(
                column, known, place,
                "which has no time of day, but the model was fitted with one; give dates with time",
            )  # fmt: skip
        if reading.zone is None:
            return column
        return column.cast(pl.Datetime("us")).dt.replace_time_zone(reading.zone)
    if (zone is None) == (reading.zone is None):
        return column if reading.zone is None else column.dt.convert_time_zone(reading.zone)
    if reading.other_zone is not None and zone is None:
        placed = _in_zone(column, column, known, reading.other_zone, place)
        return placed.dt.convert_time_zone(str(reading.zone))
    if reading.other_zone is not None:
        return column.dt.convert_time_zone(reading.other_zone).dt.replace_time_zone(None)
    has, had = ("no", "one") if zone is None else ("a", "none")
    _refuse_first(
        column, known, place,
        f"which has {has} time zone, but the model was fitted on dates with {had}; convert the "
        "column",
    )  # fmt: skip
    return column
