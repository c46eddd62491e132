"""Where the records of a text with separators end: not at line ends within quoted cells."""

from __future__ import annotations

import numpy as np

_QUOTE, _SPACE = ord('"'), ord(" ")


def last_record_end(data: bytes, start: int, separators: str, comment: str | None) -> int:
    """Return where the last record ends that is whole, 0 if none does.

    A quote opens a cell only at its beginning. Elsewhere in a cell without quotes it is a
    character like others, and so it is in a comment line.

    Args:
        data: Text in UTF-8.
        start: Where in it a record begins.
        separators: The characters that may stand between cells.
        comment: What lines begin with that are skipped; None if there are none.
    """
    end = len(data)
    openings, closings = _quoted_cells(data, start, separators, comment)
    for number in reversed(range(len(openings))):
        if number < len(closings):
            line = data.rfind(b"\n", int(closings[number]), end)
            if line >= 0:
                return line + 1
        end = int(openings[number])
    return data.rfind(b"\n", start, end) + 1


def _quoted_cells(
    data: bytes, start: int, separators: str, comment: str | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return where the quoted parts of cells begin and end; the last one may have no end.

    A cell with quotes in it may come in several parts that follow each other.
    """
    written = np.frombuffer(data, np.uint8)[start:]
    places = np.flatnonzero(written == _QUOTE)
    edges = np.zeros(256, bool)
    edges[[ord(mark) for mark in separators + '\r\n"']] = True
    prefix = None if comment is None else comment.encode()
    if prefix is not None and not _has_line(data, start, prefix):
        prefix = None
    if prefix is None and _are_pairs(written, places, edges):
        return places[::2] + start, places[1::2] + start
    edges[_QUOTE] = False
    opens = (places == 0) | edges[written[places - 1]]
    return _one_by_one(data, start, (places + start).tolist(), opens.tolist(), prefix)


def _has_line(data: bytes, start: int, prefix: bytes) -> bool:
    """Return whether a line may begin with a prefix."""
    return (
        data.startswith(prefix, start)
        or data.find(b"\n" + prefix, start) >= 0
        or data.find(b"\r" + prefix, start) >= 0
    )


def _are_pairs(written: np.ndarray, places: np.ndarray, edges: np.ndarray) -> bool:
    """Return whether all quotes surround cells or are doubled in them; spaces may be between."""
    last = len(written) - 1
    opening, closing = places[::2], places[1::2]
    before, after = opening - 1, closing + 1
    if _at_edges(written, before, after, last, edges):
        return True
    filled = np.flatnonzero(written != _SPACE)
    before = np.append(-1, filled)[np.searchsorted(filled, opening)]
    after = np.append(filled, last + 1)[np.searchsorted(filled, closing, side="right")]
    return _at_edges(written, before, after, last, edges)


def _at_edges(
    written: np.ndarray, before: np.ndarray, after: np.ndarray, last: int, edges: np.ndarray
) -> bool:
    begins = (before < 0) | edges[written[before]]
    ends = (after > last) | edges[written[np.minimum(after, last)]]
    return bool(begins.all() and ends.all())


def _one_by_one(
    data: bytes, start: int, places: list[int], opens: list[bool], comment: bytes | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return what `_quoted_cells` does, by a look at each quote in turn."""
    openings: list[int] = []
    closings: list[int] = []
    number = 0
    while number < len(places):
        place = places[number]
        if len(openings) > len(closings):
            if number + 1 < len(places) and places[number + 1] == place + 1:
                number += 1  # two quotes stand for one
            else:
                closings.append(place)
        elif opens[number] and not (
            comment and _in_line(data, closings[-1] if closings else start, place, comment)
        ):
            openings.append(place)
        number += 1
    return np.array(openings, np.int64), np.array(closings, np.int64)


def _in_line(data: bytes, after: int, place: int, prefix: bytes) -> bool:
    """Return whether the line of a place begins with a prefix; it begins at `after` or later."""
    ends = max(data.rfind(b"\n", after, place), data.rfind(b"\r", after, place))
    return data.startswith(prefix, after if ends < 0 else ends + 1)
