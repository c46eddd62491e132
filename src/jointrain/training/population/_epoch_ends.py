"""The ends of members' epochs: records, best weights, and what a network gets back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from jointrain.training._early_stopping import relative_score
from jointrain.training._epoch_losses import check_finite, check_validation
from jointrain.training._placement import copied_state
from jointrain.training.callbacks import EpochRecord
from jointrain.training.population._member import SCORES, Member
from jointrain.training.population._stacked_model import StackedModel


class EpochEnds:
    """Keeps the best weights of each member, by each of its scores.

    Args:
        model: Writes weights to networks.
        weights: Those of the members now, [s, p].
    """

    def __init__(self, model: StackedModel, weights: Tensor) -> None:
        self._model = model
        self._weights = weights
        self._best = torch.zeros(SCORES, *weights.shape, dtype=weights.dtype)

    def enter(self, row: int, member: Member) -> None:
        """Take in a member, which has no best weights yet."""

    def move(self, source: int, target: int) -> None:
        """Give one row the best weights of another."""
        self._best[:, target] = self._best[:, source]

    def end(
        self,
        row: int,
        member: Member,
        training: Mapping[str, float],
        validation: Sequence[Mapping[str, float]],
        weights: Mapping[str, float],
    ) -> None:
        """Record the epoch of a member that is over.

        Args:
            row: Its row.
            member: Whose epoch.
            training: Mean losses.
            validation: Mean losses by score.
            weights: As in `EpochRecord`.

        Raises:
            InvalidInputError: A loss is not finite.
        """
        trainer = member.trainer
        check_finite(training, member.step)
        check_validation(validation[0], member.step)
        scores = [
            relative_score(found, before, found)
            for found, before, _ in zip(validation, member.initial, member.best, strict=False)
        ]
        improved = [best.offer(score) for best, score in zip(member.best, scores, strict=True)]
        for number, better in enumerate(improved):
            # a half without labels chooses nothing
            if better or (improved[0] and scores[number] is None):
                self._best[number, row] = self._weights[row]
        epoch = len(trainer.history) + 1
        trainer.record(
            EpochRecord(
                epoch,
                member.step,
                dict(training),
                dict(validation[0]),
                scores[0],
                improved[0],
                weights=dict(weights),
            )
        )
        if trainer.balancer is not None and trainer.balancer.wants_end_epoch:
            trainer.balancer.end_epoch()

    def hand_back(self, row: int, member: Member) -> None:
        """Give a member's network its weights.

        Raises:
            InvalidInputError: They are not finite.
        """
        network, slots = member.trainer.network, member.slots
        scored = member.best[0].value < torch.inf
        kept = self._best[:, row] if scored else self._weights[row].expand(SCORES, -1)
        if member.run.cross_fitted is not None:
            states = []
            for weights in kept[1:]:
                self._model.write(weights, network, slots)
                states.append(copied_state(network))
            member.run.cross_fitted.states = states[0], states[1]
        self._model.write(kept[0], network, slots)
        member.trainer.session.check_weights()
        network.eval()
