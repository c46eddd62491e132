"""Running the phases of a training, each a session on the right network with parts frozen."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from jointrain.errors import InvalidInputError
from jointrain.networks import Network
from jointrain.training._freezing import Releases, frozen, stages
from jointrain.training._phases import Phase, Phases
from jointrain.training._session import Session
from jointrain.training._settings import TrainingSettings, optimizers_of
from jointrain.training._task_session import ComputeLosses, TaskSession
from jointrain.training.checkpoints import Stretches
from jointrain.training.pretraining import Objective, run_pretraining
from jointrain.training.sampling import TaskSets


class PhaseRunner:
    """Opens a session for each phase.

    Args:
        whole: The session that the phases are parts of: its network, data and history.
        run: Runs a session.
        stretches: Which phases of a resumed run are over.
        train_step: Makes a step on batches.
        own_networks: Networks of their own by task, of a resumed run those that it has; phases add
            to it.
        auxiliary: Names of tasks that count in no score.
        seed: Seed of phases that pretrain.
        unlabelled: More inputs for phases that pretrain.

    Attributes:
        own_networks: The given ones.
        trained: Names of the tasks that were trained so far.
    """

    def __init__(
        self,
        whole: TaskSession,
        run: Callable[[Session[Any]], None],
        stretches: Stretches,
        train_step: ComputeLosses,
        *,
        own_networks: dict[str, Network],
        auxiliary: Collection[str],
        seed: int,
        unlabelled: Tensor | None,
    ) -> None:
        self.whole = whole
        self.own_networks = own_networks
        self.trained: set[str] = set()
        self._run_session = run
        self._stretches = stretches
        self._train_step = train_step
        self._auxiliary = auxiliary
        self._seed = seed
        self._unlabelled = unlabelled

    def run(self, phases: Phases) -> None:
        """Run all phases, or those that are left."""
        for phase in phases.phases:
            if self.whole.stopped:
                return
            if phase.pretraining is not None:
                self._pretrain(phase, phase.pretraining)
            else:
                self._run(phase)

    def _run(self, phase: Phase) -> None:
        """Run a phase on all of its tasks, or on one task after the other."""
        whole = self.whole
        tasks = tuple(name for name in whole.tasks if phase.tasks is None or name in phase.tasks)
        if not phase.each_task:
            self._run_on(phase, whole.network, tasks, phase.name)
            return
        for task in tasks:
            if self.whole.stopped:
                return
            network = self._network_to_tune(phase, task)
            self._run_on(phase, network, (task,), f"{phase.name}: {task}")

    def _network_to_tune(self, phase: Phase, task: str) -> Network:
        """Return the task's own network; the common one if the phase moves nothing shared."""
        own, network = self.own_networks, self.whole.network
        if task not in own:
            if not phase.moves_shared(network):
                return network
            own[task] = copy.deepcopy(network)
        return own[task]

    def _run_on(self, phase: Phase, network: Network, tasks: tuple[str, ...], label: str) -> None:
        whole = self.whole
        if self._stretches.passed(label):
            self.trained.update(tasks)
            return
        self._stretches.begin(label)
        with ExitStack() as held:
            held.enter_context(frozen(phase.frozen_parameters(network)))
            settings = self._settings(phase)
            optimizers = optimizers_of(network, settings)
            # frozen only now, as the optimisers must know what is released later
            groups = [
                [parameter for parameter in stage if parameter.requires_grad]
                for stage in stages(network, phase.unfreeze)
            ]
            held.enter_context(frozen(p for group in groups for p in group))
            optimizers.notice_frozen()
            self._run_session(
                TaskSession(
                    network,
                    whole.tasks,
                    settings,
                    optimizers,
                    weights=whole.weights,
                    balancer=whole.balancer,
                    balancer_optimizer=whole.balancer_optimizer,
                    scale=whole.scale,
                    generator=whole.generator,
                    history=whole.history,
                    schedule=phase.schedule,
                    trained=tasks,
                    auxiliary=self._auxiliary,
                    training=whole.training,
                    held_out=whole.held_out,
                    validates=whole.validates,
                    initial=whole.initial,
                    train_step=self._train_step,
                    phase=label,
                    trained_before=self.trained.issuperset(tasks),
                    releases=Releases(groups, phase.unfreeze_every),
                    ranks=whole.ranks,
                )
            )
        # the next phase may move another network, and these are no gradients of its steps
        network.zero_grad()
        self.trained.update(tasks)

    def _settings(self, phase: Phase) -> TrainingSettings:
        """Return the settings of the whole training, with what the phase has of its own."""
        found = phase.settings_in(self.whole.settings)
        return found if self.whole.validates else replace(found, patience=None)

    def _pretrain(self, phase: Phase, objective: Objective) -> None:
        """Train a part of the network on inputs alone."""
        whole = self.whole
        assert whole.training is not None
        if self._stretches.passed(phase.name):
            return
        self._stretches.begin(phase.name)
        inputs = self._inputs(whole.training, phase)
        if self._unlabelled is not None:
            inputs.append(self._unlabelled.to(inputs[0].device, inputs[0].dtype))
        shapes = {tuple(rows.shape[1:]) for rows in inputs}
        if len(shapes) > 1:
            raise InvalidInputError(
                f"phase {phase.name!r} pretrains on all inputs, whose rows must have one shape, "
                f"got {' and '.join(map(str, sorted(shapes)))}"
            )
        held_out = torch.cat(self._inputs(whole.held_out, phase)) if whole.validates else None
        with frozen(phase.frozen_parameters(whole.network)):
            run_pretraining(
                _with_first(whole.network, objective.part),
                torch.cat(inputs),
                objective,
                self._settings(phase),
                validation=held_out,
                seed=self._seed,
                history=whole.history,
                phase=phase.name,
                scale=whole.scale,
                run=self._run_session,
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


def _with_first(network: Network, part: str) -> nn.Module:
    """Return a part of a network behind the layer that comes before all others, if there is one."""
    module = network.get_submodule(part)
    return module if network.input_layer is None else nn.Sequential(network.input_layer, module)
