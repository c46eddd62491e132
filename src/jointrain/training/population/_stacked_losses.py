"""Losses of many networks at once, and their slopes: of every kind of task that has such a form.

Letters: s members, b rows of a batch, t slots, c columns of the outputs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from jointrain.task import StackedLoss, Task, present_labels


class Slot(NamedTuple):
    """A place for a task's outputs: the form of its loss, and how many numbers a row has."""

    form: str
    width: int
    loss: StackedLoss

    @property
    def targets(self) -> int:
        """How many numbers a row's target has."""
        return 1 if self.loss.one_target else self.width


def slot_of(task: Task) -> Slot | None:
    """Return the slot that a task fits into, None if its loss has no such form."""
    loss = task.rules.stacked_loss
    if task.loss_function is not None or loss is None:
        return None
    return Slot(loss.name, task.output_size, loss)


def common_slots(members: Iterable[Sequence[Slot]]) -> list[Slot]:
    """Return the fewest slots that hold the tasks of each member, alike ones side by side."""
    needed: dict[Slot, int] = {}
    for slots in members:
        for slot in slots:
            needed[slot] = max(needed.get(slot, 0), slots.count(slot))
    return [slot for slot in sorted(needed) for _ in range(needed[slot])]


def places(tasks: Sequence[Slot], slots: Sequence[Slot]) -> list[int]:
    """Return the number of the slot that each of a member's tasks gets."""
    free = list(range(len(slots)))
    chosen = []
    for wanted in tasks:
        number = next(index for index in free if slots[index] == wanted)
        free.remove(number)
        chosen.append(number)
    return chosen


class _Group(NamedTuple):
    """Slots of one kind, which lie side by side."""

    slot: Slot
    places: int
    outputs: slice
    targets: slice


class StackedLosses:
    """Mean losses over labelled rows of all members and slots, and their slopes.

    Args:
        slots: As `common_slots` gives them.
        weighted: Whether rows may weigh.

    Attributes:
        columns: For each slot, where its outputs lie in a row of all.
        outputs, targets: Numbers of all outputs and of all targets of a row.
        table_width: Columns of what `table` returns.
    """

    def __init__(self, slots: Sequence[Slot], weighted: bool = False) -> None:
        self.slots = tuple(slots)
        self.weighted = weighted
        self._groups: list[_Group] = []
        output = target = 0
        self.columns: list[slice] = []
        for slot in dict.fromkeys(slots):
            count = self.slots.count(slot)
            wide = slot.targets
            self._groups.append(
                _Group(
                    slot,
                    count,
                    slice(output, output + count * slot.width),
                    slice(target, target + count * wide),
                )
            )
            self.columns += [
                slice(output + i * slot.width, output + (i + 1) * slot.width) for i in range(count)
            ]
            output, target = output + count * slot.width, target + count * wide
        self.outputs, self.targets = output, target
        self.table_width = (3 if weighted else 2) * target
        widths = torch.tensor([slot.width for slot in slots])
        self._slot_of_column = torch.arange(len(slots)).repeat_interleave(widths)
        self._one_column_each = output == len(slots)

    def table(
        self,
        rows: int,
        tasks: Mapping[int, tuple[Task, Tensor, Tensor | None]],
        dtype: torch.dtype,
    ) -> Tensor:
        """Return what the losses need of each row: targets, and the share of each in its loss.

        Args:
            rows: Number of rows, n.
            tasks: The task, its targets and the weights of its rows by number of the slot.
            dtype: Of the networks.

        Shape:
            returns: [n, 2 c], targets before shares; both 0 where there is no label. If rows may
            weigh, [n, 3 c]: the shares times the weights, and the shares alone behind them.
        """
        targets = torch.zeros(rows, self.targets, dtype=dtype)
        shares = torch.zeros(rows, self.targets, dtype=dtype)
        weighted = torch.zeros(rows, self.targets if self.weighted else 0, dtype=dtype)
        number = start = 0
        for group in self._groups:
            width = group.slot.targets
            for _ in range(group.places):
                if number in tasks:
                    task, target, weights = tasks[number]
                    labelled = task.labelled(target)
                    values = target.reshape(rows, width)
                    present = present_labels(values) & labelled[:, None]
                    columns = slice(start, start + width)
                    targets[:, columns] = values.where(present, 0).to(dtype)
                    share = present / present.sum(1, keepdim=True).clamp_min(1)
                    shares[:, columns] = share
                    if self.weighted:
                        of_row = 1 if weights is None else weights[:, None]
                        weighted[:, columns] = (share * of_row).to(dtype)
                number, start = number + 1, start + width
        if self.weighted:
            return torch.cat([targets, weighted, shares], 1)
        return torch.cat([targets, shares], 1)

    def __call__(self, outputs: Tensor, table: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the sum of the losses, the number of labelled rows, and the slope of the sum.

        Losses are multiplied by the weights of the rows.

        Shape:
            outputs: [s, b, c]. table: [s, b, 2 c' or 3 c'], rows of what `table` gave.
            returns: sum [s, t], number [s, t], slope [s, b, c].
        """
        # each labelled row's shares sum to 1; without weights, they are the last part
        targets, shares, *rest = torch.split(table, self.targets, -1)
        present = rest[0] if rest else shares
        sums, counts, slopes = [], [], []
        for group in self._groups:
            output = outputs[..., group.outputs]
            target, share = targets[..., group.targets], shares[..., group.targets]
            losses, slope = group.slot.loss(output, target, share, group.slot.width)
            sums.append(self._by_slot(losses.sum(1), group))
            counts.append(self._by_slot(present[..., group.targets].sum(1), group))
            slopes.append(slope)
        if len(self._groups) == 1:
            return sums[0], counts[0], slopes[0]
        return torch.cat(sums, 1), torch.cat(counts, 1), torch.cat(slopes, 2)

    def weight_sums(self, table: Tensor) -> Tensor:
        """Return the sum of the weights of the labelled rows, [s, b, 3 c'] -> [s, t]."""
        sums = torch.split(table, self.targets, -1)[1].sum(1)
        parts = [self._by_slot(sums[:, group.targets], group) for group in self._groups]
        return torch.cat(parts, 1)

    def by_column(self, values: Tensor) -> Tensor:
        """Return each slot's value at each of its columns: [s, t] -> [s, c]."""
        return values if self._one_column_each else values[:, self._slot_of_column]

    @staticmethod
    def _by_slot(values: Tensor, group: _Group) -> Tensor:
        if values.shape[1] == group.places:
            return values
        return torch.unflatten(values, 1, (group.places, -1)).sum(-1)
