"""The training losses of an epoch."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from jointrain.balancing import TaskLosses, mean_losses
from jointrain.errors import InvalidInputError, NonFiniteError
from jointrain.training.sampling import Batch


class EpochLosses:
    """Gathers the losses of an epoch's steps; a batch without a task's label says nothing of it.

    Attributes:
        without_label: Names of tasks that took part in steps of the last epoch, none with a label.
    """

    def __init__(self) -> None:
        self.without_label: list[str] = []
        self._seen: list[Mapping[str, Tensor]] = []
        # the number of the step, the tasks of a batch, and which of them had a label
        self._present: list[tuple[int, tuple[str, ...], Tensor]] = []

    def see(
        self,
        losses: Mapping[str, Tensor],
        batches: Sequence[Batch],
        missing: Collection[str] = (),
    ) -> None:
        """Take in the detached losses of a step on the batches.

        Args:
            losses: By task.
            batches: What the step was made on.
            missing: Tasks that no process has a label of, where each knows only its own rows.
        """
        for batch in batches:
            if batch.present is not None:
                self._present.append((len(self._seen), batch.tasks, batch.present))
        if missing:
            names = tuple(name for name in losses if name in missing)
            none = torch.zeros(len(names), dtype=torch.bool)
            self._present.append((len(self._seen), names, none))
        self._seen.append(losses)

    def means(self, tasks: Iterable[str], step: int) -> dict[str, float]:
        """Return the mean loss of each task over the steps that trained it, and start anew.

        Args:
            tasks: The names, in the order wanted.
            step: Number of the last step, for the message.

        Raises:
            InvalidInputError: A mean is not finite.
        """
        means = self._means()
        drawn = {name for losses in self._seen for name in losses} if self._present else ()
        self.without_label = sorted(name for name in drawn if name not in means)
        self._seen, self._present = [], []
        check_finite(means, step)
        return {name: means[name] for name in tasks if name in means}

    def state_dict(self) -> dict[str, Any]:
        """Return the losses so far."""
        present: dict[tuple[str, ...], tuple[list[int], list[Tensor]]] = {}
        for index, tasks, there in self._present:
            indices, rows = present.setdefault(tasks, ([], []))
            indices.append(index)
            rows.append(there)
        return {
            "seen": packed(self._seen),
            "present": [
                [list(tasks), torch.tensor(indices), torch.stack(rows)]
                for tasks, (indices, rows) in present.items()
            ],
        }

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Set the losses to what `state_dict` gave, on a device."""
        self._seen = unpacked(state["seen"], device)
        self._present = [
            (index, tuple(tasks), there)
            for tasks, indices, rows in state["present"]
            for index, there in zip(indices.tolist(), rows.unbind(), strict=True)
        ]

    def _means(self) -> dict[str, float]:
        if not self._present:
            return mean_losses(self._seen)
        together = [losses for losses in self._seen if isinstance(losses, TaskLosses)]
        if len(together) == len(self._seen) and len({losses.names for losses in together}) == 1:
            return self._means_together(together)
        absent = {
            (index, name)
            for index, names, present in self._present
            for name, there in zip(names, present.tolist(), strict=True)
            if not there
        }
        kept = [
            {name: loss for name, loss in losses.items() if (index, name) not in absent}
            for index, losses in enumerate(self._seen)
        ]
        return mean_losses(kept)

    def _means_together(self, steps: Sequence[TaskLosses]) -> dict[str, float]:
        """Return the means of steps whose losses are vectors of the same tasks."""
        names = steps[0].names
        losses = torch.stack([step.together for step in steps]).double()  # [s, t]
        there = torch.ones(losses.shape, dtype=torch.bool)
        position = {name: index for index, name in enumerate(names)}
        for index, members, present in self._present:
            if members == names:
                there[index] = present
            else:
                there[index, [position[name] for name in members]] = present
        there = there.to(losses.device)
        counts = there.sum(0)
        means = torch.where(there, losses, 0.0).sum(0) / counts
        found = zip(names, means.tolist(), counts.tolist(), strict=True)
        return {name: mean for name, mean, count in found if count}


def check_finite(means: Mapping[str, float], step: int) -> None:
    """Refuse training losses that are not finite by a step.

    Raises:
        InvalidInputError: One is not.
    """
    for name, mean in means.items():
        if not math.isfinite(mean):
            raise InvalidInputError(
                f"the loss of task {name!r} is not finite by step {step}; lower the "
                "learning rate, clip the gradient or check inputs and targets"
            )


def check_validation(losses: Mapping[str, float], step: int) -> None:
    """Refuse validation losses that are not finite, of which no weights could be chosen.

    Args:
        losses: By task.
        step: Number of the last step, 0 before training.

    Raises:
        NonFiniteError: One is not.
    """
    for name, loss in losses.items():
        if not math.isfinite(loss):
            trained = f"by step {step}; lower the learning rate, or look"
            when = trained if step else "before training; look"
            raise NonFiniteError(
                f"the validation loss of task {name!r} is {loss} {when} for inputs or targets of "
                "its validation rows that are not finite or very large"
            )


def packed(steps: Sequence[Mapping[str, Tensor]]) -> dict[str, Any]:
    """Return the losses of steps as few tensors: of the same tasks one of [s, t], or t of [s].

    Args:
        steps: Scalars by task, or vectors.
    """
    kinds: dict[tuple[bool, tuple[str, ...]], list[Mapping[str, Tensor]]] = {}
    order = []
    for losses in steps:
        kind = isinstance(losses, TaskLosses), tuple(losses)
        kinds.setdefault(kind, []).append(losses)
        order.append(kind)
    code = {kind: number for number, kind in enumerate(kinds)}
    stored: list[list[Any]] = []
    for (together, names), found in kinds.items():
        vectors = [losses.together for losses in found if isinstance(losses, TaskLosses)]
        values = [torch.stack(vectors)] if together else [
            torch.stack([losses[name] for losses in found]) for name in names
        ]  # fmt: skip
        stored.append([together, list(names), values])
    return {
        "kinds": stored,
        "order": torch.tensor([code[kind] for kind in order], dtype=torch.int32),
    }


def unpacked(state: Mapping[str, Any], device: torch.device) -> list[Mapping[str, Tensor]]:
    """Return the losses of steps that `packed` was given, on a device."""
    steps: list[Iterator[Mapping[str, Tensor]]] = []
    for together, names, values in state["kinds"]:
        columns = [value.to(device).unbind() for value in values]
        if together:
            steps.append(iter([TaskLosses(names, vector) for vector in columns[0]]))
        else:
            rows = zip(*columns, strict=True)
            steps.append(iter([dict(zip(names, row, strict=True)) for row in rows]))
    return [next(steps[code]) for code in state["order"].tolist()]
