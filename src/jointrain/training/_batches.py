"""Batches: which rows of which data sets a step trains on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from jointrain.data._tensor_data import TensorData
from jointrain.task import Task

Source = tuple[TensorData, tuple[str, ...]]
"""A data set and the tasks that it serves."""


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
        self._stream = self._batches()

    @property
    def whole(self) -> bool:
        """Whether every batch holds all rows, in their order."""
        return len(self._bounds) == 2

    def _batches(self) -> Iterator[Tensor]:
        while self.whole:
            yield self.rows
        while True:
            order = self.rows[torch.randperm(len(self.rows), generator=self._generator)]
            for start, end in zip(self._bounds, self._bounds[1:], strict=False):
                yield order[start:end]

    def draw(self) -> Tensor:
        """Return the row numbers of the next batch."""
        return next(self._stream)


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


@dataclass(frozen=True)
class Batch:
    """Rows of one data set and the tasks that they train.

    Args:
        data: Inputs and targets.
        tasks: The tasks.
        complete: For each task whether every row has its label.
        present: For each task whether any row has its label, [t] booleans; None if all have one.
    """

    data: TensorData
    tasks: tuple[str, ...]
    complete: tuple[bool, ...]
    present: Tensor | None = None


class _SourceBatches:
    """Draws batches of one data set."""

    def __init__(
        self, data: TensorData, tasks: Sequence[Task], batch_size: int, generator: torch.Generator
    ) -> None:
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
                whole = data if all_rows else data.take(sampler.rows.to(data.inputs.device))
            self._views[tasks] = data, complete, whole
        return self._views[tasks]

    def draw(self, tasks: tuple[str, ...]) -> Batch:
        data, complete, whole = self._view(tasks)
        if whole is not None:
            return Batch(whole, tasks, complete)
        rows = self._rows.sampler(tasks).draw()
        present = None if all(complete) else self._matrix(tasks)[rows].any(0)
        return Batch(data.take(rows.to(data.inputs.device)), tasks, complete, present)

    def _matrix(self, tasks: tuple[str, ...]) -> Tensor:
        """Return which rows have which task's label, [n, t]."""
        if tasks not in self._matrices:
            self._matrices[tasks] = torch.stack([self._labelled[name] for name in tasks], 1)
        return self._matrices[tasks]


class Batches:
    """Draws batches for any set of tasks from the data sets that serve them.

    Args:
        sources: The data sets, each with the tasks that it serves.
        tasks: The tasks by name.
        batch_size: Rows in a batch at most.
        generator: Source of the order of the rows.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        tasks: Mapping[str, Task],
        batch_size: int,
        generator: torch.Generator,
    ) -> None:
        self._sources = [
            (names, _SourceBatches(data, [tasks[name] for name in names], batch_size, generator))
            for data, names in sources
        ]

    def draw(self, names: Sequence[str]) -> list[Batch]:
        """Draw a batch from every data set that serves one of the named tasks."""
        drawn = []
        wanted = frozenset(names)
        for source_tasks, batches in self._sources:
            active = tuple(name for name in source_tasks if name in wanted)
            if active:
                drawn.append(batches.draw(active))
        return drawn
