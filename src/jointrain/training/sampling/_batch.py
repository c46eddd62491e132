"""Batch: rows of one data set and the tasks that they train."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from jointrain.data import TensorData
from jointrain.networks import JoinedRows
from jointrain.task import Task


@dataclass(frozen=True)
class Batch:
    """Rows of one data set and the tasks that they train.

    Args:
        data: Inputs and targets.
        tasks: The tasks.
        complete: For each task whether every row has its label.
        present: For each task whether any row has its label, [t] booleans; None if all have one, or
            if each of several processes knows only its own rows.
        joined: Where several processes share the batch, which of its rows the data are; all else
            is said of the whole batch.
    """

    data: TensorData
    tasks: tuple[str, ...]
    complete: tuple[bool, ...]
    present: Tensor | None = None
    joined: JoinedRows | None = None

    @property
    def complete_here(self) -> tuple[bool, ...]:
        """For each task whether all rows here have its label; those that stand for none do not."""
        if self.joined is None or self.joined.empty is None:
            return self.complete
        return (False,) * len(self.tasks)

    @property
    def weights(self) -> Mapping[str, Tensor] | None:
        """What the losses of each task's rows are multiplied by, [b] each; None for 1."""
        given = self.data.weights
        if given is None:
            return None
        if isinstance(given, Tensor):
            return dict.fromkeys(self.tasks, given)
        if all(name in given for name in self.tasks):
            return given
        ones = next(iter(given.values())).new_ones(len(self.data))
        return {name: given.get(name, ones) for name in self.tasks}


def present_tasks(tasks: Iterable[Task], data: TensorData) -> Tensor:
    """Return for each task whether any row has its label, [t] booleans."""
    return torch.stack([task.labelled(data.targets[task.name]).any() for task in tasks])
