"""How a text table is written: its separator, its comment lines and its header."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from jointrain.data._raw_table import ReadingOptions, checked_separator
from jointrain.data._text_encoding import refuse_not_utf8
from jointrain.errors import InvalidInputError

_TAB = "\t"
_CANDIDATES = (",", ";", "\t", "|")
_SAMPLE_BYTES = 1 << 18
_SAMPLE_ROWS = 1000
_SAID_IN_FILE = re.compile(r'"?sep=(.)"?[\r\n]*', re.IGNORECASE)
_PLAIN = re.compile(r"[-+\d.,:/ TZeE%]*")
"""Numbers, dates, times and empty cells: what a cell is when it was cut at the right places."""
_NUMBER = re.compile(r"\s*[-+]?\d[\d.,]*\s*")


@dataclass(frozen=True)
class Dialect:
    """How a text table is written.

    Args:
        separator: What stands between the fields.
        names: The fields of the header, as they are written.
        comment: What a line begins with that is skipped; None if there is none.
        body_offset: Where the header ends, in bytes.
        body_line: The line there, from 1.
        extra_fields: How many fields more than the header nearly every row has.
        notes: What was decided, a sentence each.
    """

    separator: str
    names: tuple[str, ...]
    comment: str | None
    body_offset: int
    body_line: int
    extra_fields: int
    notes: tuple[str, ...]


def find_dialect(data: bytes, where: str, usual: str, options: ReadingOptions) -> Dialect:
    """Find out how a text table is written, from its first thousand rows.

    A separator is taken if the header and nearly all rows have the same number of fields with it;
    among several, the one whose cells are more often numbers or dates; then the usual one.

    Args:
        data: The file in UTF-8, without byte order mark.
        where: What messages call it.
        usual: The separator that the name of the file speaks for.
        options: What the user said.

    Raises:
        InvalidInputError: It has no header, or a quote in it does not close, or the separator is
            none.
    """
    csv.field_size_limit(max(csv.field_size_limit(), len(data)))
    size = _SAMPLE_BYTES
    while True:  # more of the file until the header, whose names may hold line breaks, is whole
        cut = len(data) if size >= len(data) else _last_line_end(data, size)
        refuse_not_utf8(data[:cut], where)
        text = data[:cut].decode()
        try:
            return _found(text, where, usual, options, whole=cut == len(data))
        except _MoreNeededError:
            size *= 2


def _last_line_end(data: bytes, size: int) -> int:
    return (data.rfind(b"\n", 0, size) + 1) or (data.rfind(b"\r", 0, size) + 1)


class Records:
    """The records of a text table, with the line on which each begins; slow, for small parts.

    Args:
        text: Text that begins at a record.
        separator: What stands between the fields.
        comment: What lines between records begin with that are skipped.
        line: The line on which the text begins.
        strict: Raise `csv.Error` where a quote does not close or is followed by more.
        kept: A list that takes the lines that are not skipped.
    """

    def __init__(
        self,
        text: str,
        separator: str,
        comment: str | None = None,
        line: int = 1,
        *,
        strict: bool = False,
        kept: list[str] | None = None,
    ) -> None:
        self._kept = kept
        self.line = line
        """The line on which the last record begins, or the one in which there is a fault."""
        self._next_line = line
        self._inside = False
        self._reader = csv.reader(self._lines(text, comment), delimiter=separator, strict=strict)

    def __iter__(self) -> Iterator[list[str]]:
        """Yield the fields of each record; none for a blank line."""
        for fields in self._reader:
            self._inside = False
            yield fields

    def _lines(self, text: str, comment: str | None) -> Iterator[str]:
        for content in io.StringIO(text, newline=""):
            if not self._inside:
                self.line = self._next_line
            self._next_line += 1
            if not self._inside and comment and content.startswith(comment):
                continue
            self._inside = True
            if self._kept is not None:
                self._kept.append(content)
            yield content


class _MoreNeededError(Exception):
    """The sample ends within the header."""


def _found(text: str, where: str, usual: str, options: ReadingOptions, *, whole: bool) -> Dialect:
    said = checked_separator(options.separator)
    prefix = "#" if options.comment is None else options.comment
    notes: list[str] = []
    above, comments, said_in_file = _above_header(text, prefix)
    body = text[above:]
    if not body.strip() and comments:  # nothing but lines with a mark: they are the table
        above, comments = comments[0][0], []
        body = text[above:]
    if not body.strip():
        if not whole:
            raise _MoreNeededError
        raise InvalidInputError(f"{where} is empty; it needs a header and at least one row")
    found = _best_separator(body, usual, whole=whole)
    separator = said or said_in_file or found
    if comments and options.comment is None and _is_header(comments[-1][1], body, separator):
        above = comments[-1][0]
        body = text[above:]
        notes.append(
            f"the first names of {where} begin with {prefix!r}: that line has as many fields as "
            f"the rows and was taken as the header; --comment '{prefix}' skips it"
        )
        comments.pop()
    if separator == found and said is None:
        _refuse_spaces(body, where, separator, whole=whole)
    if separator != found:
        _check_said_separator(body, where, separator, found)
    if comments and options.comment is None:
        shown = "line that begins" if len(comments) == 1 else "lines that begin"
        notes.append(
            f"{len(comments)} {shown} with {prefix!r} at the top of {where} skipped; --comment '' "
            "keeps them"
        )
    comment = options.comment or None
    names, size, lines = _header(body, separator, where, whole=whole)
    return Dialect(
        separator=separator,
        names=tuple(names),
        comment=comment,
        body_offset=len(text[: above + size].encode()),
        body_line=_lines_in(text[:above]) + lines + 1,
        extra_fields=_extra_fields(body[size:], separator, comment, len(names), whole=whole),
        notes=tuple(notes),
    )


def _refuse_spaces(body: str, where: str, separator: str, *, whole: bool) -> None:
    """Refuse a table whose only column is several with spaces between them."""
    rows = _sample(body, separator, whole=whole)
    if any(len(row) != 1 for row in rows) or len(rows) < 3:
        return
    words = [row[0].split() for row in rows]
    numbers = sum(_NUMBER.fullmatch(word) is not None for row in words[1:] for word in row)
    width = len(words[0])
    if width > 1 and all(len(row) == width for row in words) and 2 * numbers > len(words) - 1:
        raise InvalidInputError(
            f"{where} has one column, whose cells look like {width} with spaces between them; put "
            "one of , ; tab | between them, or say --separator ' ' (one space) or --separator ,"
        )


def _check_said_separator(body: str, where: str, said: str, found: str) -> None:
    """Refuse a separator that leaves one column where another gives several."""
    first = next(iter(Records(body, said)), [])
    others = next(iter(Records(body, found)), [])
    if len(first) == 1 and len(others) > 1:
        raise InvalidInputError(
            f"the separator {said!r} was said, but is not in the header of {where}, which has "
            f"{found!r}; say --separator {'tab' if found == _TAB else repr(found)}"
        )


def _above_header(text: str, prefix: str) -> tuple[int, list[tuple[int, str]], str | None]:
    """Return where the header begins, the comment lines above it, and a separator said there."""
    offset = 0
    comments: list[tuple[int, str]] = []
    separator = None
    for number, line in enumerate(io.StringIO(text, newline="")):
        if number == 0 and (match := _SAID_IN_FILE.fullmatch(line)):
            separator = match[1]
        elif prefix and line.startswith(prefix):
            comments.append((offset, line[len(prefix) :]))
        elif line.strip(" \r\n"):
            break
        offset += len(line)
    return offset, comments, separator


def _best_separator(body: str, usual: str, *, whole: bool) -> str:
    best, best_score = usual, (False, 0.0, 0.0, 0.0, False)
    for separator in _CANDIDATES:
        rows = _sample(body, separator, whole=whole)
        counts = Counter(len(row) for row in rows)
        width, times = counts.most_common(1)[0]
        if width < 2:
            continue
        cells = [cell for row in rows[1:] for cell in row]
        plain = sum(_PLAIN.fullmatch(cell) is not None for cell in cells) / max(len(cells), 1)
        after = [cell for row in rows for cell in row[1:]]
        glued = sum(not cell.startswith(" ") for cell in after) / len(after)
        agreeing = round(times / len(rows), 2)
        score = (
            len(rows[0]) == width and agreeing >= 0.5,
            agreeing,
            round(plain, 2),
            round(glued, 2),
            separator == usual,
        )
        if score > best_score:
            best, best_score = separator, score
    return best


def _sample(
    body: str, separator: str, comment: str | None = None, *, whole: bool
) -> list[list[str]]:
    """Return the first records, without blank lines and without one that the sample cuts."""
    rows = []
    try:
        for fields in Records(body, separator, comment):
            if fields:
                rows.append(fields)
            if len(rows) > _SAMPLE_ROWS:
                break
    except csv.Error:
        pass
    if not whole and len(rows) <= _SAMPLE_ROWS and len(rows) > 2:
        rows.pop()
    return rows or [[""]]


def _is_header(line: str, body: str, separator: str) -> bool:
    """Say whether a line with a comment mark is the header of the rows below it."""
    fields = next(csv.reader([line], delimiter=separator), [])
    rows = _sample(body, separator, whole=True)[:3]
    if len(fields) < 2 or any(len(row) != len(fields) for row in rows):
        return False
    numbers = [any(_NUMBER.fullmatch(cell) for cell in row) for row in rows]
    # names stand above numbers: if only the first row has none, it is the header
    return numbers[0] or not any(numbers)


def _header(body: str, separator: str, where: str, *, whole: bool) -> tuple[list[str], int, int]:
    """Return the names, and the number of characters and of lines up to the first row."""
    size = lines = 0

    def counted() -> Iterator[str]:
        nonlocal size, lines
        for content in io.StringIO(body, newline=""):
            size += len(content)
            lines += 1
            yield content

    try:
        names = next(csv.reader(counted(), delimiter=separator, strict=True))
    except csv.Error:
        if not whole:
            raise _MoreNeededError from None
        raise InvalidInputError(
            f"the header of {where} has a quote that does not close; close or remove it"
        ) from None
    return names, size, lines


def _lines_in(text: str) -> int:
    return sum(1 for _ in io.StringIO(text, newline=""))


def _extra_fields(
    rows_text: str, separator: str, comment: str | None, width: int, *, whole: bool
) -> int:
    """Return 1 if all rows of the sample have one field more than the header, else 0."""
    widths = {len(row) for row in _sample(rows_text, separator, comment, whole=whole)}
    return 1 if widths == {width + 1} else 0
