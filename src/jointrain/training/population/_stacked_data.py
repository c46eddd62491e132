"""The data of all members in two matrices: inputs, and what the losses need of each row."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from jointrain.data import TensorData
from jointrain.task import Task
from jointrain.training.population._member import Member
from jointrain.training.population._stacked_losses import StackedLosses


class StackedData:
    """The data of all members; equal ones are stored once.

    The first row of either matrix is zero: the place of rows that are not there.

    Args:
        members: They learn where their rows are.
        losses: Say what is needed of the targets.
        width: Of the widest inputs; narrower ones are filled up with zeros.
        dtype: Of the networks.

    Attributes:
        inputs: [n, i].
        targets: [m, 2 c], or [m, 3 c] where rows weigh.
    """

    def __init__(
        self, members: Sequence[Member], losses: StackedLosses, width: int, dtype: torch.dtype
    ) -> None:
        self._losses = losses
        self._width = width
        self._inputs = [torch.zeros(1, width, dtype=dtype)]
        self._targets = [torch.zeros(1, losses.table_width, dtype=dtype)]
        self._known: dict[object, int] = {}
        self._ends = [1, 1]
        for member in members:
            tasks = list(member.trainer.tasks.values())
            slots = [member.slots[task.name] for task in tasks]
            member.train_rows = self._add(member.run.train, tasks, slots)
            if member.run.validation is not None:
                member.validation_rows = self._add(member.run.validation, tasks, slots)
        self.inputs, self.targets = torch.cat(self._inputs), torch.cat(self._targets)
        del self._inputs, self._targets, self._known

    def _add(
        self, data: TensorData, tasks: Sequence[Task], slots: Sequence[int]
    ) -> tuple[int, int]:
        """Return the first rows of the data in inputs and targets."""
        inputs = data.inputs

        def padded() -> Tensor:
            return functional.pad(inputs, (0, self._width - inputs.shape[1]))

        def table() -> Tensor:
            chosen = {
                slot: (task, data.targets[task.name], data.weights_of(task.name))
                for task, slot in zip(tasks, slots, strict=True)
            }
            return self._losses.table(len(data), chosen, inputs.dtype)

        of_targets = tuple(
            (id(data.targets[task.name]), id(data.weights_of(task.name)), slot)
            for task, slot in zip(tasks, slots, strict=True)
        )
        return (
            self._place(id(inputs), padded, self._inputs, 0),
            self._place(of_targets, table, self._targets, 1),
        )

    def _place(
        self, key: object, make: Callable[[], Tensor], parts: list[Tensor], which: int
    ) -> int:
        if key not in self._known:
            part = make()
            self._known[key] = self._ends[which]
            self._ends[which] += len(part)
            parts.append(part)
        return self._known[key]
