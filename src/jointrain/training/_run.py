"""Run: a trainer with its data, which leaves fitted networks."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from jointrain.data import TensorData
from jointrain.training._cross_fitted_weights import CrossFittedWeights
from jointrain.training._fitted_network import FittedNetwork
from jointrain.training._trainer import Trainer
from jointrain.training.merging import Merge


@dataclass(frozen=True)
class Run:
    """A trainer and the data that it is to be fitted to; leaves fitted networks.

    Args:
        trainer: Not fitted yet.
        train: Rows to train on.
        validation: Rows for early stopping, None for none.
        cross_fitted: Keeps weights for either half of the validation rows, if that is wanted.
    """

    trainer: Trainer
    train: TensorData
    validation: TensorData | None
    cross_fitted: CrossFittedWeights | None = None

    def fit(self) -> list[FittedNetwork]:
        """Train, and return the parts; a trainer with checkpoints goes on from them."""
        trainer = self.trainer
        callbacks = trainer.callbacks
        if self.cross_fitted is not None:
            trainer.callbacks = (*callbacks, self.cross_fitted)
        resume = trainer.checkpoints is not None
        trainer.fit(self.train, self.validation, resume=resume)
        trainer.callbacks = callbacks
        return self.parts()

    def pieces(self) -> list[Run]:
        """Return the runs that this one is made of: with `Merge` one for each task, else itself.

        When they are fitted, `join` finishes it.
        """
        trainer = self.trainer
        if not isinstance(trainer.schedule, Merge):
            return [self]
        pieces = []
        for name, task in trainer.tasks.items():
            held_out = self.validation
            if held_out is not None and not bool(task.labelled(held_out.targets[name]).any()):
                held_out = None
            network = copy.deepcopy(trainer.network)
            alone = trainer.apart(name, network, validates=held_out is not None)
            pieces.append(Run(alone, self.train, held_out))
        return pieces

    def join(self, pieces: Sequence[Run]) -> None:
        """Make the fitted run of its fitted pieces."""
        if isinstance(self.trainer.schedule, Merge):
            trainers = [piece.trainer for piece in pieces]
            self.trainer.merge(trainers, self.train, self.validation)

    def parts(self) -> list[FittedNetwork]:
        """Return what the fitted trainer made: its network, and those of tasks tuned alone."""
        states = None if self.cross_fitted is None else self.cross_fitted.states
        return [
            replace(part, network=part.network.to("cpu"), by_half=states)
            for part in self.trainer.fitted_networks()
        ]


FitRuns = Callable[[Sequence[Run]], None]
"""Fits the trainers of runs, one after the other or in whatever way gives the same."""


def fit_one_by_one(runs: Sequence[Run]) -> None:
    """Fit the trainers of runs, one after the other."""
    for run in runs:
        run.fit()
