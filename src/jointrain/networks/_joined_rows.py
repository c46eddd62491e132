"""The rows of a batch that are here, where several processes share its rows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

_LOWEST = torch.iinfo(torch.int64).min


def random_bytes(
    count: int, generator: torch.Generator | None = None, device: torch.device | None = None
) -> Tensor:
    """Return uniform random bytes, [count].

    On the CPU the bytes of several calls with counts that 8 divides are those of one call for all.
    """
    words = torch.empty((count + 7) // 8, dtype=torch.int64, device=device)
    return words.random_(_LOWEST, None, generator=generator).view(torch.uint8)[:count]


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

    def of_rows(self, rows: Tensor) -> Tensor:
        """Return those that are here of a tensor with an entry for each row of the batch."""
        if len(self.pieces) == 1:
            return rows[self.pieces[0].start : self.pieces[0].end]
        return rows[self.index.to(rows.device)]

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


class _Drawn:
    """The batches that numbers were drawn for, by the random state before each draw.

    Activation checkpointing goes through layers again in the backward pass, from the random state
    of the first time, when their batch is not at hand any more.
    """

    most = 10_000

    def __init__(self) -> None:
        self._rows: dict[bytes, JoinedRows] = {}

    def rows_for(self, inputs: Tensor) -> JoinedRows | None:
        """Return the batch that numbers are to be drawn for; None to draw for the inputs alone."""
        rows = rows_drawn_for(len(inputs))
        if rows is None and not self._rows:
            return None
        state = random_state(inputs.device).numpy().tobytes()
        if rows is None:
            before = self._rows.get(state)
            return before if before is not None and before.count == len(inputs) else None
        if len(self._rows) >= self.most:
            del self._rows[next(iter(self._rows))]
        self._rows[state] = rows
        return rows

    def forget(self) -> None:
        """Forget them: another training may begin with the same random state."""
        self._rows.clear()


def random_state(device: torch.device) -> Tensor:
    """Return the state of torch's random numbers of a device."""
    if device.type == "cuda":
        return torch.cuda.get_rng_state(device)
    return torch.get_rng_state()


_drawn = _Drawn()


def _draw(inputs: Tensor, kind: str, p: float) -> Tensor:
    """Return bytes, or the factors of one of torch's dropouts, in the shape of the inputs."""
    rows = _drawn.rows_for(inputs) if inputs.ndim else None
    shape = inputs.shape if rows is None else (rows.total, *inputs.shape[1:])
    if kind == "bytes":
        found = random_bytes(math.prod(shape), device=inputs.device).view(shape)
    elif kind == "dropout":
        # torch draws in the order of the memory; a row alone may lie anywhere
        strides = list(zip(inputs.stride(), inputs.shape, strict=True))
        order = sorted(range(len(shape)), key=lambda k: (-strides[k][0], strides[k][1] == 1))
        ones = inputs.new_ones([shape[k] for k in order])
        found = functional.dropout(ones, p).permute([order.index(k) for k in range(len(order))])
    else:
        found = getattr(functional, kind)(inputs.new_ones(shape), p)
    if rows is not None:
        found = found[rows.index.to(found.device)]
    return found.contiguous()


def _like(inputs: Tensor, kind: str, p: float) -> Tensor:  # noqa: ARG001
    """Return what compilers are told of `_draw`."""
    return torch.empty_like(
        inputs,
        dtype=torch.uint8 if kind == "bytes" else None,
        memory_format=torch.contiguous_format,
    )


# an operation to torch.compile, whose programs then call it at each step
_LIBRARY: Any = torch.library.Library("jointrain", "FRAGMENT")  # type: ignore[no-untyped-call]
_LIBRARY.define(
    "draw(Tensor inputs, str kind, float p) -> Tensor", tags=(torch.Tag.nondeterministic_seeded,)
)
_LIBRARY.impl("draw", _draw, "CompositeExplicitAutograd")
torch.library.register_fake("jointrain::draw", _like, lib=_LIBRARY)


forget_drawn_rows = _drawn.forget


def drawn_for_rows(inputs: Tensor, kind: str, p: float = 0.5) -> Tensor:
    """Return random numbers for inputs: for all rows of a batch that processes share, those here.

    Args:
        inputs: Rows come first.
        kind: ``bytes`` for uniform ones, or a dropout of `torch.nn.functional` for what it
            multiplies by.
        p: The probability of that dropout.

    Shape:
        inputs: any. returns: the same.
    """
    if not torch.compiler.is_compiling() and _ACTIVE.get() is None:
        return _draw(inputs, kind, p)
    found: Tensor = torch.ops.jointrain.draw(inputs.detach(), kind, p)
    return found
