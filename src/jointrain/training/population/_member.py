"""Member: a run in a population, and how far it has got."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor

from jointrain.balancing import LossWeighting
from jointrain.data import TensorData
from jointrain.task import Task
from jointrain.training import Joint, Separate
from jointrain.training._early_stopping import BestScore
from jointrain.training._optimizer import learning_rate_factor
from jointrain.training._run import Run
from jointrain.training.population._member_draws import Draws
from jointrain.training.population._stacked_balancers import MemberBalancer
from jointrain.training.population._stacked_optimizer import OptimizerKind, optimizer_kind
from jointrain.training.sampling import weigh_rows

SCORES = 3
"""Scores of a member: of all its validation rows, and of either half of them."""


class Member:
    """A run, and how far it has got.

    Args:
        run: What is trained.
        weigh: As `weigh_rows`, which is the default; runs whose data it gives as the same objects
            share them.

    Attributes:
        weighted: Whether its rows weigh.
        slots: The slot of each task, by name; given when it is stacked.
        train_rows, validation_rows: The first rows of its data in inputs and in targets; likewise.
        initial: Validation losses before training, by score.
        step: Number of steps made.
    """

    slots: dict[str, int]
    train_rows: tuple[int, int]
    validation_rows: tuple[int, int]

    def __init__(
        self,
        run: Run,
        weigh: Callable[[TensorData, Sequence[Task]], TensorData] = weigh_rows,
    ) -> None:
        tasks = list(run.trainer.tasks.values())
        validation = None if run.validation is None else weigh(run.validation, tasks)
        run = replace(run, train=weigh(run.train, tasks), validation=validation)
        self.run = run
        self.weighted = run.train.weights is not None or (
            validation is not None and validation.weights is not None
        )
        self.trainer = trainer = run.trainer
        session = trainer.begin(run.train, run.validation)
        assert session.schedule is not None
        self._schedule = session.schedule
        self.epoch_steps, self.steps = session.epoch_steps, session.steps
        # any halves will do where a run has none
        self.best = [BestScore() for _ in range(1 if run.cross_fitted is None else SCORES)]
        self.initial: list[dict[str, float]] = []
        kind = optimizer_kind(trainer.optimizers, trainer.network)
        assert isinstance(kind, OptimizerKind), kind
        self.optimizer = kind
        # all heads move at every step, so the weights can move as one piece
        self.whole = type(session.schedule) in (Joint, Separate)
        self.step = 0
        self.balancer: MemberBalancer | None = None
        if trainer.balancer is not None:
            assert isinstance(trainer.balancer, LossWeighting), trainer.balancer
            self.balancer = MemberBalancer(trainer.balancer, trainer.optimizers.learning_rate)

    def start(self) -> None:
        """Make ready what is not needed before the member's turn."""
        trainer, train = self.trainer, self.run.train
        labelled = {
            name: task.labelled(train.targets[name]) for name, task in trainer.tasks.items()
        }
        self.draws = Draws(self._schedule, labelled, trainer.settings.batch_size, trainer.seed)
        factors = _rate_factors(self.steps, trainer.settings.warm_up, trainer.settings.decay)
        self.rates = factors * trainer.optimizers.learning_rate

    def steps_to_go(self) -> int:
        """Return the number of steps until the epoch or the run ends."""
        epoch = self.epoch_steps
        return min(epoch - self.step % epoch, self.steps - self.step)

    @property
    def stops(self) -> bool:
        """Whether the member is done at the end of this epoch."""
        patience = self.trainer.settings.patience
        return self.step == self.steps or (
            patience is not None and self.best[0].epochs_since >= patience
        )


@lru_cache(maxsize=64)
def _rate_factors(steps: int, warm_up: float, decay: str) -> Tensor:
    """Return the learning rate of each step as a share of its peak, [steps]."""
    factors = [learning_rate_factor(step, steps, warm_up, decay) for step in range(steps)]
    return torch.tensor(factors, dtype=torch.float64)
