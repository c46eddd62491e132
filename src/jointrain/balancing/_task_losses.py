"""Losses of many tasks as one tensor, by name where a name is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor


class TaskLosses(Mapping[str, Tensor]):
    """The losses of a step's tasks by name, computed as one vector.

    A graph node, a product and a sum for each of a thousand tasks take longer than the losses.

    Args:
        names: The tasks.
        together: Their losses in the same order, [t].
    """

    def __init__(self, names: Sequence[str], together: Tensor) -> None:
        self.names = tuple(names)
        self.together = together
        self._single: dict[str, Tensor] | None = None

    def __getitem__(self, name: str) -> Tensor:
        """Return the loss of one task, []."""
        if self._single is None:
            self._single = dict(zip(self.names, self.together.unbind(), strict=True))
        return self._single[name]

    def __iter__(self) -> Iterator[str]:
        """Return the names of the tasks."""
        return iter(self.names)

    def __len__(self) -> int:
        """Return the number of tasks, t."""
        return len(self.names)

    def detach(self) -> TaskLosses:
        """Return the losses without their graph."""
        return TaskLosses(self.names, self.together.detach())

    def weighted(self, weights: Mapping[str, float]) -> TaskLosses:
        """Return each loss times the weight of its task."""
        factors = [weights[name] for name in self.names]
        if all(factor == 1 for factor in factors):
            return self
        return TaskLosses(self.names, self.together * self.together.new_tensor(factors))


def mean_losses(steps: Sequence[Mapping[str, Tensor]]) -> dict[str, float]:
    """Return the mean loss of each task over the steps that trained it."""
    if all(isinstance(losses, TaskLosses) for losses in steps):
        together = [losses for losses in steps if isinstance(losses, TaskLosses)]
        if len({losses.names for losses in together}) == 1:
            means = torch.stack([losses.together for losses in together]).double().mean(0)
            return dict(zip(together[0].names, means.tolist(), strict=True))
    values: dict[str, list[Tensor]] = {}
    for losses in steps:
        for name, loss in losses.items():
            values.setdefault(name, []).append(loss)
    return {name: float(torch.stack(found).double().mean()) for name, found in values.items()}
