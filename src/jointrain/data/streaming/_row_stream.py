"""RowStream: batches of a table larger than memory, for a trainer."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from jointrain.data._tensor_data import TensorData, map_tensors
from jointrain.data.streaming._row_order import RowOrder, Window
from jointrain.errors import InvalidInputError
from jointrain.task import CodeColumns

if TYPE_CHECKING:
    from jointrain.data.streaming._row_reading import TypedRows

BUFFER_BYTES = 1 << 26
"""By default, so many bytes of inputs are shuffled together."""

_MOST_BUFFERED = 1 << 18
_FEWEST_BUFFERED = 1 << 10


@dataclass(frozen=True, eq=False)
class RowStream:
    """Rows that are read, encoded and shuffled while a trainer trains on them.

    Every row comes once in an epoch, see `RowOrder`. Row groups are read ahead by threads. What is
    held in memory at a time are the rows of `workers` + 1 windows.

    Args:
        read: Gives the rows of a piece that are trained on, by its number.
        encode: Makes tensors of them.
        piece_rows: How many rows each piece has.
        labels: In how many of them each task has a label, by its name.
        in_features: Number of inputs.
        codes: Which inputs are codes.
        buffer_rows: How many rows are shuffled together at least; default as many as have 64 MB of
            inputs, 1024 at least and 262,144 at most.
        workers: Threads that read ahead; 0 reads when rows are needed. The order is the same.
        rank: Which of several processes this is, that share out the rows of each batch; ...
        ranks: ... and how many there are; default 1.

    Raises:
        InvalidInputError: A number is out of range, or there is no row.
    """

    read: Callable[[int], TypedRows]
    encode: Callable[[TypedRows], TensorData]
    piece_rows: tuple[int, ...]
    labels: Mapping[str, int]
    in_features: int
    codes: tuple[CodeColumns, ...] = ()
    buffer_rows: int | None = None
    workers: int = 1
    rank: int = 0
    ranks: int = 1

    def __post_init__(self) -> None:
        if not self.rows:
            raise InvalidInputError("no row is left to train on; keep fewer rows for validation")
        if self.buffer_rows is not None and self.buffer_rows < 1:
            raise InvalidInputError(f"`buffer_rows` must be at least 1, got {self.buffer_rows}")
        if self.workers < 0:
            raise InvalidInputError(f"`workers` must be at least 0, got {self.workers}")
        if not 0 <= self.rank < self.ranks:
            raise InvalidInputError(
                f"`rank` counts from 0 to below `ranks`, got rank {self.rank} of {self.ranks}"
            )

    @property
    def rows(self) -> int:
        """How many rows an epoch has, of all ranks together."""
        return sum(self.piece_rows)

    def sharded(self, rank: int, ranks: int) -> RowStream:
        """Return the same stream, of which a rank reads its part of each batch.

        The parts of all ranks together are the batches of one process; they differ by one row.
        """
        return replace(self, rank=rank, ranks=ranks)

    def order(self, batch_size: int, seed: int) -> RowOrder:
        """Return the order of rows in batches of so many rows, of all ranks together.

        Raises:
            InvalidInputError: Batches have fewer rows than there are ranks.
        """
        buffered = self.buffer_rows or min(
            _MOST_BUFFERED, max(_FEWEST_BUFFERED, BUFFER_BYTES // (4 * max(1, self.in_features)))
        )
        order = RowOrder(self.piece_rows, batch_size, buffered, seed, self.rank, self.ranks)
        if order.total // order.batches < self.ranks:
            raise InvalidInputError(
                f"batches of {order.total // order.batches} rows can't be shared out among "
                f"{self.ranks} processes; use larger batches or fewer processes"
            )
        return order

    def batches(self, order: RowOrder, epoch: int, first_batch: int = 0) -> Iterator[TensorData]:
        """Yield this rank's rows of the batches of an epoch.

        Args:
            order: What `order` gave.
            epoch: Number of the epoch, from 0.
            first_batch: The batch to begin with.
        """
        windows = self._windows(order, epoch, first_batch)
        held: list[tuple[np.ndarray, TensorData]] = []
        for batch in range(first_batch, order.batches):
            start, end = order.own_bounds(batch)
            # what lies before the batch is through
            held = [one for one in held if one[0][-1] >= start]
            while not held or held[-1][0][-1] < end - 1:
                held.append(next(windows))
            parts = [
                data.part(low, high)
                for places, data in held
                for low, high in [np.searchsorted(places, (start, end)).tolist()]
                if high > low
            ]
            yield parts[0] if len(parts) == 1 else _joined(parts)

    def once(self) -> Iterator[TensorData]:
        """Yield all rows, piece by piece; this rank's pieces alone."""
        for number in range(self.rank, len(self.piece_rows), self.ranks):
            if self.piece_rows[number]:
                yield self.encode(self.read(number))

    def head(self) -> TensorData:
        """Return a few rows."""
        return self._head

    @cached_property
    def _head(self) -> TensorData:
        number = next(n for n, rows in enumerate(self.piece_rows) if rows)
        rows = self.read(number)
        return self.encode(rows.where(np.arange(len(rows.frame)) < 2))

    def _windows(
        self, order: RowOrder, epoch: int, first_batch: int
    ) -> Iterator[tuple[np.ndarray, TensorData]]:
        """Yield the windows that have own rows: places in the order of the epoch, and the rows."""
        start, _ = order.own_bounds(first_batch)
        coming = iter([one for one in order.windows(epoch) if one.end > start])
        if not self.workers:
            for window in coming:
                yield from self._window(order, epoch, window, first_batch)
            return
        with ThreadPoolExecutor(self.workers, thread_name_prefix="jointrain-rows") as pool:
            ahead: deque[Future[list[tuple[np.ndarray, TensorData]]]] = deque()

            def read_on() -> None:
                following = next(coming, None)
                if following is not None:
                    ahead.append(pool.submit(self._window, order, epoch, following, first_batch))

            try:
                for _ in range(self.workers):
                    read_on()
                while ahead:
                    found = ahead.popleft().result()
                    read_on()
                    yield from found
            finally:
                for one in ahead:
                    one.cancel()

    def _window(
        self, order: RowOrder, epoch: int, window: Window, first_batch: int
    ) -> list[tuple[np.ndarray, TensorData]]:
        """Return a window's own rows in their order, none if it has none."""
        places = np.flatnonzero(order.own_rows(window, first_batch))
        if not len(places):
            return []
        position = np.full(window.rows, -1)
        position[order.shuffled(epoch, window)[places]] = np.arange(len(places))
        filled: TensorData | None = None
        for index, number in enumerate(window.pieces):
            own = position[window.starts[index] : window.starts[index + 1]]
            kept = own >= 0
            if not kept.any():
                continue
            data = self.encode(self.read(number).where(kept))
            if filled is None:
                filled = _empty_like(data, len(places))
            _fill(filled, torch.from_numpy(own[kept]), data)
        assert filled is not None
        return [(places + window.first, filled)]


