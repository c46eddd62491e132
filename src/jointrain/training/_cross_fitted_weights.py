"""Cross-fitted weights: of two halves of the validation rows, each chooses the other's weights.

Early stopping keeps the weights that suit the validation rows best, so what a network predicts of
these rows looks better than it is, and the more so the fewer they are. Where such predictions are
to be compared with those of models that stop by nothing, a half of the rows has no say.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from jointrain.data import TensorData
from jointrain.training._early_stopping import BestScore, relative_score
from jointrain.training._losses import validation_losses
from jointrain.training._placement import copied_state, update_state
from jointrain.training.callbacks import Callback, EpochRecord
from jointrain.training.sampling import TaskSets

State = dict[str, Tensor]


class CrossFittedWeights(Callback):
    """Keeps the weights that are best on either half of the validation rows.

    When to stop is left to all of them together.

    Args:
        validation: The validation rows of a run.
        first: How many of them, the first ones, are the first half.

    Attributes:
        states: Weights and buffers of the network that are best on the first half, and on the
            second one; None before the fit.
    """

    def __init__(self, validation: TensorData, first: int) -> None:
        self.first = first
        self.states: tuple[State, State] | None = None
        self._validation = validation
        self._resumed: Mapping[str, Any] | None = None

    def on_fit_start(self, trainer: Any) -> None:
        """Measure both halves before the first step."""
        rows = torch.arange(len(self._validation))
        # not before: many runs may share the rows, and wait for their turn
        self._data = [self._validation.take(r) for r in (rows[: self.first], rows[self.first :])]
        self._best = BestScore(), BestScore()
        self.states = copied_state(trainer.network), copied_state(trainer.network)
        resumed, self._resumed = self._resumed, None
        if resumed is None:
            self._initial = [self._losses(trainer, half) for half in self._data]
            return
        self._initial = [dict(losses) for losses in resumed["initial"]]
        for half in range(2):
            self._best[half].load_state_dict(resumed["best"][half])
            for name, value in self.states[half].items():
                # states of earlier versions lack buffers that are not persistent
                stored = resumed["states"][half].get(name, value)
                same = isinstance(value, Tensor) and value.shape == stored.shape
                self.states[half][name] = value.copy_(stored) if same else copy.deepcopy(stored)

    def state_dict(self) -> dict[str, Any]:
        """Return the weights of both halves, and what they are measured by."""
        assert self.states is not None
        return {
            "initial": self._initial,
            "best": [best.state_dict() for best in self._best],
            "states": list(self.states),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take in what `state_dict` gave, when training starts."""
        self._resumed = state

    def on_epoch_end(self, trainer: Any, record: EpochRecord) -> None:
        """Keep the weights for the half that they suit best."""
        assert self.states is not None
        for half, data in enumerate(self._data):
            score = relative_score(
                self._losses(trainer, data), self._initial[half], trainer.main_tasks
            )
            if self._best[half].offer(score) or (score is None and record.best):
                update_state(self.states[half], trainer.network)

    def _losses(self, trainer: Any, half: TensorData) -> dict[str, float]:
        size = trainer.settings.batch_size
        sets = TaskSets.of(
            half, trainer.tasks, "evaluation", batch_size=size, device=trainer.device, needed=()
        )
        return validation_losses(
            trainer.network, trainer.tasks, sets.once(), calibrated=trainer.settings.calibrated
        )
