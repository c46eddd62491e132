"""Phases: training in several stretches, each with settings of its own."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import pairwise
from typing import Any, Literal

from torch import nn

from jointrain.errors import InvalidInputError, closest
from jointrain.networks import Network
from jointrain.options import Decay, check_options, option, same_option
from jointrain.training._freezing import FROM_TOP, parameters_of, stages
from jointrain.training._optimizer import OptimizerSettings
from jointrain.training._plain_values import from_plain
from jointrain.training._settings import TrainingSettings
from jointrain.training.merging._merge import Merge
from jointrain.training.pretraining import Contrastive, Denoising, MaskedFeatures
from jointrain.training.sampling import Alternating, Joint, Separate


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One stretch of a training in phases. A value.

    What is None is as the trainer has it. Every phase begins with a new optimiser. With validation
    data it ends with its best weights, and a phase that makes nothing better leaves the weights as
    it found them.

    Args:
        name: What records call it.
        epochs, steps: Its length; exactly one of them.
        schedule: How its tasks take turns; default `Joint()`.
        tasks: Names of the tasks that it trains; None (default): all.
        pretraining: An objective without labels in place of the tasks' losses: `MaskedFeatures`,
            `Denoising` or `Contrastive`. It trains the network's trunk on the inputs of all
            training rows and those that ``fit(unlabelled=...)`` adds.
        each_task: Train every task by itself, one after another: fine-tuning. If anything shared
            is trained in the phase, each task gets a copy of the whole network for that, which
            then predicts it (`Trainer.network_for`); if ``freeze="shared"``, the tasks stay in one
            network. Only further such phases may follow. Default False.
        freeze: Parts that stay as they are: ``shared``; the name of a task (its own parameters); a
            piece that `Network.describe` shows, such as ``trunk`` or ``heads``; or a module as in
            ``network.named_modules()``. A single name is accepted. With `LowRankAdapters`,
            ``freeze="shared"`` trains the adapters and heads alone. Frozen batch normalisation
            keeps its running statistics.
        unfreeze: Parts that are frozen at first and released one after another: names as for
            `freeze`, or ``from_top``: the layers of the trunk, the last one first.
        unfreeze_every: Epochs between two releases, the first release being after as many; default
            1. Until then only what is not named is trained, such as the heads.
        optimizer, warm_up, decay: As for `Trainer`.
        patience: As for `Trainer`; without validation data it is left aside.

    Raises:
        InvalidInputError: There is no name, no task or no length, a number lies outside its range,
            or settings do not go together.

    Source: gradual unfreezing: Howard & Ruder, "Universal Language Model Fine-tuning for Text
        Classification", ACL 2018, section 3.3 (one layer an epoch, from the last).
    """

    # unknown keys in stored values are errors
    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    name: str
    epochs: int | None = same_option(TrainingSettings, "epochs")
    steps: int | None = same_option(TrainingSettings, "steps")
    schedule: Joint | Alternating = field(default_factory=Joint)
    tasks: tuple[str, ...] | None = None
    pretraining: MaskedFeatures | Denoising | Contrastive | None = None
    each_task: bool = False
    freeze: tuple[str, ...] = ()
    unfreeze: tuple[str, ...] | Literal["from_top"] = ()
    unfreeze_every: int = option(1, "Epochs between two releases.", at_least=1, at_most=10**6)
    optimizer: OptimizerSettings | None = None
    warm_up: float | None = same_option(TrainingSettings, "warm_up")
    decay: Decay | None = same_option(TrainingSettings, "decay")
    patience: int | None = same_option(TrainingSettings, "patience")

    def __post_init__(self) -> None:
        if not self.name:
            raise InvalidInputError("a phase's name must not be empty")
        for argument in ("tasks", "freeze", "unfreeze"):
            value = getattr(self, argument)
            if value is not None and value != FROM_TOP:
                names = (value,) if isinstance(value, str) else tuple(value)
                object.__setattr__(self, argument, names)
        if self.tasks == ():
            raise self._wrong("has no tasks; leave `tasks` out to train all")
        if (self.epochs is None) == (self.steps is None):
            raise self._wrong("needs a length: give either epochs= or steps=")
        try:
            check_options(self)
        except InvalidInputError as error:
            raise InvalidInputError(f"phase {self.name!r}: {error}") from None
        if self.pretraining is not None and (self.tasks is not None or self.each_task):
            raise self._wrong("pretrains without labels; it can't have `tasks` or `each_task`")
        if self.pretraining is not None and self.unfreeze:
            raise self._wrong("pretrains the whole trunk; it can't have `unfreeze`")
        if self.each_task and not isinstance(self.schedule, Joint):
            raise self._wrong("trains each task by itself; it can't have a `schedule`")

    def settings_in(self, settings: TrainingSettings) -> TrainingSettings:
        """Return the settings of a training, with those that the phase has of its own."""
        shared = {one.name for one in fields(self)} & {one.name for one in fields(settings)}
        own = {name: value for name in shared if (value := getattr(self, name)) is not None}
        # `steps` of the training are none of the phase's
        return replace(settings, **{"epochs": 1, "steps": None} | own)

    def trains(self, task: str) -> bool:
        """Return whether the phase trains a task."""
        return self.pretraining is None and (self.tasks is None or task in self.tasks)

    def frozen_parameters(self, network: Network) -> list[nn.Parameter]:
        """Return the parameters that stay as they are.

        Raises:
            InvalidInputError: `freeze` names no part of the network.
        """
        return [parameter for name in self.freeze for parameter in parameters_of(network, name)]

    def moves_shared(self, network: Network) -> bool:
        """Return whether the phase trains any parameter that tasks share."""
        fixed = {id(parameter) for parameter in self.frozen_parameters(network)}
        return any(p.requires_grad and id(p) not in fixed for p in network.shared_parameters())

    def check(self, network: Network, tasks: Sequence[str]) -> None:
        """Refuse a phase that does not fit the network and its tasks.

        Raises:
            InvalidInputError: It names a task or a part that there is not, or freezes all that a
                task could train.
        """
        for name in self.tasks or ():
            if name not in tasks:
                raise self._wrong(f"names {name!r}, which is no task{closest(name, tasks)}")
        if self.pretraining is not None:
            modules = [name for name, _ in network.named_modules() if name]
            part = self.pretraining.part
            if part not in modules:
                raise self._wrong(
                    f"pretrains {part!r}, which is no module of "
                    f"{type(network).__name__}{closest(part, modules)}"
                )
            self.frozen_parameters(network)
            return
        held = self.frozen_parameters(network)
        held += [p for stage in stages(network, self.unfreeze) for p in stage]
        fixed = {id(parameter) for parameter in held}
        pieces = network.all_parts()
        for task in filter(self.trains, tasks):
            reached = [p for part in pieces if task in part.tasks for p in part.all_parameters()]
            if not any(p.requires_grad and id(p) not in fixed for p in reached):
                raise self._wrong(f"freezes all that task {task!r} could train")

    def _wrong(self, what: str) -> InvalidInputError:
        return InvalidInputError(f"phase {self.name!r} {what}")


