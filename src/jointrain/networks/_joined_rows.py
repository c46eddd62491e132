"""The rows of a batch that are here, where several processes share its rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import NamedTuple

import torch
from torch import Tensor


class Piece(NamedTuple):
    """A run of a batch's rows, and which of them are on this process.

    Attributes:
        rows: How many there are on all processes.
        start, end: Those that are here; at least one.
        empty: Whether that one stands for none: there are fewer rows than processes.
    """

    rows: int
    start: int
    end: int
    empty: bool = False


@dataclass(frozen=True)
class JoinedRows:
    """Which rows of a batch that several processes share are on this one.

    Args:
        pieces: The batch's rows in their order, each piece shared by all processes.
    """

    pieces: tuple[Piece, ...]

    @staticmethod
    def of(bounds: list[int], rank: int, size: int) -> JoinedRows:
        """Return the share of a process in a batch.

        Args:
            bounds: Where the pieces begin, and where the last one ends.
            rank: The number of the process.
            size: How many processes there are.
        """
        pieces = []
        for first, last in pairwise(bounds):
            rows = last - first
            start, end = rows * rank // size, rows * (rank + 1) // size
            if start == end:
                start = min(start, rows - 1)
                pieces.append(Piece(rows, start, start + 1, empty=True))
            else:
                pieces.append(Piece(rows, start, end))
        return JoinedRows(tuple(pieces))

    @staticmethod
    def together(parts: list[JoinedRows]) -> JoinedRows:
        """Return the rows of several batches that are one behind the other."""
        return JoinedRows(tuple(piece for part in parts for piece in part.pieces))

    @property
    def total(self) -> int:
        """How many rows the batch has on all processes."""
        return sum(piece.rows for piece in self.pieces)

    @property
    def count(self) -> int:
        """How many rows are here, those that stand for none included."""
        return sum(piece.end - piece.start for piece in self.pieces)

    @cached_property
    def index(self) -> Tensor:
        """The places in the batch of the rows that are here, [n]."""
        before = accumulate((piece.rows for piece in self.pieces), initial=0)
        spans = [
            torch.arange(at + piece.start, at + piece.end)
            for at, piece in zip(before, self.pieces, strict=False)
        ]
        return spans[0] if len(spans) == 1 else torch.cat(spans)

    @cached_property
    def empty(self) -> Tensor | None:
        """Which of the rows that are here stand for none, [n] of bool; None if none does."""
        if not any(piece.empty for piece in self.pieces):
            return None
        flags = [torch.full((p.end - p.start,), p.empty) for p in self.pieces]
        return torch.cat(flags)


_ACTIVE: ContextVar[JoinedRows | None] = ContextVar("joined_rows", default=None)


@contextmanager
def drawing_for(rows: JoinedRows | None) -> Iterator[None]:
    """Let layers that draw random numbers draw them for all rows of a batch, and take their part.

    So a batch that processes share gets the numbers that one process would draw for it.
    """
    token = _ACTIVE.set(rows)
    try:
        yield
    finally:
        _ACTIVE.reset(token)


def rows_drawn_for(count: int) -> JoinedRows | None:
    """Return the batch that numbers are to be drawn for, if it has so many rows here."""
    rows = _ACTIVE.get()
    return rows if rows is not None and rows.count == count else None
