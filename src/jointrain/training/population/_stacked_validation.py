"""Validation losses of many members, over all their rows and over either half of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from jointrain.training._losses import TEMPERATURES, temperature_penalties
from jointrain.training.population._member import SCORES, Member
from jointrain.training.population._stacked_data import StackedData
from jointrain.training.population._stacked_model import StackedModel

_VALUES = 2**18
"""How many outputs, each divided by several temperatures, are looked at together."""


class StackedValidation:
    """Measures members on their validation rows.

    Args:
        model: Gives outputs.
        data: Of all members.
        batch: Rows of a training batch: validation takes about as much memory.
    """

    def __init__(self, model: StackedModel, data: StackedData, batch: int) -> None:
        self._model = model
        self._data = data
        self._width = max(batch, 64) // 2

    def __call__(
        self, members: Sequence[Member], rows: Sequence[int]
    ) -> list[list[dict[str, float]]]:
        """Return each task's loss over the labelled validation rows of the members at some rows.

        First over all of them, then over either half; any halves will do where a run has none.
        """
        checked = [row for row in rows if members[row].run.validation is not None]
        if not checked:
            return [[{}] * SCORES for _ in rows]
        everyone = checked == list(range(len(members)))
        index = None if everyone else torch.tensor(checked)
        losses, counts = self._losses_of([members[row] for row in checked], index)
        found = {
            row: [
                {
                    name: losses[place][part][slot]
                    for name, slot in members[row].slots.items()
                    if counts[place][part][slot]
                }
                for part in range(SCORES)
            ]
            for place, row in enumerate(checked)
        }
        return [found.get(row, [{}] * SCORES) for row in rows]

    def _losses_of(
        self, members: Sequence[Member], index: Tensor | None
    ) -> tuple[list[list[list[float]]], list[list[list[float]]]]:
        """Return mean losses and numbers of labels: all rows, first half, second half, [s, 3, t].

        Args:
            members: All have validation rows.
            index: Their rows in the model, None for all.
        """
        # the second half of a member lies below its first one, as if of a member of its own
        every = [len(m.run.validation or ()) for m in members]
        halves = [
            n // 2 if m.run.cross_fitted is None else m.run.cross_fitted.first
            for m, n in zip(members, every, strict=True)
        ]
        half = torch.tensor(halves)
        lengths = torch.stack([half, torch.tensor(every) - half], 1).view(-1, 1)
        firsts = torch.tensor([member.validation_rows for member in members])
        firsts = torch.stack([firsts, firsts + half[:, None]], 1).view(-1, 2)
        slots = self._model.losses.slots
        calibrated = torch.tensor([[m.trainer.settings.calibrated] for m in members])
        scaled = calibrated & torch.tensor([s.loss.of_logits for s in slots])
        temperatures = TEMPERATURES if bool(scaled.any()) else ()
        size = len(lengths), len(slots)
        counts = torch.zeros(size, dtype=torch.float64)
        weights = torch.zeros(size, dtype=torch.float64)
        sums = torch.zeros(1 + len(temperatures), *size, dtype=torch.float64)
        longest = int(lengths.max())
        width = min(longest, self._width)
        for start in range(0, longest, width):
            column = torch.arange(start, min(start + width, longest))
            there = column < lengths
            input_rows = (column + firsts[:, :1]).where(there, 0)
            target_rows = (column + firsts[:, 1:]).where(there, 0)
            outputs = self._model.outputs(
                self._data.inputs[input_rows.flatten()].view(len(members), 2 * len(column), -1),
                index,
            )
            outputs = outputs.view(len(lengths), len(column), -1)
            table = self._data.targets[target_rows.flatten()].view(len(lengths), len(column), -1)
            total, count = self._sums_at((1.0, *temperatures), outputs, table)
            sums += total
            counts += count
            weights += self._model.losses.weight_sums(table)
        # [..., s, 3, t]
        sums, counts, weights = map(_with_total, (sums, counts, weights))
        lowest = sums[0]
        if temperatures:
            # of weights of mean 1 over the rows that are looked at
            means = weights / counts.clamp_min(1)
            penalised = sums[1:] + temperature_penalties()[:, None, None, None] * means
            lowest = penalised.amin(0).where(scaled[:, None], lowest)
        return (lowest / weights.where(counts > 0, 1)).tolist(), counts.tolist()

    def _sums_at(
        self, temperatures: Sequence[float], outputs: Tensor, table: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the sums of the losses of outputs divided by each of them, and the labels.

        Shape:
            outputs: [s, b, c]. returns: [k, s, t] and [s, t].
        """
        sums = []
        at_once = max(_VALUES // outputs.numel(), 1)
        for divisors in torch.split(outputs.new_tensor(temperatures), at_once):
            divided = (outputs / divisors[:, None, None, None]).flatten(0, 1)
            of_each = table.expand(len(divisors), *table.shape).flatten(0, 1)
            total, count, _ = self._model.losses(divided, of_each)
            sums.append(torch.unflatten(total, 0, (len(divisors), -1)))
        return torch.cat(sums), count[: len(outputs)]


def _with_total(halves: Tensor) -> Tensor:
    """Return the sum of two halves before them: [..., 2 s, t] -> [..., s, 3, t]."""
    halves = torch.unflatten(halves, -2, (-1, 2))
    return torch.cat([halves.sum(-2, keepdim=True), halves], -2)