@dataclass(frozen=True)
class Phases:
    """Several stretches of training one after another. A value, given as a trainer's schedule.

    Args:
        phases: The phases in their order.
        kind: What stored values call it; it has no other value.

    Raises:
        InvalidInputError: There is no phase, two have one name, or a phase for all tasks follows
            one that gave each task a network of its own.

    Examples:
        >>> phases = Phases(
        ...     [
        ...         Phase(name="pretrain", epochs=20, pretraining=MaskedFeatures()),
        ...         Phase(name="joint", epochs=50, patience=5),
        ...         Phase(name="fine-tune", epochs=10, each_task=True, freeze="shared"),
        ...     ]
        ... )
        >>> [phase.name for phase in phases.phases]
        ['pretrain', 'joint', 'fine-tune']
    """

    # unknown keys in stored values are errors
    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    phases: tuple[Phase, ...]
    kind: Literal["phases"] = "phases"

    def __post_init__(self) -> None:
        phases = tuple(self.phases)
        object.__setattr__(self, "phases", phases)
        if not phases:
            raise InvalidInputError("`phases` must hold at least one Phase")
        names = [phase.name for phase in phases]
        for name in names:
            if names.count(name) > 1:
                raise InvalidInputError(f"two phases are named {name!r}; names must differ")
        if all(phase.pretraining is not None for phase in phases):
            raise InvalidInputError("all phases pretrain; add one that trains the tasks")
        for before, phase in pairwise(phases):
            if before.each_task and not phase.each_task:
                raise InvalidInputError(
                    f"phase {phase.name!r} can't follow {before.name!r}, which trains each task by "
                    f"itself; only phases with each_task=True can"
                )

    @property
    def pretrains(self) -> bool:
        """Whether any phase pretrains."""
        return any(phase.pretraining is not None for phase in self.phases)

    @classmethod
    def from_plain(cls, phases: Sequence[Mapping[str, Any]]) -> Phases:
        """Return phases from plain values, as a config file holds them.

        Raises:
            InvalidInputError: A key is unknown or a value can't be used.
        """
        return from_plain(cls, {"phases": list(phases)}, "")

    def check(self, network: Network, tasks: Sequence[str], auxiliary: Collection[str]) -> None:
        """Refuse phases that do not fit the network and its tasks.

        Raises:
            InvalidInputError: A phase names a task or a part that there is not, freezes all that a
                task could train, pretrains too late; or a task that is predicted is trained in no
                phase, or its shared layers are moved after it was last trained.
        """
        for phase in self.phases:
            phase.check(network, tasks)
        labelled = [phase for phase in self.phases if phase.pretraining is None]
        late = self.phases[self.phases.index(labelled[0]) :]
        for phase in late:
            if phase.pretraining is not None:
                raise InvalidInputError(
                    f"phase {phase.name!r} pretrains after tasks were trained, which would spoil "
                    f"them; put it first"
                )
        for task in tasks:
            if task in auxiliary:
                continue
            trained = [phase for phase in labelled if phase.trains(task)]
            if not trained:
                raise InvalidInputError(
                    f"no phase trains task {task!r}; add it to one, or make it auxiliary"
                )
            for phase in labelled[labelled.index(trained[-1]) + 1 :]:
                if not phase.each_task and phase.moves_shared(network):
                    raise InvalidInputError(
                        f"phase {phase.name!r} moves the shared layers without task {task!r}, and "
                        f"no later phase trains that: its predictions would be spoilt; use "
                        f"each_task=True or freeze='shared', or make {task!r} auxiliary"
                    )


AnySchedule = Joint | Alternating | Separate | Phases | Merge
"""The schedules that a recipe can hold."""
