"""The training losses of an epoch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from jointrain.errors import InvalidInputError
from jointrain.training._batches import Batch


class EpochLosses:
    """Gathers the losses of an epoch's steps; a batch without a task's label says nothing of it."""

    def __init__(self) -> None:
        self._seen: list[Mapping[str, Tensor]] = []
        # the number of the step, the tasks of a batch, and which of them had a label
        self._present: list[tuple[int, tuple[str, ...], Tensor]] = []

    def see(self, losses: Mapping[str, Tensor], batches: Sequence[Batch]) -> None:
        """Take in the detached losses of a step on the batches."""
        for batch in batches:
            if batch.present is not None:
                self._present.append((len(self._seen), batch.tasks, batch.present))
        self._seen.append(losses)

    def means(self, tasks: Iterable[str], step: int) -> dict[str, float]:
        """Return the mean loss of each task over the steps that trained it, and start anew.

        Args:
            tasks: The names, in the order wanted.
            step: Number of the last step, for the message.

        Raises:
            InvalidInputError: A mean is not finite.
        """
        absent = {
            (index, name)
            for index, names, present in self._present
            for name, there in zip(names, present.tolist(), strict=True)
            if not there
        }
        means = {}
        for name in tasks:
            values = [
                losses[name]
                for index, losses in enumerate(self._seen)
                if name in losses and (index, name) not in absent
            ]
            if not values:
                continue
            means[name] = float(torch.stack(values).double().mean())
            if not math.isfinite(means[name]):
                raise InvalidInputError(
                    f"the loss of task {name!r} is not finite by step {step}; lower the "
                    f"learning rate, clip the gradient or check its targets"
                )
        self._seen, self._present = [], []
        return means
