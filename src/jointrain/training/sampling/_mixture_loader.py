"""MixtureLoader: the batches of a mixture, for a loop that is not the Trainer's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import torch

from jointrain.task import Task
from jointrain.training.sampling._batch import Batch
from jointrain.training.sampling._class_weights import class_factors
from jointrain.training.sampling._mixture import Mixture
from jointrain.training.sampling._schedule import Joint, Schedule, checked_step
from jointrain.training.sampling._task_sets import TaskSets


class MixtureLoader:
    """Gives the batches that a `Trainer` would draw from a mixture with the same seed.

    Going through it gives one epoch: for each step a list of batches, a `Batch` for each data set
    that takes part, or one of all of them if the mixture is mixed. The next time it goes on where
    it has stopped. It can stand in for a DataLoader in Lightning and in the Hugging Face Trainer.

    Args:
        mixture: The data sets.
        tasks: The tasks that they serve.
        schedule: Which tasks take part in which step; default `Joint()`.
        seed: Seed of the order of data sets and rows; default 0.
        device: Where the batches are wanted; default ``cpu``.

    Raises:
        InvalidInputError: Data sets, tasks and schedule do not fit.
    """

    def __init__(
        self,
        mixture: Mixture,
        tasks: Sequence[Task],
        *,
        schedule: Schedule | None = None,
        seed: int = 0,
        device: str | torch.device = "cpu",
    ) -> None:
        by_name = {task.name: task for task in tasks}
        self._sets = TaskSets.of(
            mixture,
            by_name,
            "training",
            batch_size=mixture.batch_size,
            device=torch.device(device),
            seed=seed,
            factors=class_factors(mixture, by_name),
        )
        order = self._sets.schedule(Joint() if schedule is None else schedule)
        self._length = order.steps_per_epoch(self._sets.batches, self._sets.together)
        self._steps = order.steps(self._sets.labels, torch.Generator().manual_seed(seed))

    def __len__(self) -> int:
        """Return the number of steps in an epoch."""
        return self._length

    def __iter__(self) -> Iterator[list[Batch]]:
        """Yield the batches of each step of an epoch."""
        for tasks in islice(self._steps, self._length):
            yield self._sets.draw(checked_step(tasks, self._sets.labels, "the schedule"))

    def loss_weights(self) -> dict[str, float]:
        """Return what each task's loss is to be multiplied by for the mixture's `loss_share`."""
        return self._sets.loss_weights(dict.fromkeys(self._sets.labels, 1.0))

    def close(self) -> None:
        """End the worker processes of the data sets."""
        self._sets.close()
