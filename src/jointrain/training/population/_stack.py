"""Stack: members of one structure, trained together, as many at a time as is fast."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from jointrain.training._epoch_losses import check_validation
from jointrain.training.population._epoch_ends import EpochEnds
from jointrain.training.population._member import Member
from jointrain.training.population._roster import Roster
from jointrain.training.population._stacked_data import StackedData
from jointrain.training.population._stacked_draws import StackedDraws
from jointrain.training.population._stacked_losses import (
    StackedLosses,
    common_slots,
    places,
    slot_of,
)
from jointrain.training.population._stacked_mlp import StackedMLP, Structure, why_not_by_hand
from jointrain.training.population._stacked_model import PASSES, StackedModel
from jointrain.training.population._stacked_step import StackedStep
from jointrain.training.population._stacked_validation import StackedValidation
from jointrain.training.population._vmapped_network import (
    FEWEST,
    MOST,
    Form,
    VmappedNetwork,
    multiplications,
)


def alike(members: Sequence[Member]) -> list[list[Member]]:
    """Return members that can be stacked together, longer runs first, so that all end together."""
    groups: dict[object, list[Member]] = {}
    for member in members:
        groups.setdefault(_kind(member), []).append(member)
    return [sorted(group, key=lambda member: -member.steps) for group in groups.values()]


def pays(members: Sequence[Member]) -> bool:
    """Return whether members that can be stacked take less time so than one after the other."""
    trainer = members[0].trainer
    if why_not_by_hand(trainer.network) is None:
        return True
    batch = max(min(m.trainer.settings.batch_size, len(m.run.train)) for m in members)
    return len(members) >= FEWEST and multiplications(trainer.network, batch) <= MOST


def _kind(member: Member) -> tuple[object, ...]:
    """Return what the members of a stack have in common."""
    trainer = member.trainer
    network, tasks = trainer.network, trainer.tasks
    if why_not_by_hand(network) is None:
        return Structure.of(network), trainer.settings.batch_size, len(tasks) == 1
    order = tuple((network.index_of(name), slot_of(task)) for name, task in tasks.items())
    return Form.of(network), trainer.settings.batch_size, order, member.run.train.inputs.shape[1]


class Stack:
    """Members of one structure, as many at a time as is fast.

    Args:
        members: All that are to be trained, in the order of their turn.
        size: How many at the same time; default as many as is fast.

    Attributes:
        places: How many are trained at the same time.
        multiplications: What a step of all these makes.
    """

    def __init__(self, members: Sequence[Member], size: int | None = None) -> None:
        wanted = [[slot_of(task) for task in m.trainer.tasks.values()] for m in members]
        slots = [[slot for slot in of_one if slot is not None] for of_one in wanted]
        losses = StackedLosses(common_slots(slots), any(member.weighted for member in members))
        for member, needed in zip(members, slots, strict=True):
            chosen = places(needed, losses.slots)
            member.slots = dict(zip(member.trainer.tasks, chosen, strict=True))
        width = max(member.run.train.inputs.shape[1] for member in members)
        model = _model(members[0], width, losses)
        data = StackedData(members, losses, width, model.dtype)
        batch = max(min(m.trainer.settings.batch_size, len(m.run.train)) for m in members)
        self.places = min(len(members), size or _places(len(members), model.places(batch)))
        self.multiplications = PASSES * batch * self.places * model.size
        self._step = StackedStep(self.places, model, data)
        self._draws = StackedDraws(self.places, batch, len(losses.slots), model)
        self._validate = StackedValidation(model, data, batch)
        self._ends = EpochEnds(model, self._step.weights)
        self._roster = Roster(members, self.places, (self._step, self._draws, self._ends))

    @torch.no_grad()
    def fit(self) -> Iterator[float]:
        """Train all members; yield after epochs how many are done, with parts of the others."""
        roster, draws = self._roster, self._draws
        self._admit()
        while roster.members:
            steps = min(draws.steps_left(roster.members), roster.steps_to_go())
            for _ in range(steps):
                self._step(draws.next(len(roster.members)))
            ended = roster.advance(steps)
            if ended:
                self._end_epochs(ended)
                yield roster.done

    def _admit(self) -> None:
        """Let waiting members in, and measure them before their first step."""
        new = self._roster.admit()
        members = self._roster.members
        self._step.use(members)
        for row, losses in zip(new, self._validate(members, new), strict=True):
            check_validation(losses[0], 0)
            members[row].initial = losses

    def _end_epochs(self, rows: Sequence[int]) -> None:
        """Record the epoch that is over at some rows; take out members that are done."""
        members = self._roster.members
        validation = self._validate(members, rows)
        training = self._step.epoch_losses(rows)
        for row, losses, found in zip(rows, training, validation, strict=True):
            self._ends.end(row, members[row], losses, found, self._step.balanced_weights(row))
        done = [row for row in rows if members[row].stops]
        for row in reversed(done):
            self._ends.hand_back(row, members[row])
            self._roster.remove(row)
        if done:
            self._admit()


_CROWD = 1.25
"""Up to so many times the members that are fast together are trained at once: a few that are left
to the end would be trained with nobody beside them."""


def _places(members: int, fast: int) -> int:
    """Return how many members to train at once, of whom so many are fast together."""
    return members if members <= _CROWD * fast else fast


def _model(example: Member, width: int, losses: StackedLosses) -> StackedModel:
    """Return what computes networks like that of the example."""
    network, slots = example.trainer.network, example.slots
    if why_not_by_hand(network) is None:
        return StackedMLP(network, width, losses)
    return VmappedNetwork(network, tuple(slots), tuple(slots.values()), width, losses)
