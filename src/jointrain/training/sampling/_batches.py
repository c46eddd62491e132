"""Batches: which rows of which data sets a step trains on."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from jointrain.data import SparseRows, TensorData, map_tensors
from jointrain.errors import InvalidInputError
from jointrain.networks import JoinedRows
from jointrain.task import IGNORED, Task
from jointrain.training.sampling._batch import Batch
from jointrain.training.sampling._row_shares import RowShare, local_rows

_LOOKED_AT = 256
"""Rows, at most, by which it is seen whether two data sets are the same."""

EVALUATION_ROWS = 8192
"""How many rows go through the network at once where no gradient is needed."""


_NUMBERS_AT_ONCE = 2**22
"""Numbers of pictures and sequences that go through at once; layers make many of each."""

_NUMBERS_OF_TOKEN = 128
"""As how many numbers a token counts, which layers turn into a vector."""

_TOKENS = (torch.int64, torch.int32, torch.int16)


def rows_at_once(inputs: Any) -> int:
    """Return how many rows of the inputs go through the network at once without a gradient."""
    most, numbers = EVALUATION_ROWS, 0

    def count(leaf: Tensor) -> Tensor:
        nonlocal most, numbers
        if isinstance(leaf, SparseRows):
            most = min(most, leaf.rows_at_once)
        elif leaf.dtype in _TOKENS and leaf.ndim <= 3:
            numbers += leaf.shape[1:].numel() * _NUMBERS_OF_TOKEN
        elif leaf.ndim > 2:
            numbers += leaf.shape[1:].numel()
        return leaf

    map_tensors(count, inputs)
    return max(1, min(most, _NUMBERS_AT_ONCE // max(1, numbers)))


class RowSampler:
    """Draws row numbers without end; every row once before any row twice.

    Args:
        rows: Row numbers to draw from, [n].
        batch_size: Rows in a batch at most. Batches are of nearly equal size: a last batch of two
            rows would be noise.
        generator: Source of the order, which is drawn anew for each pass.
    """

    def __init__(self, rows: Tensor, batch_size: int, generator: torch.Generator) -> None:
        self.rows = rows
        self._generator = generator
        batches = math.ceil(len(rows) / batch_size)
        self._bounds = [round(len(rows) * i / batches) for i in range(batches + 1)]
        self._next = 0
        # the order of a pass, and the generator's state before it was drawn
        self._order = rows
        self._drawn_from: Tensor | None = None

    @property
    def count(self) -> int:
        """How many batches a pass makes."""
        return len(self._bounds) - 1

    @property
    def whole(self) -> bool:
        """Whether every batch holds all rows, in their order."""
        return len(self._bounds) == 2

    def draw_slice(self) -> tuple[Tensor, int, int]:
        """Return the next batch as a slice of a pass: row numbers in order, start and end."""
        if self.whole:
            return self.rows, 0, len(self.rows)
        place = self._next
        if place == 0:
            self._drawn_from = self._generator.get_state()
            self._order = self._drawn(self._generator)
        self._next = (place + 1) % self.count
        return self._order, self._bounds[place], self._bounds[place + 1]

    def _drawn(self, generator: torch.Generator) -> Tensor:
        """Return the row numbers in an order that is drawn."""
        return self.rows[torch.randperm(len(self.rows), generator=generator)]

    def skip(self, batches: int) -> None:
        """Go on as if so many batches had been drawn."""
        for _ in range(batches):
            self.draw_slice()

    def state_dict(self) -> dict[str, Any]:
        """Return the place in the pass. The generator's state now is its owner's to keep."""
        return {"next": self._next, "drawn_from": self._drawn_from if self._next else None}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set the place to what `state_dict` gave."""
        self._next, self._drawn_from = state["next"], state["drawn_from"]
        if self._drawn_from is not None:
            then = torch.Generator()
            then.set_state(self._drawn_from)
            self._order = self._drawn(then)

    def draw(self) -> Tensor:
        """Return the row numbers of the next batch."""
        order, start, end = self.draw_slice()
        return order[start:end]


