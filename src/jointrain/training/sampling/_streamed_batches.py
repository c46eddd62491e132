"""Batches of a table larger than memory, whose rows are streamed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from jointrain.data import RowStream, TensorData
from jointrain.task import Task
from jointrain.training.sampling._batch import Batch, present_tasks
from jointrain.training.sampling._class_weights import ClassFactors, weigh_classes
from jointrain.training.sampling._row_shares import RowShare, local_rows


class StreamedBatches:
    """Draws batches of a stream of rows, epoch after epoch, without end.

    Each batch has the next rows of the stream, whichever tasks they have a label of.

    Args:
        stream: The rows.
        tasks: The tasks that it serves.
        batch_size: Rows in a batch at most, of all ranks together.
        seed: Seed of the order of the rows.
        device: Where the batches are wanted.
        factors: What the weights of rows are multiplied by, by their classes; default 1.
        share: The part of each batch that this process reads; default the whole.
    """

    def __init__(
        self,
        stream: RowStream,
        tasks: Sequence[Task],
        batch_size: int,
        seed: int,
        device: torch.device,
        factors: ClassFactors | None = None,
        share: RowShare | None = None,
    ) -> None:
        self._all = stream
        self._share = share
        self._stream = stream if share is None else stream.sharded(share.rank, share.size)
        self._tasks = {task.name: task for task in tasks}
        self._order = self._stream.order(batch_size, seed)
        self._device = device
        self._factors = factors or {}
        self._complete = {name: stream.labels[name] == stream.rows for name in self._tasks}
        self._epoch = 0
        self._batch = 0
        self._coming: Iterator[TensorData] | None = None

    def draw(self, tasks: tuple[str, ...]) -> Batch:
        """Return the next batch with the targets of the given tasks."""
        if self._coming is None:
            self._coming = self._stream.batches(self._order, self._epoch, self._batch)
        data = next(self._coming)
        start, end = self._order.bounds(self._batch)
        self._batch += 1
        if self._batch == self._order.batches:
            self._epoch, self._batch, self._coming = self._epoch + 1, 0, None
        batch = self._made(data, tasks)
        if self._share is None:
            return batch
        # which tasks have a label in the rows of the others is not known here
        return local_rows(replace(batch, present=None), self._share.rows_of(end - start))

    def count(self, tasks: tuple[str, ...]) -> int:  # noqa: ARG002
        """Return how many batches an epoch makes, whatever the tasks."""
        return self._order.batches

    def first(self) -> Batch:
        """Return a few rows with all targets."""
        return self._made(self._stream.head(), tuple(self._tasks))

    def once(self, share: RowShare | None = None) -> Iterator[Batch]:
        """Yield all rows once, in the order of the files; or a process's part of them."""
        for data in self._all.once():
            batch = self._made(data, tuple(self._tasks))
            yield batch if share is None else share.of(batch)

    def close(self) -> None:
        """End the threads that read ahead."""
        if self._coming is not None and hasattr(self._coming, "close"):
            self._coming.close()
        self._coming = None

    def state_dict(self) -> dict[str, Any]:
        """Return which batches have been drawn."""
        return {"epoch": self._epoch, "batch": self._batch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on after the batches that `state_dict` tells of, by any number of ranks and threads.

        Row groups that these batches have used up are not read again.
        """
        self.close()
        self._epoch, self._batch = state["epoch"], state["batch"]

    def _made(self, data: TensorData, tasks: tuple[str, ...]) -> Batch:
        data = weigh_classes(data.only(tasks), self._factors)
        complete = tuple(self._complete[name] for name in tasks)
        present = None
        if not all(complete):
            present = present_tasks([self._tasks[name] for name in tasks], data)
        return Batch(data.to(self._device), tasks, complete, present)
