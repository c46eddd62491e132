"""A step of all members: losses, their weights, gradients, penalties, clipping, optimiser.

Letters: s members, b rows of a batch, t slots, p numbers of a member's row.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial

import torch
from torch import Tensor

from jointrain.training._epoch_losses import check_finite
from jointrain.training.population._member import Member
from jointrain.training.population._stacked_balancers import balance
from jointrain.training.population._stacked_data import StackedData
from jointrain.training.population._stacked_draws import StepDraws
from jointrain.training.population._stacked_model import StackedModel
from jointrain.training.population._stacked_optimizer import (
    OptimizerKind,
    Pieces,
    StackedOptimizer,
)


@lru_cache(maxsize=256)
def _index(places: tuple[int, ...]) -> Tensor:
    return torch.tensor(places)


class StackedStep:
    """Makes steps, and holds what they change: weights and the optimisers' state.

    Args:
        count: Most members at the same time.
        model: Gives losses and gradients.
        data: Of all members.

    Attributes:
        weights: [s, p].
    """

    def __init__(self, count: int, model: StackedModel, data: StackedData) -> None:
        self._model = model
        self._data = data
        slots, dtype = len(model.losses.slots), model.dtype
        self.weights = torch.zeros(count, model.size, dtype=dtype)
        self._gradients = torch.zeros_like(self.weights)
        self._optimizer = StackedOptimizer(
            self.weights, self._gradients, model.trained, model.trunk, model.heads
        )
        self._task_weights = torch.zeros(count, slots, dtype=dtype)
        self._seen = torch.zeros(2, count, slots, dtype=torch.float64)
        self._balanced_weights = torch.zeros(count, slots, dtype=dtype)
        self._weighed = torch.zeros(count, slots, dtype=torch.bool)
        self._clip = torch.zeros(count, 1, dtype=dtype)
        self._penalties = torch.zeros(2, count, 1, dtype=dtype)

    # --- members come and go ---------------------------------------------------------------------

    def enter(self, row: int, member: Member) -> None:
        """Fill a row with the weights and settings of its new member."""
        trainer, slots = member.trainer, member.slots
        self.weights[row] = self._model.read(trainer.network, slots)
        self._optimizer.clear(row)
        self._task_weights[row] = 0
        for name, slot in slots.items():
            self._task_weights[row, slot] = trainer.weights[name]
        self._seen[:, row] = 0
        self._weighed[row] = False
        self._clip[row] = (
            torch.inf if trainer.settings.gradient_clip is None else trainer.settings.gradient_clip
        )
        self._penalties[0, row], self._penalties[1, row] = (
            trainer.settings.l1,
            2 * trainer.settings.l2,
        )

    def move(self, source: int, target: int) -> None:
        """Give one row the state of another."""
        self._optimizer.copy(source, target)
        for by_row in (self.weights, self._task_weights, self._clip):
            by_row[target] = by_row[source]
        for by_row in (self._balanced_weights, self._weighed):
            by_row[target] = by_row[source]
        for by_row in (self._seen, self._penalties):
            by_row[:, target] = by_row[:, source]

    def use(self, members: Sequence[Member]) -> None:
        """Look at the members that have the first rows."""
        self._members = members
        self._count = count = len(members)
        self._model.use(self.weights[:count], self._gradients[:count])
        self._clips = bool(self._clip[:count].isfinite().any())
        self._penalises = bool(self._penalties[:, :count].any())
        self._balanced = [row for row, member in enumerate(members) if member.balancer is not None]
        kinds: dict[OptimizerKind, list[int]] = {}
        for row, member in enumerate(members):
            kinds.setdefault(member.optimizer, []).append(row)
        self._rows_of_kind = list(kinds.items())
        # where all move as a whole, the same pieces move at every step
        self._all_whole = all(member.whole for member in members)
        self._pieces = self._moving([]) if self._all_whole else []

    def epoch_losses(self, rows: Sequence[int]) -> list[dict[str, float]]:
        """Return the mean training losses of the epoch that is over at some rows; start anew."""
        index = torch.tensor(rows)
        totals, counts = self._seen[:, index].tolist()
        self._seen[:, index] = 0
        return [
            {
                name: total[slot] / number[slot]
                for name, slot in self._members[row].slots.items()
                if number[slot]
            }
            for row, total, number in zip(rows, totals, counts, strict=True)
        ]

    def balanced_weights(self, row: int) -> dict[str, float]:
        """Return the weights of the last step that the balancer of a row has weighed, by task."""
        values, weighed = self._balanced_weights[row].tolist(), self._weighed[row].tolist()
        slots = self._members[row].slots
        return {name: values[slot] for name, slot in slots.items() if weighed[slot]}

    # --- a step ----------------------------------------------------------------------------------

    def __call__(self, draws: StepDraws) -> None:
        """Make a step of all members on what they have drawn."""
        shape = (self._count, draws.input_rows.shape[1], -1)
        inputs = self._data.inputs.index_select(0, draws.input_rows.reshape(-1))
        table = self._data.targets.index_select(0, draws.target_rows.reshape(-1))
        self._model.loss_and_gradients(
            inputs.view(shape),
            table.view(shape),
            draws.keep,
            partial(self._weigh, draws),
            (draws.input_rows > 0).unsqueeze(2) if self._model.needs_present else None,
        )
        gradients = self._gradients[: self._count]
        if self._penalises:
            self._penalize(gradients, draws.active)
        if self._clips:
            norms = torch.linalg.vector_norm(gradients, dim=1, keepdim=True)
            shares = self._clip[: self._count] / norms.add_(1e-6)
            if bool((shares < 1).any()):
                gradients.mul_(shares.clamp_max_(1))
        if self._all_whole:
            self._optimizer.step(self._pieces, draws.rates)
        else:
            self._optimizer.step(self._moving(draws.tasks), draws.rates, draws.active)

    def _weigh(self, draws: StepDraws, sums: Tensor, labelled: Tensor) -> Tensor:
        """Count the losses of the step, and return the factor of each sum."""
        active = draws.active
        # a batch without a task's label says nothing of it
        self._seen[1, : self._count] += labelled.sign().mul_(active)
        present = labelled > 0 if self._balanced else None
        labelled.clamp_min_(1)
        means = sums.div_(labelled).mul_(active)
        self._seen[0, : self._count] += means
        factors = self._task_weights[: self._count] * active
        if present is not None:
            self._balance(draws.tasks, means, factors, present)
        return factors.div_(labelled)

    def _moving(self, tasks: Sequence[tuple[str, ...]]) -> list[tuple[OptimizerKind, Pieces]]:
        """Return what moves: whole members, or their trunks and the heads of the step's tasks."""

        def heads(row: int) -> list[int] | None:
            member = self._members[row]
            return None if member.whole else [member.slots[name] for name in tasks[row]]

        return [
            (kind, self._optimizer.pieces((row, heads(row)) for row in rows))
            for kind, rows in self._rows_of_kind
        ]

    def _balance(
        self,
        tasks: Sequence[tuple[str, ...]],
        losses: Tensor,
        factors: Tensor,
        present: Tensor,
    ) -> None:
        """Ask the members' balancers for the weights of the tasks that have a label in the step."""
        there = present.tolist()
        labelled = {
            row: tuple(name for name in tasks[row] if there[row][self._members[row].slots[name]])
            for row in self._balanced
        }
        rows = [row for row, names in labelled.items() if names]
        if not rows:
            return
        chosen = losses[rows]
        if not bool(chosen.isfinite().all()):
            for row in rows:
                member = self._members[row]
                found = {name: float(losses[row, member.slots[name]]) for name in labelled[row]}
                check_finite(found, member.step)
        members = [self._members[row] for row in rows]
        places = [
            _index(tuple(member.slots[name] for name in labelled[row]))
            for row, member in zip(rows, members, strict=True)
        ]
        balancers = [member.balancer for member in members if member.balancer is not None]
        names = [labelled[row] for row in rows]
        own = self._task_weights[rows]
        given = balance(balancers, names, places, chosen * own)
        factors[rows] = given * own
        self._balanced_weights[rows] = given
        weighed = torch.zeros_like(own, dtype=torch.bool)
        for row, of_row in zip(weighed, places, strict=True):
            row[of_row] = True
        self._weighed[rows] = weighed

    def _penalize(self, gradients: Tensor, active: Tensor) -> None:
        """Add the gradients of the L1 and L2 penalties of the weight matrices in the step."""
        weights = self.weights[: self._count]
        reached = gradients.new_zeros(gradients.shape)
        reached[:, self._model.trunk] = 1
        for slot, places in enumerate(self._model.heads):
            for place in places:
                reached[:, place] = active[:, slot, None]
        reached *= self._model.penalised
        l1, l2 = self._penalties[:, : self._count]
        gradients.addcmul_(weights.sign(), reached * l1)
        gradients.addcmul_(weights, reached * l2)
