"""Hooks into a trainer's run, and what it records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor


@dataclass(frozen=True)
class EpochRecord:
    """What one epoch showed.

    Args:
        epoch: Number of the epoch, from 1.
        step: Number of steps made so far.
        training: Mean training loss of each task that was trained in the epoch, over the batches
            that had a label of it; in a phase that pretrains, of the objective by its kind.
        validation: Validation loss of each task; empty without validation data.
        score: What early stopping looks at (lower is better): the mean over tasks that are not
            auxiliary of the validation loss over that before training; in a phase that pretrains,
            the objective's. None without validation data.
        best: Whether the score is the best so far; in phases, of the phase.
        phase: Name of the phase; None without phases. With `each_task` also the task:
            ``fine-tune: price``.
        converged: Tasks that have converged with this epoch, see `TrainingSettings`.
        skipped: Steps that were left out because a loss or a gradient was not finite.
        bad_rows: Rows that could not be read, counted in the epoch that met them first, and deaths
            of processes that read rows.
        weights: What a balancer multiplied the tasks' losses by at the last step; empty without one
            that has weights.
    """

    epoch: int
    step: int
    training: Mapping[str, float]
    validation: Mapping[str, float]
    score: float | None
    best: bool
    phase: str | None = None
    converged: tuple[str, ...] = ()
    skipped: int = 0
    bad_rows: int = 0
    weights: Mapping[str, float] = field(default_factory=dict)


class Callback:
    """Base of all callbacks; every hook does nothing unless overridden.

    Each gets the `Trainer`; ``trainer.session`` is what it is training at the moment, and
    ``trainer.stop()`` ends the training.

    Attributes:
        every_rank: Whether each of several processes that train together calls it, with the same
            numbers; else the first one alone, as is right for what prints and writes.
    """

    every_rank: ClassVar[bool] = True

    # the trainer's own type stands in a later file; with Any an override may say `Trainer`

    def on_fit_start(self, trainer: Any) -> None:
        """Run before the first step."""

    def on_step_end(self, trainer: Any, step: int, losses: Mapping[str, Tensor]) -> None:
        """Run after each step (from 1) with the detached losses of what it trained."""

    def on_epoch_end(self, trainer: Any, record: EpochRecord) -> None:
        """Run after each epoch."""

    def on_fit_end(self, trainer: Any) -> None:
        """Run after the last step, with the best weights restored."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run has to know of this one: numbers, texts, tensors, lists."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take in what `state_dict` gave; called before `on_fit_start` of a run that is resumed."""
