"""The ends of epochs: validation, records, early stopping, release of frozen layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from jointrain.training._early_stopping import BestWeights, ConvergedTasks
from jointrain.training._epoch_losses import EpochLosses
from jointrain.training._losses import validation_losses
from jointrain.training._phase_runner import Stretch
from jointrain.training.callbacks import EpochRecord
from jointrain.training.sampling import TaskSets

if TYPE_CHECKING:
    from jointrain.training._trainer import Trainer


class Epochs:
    """What happens at the end of each epoch of a stretch: validation, records, early stopping.

    Attributes:
        losses: The training losses of the epoch.
        best: The best weights of the stretch.
        left_out: Names of converged tasks whose loss is left out.
    """

    def __init__(self, trainer: Trainer, stretch: Stretch, validation: TaskSets | None) -> None:
        self._trainer = trainer
        self._stretch = stretch
        self._validation = None if validation is None else validation.serving(stretch.tasks)
        main = [name for name in stretch.tasks if name not in trainer.auxiliary]
        self._scored = main or stretch.tasks
        self._done = 0
        self._releases = list(stretch.releases)
        self.losses = EpochLosses()
        self.best = BestWeights(trainer.network, validation is not None)
        self.left_out: set[str] = set()
        self._converged: ConvergedTasks | None = None
        if trainer.task_patience is not None:
            self._converged = ConvergedTasks(trainer.network, stretch.tasks, trainer.task_patience)
        if stretch.after_training and validation is not None:
            self.best.offer(self._score(self._validate()))

    def end(self, step: int) -> bool:
        """Record the epoch; return whether training shall stop."""
        trainer, patience = self._trainer, self._stretch.patience
        training = self.losses.means(trainer.tasks, step)
        losses = self._validate()
        converged = self._handle_converged(losses)
        if converged and trainer.when_converged == "freeze":
            losses = self._validate()
        score = self._score(losses)
        record = EpochRecord(
            epoch=len(trainer.history) + 1,
            step=step,
            training=training,
            validation=losses,
            score=score,
            best=self.best.offer(score),
            phase=self._stretch.phase,
            converged=tuple(converged),
        )
        balancer = trainer.balancer
        if balancer is not None and balancer.wants_end_epoch:
            balancer.end_epoch()
        self._done += 1
        if self._releases and self._done % self._stretch.release_every == 0:
            for parameter in self._releases.pop(0):
                parameter.requires_grad_(True)
            trainer.optimizers.notice_frozen()
        trainer.record(record)
        trainer._train_mode()
        all_out = self.left_out.issuperset(self._stretch.tasks)
        return all_out or (patience is not None and self.best.epochs_since >= patience)

    def _validate(self) -> dict[str, float]:
        batches = () if self._validation is None else self._validation.once()
        trainer = self._trainer
        return validation_losses(
            trainer.network, trainer.tasks, batches, calibrated=trainer.calibrated
        )

    def _score(self, losses: Mapping[str, float]) -> float | None:
        """Return the mean over scored tasks of the loss over that before training."""
        return relative_score(losses, self._trainer._initial, self._scored)

    def _handle_converged(self, losses: Mapping[str, float]) -> list[str]:
        """Freeze tasks that have just converged, or lower their weight; return them."""
        if self._converged is None:
            return []
        found = self._converged.offer(losses)
        for name in found:
            if self._trainer.when_converged == "freeze":
                self._converged.restore(name)
                self.left_out.add(name)
            else:
                self._trainer._current_weights[name] *= self._trainer.converged_weight
        return found


def relative_score(
    losses: Mapping[str, float], initial: Mapping[str, float], tasks: Iterable[str]
) -> float | None:
    """Return the mean over tasks of the loss over that before training; None without losses."""
    relative = [losses[name] / max(initial[name], 1e-12) for name in tasks if name in losses]
    return sum(relative) / len(relative) if relative else None