class StepRows:
    """Draws rows of one data set for any of its tasks: those that have a label of one of them.

    Args:
        labelled: For each task whether each row has its label, [n] booleans.
        batch_size: Rows in a batch at most.
        generator: Source of the order.
    """

    def __init__(
        self, labelled: Mapping[str, Tensor], batch_size: int, generator: torch.Generator
    ) -> None:
        self._labelled = labelled
        self._batch_size = batch_size
        self._generator = generator
        self._samplers: dict[tuple[str, ...], RowSampler] = {}

    def sampler(self, tasks: tuple[str, ...]) -> RowSampler:
        """Return the sampler of the rows that have a label of one of the tasks."""
        if tasks not in self._samplers:
            rows = torch.stack([self._labelled[name] for name in tasks]).any(0).nonzero().squeeze(1)
            self._samplers[tasks] = RowSampler(rows, self._batch_size, self._generator)
        return self._samplers[tasks]

    def state_dict(self) -> dict[str, Any]:
        """Return the places of all samplers, and the generator's state."""
        places = [[list(tasks), one.state_dict()] for tasks, one in self._samplers.items()]
        return {"samplers": places, "generator": self._generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set the places and the generator to what `state_dict` gave."""
        for tasks, place in state["samplers"]:
            self.sampler(tuple(tasks)).load_state_dict(place)
        self._generator.set_state(state["generator"])


class SetBatches(Protocol):
    """Draws batches of one data set."""

    def draw(self, tasks: tuple[str, ...]) -> Batch:
        """Return the next batch with the targets of the given tasks."""

    def count(self, tasks: tuple[str, ...]) -> int:
        """Return how many batches the rows with a label of any of the tasks make."""

    def first(self) -> Batch:
        """Return a batch of few rows with all targets; draws nothing."""

    def once(self, share: RowShare | None = None) -> Iterator[Batch]:
        """Yield all rows once with all targets, in no random order.

        Args:
            share: The part of each batch that is wanted; default the whole.
        """

    def close(self) -> None:
        """Free what drawing has opened."""

    def state_dict(self) -> dict[str, Any]:
        """Return which batches have been drawn."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on after the batches that `state_dict` tells of."""


class TensorBatches:
    """Draws batches of one data set in memory: rows that have a label of one of the step's tasks.

    Args:
        data: The data set.
        tasks: The tasks that it serves.
        batch_size: Rows in a batch at most.
        generator: Source of the order of the rows.
        share: The part of each batch that this process draws; default the whole.
    """

    def __init__(
        self,
        data: TensorData,
        tasks: Sequence[Task],
        batch_size: int,
        generator: torch.Generator,
        share: RowShare | None = None,
    ) -> None:
        self._share = share
        self._data = data
        self._labelled = {task.name: task.labelled(data.targets[task.name]).cpu() for task in tasks}
        self._rows = StepRows(self._labelled, batch_size, generator)
        # the data set with the targets of some tasks, whether these are complete, and the one
        # batch of a set that fits into one
        self._views: dict[
            tuple[str, ...], tuple[TensorData, tuple[bool, ...], TensorData | None]
        ] = {}
        self._matrices: dict[tuple[str, ...], Tensor] = {}

    def _view(
        self, tasks: tuple[str, ...]
    ) -> tuple[TensorData, tuple[bool, ...], TensorData | None]:
        if tasks not in self._views:
            sampler = self._rows.sampler(tasks)
            complete = tuple(bool(self._labelled[name][sampler.rows].all()) for name in tasks)
            data = self._data.only(tasks)
            whole = None
            if sampler.whole:
                all_rows = len(sampler.rows) == len(data)
                whole = data if all_rows else data.take(sampler.rows.to(data.device))
            self._views[tasks] = data, complete, whole
        return self._views[tasks]

    def draw(self, tasks: tuple[str, ...]) -> Batch:
        """Return the next batch with the targets of the given tasks."""
        data, complete, whole = self._view(tasks)
        if whole is not None:
            batch = Batch(whole, tasks, complete)
            return batch if self._share is None else self._share.of(batch)
        rows = self._rows.sampler(tasks).draw()
        present = None if all(complete) else self._matrix(tasks)[rows].any(0)
        if self._share is None:
            return Batch(data.take(rows.to(data.device)), tasks, complete, present)
        joined = self._share.rows_of(len(rows))
        here = data.take(joined.of_rows(rows).to(data.device))
        return local_rows(Batch(here, tasks, complete, present), joined)

    def _matrix(self, tasks: tuple[str, ...]) -> Tensor:
        """Return which rows have which task's label, [n, t]."""
        if tasks not in self._matrices:
            self._matrices[tasks] = torch.stack([self._labelled[name] for name in tasks], 1)
        return self._matrices[tasks]

    def count(self, tasks: tuple[str, ...]) -> int:
        """Return how many batches the rows with a label of any of the tasks make."""
        return self._rows.sampler(tasks).count

    def first(self) -> Batch:
        """Return the first row with all targets."""
        return self._part(0, 1)

    def digest(self) -> str:
        """Return a digest of some rows, all of few ones, from the first to the last."""
        rows = torch.linspace(0, len(self._data) - 1, min(_LOOKED_AT, len(self._data))).long()
        some = self._data.take(rows.to(self._data.device))
        found = hashlib.blake2b(digest_size=16)

        def add(values: Tensor) -> Tensor:
            if isinstance(values, Tensor) and values.layout == torch.strided:
                plain = values.detach().cpu().contiguous()
                found.update(plain.view(torch.uint8).numpy().tobytes())
            return values

        map_tensors(add, [some.inputs, some.targets, some.weights])
        return found.hexdigest()

    def once(self, share: RowShare | None = None) -> Iterator[Batch]:
        """Yield all rows in order, or a process's part of them."""
        rows = rows_at_once(self._data.inputs)
        for start in range(0, len(self._data), rows):
            batch = self._part(start, start + rows)
            yield batch if share is None else share.of(batch)

    def close(self) -> None:
        """Nothing is open."""

    def state_dict(self) -> dict[str, Any]:
        """Return which batches have been drawn."""
        return self._rows.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on after the batches that `state_dict` tells of."""
        self._rows.load_state_dict(state)

    def _part(self, start: int, end: int) -> Batch:
        names = tuple(self._labelled)
        return Batch(self._data.part(start, end), names, (False,) * len(names))


def mix(batches: Sequence[Batch]) -> Batch:
    """Put the rows of several batches into one, their missing labels marked.

    Raises:
        InvalidInputError: The batches' inputs are not of one form and size.
    """
    sizes = [len(batch.data) for batch in batches]
    targets: dict[str, Tensor] = {}
    weights: dict[str, Tensor] = {}
    for position, batch in enumerate(batches):
        before, after = sum(sizes[:position]), sum(sizes[position + 1 :])
        for name, weight in (batch.weights or {}).items():
            if name in batch.data.targets:
                weights[name] = functional.pad(weight, (before, after), value=1.0)
        for name, target in batch.data.targets.items():
            if not target.is_floating_point():
                target = target.long()
            missing = math.nan if target.is_floating_point() else IGNORED
            targets[name] = torch.cat(
                [
                    target.new_full((before, *target.shape[1:]), missing),
                    target,
                    target.new_full((after, *target.shape[1:]), missing),
                ]
            )
    inputs = _joined([batch.data.inputs for batch in batches])
    names = tuple(targets)
    shares = [batch.joined for batch in batches if batch.joined is not None]
    return Batch(
        TensorData(inputs, targets, weights or None),
        names,
        (False,) * len(names),
        _present(batches),
        JoinedRows.together(shares) if shares else None,
    )


def _present(batches: Sequence[Batch]) -> Tensor | None:
    """Return for each task of the batches whether any row has its label; None as of a batch."""
    known = [batch.present is not None for batch in batches]
    if not any(known) or (not all(known) and any(batch.joined for batch in batches)):
        return None
    there: dict[str, Tensor] = {}
    for batch in batches:
        all_there = torch.ones(len(batch.tasks), dtype=torch.bool)
        present = all_there if batch.present is None else batch.present.cpu()
        there.update(zip(batch.tasks, present.unbind(), strict=True))
    return torch.stack([there[name] for batch in batches for name in batch.data.targets])


def _joined(parts: Sequence[Any]) -> Any:
    """Concatenate tensors in nested dictionaries, tuples and lists of the same form."""
    first = parts[0]
    if all(isinstance(part, Tensor) for part in parts):
        if len({(part.shape[1:], part.dtype) for part in parts}) == 1:
            return torch.cat(list(parts))
        raise _not_joined([f"{part.dtype} {list(part.shape)}" for part in parts])
    if isinstance(first, Mapping) and all(
        isinstance(part, Mapping) and part.keys() == first.keys() for part in parts
    ):
        return {key: _joined([part[key] for part in parts]) for key in first}
    if isinstance(first, (tuple, list)) and all(
        type(part) is type(first) and len(part) == len(first) for part in parts
    ):
        items = [_joined(entries) for entries in zip(*parts, strict=True)]
        return type(first)(*items) if hasattr(first, "_fields") else type(first)(items)
    raise _not_joined(
        [
            f"{type(part).__name__} of {', '.join(map(str, part))}"
            if isinstance(part, Mapping)
            else type(part).__name__
            for part in parts
        ]
    )


def _not_joined(forms: Sequence[str]) -> InvalidInputError:
    return InvalidInputError(
        f"the inputs of the data sets do not go into one batch: {' and '.join(forms)}; leave out "
        f"mixed=True, and each set has batches of its own"
    )
