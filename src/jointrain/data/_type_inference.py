"""What the columns of a text file hold, decided over all their cells by written rules."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from jointrain.data._date_reading import (
    date_reading,
    is_time,
    note_dates_as_text,
    note_like_dates,
)
from jointrain.data._missing_codes import missing_code
from jointrain.data._number_reading import number_reading
from jointrain.data._number_text import (
    are_whole,
    exact_numbers,
    leading_zero,
    marks_of,
    only_unclear_points,
    split_cells,
)
from jointrain.data._raw_table import RawTable, ReadingOptions, check_zone
from jointrain.data._reading_notes import (
    FEW,
    ColumnText,
    ReadingNotes,
    listed,
    missing_flag,
    share,
)
from jointrain.data._table_schema import (
    MISSING_NUMBERS,
    ColumnReading,
    TableSchema,
    conform_column,
    date_format_of,
    has_empty_text,
    has_plain_numbers,
    known_cells,
    number_text,
    read_cells,
    read_dates,
    reading_of_type,
    without_nan,
    without_numbers,
    written_cells,
)
from jointrain.data._text_notes import note_outer_spaces, note_text_values
from jointrain.data._total_rows import without_sums, without_totals
from jointrain.errors import InvalidInputError, closest

RARE_NA = 0.2
"""An ``NA`` in a column of text is a missing value below this share of the cells."""

_PERHAPS_MISSING = ("unknown", "Unknown", "UNKNOWN", "missing", "Missing", "-999", "-9999")

MOST_LOST = 0.1
"""A target may lose so large a share of its labels to a word that means missing."""


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


def type_table(
    raw: RawTable,
    options: ReadingOptions | None = None,
    *,
    targets: Collection[str] = (),
    classes: Collection[str] = (),
    verbatim: Collection[str] = (),
    every_row: bool = False,
) -> TypedTable:
    """Decide what each column of a text file holds, and read it.

    Args:
        raw: The cells as they are written.
        options: What the user says about them.
        targets: Columns to predict; a word that means missing may take few of their labels only.
        classes: Targets that are said to be classes: numbers with fractions or marks stay text.
        verbatim: Columns whose cells are kept byte for byte: ids, groups, ignored ones.
        every_row: Whether a last row of totals, sums or means stays; else it is left out.

    Raises:
        InvalidInputError: A column is nearly all numbers or dates but for a few cells, or its
            marks, units or dates can be read in two ways; column, row and cell are named.
    """
    options = options or ReadingOptions()
    check_said(options, raw.frame.columns)
    notes = ReadingNotes()
    if not every_row:
        raw = without_totals(raw, notes, {*verbatim}, options.missing or ())
    reader = _Reader(raw, options, set(targets), set(classes), set(verbatim), notes)
    frame = pl.DataFrame([reader.read(name) for name in raw.frame.columns])
    frame = frame if every_row else without_sums(frame, notes)
    return TypedTable(frame, TableSchema(reader.readings), (*raw.notes, *notes.all()))


def type_frame(
    raw: RawTable,
    options: ReadingOptions | None = None,
    *,
    targets: Collection[str] = (),
    verbatim: Collection[str] = (),
    every_row: bool = False,
) -> TypedTable:
    """Return a table that has types already, with the schema that they make.

    Dates take the zone that options name, text is read as they say, and what they say means missing
    is, and so do NaN and empty text; a last row of sums is left out; all else stays.

    Args:
        raw: The table.
        options: What the user says about it.
        targets: Columns to predict.
        verbatim: Columns that are only copied.
        every_row: Whether a last row of sums or means stays.

    Raises:
        InvalidInputError: A date without zone is one that no clock showed in the named zone, or a
            column is said to hold what it can't be read as.
    """
    options = options or ReadingOptions()
    zone, said = options.time_zone, options.missing or ()
    check_zone(zone)
    check_said(options, raw.frame.columns)
    _refuse_lost_labels(raw, targets if options.missing is None else ())
    readings: dict[str, ColumnReading] = {}
    notes = ReadingNotes()
    frame = without_nan(raw.frame)
    raw = replace(raw, frame=frame)
    for name in frame.columns:
        copied = name in verbatim
        reading = ColumnReading("verbatim") if copied else reading_of_type(frame[name], raw.place)
        if reading is None:
            continue
        if name in options.columns and name not in verbatim:
            values, reading = _as_said(raw, name, reading, options, notes)
            frame = frame.with_columns(values)
        elif reading.kind == "text":
            _note_numbers(frame[name], notes)
            text = frame[name].cast(pl.String)
            note_text_values(text, notes)
            note_outer_spaces(text, notes)
            note_dates_as_text(text, notes)
        own = reading
        if zone is not None and isinstance(frame.schema[name], pl.Datetime):
            reading = replace(reading, zone=zone, other_zone=zone)
        if said and reading.kind in ("number", "text"):
            reading = replace(reading, missing=(*said, *reading.missing))
        if reading != own or has_empty_text(frame[name]):
            frame = frame.with_columns(conform_column(frame[name], reading, raw.place))
        if name in targets and reading.kind == "text" and options.missing is None:
            _note_words(frame[name].cast(pl.String), notes)
        readings[name] = reading
        is_scale = reading.kind in ("number", "date")
        code = missing_code(frame[name]) if is_scale else None
        if code is not None:
            column = f"{name} ({code.rows} {frame[name][code.row]})"
            notes.group(*_missing_code_note(column, "leave those cells empty if it does"))
    frame = frame if every_row else without_sums(frame, notes)
    return TypedTable(frame, TableSchema(readings), (*raw.notes, *notes.all()))


def _refuse_lost_labels(raw: RawTable, targets: Collection[str]) -> None:
    """Refuse a target that has lost much to words in a workbook, as in text.

    Raises:
        InvalidInputError: Target, words and how many they are are named.
    """
    for name in targets:
        lost = raw.lost.get(name, ())
        labels = raw.frame[name].count() + len(lost)
        if len(lost) > MOST_LOST * labels:
            different = list(dict.fromkeys(lost))
            raise InvalidInputError(
                f"target {name!r} would lose {len(lost)} of {labels} labels to "
                f"{listed([repr(word) for word in different])}; say that they mean a missing label "
                f"with {missing_flag(*different[:3])}, or mend them"
            )


def _as_said(
    raw: RawTable, name: str, own: ColumnReading, options: ReadingOptions, notes: ReadingNotes
) -> tuple[pl.Series, ColumnReading]:
    """Return a column of a table with types as the user says, if it is text; else refuse."""
    column, said = raw.frame[name], options.columns[name]
    if own.kind == said:
        return column, own
    if said == "text" and own.kind == "number" and not column.dtype.is_temporal():
        text = number_text(without_numbers(column, options.missing or ()))
        return text, ColumnReading("text", plain_numbers=True)
    if own.kind != "text":
        raise InvalidInputError(
            f"column {name!r} is said to hold {said!r}, but it has the type {column.dtype} in this "
            "table; convert it there"
        )
    alone = replace(raw, frame=column.cast(pl.String).to_frame())
    reader = _Reader(alone, options, set(), set(), set(), notes)
    return reader.read(name), reader.readings[name]


def _note_numbers(column: pl.Series, notes: ReadingNotes) -> None:
    """Note a column of text, in a table with types, whose values look like numbers."""
    sample = written_cells(column.cast(pl.String)).drop_nulls().head(1000)
    if sample.n_unique() <= _MANY or share(split_cells(sample)["body"].is_not_null()) < 1 - FEW:
        return
    if leading_zero(sample) is None:
        notes.group(
            "text that looks like numbers", f"{column.name} ({sample[0]})",
            f"--column {shlex.quote(f'{column.name}=number')} reads numbers",
        )  # fmt: skip


_MANY = 20
"""Text of more different numbers is hardly a code for categories."""


def check_said(options: ReadingOptions, names: Iterable[str]) -> None:
    """Refuse options for columns that a table does not have.

    Raises:
        InvalidInputError: There is no such column.
    """
    names = list(names)
    forms = options.date_format if isinstance(options.date_format, dict) else {}
    for name in [*options.columns, *forms]:
        if name not in names:
            raise InvalidInputError(
                f"it is said how column {name!r} is to be read, but it is not in the table"
                f"{closest(name, names)}"
            )


@dataclass
class _Reader:
    """Reads the columns of one file."""

    raw: RawTable
    options: ReadingOptions
    targets: set[str]
    classes: set[str]
    verbatim: set[str]
    notes: ReadingNotes
    readings: dict[str, ColumnReading] = field(default_factory=dict)
    _evidence: frozenset[str] | None = None

    def read(self, name: str) -> pl.Series:
        """Return the values of a column, and keep how they were read."""
        cells = self.raw.frame[name]
        if name in self.verbatim:
            self.readings[name] = ColumnReading("verbatim")
            return cells
        if self.options.columns.get(name) == "text":
            return self._text(written_cells(cells))
        values = self._plain_numbers(cells)
        return self._recognised(written_cells(cells)) if values is None else values

    def _plain_numbers(self, cells: pl.Series) -> pl.Series | None:
        """Return a column of plain numbers the quick way, None if it may be anything else."""
        name = cells.name
        said = self.options.columns.get(name, "number")
        if said != "number" or self._form(name) is not None or self.options.decimal == ",":
            return None
        for dtype in (pl.Int64, pl.Float64):
            values = cells.cast(dtype, strict=False)
            if values.count() != cells.count() or not values.count():
                continue
            if dtype == pl.Float64 and not self._is_plain(cells, values):
                return None
            if leading_zero(cells) is not None:
                return None
            self.readings[name] = ColumnReading("number", self._missing)
            note_like_dates(self._column(cells), values)
            values = exact_numbers(cells, values)
            values = without_numbers(values, self._missing)
            self._note_missing_code(cells, values)
            self._note_spellings(cells, values)
            return values
        return None

    def _is_plain(self, cells: pl.Series, values: pl.Series) -> bool:
        """Return whether numbers are finite, exact, and no groups of thousands."""
        if values.is_nan().any() or float(values.abs().max() or 0.0) >= 2.0**63:  # type: ignore[arg-type]
            return False
        if cells.name in self.classes and not are_whole(cells, values):
            return False
        return not (self._semicolons and only_unclear_points(cells))

    def _recognised(self, written: pl.Series) -> pl.Series:
        name = written.name
        text = known_cells(written, self._missing)
        if not text.count():
            return self._empty(written)
        values = self._plain_numbers(text)
        if values is not None:
            self._note_missing(written, text)
            return values
        reading = self._reading(self._column(text))
        if reading is None:
            return self._text(written)
        self._note_missing(written, text)
        self.readings[name] = reading = replace(reading, missing=self._missing)
        if reading.kind == "date":
            dates = read_dates(text, reading, self.raw.place)
            self._note_missing_code(text, dates)
            return dates
        values = read_cells(text, reading, self.raw.place)
        if reading.kind == "number":
            self._note_missing_code(text, values)
            self._note_spellings(text, values)
        return values

    def _reading(self, column: ColumnText) -> ColumnReading | None:
        """Return how a column is to be read, None for text."""
        name, said = column.name, column.said
        if said == "boolean" or (
            said is None and _are_truths(column.sample) and _are_truths(column.known)
        ):
            return ColumnReading("boolean")
        if said in (None, "date") and not column.is_class:
            own_form = not isinstance(self.options.date_format, str) and bool(self._form(name))
            reading = date_reading(
                column, self._form(name), self.options.time_zone, own_form=own_form
            )
            if reading is not None:
                return reading
        if said in (None, "number"):
            form = number_reading(
                column, self.options, self._file_evidence, semicolons=self._semicolons
            )
            if form is not None:
                return ColumnReading("number", number=form)
        if said in (None, "time") and not column.is_class and is_time(column):
            return ColumnReading("time")
        return None

    def _text(self, written: pl.Series) -> pl.Series:
        """Return a column of words; only an unquoted and rare NA is missing in it."""
        name = written.name
        quoted = self.raw.quoted.get(name)
        missing = self.options.missing
        if missing is None:
            missing = ("NA",) if _na_is_missing(written, quoted) else ()
        text = known_cells(written, missing, quoted)
        self._note_missing(written, text)
        if name in self.targets and self.options.missing is None:
            _note_words(text, self.notes)
        if name not in self.options.columns:
            note_text_values(text, self.notes)
        self.readings[name] = ColumnReading("text", missing, plain_numbers=has_plain_numbers(text))
        return text

    def _empty(self, written: pl.Series) -> pl.Series:
        """Return a column of missing values, or of words if there are several."""
        if written.drop_nulls().n_unique() > 1 and self.options.missing is None:
            return self._text(written)
        self.readings[written.name] = ColumnReading("text", self._missing)
        return pl.Series(written.name, [None] * len(written), dtype=pl.Null)

    # ------------------------------------------------------------------------ what is known

    @property
    def _missing(self) -> tuple[str, ...]:
        """What means missing in columns of numbers, dates and truth values."""
        said = self.options.missing
        return MISSING_NUMBERS if said is None else said and (*said, *MISSING_NUMBERS)

    @property
    def _semicolons(self) -> bool:
        return self.raw.separator == ";" and self.options.decimal is None

    def _form(self, name: str) -> str | None:
        return date_format_of(self.options, name)

    def _column(self, text: pl.Series) -> ColumnText:
        name = text.name
        return ColumnText(
            text,
            self.raw.place,
            self.options.columns.get(name),
            name in self.targets,
            name in self.classes,
            self.notes,
        )

    def _file_evidence(self) -> frozenset[str]:
        """Return the decimal marks that cells of the file leave no doubt about."""
        if self._evidence is None:
            found: set[str] = set()
            for name in set(self.raw.frame.columns) - self.verbatim:
                column = self._column(
                    known_cells(written_cells(self.raw.frame[name]), self._missing)
                )
                if share(split_cells(column.sample)["body"].is_not_null()) < 1 - FEW:
                    continue
                marks, numbers = marks_of(split_cells(column.known), column.known)
                if numbers.all():
                    found |= {m for m, cell in ((".", marks.point), (",", marks.comma)) if cell}
            self._evidence = frozenset(found)
        return self._evidence

    # ------------------------------------------------------------------------ missing values

    def _note_missing(self, written: pl.Series, text: pl.Series) -> None:
        """Say which words were read as missing; refuse a target that loses much by them."""
        if text.null_count() == written.null_count() or self.options.missing is not None:
            return
        lost = written.filter(text.is_null()).drop_nulls()
        name, count, labels = written.name, len(lost), written.count()
        different = lost.unique(maintain_order=True)
        words = listed([repr(word) for word in different])
        if name not in self.targets:
            self.notes.group("words read as missing", f"{name} ({count} {words})",
                             "--missing '' keeps them as they are")  # fmt: skip
        elif count > MOST_LOST * labels:
            place = self.raw.place(int((written == lost[0]).arg_true()[0]))
            flag = missing_flag(*different[:3])
            raise InvalidInputError(
                f"target {name!r} would lose {count} of {labels} labels to {words} (first in "
                f"{place}); say that they mean a missing label with {flag}, or keep them with "
                "--missing ''"
            )
        else:
            self.notes.add(
                f"target {name}: {count} of {labels} labels are {words}, read as missing; "
                "--missing '' keeps them"
            )

    def _note_missing_code(self, cells: pl.Series, values: pl.Series) -> None:
        """Name a number or a date that may mean a missing value, as -999 does."""
        code = missing_code(values)
        if code is not None:
            cell = str(cells[code.row]).strip()
            column = f"{cells.name} ({code.rows} {cell})"
            self.notes.group(*_missing_code_note(column, f"{missing_flag(cell)} reads it so"))

    def _note_spellings(self, cells: pl.Series, values: pl.Series) -> None:
        """Name two cells of a target of few values that are one number, such as 1.10 and 1.1."""
        name, count = cells.name, values.n_unique()
        if name not in self.targets or count > _FEW_VALUES:
            return
        written = pl.DataFrame({"value": values, "cell": cells.str.strip_chars()}).drop_nulls()
        kinds = written.unique(maintain_order=True)
        twice = kinds.filter(pl.col("value").is_duplicated())
        if len(twice):
            one, other = twice.filter(pl.col("value") == twice["value"][0])["cell"][:2]
            self.notes.add(
                f"target {name}: {one!r} and {other!r} are one number; "
                f"--column {shlex.quote(f'{name}=text')} keeps them apart"
            )


_FEW_VALUES = 10
"""So few different numbers may be classes."""


def _note_words(text: pl.Series, notes: ReadingNotes) -> None:
    """Say which classes may have been meant as missing."""
    found = text.filter(text.is_in([*MISSING_NUMBERS, *_PERHAPS_MISSING]))
    if len(found):
        word = str(found[0])
        notes.add(
            f"target {text.name}: {word!r} ({int((text == word).sum())} rows) is a class; "
            f"{missing_flag(word)} reads it as missing"
        )


def _missing_code_note(column: str, remedy: str) -> tuple[str, str, str]:
    before = "far from all others, perhaps a code for a missing value, and trained on as it is"
    return before, column, remedy


def _are_truths(text: pl.Series) -> bool:
    return text.str.to_lowercase().is_in(["true", "false"]).all()


def _na_is_missing(written: pl.Series, quoted: pl.Series | None) -> bool:
    """Return whether an unquoted NA means missing in a column of text.

    It does where it stands in under a fifth of the cells and another value is as frequent.
    """
    is_na = (written == "NA").fill_null(value=False)
    if quoted is not None:
        is_na &= ~quoted
    if not is_na.any():
        return True
    others = written.filter(~is_na).drop_nulls()
    if others.is_empty():
        return False
    most: Any = others.alias("value").value_counts(name="rows")["rows"].max()
    count = int(is_na.sum())
    return count < RARE_NA * written.count() and count <= most
