"""What the columns of a text file hold, decided over all their cells by written rules."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

import polars as pl

from jointrain.data._date_text import (
    DATE_FORMS,
    DAY_OR_MONTH_FIRST,
    TWO_DIGIT_YEAR,
    parse_dates,
    parse_times,
)
from jointrain.data._number_text import (
    UNITS,
    NumberFormat,
    leading_zero,
    marks_of,
    number_format,
    only_unclear_points,
    parse_numbers,
    split_cells,
)
from jointrain.data._raw_table import RawTable, ReadingOptions
from jointrain.data._table_schema import (
    MISSING_NUMBERS,
    TOTAL_WORDS,
    ColumnReading,
    TableSchema,
    check_zone,
    date_format_of,
    has_plain_numbers,
    known_cells,
    read_cells,
    read_dates,
)
from jointrain.errors import InvalidInputError, closest

READING_KINDS = ("number", "boolean", "text", "date", "time")
"""What a user can say that a column holds."""

FEW = 0.1
"""So large a share of cells that are no numbers is an error in a column of numbers."""

RARE_NA = 0.2
"""An ``NA`` in a column of text is a missing value below this share of the cells."""

MOST_LOST = 0.1
"""A target may lose so large a share of its labels to a word that means missing."""

_SAMPLE = 1000
_SHOWN = 8


@dataclass(frozen=True)
class TypedTable:
    """A table whose columns were read.

    Args:
        frame: The table.
        schema: How each column was read.
        notes: What was decided, a sentence each.
    """

    frame: pl.DataFrame
    schema: TableSchema
    notes: tuple[str, ...] = ()


@dataclass
class _Notes:
    """Decisions, those of the same kind in one sentence."""

    sentences: list[str] = field(default_factory=list)
    grouped: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def add(self, sentence: str) -> None:
        self.sentences.append(sentence)

    def group(self, before: str, column: str, after: str) -> None:
        self.grouped.setdefault((before, after), []).append(column)

    def all(self) -> tuple[str, ...]:
        for (before, after), columns in self.grouped.items():
            self.sentences.append(f"{before}: {_listed(columns)}; {after}")
        return tuple(self.sentences)


def type_table(
    raw: RawTable,
    options: ReadingOptions | None = None,
    *,
    targets: Collection[str] = (),
    classes: Collection[str] = (),
    verbatim: Collection[str] = (),
) -> TypedTable:
    """Decide what each column of a text file holds, and read it.

    Args:
        raw: The cells as they are written.
        options: What the user says about them.
        targets: Columns to predict; a word that means missing may take few of their labels only.
        classes: Targets that are said to be classes: numbers with fractions or marks stay text.
        verbatim: Columns whose cells are kept byte for byte: ids, groups, ignored ones.

    Raises:
        InvalidInputError: A column is nearly all numbers or dates but for a few cells, or its marks,
            units or dates can be read in two ways; column, row and cell are named.
    """
    options = options or ReadingOptions()
    check_zone(options.time_zone)
    _check_kinds(options, raw.frame.columns)
    notes = _Notes()
    raw = _without_totals(raw, notes, verbatim)
    reader = _Reader(raw, options, set(targets), set(classes), set(verbatim), notes)
    frame = pl.DataFrame([reader.read(name) for name in raw.frame.columns])
    frame = _without_sums(frame, notes)
    return TypedTable(frame, TableSchema(reader.readings), (*raw.notes, *notes.all()))


def _check_kinds(options: ReadingOptions, names: Iterable[str]) -> None:
    names = list(names)
    given = options.date_format if isinstance(options.date_format, Mapping) else {}
    for name in [*options.columns, *given]:
        if name not in names:
            raise InvalidInputError(
                f"it is said how column {name!r} is to be read, but it is not in the table"
                f"{closest(name, names)}"
            )
    for name, kind in options.columns.items():
        if kind not in READING_KINDS:
            raise InvalidInputError(
                f"column {name!r} is said to hold {kind!r}{closest(kind, READING_KINDS)}; known "
                f"are {', '.join(READING_KINDS)}"
            )


@dataclass
class _Reader:
    """Reads the columns of one file."""

    raw: RawTable
    options: ReadingOptions
    targets: set[str]
    classes: set[str]
    verbatim: set[str]
    notes: _Notes
    readings: dict[str, ColumnReading] = field(default_factory=dict)
    _evidence: frozenset[str] | None = None

    def read(self, name: str) -> pl.Series:
        """Return the values of a column, and keep how they were read."""
        cells = self.raw.frame[name]
        if name in self.verbatim:
            self.readings[name] = ColumnReading("verbatim")
            return cells
        said = self.options.columns.get(name)
        if said == "text":
            return self._as_text(name, ())
        if said is None and not self._form(name) and self.options.decimal != ",":
            values = self._native(cells)
            if values is not None:
                return values
        return self._recognised(name, said)

    # ------------------------------------------------------------------------ recognition

    def _native(self, cells: pl.Series) -> pl.Series | None:
        """Return a column of plain numbers or ISO dates the quick way, else None."""
        name = cells.name
        for dtype in (pl.Int64, pl.Float64):
            values = cells.cast(dtype, strict=False)
            if values.count() != cells.count() or not values.count():
                continue
            if dtype == pl.Float64 and values.is_nan().any():
                return None
            if (values.abs().max() or 0) >= 2**62:  # integers beyond 64 bits
                return None
            if dtype == pl.Int64 and leading_zero(cells) is not None:
                return None
            if self._semicolons and dtype == pl.Float64 and only_unclear_points(cells):
                return None
            self.readings[name] = ColumnReading("number", self._missing)
            self._note_like_dates(values)
            return values
        return None

    def _recognised(self, name: str, said: str | None) -> pl.Series:
        cells = self.raw.frame[name]
        text = known_cells(cells, self._missing)
        known = text.drop_nulls()
        if known.is_empty():
            return self._without_values(name)
        if said in (None, "number") and not self._form(name) and self.options.decimal != ",":
            values = self._native(text)
            if values is not None:
                self._note_missing(name, cells, text)
                return values
        lower = known.str.to_lowercase()
        if said in (None, "boolean") and lower.is_in(["true", "false"]).all():
            return self._kept(name, ColumnReading("boolean", self._missing), text)
        if said == "boolean":
            return self._kept(name, ColumnReading("boolean", self._missing), text)
        for attempt in (self._as_dates, self._as_numbers, self._as_times):
            values = attempt(name, text, known, said)
            if values is not None:
                return values
        return self._as_text(name, known)

    def _as_numbers(
        self, name: str, text: pl.Series, known: pl.Series, said: str | None
    ) -> pl.Series | None:
        if said not in (None, "number"):
            return None
        forced = said == "number"
        if not forced and _share(split_cells(_sampled(known))["body"].is_not_null()) < 0.5:
            return None
        cells = split_cells(known)
        marks, numbers = marks_of(cells, known)
        units = cells["unit"]
        if not forced:
            odd = numbers & (units != "") & ~units.is_in(list(UNITS))
            if odd.any():
                self._note_unit(name, known, units, odd)
            numbers &= ~odd.fill_null(value=False)
        share = _share(numbers)
        code = leading_zero(known)
        if not forced and share > 0.5 and code is not None:
            self._note_text(name, text, code, "begins with 0 as codes do")
            return None
        if name in self.classes and not self._plain_classes(known):
            return None
        if share < 1:
            first = known.filter(~numbers)[0]
            if forced or share >= 1 - FEW:
                self._refuse_few(name, text, known.filter(~numbers), "numbers", forced)
            if share > 0.5 and name not in self.classes:
                self._note_text(name, text, first, "is no number")
            return None
        cells = split_cells(known)
        unit = self._one_unit(name, text, known, cells["unit"])
        limits = bool((cells["limit"] != "").any())
        if limits:
            self._note_limits(name, text, known, cells["limit"] != "")
        form = self._marks(name, text, known)
        number = replace(form, unit=unit, limits=limits)
        self._note_format(name, text, number)
        return self._kept(name, ColumnReading("number", self._missing, number), text)

    def _plain_classes(self, known: pl.Series) -> bool:
        values = known.cast(pl.Float64, strict=False)
        return values.count() == len(known) and bool((values == values.round()).all())

    def _marks(self, name: str, text: pl.Series, known: pl.Series) -> NumberFormat:
        """Return the marks of a column of numbers.

        Raises:
            InvalidInputError: They can be read in two ways, or none fits all cells.
        """
        options = self.options
        marks, _ = marks_of(split_cells(known), known)
        if options.decimal is not None or options.thousands is not None:
            decimal = options.decimal or ("," if options.thousands == "." else ".")
            other = marks.thousands or ("," if decimal == "." else ".")
            thousands = other if options.thousands is None else options.thousands
            return NumberFormat(decimal, thousands)
        form = number_format(
            marks, self._file_evidence if marks.mixed_unclear else frozenset(),
            semicolons=self._semicolons,
        )  # fmt: skip
        if form is not None:
            return form
        if marks.point is not None and marks.comma is not None:
            self._refuse(
                name, text, marks.comma,
                f"and {marks.point!r} in {self._place(text, marks.point)}: the decimal mark can't "
                f"be a comma and a point; mend the cells, or read them as text with "
                f"{_column_flag(name, 'text')}",
            )  # fmt: skip
        self._refuse(
            name, text, marks.unclear,
            "whose mark may stand between thousands or before a fraction; say which with "
            "--decimal , or --decimal .",
        )  # fmt: skip

    def _as_dates(
        self, name: str, text: pl.Series, known: pl.Series, said: str | None
    ) -> pl.Series | None:
        if said not in (None, "date") or name in self.classes:
            return None
        given, sample = self._form(name), _sampled(known)
        forms = [given] if given else [
            form for form in DATE_FORMS if _share(parse_dates(sample, form).value.is_not_null()) > 0
        ]  # fmt: skip
        if not forms or (said is None and given is None and not _looks_like_date(sample)):
            return self._note_two_digit_years(name, known)
        parsed = {form: parse_dates(known, form) for form in forms}
        shares = {form: _share(p.value.is_not_null()) for form, p in parsed.items()}
        best = max(forms, key=lambda form: shares[form])
        other = DAY_OR_MONTH_FIRST.get(best)
        share = shares[best]
        if share < 1:
            wrong = known.filter(parsed[best].value.is_null())
            asked = said == "date" or isinstance(self.options.date_format, Mapping)
            if asked or share >= 1 - FEW:
                self._refuse_few(name, text, wrong, "dates", asked)
            if share > 0.5:
                self._note_text(name, text, wrong[0], "is no date")
            return None
        if given is None and other is not None and shares.get(other) == 1:
            same = (parsed[best].value == parsed[other].value).all()
            if not same:
                unclear = known.filter(parsed[best].value != parsed[other].value)
                self._refuse(
                    name, text, unclear[0],
                    f"which may begin with the day or the month; say --date-format {best} or "
                    f"--date-format {other}",
                )  # fmt: skip
        if best != "%Y-%m-%d":
            self.notes.group(f"dates were read as {best}", name, "--date-format reads them "
                             "otherwise")  # fmt: skip
        timed = bool(parsed[best].has_time.all())
        reading = ColumnReading("date", self._missing, date_form=best, midnight=not timed)
        return self._kept(name, self._zoned(name, text, known, parsed[best].offset, reading), text)

    def _zoned(
        self, name: str, text: pl.Series, known: pl.Series, offset: pl.Series,
        reading: ColumnReading,
    ) -> ColumnReading:  # fmt: skip
        """Return a reading of dates with the zone that their hours are counted in."""
        asked = self.options.time_zone
        timed = not reading.midnight or parse_dates(known, reading.date_form).has_time.any()
        if not timed:
            return reading
        aware = offset.is_not_null()
        if asked is not None:
            return replace(reading, zone=asked, other_zone=asked)
        if not aware.any():
            return reading
        if not aware.all():
            few = ~aware if aware.mean() > 0.5 else aware  # type: ignore[operator]
            kind = "no time zone" if few is not aware else "a time zone"
            self._refuse(
                name, text, known.filter(few)[0],
                f"which has {kind}, other than most of this column's cells; write it alike "
                "everywhere, or name the zone of those without with --time-zone",
            )  # fmt: skip
        offsets = offset.unique().sort().to_list()
        if len(offsets) > 1:
            shown = ", ".join(_offset(minutes) for minutes in offsets[:_SHOWN])
            self.notes.add(
                f"column {name} has dates with the offsets {shown}: hours are counted in UTC; "
                "--time-zone, such as Europe/Berlin, counts them as clocks there show them"
            )
        elif offsets[0] % 60:
            self.notes.add(
                f"column {name} has dates with the offset {_offset(offsets[0])}: hours are counted "
                "in UTC; --time-zone, such as Asia/Kolkata, counts them as clocks there show them"
            )
        elif offsets[0]:
            hours = offsets[0] // 60
            return replace(reading, zone=f"Etc/GMT{'-' if hours > 0 else '+'}{abs(hours)}")
        return replace(reading, zone="UTC")

    def _as_times(
        self, name: str, text: pl.Series, known: pl.Series, said: str | None
    ) -> pl.Series | None:
        if said not in (None, "time") or name in self.classes:
            return None
        if said is None and _share(parse_times(_sampled(known)).is_not_null()) < 0.5:
            return None
        times = parse_times(known)
        share = _share(times.is_not_null())
        if share < 1:
            wrong = known.filter(times.is_null())
            if said == "time" or share >= 1 - FEW:
                self._refuse_few(name, text, wrong, "times of day", said == "time")
            if share > 0.5:
                self._note_text(name, text, wrong[0], "is no time of day")
            return None
        return self._kept(name, ColumnReading("time", self._missing), text)

    def _as_text(self, name: str, known: Any) -> pl.Series:  # noqa: ARG002
        """Return a column of words; only an unquoted and rare NA is missing in it."""
        cells, quoted = self.raw.frame[name], self.raw.quoted.get(name)
        if self.options.missing is not None:
            missing = self.options.missing
        else:
            missing = ("NA",) if self._na_is_missing(name, cells, quoted) else ()
        text = known_cells(cells, missing, quoted)
        self._note_missing(name, cells, text)
        if name in self.targets and self.options.missing is None:
            self._note_words(name, text)
        self.readings[name] = ColumnReading(
            "text", missing, plain_numbers=has_plain_numbers(text)
        )
        return text

    def _na_is_missing(self, name: str, cells: pl.Series, quoted: pl.Series | None) -> bool:
        text = known_cells(cells, ())
        is_na = (text == "NA").fill_null(value=False)
        if quoted is not None:
            is_na &= ~quoted
        if not is_na.any():
            return True
        count, known = int(is_na.sum()), text.count()
        others = text.filter(~is_na).drop_nulls()
        if others.is_empty():
            return False
        most = int(others.value_counts()["count"].max() or 0)  # type: ignore[call-overload]
        return count < RARE_NA * known and count <= most

    def _without_values(self, name: str) -> pl.Series:
        cells = self.raw.frame[name]
        words = known_cells(cells, ()).drop_nulls().unique()
        if len(words) > 1 and self.options.missing is None:
            return self._as_text(name, ())
        self.readings[name] = ColumnReading("text", self._missing)
        return pl.Series(name, [None] * len(cells), dtype=pl.Null)

    def _kept(self, name: str, reading: ColumnReading, text: pl.Series) -> pl.Series:
        """Read a column as it was decided."""
        self.readings[name] = reading
        if reading.kind == "date":
            values = read_dates(text, reading, self.raw.place)
        else:
            values = read_cells(text, replace(reading, missing=()), self.raw.place)
        self._note_missing(name, self.raw.frame[name], text)
        return values

    # ------------------------------------------------------------------------ what is known

    @property
    def _missing(self) -> tuple[str, ...]:
        return MISSING_NUMBERS if self.options.missing is None else self.options.missing

    @property
    def _semicolons(self) -> bool:
        return self.raw.separator == ";" and self.options.decimal is None

    @property
    def _file_evidence(self) -> frozenset[str]:
        """The decimal marks that cells of the file leave no doubt about."""
        if self._evidence is None:
            found = set()
            for name in self.raw.frame.columns:
                if name in self.verbatim:
                    continue
                known = known_cells(self.raw.frame[name], self._missing).drop_nulls()
                if _share(split_cells(_sampled(known))["body"].is_not_null()) < 1 - FEW:
                    continue
                marks, numbers = marks_of(split_cells(known), known)
                if not numbers.all():
                    continue
                found |= {m for m, cell in ((".", marks.point), (",", marks.comma)) if cell}
            self._evidence = frozenset(found)
        return self._evidence

    def _form(self, name: str) -> str | None:
        return date_format_of(self.options, name)

    def _one_unit(
        self, name: str, text: pl.Series, known: pl.Series, units: pl.Series
    ) -> str:
        kinds = units.unique(maintain_order=True).to_list()
        if len(kinds) > 1:
            first, other = (known.filter(units == kind)[0] for kind in kinds[:2])
            self._refuse(
                name, text, other,
                f"and {first!r} in {self._place(text, first)}: numbers with different units; write "
                f"all in one unit, or read them as text with {_column_flag(name, 'text')}",
            )  # fmt: skip
        return str(kinds[0])

    def _place(self, text: pl.Series, cell: str) -> str:
        return self.raw.place(int((text == cell).arg_true()[0]))

    # ------------------------------------------------------------------------ notes and refusals

    def _refuse(self, name: str, text: pl.Series, cell: Any, why: str) -> NoReturn:
        raise InvalidInputError(
            f"column {name!r} holds {cell!r} in {self._place(text, cell)}, {why}"
        )

    def _refuse_few(
        self, name: str, text: pl.Series, wrong: pl.Series, what: str, asked: bool
    ) -> NoReturn:
        cells = wrong.unique(maintain_order=True)
        shown = ", ".join(repr(cell) for cell in cells[1:4])
        more = f" (also {shown}{' and others' if len(cells) > 4 else ''})" if shown else ""
        tokens = ",".join(_token(cell) for cell in cells[:3])
        missing = f"--missing {_shell(tokens)}" if len(cells) <= 3 else "--missing"
        known = text.count()
        lead = "is said to hold" if asked else "holds"
        raise InvalidInputError(
            f"column {name!r} {lead} {what}, but {cells[0]!r} in {self._place(text, cells[0])} is "
            f"none{more}: {len(wrong)} of {known} values; mend them, take them as missing with "
            f"{missing}, or read the column as text with {_column_flag(name, 'text')}"
        )

    def _note_text(self, name: str, text: pl.Series, cell: str, why: str) -> None:
        self.notes.add(
            f"column {name} is read as text: {cell!r} in {self._place(text, cell)} {why}; if it "
            f"means a missing value, --missing {_shell(_token(cell))} says so"
            if "0 as codes" not in why
            else f"column {name} is read as text: {cell!r} in {self._place(text, cell)} {why}; "
            f"{_column_flag(name, 'number')} reads numbers"
        )

    def _note_unit(
        self, name: str, known: pl.Series, units: pl.Series, odd: pl.Series
    ) -> None:
        kinds = units.filter(odd).unique()
        if len(kinds) == 1 and _share(odd) > 1 - FEW:
            self.notes.add(
                f"column {name} is read as text: values such as {known.filter(odd)[0]!r} look like "
                f"numbers with the unit {kinds[0]!r}; {_column_flag(name, 'number')} reads numbers"
            )

    def _note_limits(
        self, name: str, text: pl.Series, known: pl.Series, limit: pl.Series
    ) -> None:
        first, count = known.filter(limit)[0], int(limit.sum())
        if name in self.targets:
            self._refuse(
                name, text, first,
                f"which is a limit and no value ({count} of {len(known)} labels); put a value "
                f"there or take it as missing with --missing {_shell(_token(first))}",
            )  # fmt: skip
        self.notes.add(
            f"column {name}: {count} of {len(known)} values are limits such as {first!r} and are "
            f"read as the number itself; --missing {_shell(_token(first))} takes it as missing"
        )

    def _note_format(self, name: str, text: pl.Series, form: NumberFormat) -> None:
        plain = text.drop_nulls()
        flag = f"{_column_flag(name, 'text')} keeps the text"
        if form.unit:
            self.notes.add(f"column {name}: numbers with the unit {form.unit!r}; {flag}")
        used = plain.filter(plain.str.contains(form.thousands, literal=True))
        if form.thousands and len(used):
            self.notes.group(
                f"numbers with {_mark(form.thousands)} between thousands", f"{name} ({used[0]})",
                "--thousands '' and --decimal read them otherwise",
            )  # fmt: skip
        if form.decimal == ",":
            self.notes.group("numbers with a decimal comma", name, "--decimal . reads them "
                             "otherwise")  # fmt: skip

    def _note_missing(self, name: str, cells: pl.Series, text: pl.Series) -> None:
        """Say which words were read as missing, and refuse a target that loses much by them."""
        lost = known_cells(cells, ()).filter(text.is_null()).drop_nulls()
        if lost.is_empty():
            return
        word, kept = str(lost[0]), text.count()
        words = _listed([repr(one) for one in lost.unique(maintain_order=True)])
        if name not in self.targets:
            if self.options.missing is None:
                self.notes.group(
                    f"read as missing: {words}", f"{name} ({len(lost)})", "--missing '' keeps it"
                )
            return
        if self.options.missing is None and len(lost) > MOST_LOST * (kept + len(lost)):
            place = self._place(known_cells(cells, ()), word)
            raise InvalidInputError(
                f"target {name!r} would lose {len(lost)} of {kept + len(lost)} labels to {words} "
                f"(first in {place}); say whether they mean a missing label with --missing "
                f"{_shell(_token(word))}, or keep them with --missing ''"
            )
        self.notes.add(
            f"target {name}: {len(lost)} of {kept + len(lost)} labels are {words} and were read as "
            "missing; --missing '' keeps them"
        )

    def _note_words(self, name: str, text: pl.Series) -> None:
        """Say which classes may have been meant as missing."""
        found = text.filter(text.is_in(list(MISSING_NUMBERS)))
        if len(found):
            word = str(found[0])
            self.notes.add(
                f"target {name}: {word!r} ({int((text == word).sum())} rows) is taken as a class; "
                f"--missing {_shell(_token(word))} reads it as missing"
            )

    def _note_like_dates(self, values: pl.Series) -> None:
        if not values.dtype.is_integer() or len(values) < 10:
            return
        low, high = values.min(), values.max()
        if not 19000101 <= low <= high <= 21001231:  # type: ignore[operator]
            return
        if parse_dates(values.cast(pl.String), "%Y%m%d").value.count() == values.count():
            self.notes.add(
                f"column {values.name} holds numbers such as {values.drop_nulls()[0]} that look "
                f"like dates; --date-format {_shell(values.name + '=%Y%m%d')} reads dates"
            )

    def _note_two_digit_years(self, name: str, known: pl.Series) -> None:
        if known.str.contains(TWO_DIGIT_YEAR).all():
            self.notes.add(
                f"column {name} is read as text: values such as {known[0]!r} look like dates whose "
                f"year has two digits; --date-format, such as {_shell(name + '=%d.%m.%y')}, reads "
                "dates"
            )


# ---------------------------------------------------------------------------- rows of totals


def _without_totals(raw: RawTable, notes: _Notes, verbatim: Collection[str]) -> RawTable:
    """Leave out a last row that names itself a total in a column of numbers."""
    frame = raw.frame
    if frame.height < 3:
        return raw
    last = frame.row(-1, named=True)
    for name, cell in last.items():
        if cell is None or name in verbatim or not _is_total(cell):
            continue
        above = known_cells(frame[name].head(-1), MISSING_NUMBERS).drop_nulls()
        if len(above) and split_cells(above)["body"].is_not_null().all():
            notes.add(
                f"the last row is left out: it holds {cell.strip()!r} in column {name}, which "
                f"otherwise holds numbers; --missing {_shell(_token(cell.strip()))} keeps the row"
            )
            kept = frame.height - 1
            return replace(
                raw,
                frame=frame.head(kept),
                quoted={column: mask.head(kept) for column, mask in raw.quoted.items()},
            )
    return raw


def _without_sums(frame: pl.DataFrame, notes: _Notes) -> pl.DataFrame:
    """Leave out a last row that names itself a total and holds the sum of a column."""
    if frame.height < 3:
        return frame
    names = [
        name for name, dtype in frame.schema.items()
        if dtype == pl.String and _is_total(frame[name][-1] or "")
        and int((frame[name] == frame[name][-1]).sum()) == 1
    ]  # fmt: skip
    if not names:
        return frame
    for name, dtype in frame.schema.items():
        if not dtype.is_numeric() or frame[name][-1] is None:
            continue
        total, above = float(frame[name][-1]), frame[name].head(-1).cast(pl.Float64)
        if above.count() > 1 and total and abs(float(above.sum()) - total) <= 1e-3 * abs(total):
            notes.add(
                f"the last row is left out: it is called {frame[names[0]][-1]!r} in column "
                f"{names[0]}, and column {name} holds the sum of the others there"
            )
            return frame.head(-1)
    return frame


def _is_total(cell: str) -> bool:
    return cell.strip().lower().rstrip(":") in TOTAL_WORDS


# ---------------------------------------------------------------------------- small helpers


def _looks_like_date(sample: pl.Series) -> bool:
    found = [_share(parse_dates(sample, form).value.is_not_null()) for form in DATE_FORMS]
    return max(found) >= 0.5


def _sampled(known: pl.Series) -> pl.Series:
    """Return at most 1000 cells, evenly spread."""
    return known.gather_every(max(1, -(-len(known) // _SAMPLE)))


def _share(mask: pl.Series) -> float:
    return float(mask.fill_null(value=False).sum()) / max(1, len(mask))


def _listed(words: Collection[str]) -> str:
    shown = list(words)[:_SHOWN]
    more = len(words) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _offset(minutes: int) -> str:
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"


def _mark(thousands: str) -> str:
    return "spaces" if thousands == " " else repr(thousands)


def _column_flag(name: str, kind: str) -> str:
    return f"--column {_shell(f'{name}={kind}')}"


def _token(cell: str) -> str:
    """Write a cell so that --missing takes it as one token."""
    return '"' + cell.replace('"', '""') + '"' if any(c in cell for c in ',"') else cell


def _shell(word: str) -> str:
    import shlex

    return shlex.quote(word)
