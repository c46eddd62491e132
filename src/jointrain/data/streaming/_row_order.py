"""The order of rows of a table in pieces: shuffled, cut into batches, dealt out to ranks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np


@dataclass(frozen=True)
class Window:
    """Pieces whose rows are read and shuffled together.

    Args:
        pieces: Numbers of the pieces.
        starts: Where the rows of each piece begin among those of the window, and their number at
            the end, [p + 1].
        first: Number of its first row in the order of the epoch.
        number: Its number in the epoch.
    """

    pieces: tuple[int, ...]
    starts: tuple[int, ...]
    first: int
    number: int

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return self.starts[-1]

    @property
    def end(self) -> int:
        """Number of the row after its last one in the order of the epoch."""
        return self.first + self.rows


@dataclass(frozen=True)
class RowOrder:
    """In which order the rows of a table in pieces come, epoch by epoch.

    Each epoch puts the pieces in an order of its own. Pieces that follow each other make a window
    of at least `buffer_rows` rows, and the rows of a window are shuffled. The order is cut into
    batches of nearly equal size, as `RowSampler` does, and a rank has its part of each batch. So
    the order is the same for any number of ranks and of workers, and can be taken up at any batch.

    Args:
        rows: How many rows each piece has; 0 for one that is left out.
        batch_size: Rows of a batch at most, of all ranks together.
        buffer_rows: Rows that are shuffled together at least.
        seed: Of all orders.
        rank: Which rank this is.
        ranks: How many there are.
    """

    rows: tuple[int, ...]
    batch_size: int
    buffer_rows: int
    seed: int = 0
    rank: int = 0
    ranks: int = 1

    @cached_property
    def total(self) -> int:
        """How many rows an epoch has."""
        return sum(self.rows)

    @cached_property
    def batches(self) -> int:
        """How many batches an epoch has."""
        return math.ceil(self.total / self.batch_size)

    def bounds(self, batch: int) -> tuple[int, int]:
        """Return where a batch begins and ends in the order of the epoch, of all ranks."""
        count = self.batches
        return round(self.total * batch / count), round(self.total * (batch + 1) / count)

    def own_bounds(self, batch: int) -> tuple[int, int]:
        """Return where this rank's part of a batch begins and ends."""
        start, end = self.bounds(batch)
        rows = end - start
        return (
            start + rows * self.rank // self.ranks,
            start + rows * (self.rank + 1) // self.ranks,
        )

    def windows(self, epoch: int) -> list[Window]:
        """Return the windows of an epoch in their order."""
        return list(_windows(self.rows, self.buffer_rows, self.seed, epoch))

    def shuffled(self, epoch: int, window: Window) -> np.ndarray:
        """Return the rows of a window in their order: numbers among those of its pieces, [n]."""
        return _generator(self.seed, epoch, window.number + 1).permutation(window.rows)

    def own_rows(self, window: Window, first_batch: int = 0) -> np.ndarray:
        """Return which places of a window's order are this rank's, [n] of bool.

        Args:
            window: It.
            first_batch: Batches before this one are left out.
        """
        own = np.zeros(window.rows, dtype=bool)
        for batch in self.batches_of(window, first_batch):
            start, end = self.own_bounds(batch)
            own[max(0, start - window.first) : max(0, end - window.first)] = True
        return own

    def batches_of(self, window: Window, first_batch: int = 0) -> range:
        """Return the batches that have rows in a window."""
        low = self._batch_at(window.first)
        high = self._batch_at(window.end - 1) + 1
        return range(max(low, first_batch), max(high, first_batch))

    def _batch_at(self, row: int) -> int:
        """Return the batch that a row of the order is in."""
        guess = min(self.batches - 1, row * self.batches // self.total)
        while self.bounds(guess)[0] > row:
            guess -= 1
        while self.bounds(guess)[1] <= row:
            guess += 1
        return guess


@lru_cache(maxsize=4)
def _windows(rows: tuple[int, ...], buffer_rows: int, seed: int, epoch: int) -> tuple[Window, ...]:
    return tuple(_new_windows(rows, buffer_rows, seed, epoch))


def _new_windows(
    rows: tuple[int, ...], buffer_rows: int, seed: int, epoch: int
) -> Iterator[Window]:
    first, number = 0, 0
    pieces: list[int] = []
    starts = [0]
    for piece in _generator(seed, epoch, 0).permutation(len(rows)).tolist():
        if not rows[piece]:
            continue
        pieces.append(piece)
        starts.append(starts[-1] + rows[piece])
        if starts[-1] >= buffer_rows:
            yield Window(tuple(pieces), tuple(starts), first, number)
            first, number = first + starts[-1], number + 1
            pieces, starts = [], [0]
    if pieces:
        yield Window(tuple(pieces), tuple(starts), first, number)


def _generator(seed: int, *place: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([seed, *place]))