def _tensors(data: TensorData) -> list[Tensor]:
    """Return the tensors of inputs, targets and weights, always in the same order."""
    found: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    weights = data.weights
    map_tensors(keep, data.inputs)
    map_tensors(keep, dict(data.targets))
    if weights is not None:
        map_tensors(keep, weights if isinstance(weights, Tensor) else dict(weights))
    return found


def _empty_like(data: TensorData, rows: int) -> TensorData:
    def empty(tensor: Tensor) -> Tensor:
        return tensor.new_empty((rows, *tensor.shape[1:]))

    return _mapped(empty, data)


def _mapped(function: Callable[[Tensor], Tensor], data: TensorData) -> TensorData:
    weights = data.weights
    if weights is not None:
        weights = map_tensors(function, weights if isinstance(weights, Tensor) else dict(weights))
    return TensorData(
        map_tensors(function, data.inputs),
        map_tensors(function, dict(data.targets)),
        weights,
        data.codes,
    )


def _fill(into: TensorData, places: Tensor, data: TensorData) -> None:
    for target, source in zip(_tensors(into), _tensors(data), strict=True):
        target[places] = source


def _joined(parts: list[TensorData]) -> TensorData:
    """Return rows of several windows as one batch."""
    together = iter([torch.cat(tensors) for tensors in zip(*map(_tensors, parts), strict=True)])
    return _mapped(lambda _: next(together), parts[0])
