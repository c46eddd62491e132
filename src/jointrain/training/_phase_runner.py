"""Running the phases of a training, each on the right network with the right parts frozen."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from jointrain.errors import InvalidInputError
from jointrain.networks import Network
from jointrain.training._freezing import frozen, stages
from jointrain.training._optimizer import Optimizers
from jointrain.training._phases import Phase, Phases
from jointrain.training.callbacks import EpochRecord
from jointrain.training.pretraining import Objective, pretrain
from jointrain.training.sampling import Schedule, TaskSets

if TYPE_CHECKING:
    from jointrain.training._trainer import Trainer


@dataclass(frozen=True)
class Stretch:
    """What one pass through a trainer's loop trains, and for how long.

    Args:
        tasks: Names of the tasks.
        schedule: How they take turns.
        epochs, steps, warm_up, decay, patience: As for `Trainer`.
        phase: What records call it.
        after_training: Whether the tasks were trained before, so that the weights at the start are
            worth keeping.
        releases: Parameters that are released one group after another.
        release_every: Epochs between two releases.
    """

    tasks: tuple[str, ...]
    schedule: Schedule
    epochs: int
    steps: int | None
    warm_up: float
    decay: str
    patience: int | None
    phase: str | None = None
    after_training: bool = False
    releases: tuple[tuple[nn.Parameter, ...], ...] = ()
    release_every: int = 1

    def lengths(self, sets: TaskSets) -> tuple[int, int]:
        """Return the number of steps of an epoch on these data, and of all."""
        schedule = sets.schedule(self.schedule)
        epoch = schedule.steps_per_epoch(sets.batches, sets.together)
        return epoch, self.epochs * epoch if self.steps is None else self.steps


class PhaseRunner:
    """Runs phases with a trainer.

    Args:
        trainer: Whose network, loop and history.
        sources: The training data.
        validation: The validation data, if any.
        unlabelled: More inputs for phases that pretrain.
    """

    def __init__(
        self,
        trainer: Trainer,
        sources: TaskSets,
        validation: TaskSets | None,
        unlabelled: Tensor | None,
    ) -> None:
        self._trainer = trainer
        self._sources = sources
        self._validation = validation
        self._unlabelled = unlabelled
        self._trained: set[str] = set()

    def run(self, phases: Phases) -> None:
        """Run all phases, and leave the trainer's own optimisers for a later fit."""
        trainer = self._trainer
        optimizers, parameters = trainer.optimizers, trainer._parameters
        try:
            for phase in phases.phases:
                if phase.pretraining is not None:
                    self._pretrain(phase, phase.pretraining)
                else:
                    self._run(phase)
        finally:
            trainer.optimizers, trainer._parameters = optimizers, parameters

    def _run(self, phase: Phase) -> None:
        """Run a phase on all of its tasks, or on one task after the other."""
        trainer = self._trainer
        tasks = tuple(name for name in trainer.tasks if phase.tasks is None or name in phase.tasks)
        if not phase.each_task:
            self._run_on(phase, tasks, phase.name)
            return
        whole = trainer.network
        for task in tasks:
            trainer.network = self._network_to_tune(phase, task)
            try:
                self._run_on(phase, (task,), f"{phase.name}: {task}")
            finally:
                trainer.network = whole

    def _network_to_tune(self, phase: Phase, task: str) -> Network:
        """Return the task's own network; the common one if the phase moves nothing shared."""
        own, network = self._trainer.own_networks, self._trainer.network
        if task not in own:
            if not phase.moves_shared(network):
                return network
            own[task] = copy.deepcopy(network)
        return own[task]

    def _run_on(self, phase: Phase, tasks: tuple[str, ...], label: str) -> None:
        trainer, network = self._trainer, self._trainer.network
        with ExitStack() as held:
            held.enter_context(frozen(phase.frozen_parameters(network)))
            trainer.optimizers = Optimizers(
                network, phase.optimizer or trainer.optimizer, trainer.layout
            )
            trainer._parameters = [p for p in network.parameters() if p.requires_grad]
            # frozen only now, as the optimisers must know what is released later
            releases = tuple(
                tuple(parameter for parameter in stage if parameter.requires_grad)
                for stage in stages(network, phase.unfreeze)
            )
            held.enter_context(frozen(p for stage in releases for p in stage))
            trainer.optimizers.notice_frozen()
            stretch = Stretch(
                tasks,
                phase.schedule,
                epochs=phase.epochs or 1,
                steps=phase.steps,
                warm_up=trainer.warm_up if phase.warm_up is None else phase.warm_up,
                decay=trainer.decay if phase.decay is None else phase.decay,
                patience=self._patience(phase),
                phase=label,
                after_training=self._trained.issuperset(tasks),
                releases=releases,
                release_every=phase.unfreeze_every,
            )
            trainer._train(stretch, self._sources, self._validation)
        self._trained.update(tasks)

    def _patience(self, phase: Phase) -> int | None:
        if self._validation is None:
            return None
        return self._trainer.patience if phase.patience is None else phase.patience

    def _pretrain(self, phase: Phase, objective: Objective) -> None:
        """Train a part of the network on inputs alone."""
        trainer = self._trainer
        inputs = self._inputs(self._sources, phase)
        if self._unlabelled is not None:
            inputs.append(self._unlabelled.to(inputs[0].device, inputs[0].dtype))
        shapes = {tuple(rows.shape[1:]) for rows in inputs}
        if len(shapes) > 1:
            raise InvalidInputError(
                f"phase {phase.name!r} pretrains on all inputs, whose rows must have one shape, "
                f"got {' and '.join(map(str, sorted(shapes)))}"
            )
        before = trainer.history[-1] if trainer.history else None
        first_epoch, first_step = (before.epoch, before.step) if before else (0, 0)

        def on_step_end(step: int, losses: Mapping[str, Tensor]) -> None:
            for callback in trainer.callbacks:
                callback.on_step_end(trainer, first_step + step, losses)

        def on_epoch_end(record: EpochRecord) -> None:
            epoch, step = first_epoch + record.epoch, first_step + record.step
            trainer.record(replace(record, epoch=epoch, step=step, phase=phase.name))

        held_out = None
        if self._validation is not None:
            held_out = torch.cat(self._inputs(self._validation, phase))
        with frozen(phase.frozen_parameters(trainer.network)):
            pretrain(
                trainer.network.get_submodule(objective.part),
                torch.cat(inputs),
                objective,
                validation=held_out,
                optimizer=phase.optimizer or trainer.optimizer,
                warm_up=trainer.warm_up if phase.warm_up is None else phase.warm_up,
                decay=trainer.decay if phase.decay is None else phase.decay,
                gradient_clip=trainer.gradient_clip,
                batch_size=trainer.batch_size,
                epochs=phase.epochs or 1,
                steps=phase.steps,
                patience=self._patience(phase),
                seed=trainer.seed,
                on_step_end=on_step_end,
                on_epoch_end=on_epoch_end,
            )

    def _inputs(self, sets: TaskSets, phase: Phase) -> list[Tensor]:
        """Return the inputs of all rows."""
        inputs = [batch.data.inputs for batch in sets.once()]
        if not all(isinstance(rows, Tensor) for rows in inputs):
            raise InvalidInputError(
                f"phase {phase.name!r} pretrains on inputs that are one tensor, got "
                f"{type(inputs[0]).__name__}"
            )
        return inputs
