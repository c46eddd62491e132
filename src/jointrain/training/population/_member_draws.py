"""What a run draws at random, many steps at a time: tasks, rows and dropout noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from jointrain.networks import random_bytes
from jointrain.training.sampling import Schedule, StepRows


class DrawnSteps(NamedTuple):
    """What the next steps of a run are made on.

    Args:
        rows: [k, b], row numbers of the training data.
        missing: [k, b], where a batch has fewer than b rows; None if all have b.
        sizes: Rows of each batch.
        tasks: The tasks of each step.
    """

    rows: Tensor
    missing: Tensor | None
    sizes: list[int]
    tasks: list[tuple[str, ...]]


class Draws:
    """Draws as a `Trainer` with the same seed does, in the same order of calls.

    Args:
        schedule: Names the tasks of each step.
        labelled: Whether each row has the label, [n], by task in task order.
        batch_size: Rows in a batch at most.
        seed: Of rows and tasks, and of the noise.
    """

    def __init__(
        self, schedule: Schedule, labelled: Mapping[str, Tensor], batch_size: int, seed: int
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        self._noise = torch.Generator().manual_seed(seed)
        labels = {name: int(rows.sum()) for name, rows in labelled.items()}
        self._steps = schedule.steps(labels, generator)
        self._rows = StepRows(labelled, batch_size, generator)

    def steps(self, count: int, width: int) -> DrawnSteps:
        """Draw the next steps; `width` is b."""
        orders: list[Tensor] = []
        begins: list[int] = []
        sizes: list[int] = []
        tasks: list[tuple[str, ...]] = []
        known: dict[int, int] = {}
        length = 0
        for _ in range(count):
            names = next(self._steps)
            order, start, end = self._rows.sampler(names).draw_slice()
            if id(order) not in known:
                known[id(order)] = length
                orders.append(order)
                length += len(order)
            begins.append(known[id(order)] + start)
            sizes.append(end - start)
            tasks.append(names)
        column = torch.arange(width)
        places = torch.tensor(begins)[:, None] + column
        rows = torch.cat(orders)[places.clamp_max_(length - 1)]
        whole = min(sizes) == width
        missing = None if whole else column >= torch.tensor(sizes)[:, None]
        return DrawnSteps(rows, missing, sizes, tasks)

    def noise(self, sizes: Sequence[int], units: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Draw the noise of the dropout layers for steps of the given numbers of rows.

        Args:
            sizes: Rows of each step's batch, k of them.
            units: Width of each dropout layer, l of them.

        Shape:
            returns: words of eight bytes each, and the first word of each step's layer, [k, l].
        """
        counts = (torch.tensor(sizes)[:, None] * torch.tensor(units) + 7) // 8
        ends = counts.flatten().cumsum(0)
        words = random_bytes(8 * int(ends[-1]), self._noise).view(torch.int64)
        return words, ends.view_as(counts) - counts
