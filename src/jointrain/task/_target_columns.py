"""Targets of many tasks side by side in one tensor."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from jointrain.errors import InvalidInputError

TOGETHER_FROM = 16
"""From how many alike targets taking rows of one tensor is faster than of each."""


class TargetColumns(Mapping[str, Tensor]):
    """Targets by task name, kept as the columns of one tensor.

    Taking rows of a thousand targets one by one costs more than a training step; taking rows of
    one tensor costs nothing worth mentioning.

    Args:
        names: The tasks, in the order of the columns.
        values: Their targets, [n, t].
    """

    def __init__(self, names: Sequence[str], values: Tensor) -> None:
        self.names = tuple(names)
        self.values_together = values
        self._column = {name: index for index, name in enumerate(self.names)}
        if len(self._column) != values.shape[1]:
            raise InvalidInputError(
                f"{len(self._column)} tasks can't have {values.shape[1]} columns of targets"
            )

    @staticmethod
    def of(targets: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return the targets as columns if they are many and alike, else as they are."""
        if isinstance(targets, TargetColumns) or len(targets) < TOGETHER_FROM:
            return targets
        tensors = list(targets.values())
        first = tensors[0]
        if first.ndim != 1 or any(
            t.shape != first.shape or t.dtype != first.dtype or t.device != first.device
            for t in tensors
        ):
            return targets
        return TargetColumns(tuple(targets), torch.stack(tensors, 1))

    def __getitem__(self, name: str) -> Tensor:
        """Return the target of one task, [n]."""
        return self.values_together[:, self._column[name]]

    def __iter__(self) -> Iterator[str]:
        """Return the names of the tasks."""
        return iter(self.names)

    def __len__(self) -> int:
        """Return the number of tasks."""
        return len(self.names)

    def together(self, names: Sequence[str]) -> Tensor:
        """Return the targets of the named tasks, [n, t]."""
        if tuple(names) == self.names:
            return self.values_together
        return self.values_together[:, [self._column[name] for name in names]]

    def take(self, rows: Tensor) -> TargetColumns:
        """Return the given rows."""
        return self._with(self.values_together.index_select(0, rows))

    def part(self, start: int, end: int) -> TargetColumns:
        """Return the rows from `start` to before `end`, a view."""
        return self._with(self.values_together[start:end])

    def only(self, names: Sequence[str]) -> Mapping[str, Tensor]:
        """Return the targets of the named tasks."""
        if tuple(names) == self.names:
            return self
        return {name: self[name] for name in names}

    def to(self, device: torch.device) -> TargetColumns:
        """Return the targets on `device`."""
        return self._with(self.values_together.to(device))

    def _with(self, values: Tensor) -> TargetColumns:
        other = copy.copy(self)
        other.values_together = values
        return other
