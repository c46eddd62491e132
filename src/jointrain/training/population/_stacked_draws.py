"""What the members of a stack have drawn for the next steps, and what a step takes of it.

Letters: s members, b rows of a batch, t slots.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from jointrain.networks import keep_factors
from jointrain.training.population._member import Member
from jointrain.training.population._stacked_model import StackedModel

_DRAWN_BYTES = 4 * 2**20
"""What is drawn ahead for all members."""


class StepDraws(NamedTuple):
    """What all members have drawn for one step.

    Args:
        input_rows, target_rows: [s, b], row numbers of the stacked data; 0 where a batch has fewer
            rows.
        active: [s, t], 1 where a slot's task is in the step.
        rates: [s, 1], learning rates.
        tasks: The tasks of each member's step.
        keep: The factors of each dropout layer, [s, b, o].
    """

    input_rows: Tensor
    target_rows: Tensor
    active: Tensor
    rates: Tensor
    tasks: list[tuple[str, ...]]
    keep: list[Tensor]


class StackedDraws:
    """What the members in some rows have drawn for the next steps.

    Args:
        count: Number of rows.
        batch: Rows of a batch at most.
        slots: Number of slots.
        model: Whose dropout layers draw noise.
    """

    def __init__(self, count: int, batch: int, slots: int, model: StackedModel) -> None:
        self._batch = batch
        self._model = model
        self._units = units = model.dropout_units
        dtype = model.dtype
        layers = len(units)
        self._thresholds = torch.zeros(layers, count, 1, 1, dtype=torch.uint8)
        self._scales = torch.zeros(layers, count, 1, 1, dtype=dtype)
        lengths = [(batch * width + 7) // 8 for width in units]
        words = sum(lengths)
        self._steps = max(8, min(64, _DRAWN_BYTES // (8 * count * (2 * batch + words))))
        self._next = self._steps
        drawn = (self._steps, count)
        self._input_rows = torch.zeros(*drawn, batch, dtype=torch.int64)
        self._target_rows = torch.zeros(*drawn, batch, dtype=torch.int64)
        self._active = torch.zeros(*drawn, slots, dtype=dtype)
        self._rates = torch.zeros(*drawn, 1, dtype=dtype)
        self._tasks: list[list[tuple[str, ...]]] = [[] for _ in range(count)]
        self._words = torch.zeros(count, words * self._steps, dtype=torch.int64)
        self._first_words = torch.zeros(layers, *drawn, 1, dtype=torch.int64)
        rows = torch.arange(count)[:, None] * self._words.shape[1]
        self._word_index = [rows + torch.arange(length) for length in lengths]

    def enter(self, row: int, member: Member) -> None:
        """Take in a member, which draws for the steps that the others have left."""
        self._active[:, row] = 0
        if member.whole:
            self._active[:, row, list(member.slots.values())] = 1
        for layer, dropout in enumerate(self._model.dropouts_in(member.trainer.network)):
            self._thresholds[layer, row] = dropout.threshold
            self._scales[layer, row] = dropout.scale
        if self._next < self._steps:
            self._draw(row, member)

    def move(self, source: int, target: int) -> None:
        """Give one row what another has drawn."""
        self._tasks[target] = self._tasks[source]
        self._words[target] = self._words[source]
        for by_row in (
            self._thresholds, self._scales, self._active, self._input_rows, self._target_rows,
            self._rates,
        ):  # fmt: skip
            by_row[:, target] = by_row[:, source]
        self._first_words[:, :, target] = self._first_words[:, :, source]

    def steps_left(self, members: Sequence[Member]) -> int:
        """Return for how many steps there are draws; all draw anew if there are none."""
        if self._next == self._steps:
            self._next = 0
            for row, member in enumerate(members):
                self._draw(row, member)
        return self._steps - self._next

    def next(self, count: int) -> StepDraws:
        """Return what the first rows have drawn for the next step."""
        step = self._next
        self._next += 1
        return StepDraws(
            self._input_rows[step, :count],
            self._target_rows[step, :count],
            self._active[step, :count],
            self._rates[step, :count],
            [tasks[step] for tasks in self._tasks[:count]],
            self._keep_factors(step, count),
        )

    def _draw(self, row: int, member: Member) -> None:
        steps = slice(self._next, self._steps)
        count = self._steps - self._next
        drawn = member.draws.steps(count, self._batch)
        first_input, first_target = member.train_rows
        for rows, first in (
            (self._input_rows[steps, row], first_input),
            (self._target_rows[steps, row], first_target),
        ):
            torch.add(drawn.rows, first, out=rows)
            if drawn.missing is not None:
                rows.masked_fill_(drawn.missing, 0)
        rates = member.rates[member.step : member.step + count]
        self._rates[self._next : self._next + len(rates), row, 0] = rates
        self._tasks[row] = [()] * self._next + drawn.tasks
        if not member.whole:
            named = [[float(name in tasks) for name in member.slots] for tasks in drawn.tasks]
            self._active[steps, row, list(member.slots.values())] = torch.tensor(
                named, dtype=self._active.dtype
            )
        if self._units:
            words, starts = member.draws.noise(drawn.sizes, self._units)
            self._words[row, : len(words)] = words
            self._first_words[:, steps, row, 0] = starts.T

    def _keep_factors(self, step: int, count: int) -> list[Tensor]:
        """Return the factors of each dropout layer, [s, b, o]."""
        words = self._words.view(-1)
        factors = []
        for layer, width in enumerate(self._units):
            # a layer's noise is never beyond its member's row: that has room for full batches
            index = self._word_index[layer][:count] + self._first_words[layer, step, :count]
            noise = words.index_select(0, index.view(-1)).view(torch.uint8).view(count, -1)
            factors.append(
                keep_factors(
                    noise[:, : self._batch * width].view(count, self._batch, width),
                    self._thresholds[layer, :count],
                    self._scales[layer, :count],
                    self._scales.dtype,
                )
            )
        return factors
