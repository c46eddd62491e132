"""Schedules: which tasks take part in which step."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from jointrain.errors import InvalidInputError, closest
from jointrain.training.sampling._learning_progress import LearningProgress
from jointrain.training.sampling._turns import Turns

NamedOrder = Literal["random", "round_robin", "proportional", "temperature", "annealed", "progress"]
Order = NamedOrder | Callable[[int], str | Sequence[str]]

_DRAWN_AHEAD = 1024
_REVIEWED_EVERY = 10  # draws between two looks at the losses


class RunProgress:
    """What a schedule may know of the run that it plans.

    Args:
        steps: Number of steps of the run.
        epoch_steps: Number of steps of an epoch.

    Attributes:
        losses: The losses of the steps since the schedule last took them; None (default) until
            a schedule that looks at them puts a list here, which the trainer then fills.
    """

    def __init__(self, steps: int, epoch_steps: int) -> None:
        self.steps = steps
        self.epoch_steps = epoch_steps
        self.losses: list[Mapping[str, Tensor]] | None = None

    def take_losses(self) -> list[tuple[str, float]]:
        """Return the task and the loss of each step since the last call, in one transfer."""
        assert self.losses is not None
        found = [pair for losses in self.losses for pair in losses.items()]
        self.losses.clear()
        if not found:
            return []
        values = torch.stack([loss for _, loss in found]).tolist()
        return [(task, value) for (task, _), value in zip(found, values, strict=True)]


class Schedule(ABC):
    """Says, step by step, which tasks are trained. A value: comparable, printable, stored."""

    @abstractmethod
    def steps(
        self, labels: Mapping[str, int], generator: torch.Generator
    ) -> Iterator[tuple[str, ...]]:
        """Yield, without end, the tasks that take part in each step.

        What can be resumed in the midst of a run returns `Turns`. A step that names no task, or
        what is none, ends the training with an error.

        Args:
            labels: Number of labelled training rows of each task, in task order.
            generator: Source of all random choices.
        """

    def follow(
        self,
        labels: Mapping[str, int],
        generator: torch.Generator,
        progress: RunProgress,  # noqa: ARG002
    ) -> Iterator[tuple[str, ...]]:
        """Yield as `steps`, for a schedule that also depends on how the run goes.

        Args:
            labels: Number of labelled training rows of each task, in task order.
            generator: Source of all random choices.
            progress: What the run is, and the losses seen in it.
        """
        return self.steps(labels, generator)

    @property
    def follows_progress(self) -> bool:
        """Whether the tasks of a step depend on how the run goes, so that `steps` does not do."""
        return type(self).follow is not Schedule.follow

    @abstractmethod
    def steps_per_epoch(self, batches: Mapping[str, int], together: int) -> int:
        """Return after how many steps the tasks have (on average) seen their rows once.

        Args:
            batches: How many batches each task's labelled rows make, in task order.
            together: How many batches the rows with a label of any task make; of the largest data
                set where tasks have their own.
        """


@dataclass(frozen=True)
class Joint(Schedule):
    """Every step trains all tasks on the weighted sum of their losses.

    Args:
        kind: What stored values call it; it has no other value.

    Source: R. Caruana, "Multitask Learning", Machine Learning 28, 1997.
    """

    kind: Literal["joint"] = "joint"

    def steps(
        self,
        labels: Mapping[str, int],
        generator: torch.Generator,  # noqa: ARG002
    ) -> Iterator[tuple[str, ...]]:
        """Yield all tasks at every step."""
        together = [tuple(labels)] * _DRAWN_AHEAD
        return Turns(lambda _: together)

    def steps_per_epoch(
        self,
        batches: Mapping[str, int],  # noqa: ARG002
        together: int,
    ) -> int:
        """Return the number of batches of the rows with any label."""
        return together


@dataclass(frozen=True)
class Alternating(Schedule):
    r"""Every step trains one task.

    With :math:`n_i` the number of labelled training rows of task i (of data that are not in memory
    all rows of its set), an order draws task i with probability proportional to
    :math:`n_i^\alpha`:

    Args:
        order: Default ``random``.

            - ``random``: all equally likely, unless `probabilities` says otherwise.
            - ``round_robin``: in turn.
            - ``proportional``: :math:`\alpha = 1`.
            - ``temperature``: :math:`\alpha = 1 / T`.
            - ``annealed``: from proportional towards uniform, :math:`\alpha = 1 - 0.8
              (e - 1) / (E - 1)` in epoch e of E.
            - ``progress``: in proportion to how fast each task's loss falls; see
              `LearningProgress`.
            - a function from the number of the step (from 0) to a task's name, or the names of
              several tasks for a joint step. It can't be stored.
        probabilities: With ``random``: pairs of (task, probability), one for each task, summing
            to 1. A mapping is accepted.
        block: Steps on a task before the next one is chosen, at least 1; default 1.
        temperature: T > 0, with ``temperature``: 1 is proportional, and large is uniform. Default
            2, the best of T5's 2, 4 and 8; multilingual BERT smooths with T = 1 / 0.7, and
            Arivazhagan et al. ("Massively Multilingual Neural Machine Translation in the Wild",
            2019) with T = 5.
        kind: What stored values call it; it has no other value.

    Raises:
        InvalidInputError: The order is unknown, a number lies outside its range, `probabilities`
            or `temperature` do not go with the order, or (when training starts) the probabilities
            or the function do not name the tasks.

    Source: Collobert & Weston, "A Unified Architecture for Natural Language Processing", ICML 2008,
        section 4 (random choice of the task at each step). Temperature: Raffel et al., "Exploring
        the Limits of Transfer Learning with a Unified Text-to-Text Transformer", JMLR 2020, section
        3.5.2; Devlin et al., multilingual BERT, 2018. Annealed: Stickland & Murray, "BERT and
        PALs", ICML 2019 (annealed sampling).
    Differs from the source: T5 also limits the number of rows that count; blocks are our addition.
    """

    # unknown keys in stored values are errors
    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    order: Order = "random"
    probabilities: tuple[tuple[str, float], ...] | None = None
    block: int = 1
    temperature: float | None = None
    kind: Literal["alternating"] = "alternating"

    def __post_init__(self) -> None:
        known = get_args(NamedOrder)
        if not callable(self.order) and self.order not in known:
            raise InvalidInputError(
                f"`order` must be one of {', '.join(known)} or a function of the step, got "
                f"{self.order!r}{closest(str(self.order), known)}"
            )
        if self.block < 1:
            raise InvalidInputError(f"`block` must be at least 1 step, got {self.block}")
        if self.order == "temperature" and self.temperature is None:
            object.__setattr__(self, "temperature", 2.0)
        if self.temperature is not None:
            if self.order != "temperature":
                raise InvalidInputError(
                    f"`temperature` goes with order 'temperature', not {self.order!r}"
                )
            if not 0 < self.temperature < math.inf:
                raise InvalidInputError(f"`temperature` must be positive, got {self.temperature}")
        if self.probabilities is not None:
            self._check_probabilities(dict(self.probabilities))

    def _check_probabilities(self, given: Mapping[str, float]) -> None:
        if self.order != "random":
            raise InvalidInputError(f"`probabilities` go with order 'random', not {self.order!r}")
        pairs = tuple((str(name), float(p)) for name, p in given.items())
        object.__setattr__(self, "probabilities", pairs)
        if any(not p >= 0 for _, p in pairs):
            raise InvalidInputError(f"`probabilities` must not be negative, got {dict(pairs)}")
        total = sum(p for _, p in pairs)
        if abs(total - 1) > 1e-6:
            raise InvalidInputError(f"`probabilities` must sum to 1, got {dict(pairs)}")

    def _chances(self, labels: Mapping[str, int]) -> list[float]:
        if self.order == "proportional":
            return [float(rows) for rows in labels.values()]
        if self.temperature is not None:
            return _smoothed(labels, 1 / self.temperature)
        if self.probabilities is None:
            return [1.0] * len(labels)
        given = dict(self.probabilities)
        for name in given:
            if name not in labels:
                raise InvalidInputError(
                    f"`probabilities` names {name!r}, which is no task{closest(name, labels)}"
                )
        missing = [name for name in labels if name not in given]
        if missing:
            raise InvalidInputError(f"`probabilities` says nothing about task {missing[0]!r}")
        return [given[name] for name in labels]

    def steps(
        self, labels: Mapping[str, int], generator: torch.Generator
    ) -> Iterator[tuple[str, ...]]:
        """Yield one task at every step.

        Raises:
            InvalidInputError: The order depends on how the run goes (``annealed``, ``progress``);
                `follow` has it.
        """
        if self.order in ("annealed", "progress"):
            raise InvalidInputError(
                f"order {self.order!r} depends on the length or the losses of the run; train with "
                f"a Trainer, or ask follow() with a RunProgress"
            )
        return Turns(self._choices(labels, generator), repeat=self.block)

    def follow(
        self, labels: Mapping[str, int], generator: torch.Generator, progress: RunProgress
    ) -> Iterator[tuple[str, ...]]:
        """Yield one task at every step of the run."""
        if self.order == "annealed":
            return Turns(self._annealed(labels, generator, progress), repeat=self.block)
        if self.order == "progress":
            return _by_progress(labels, generator, progress, repeat=self.block)
        return self.steps(labels, generator)

    @property
    def follows_progress(self) -> bool:
        """Whether the tasks of a step depend on how the run goes."""
        return self.order in ("annealed", "progress")

    def _choices(
        self, labels: Mapping[str, int], generator: torch.Generator
    ) -> Callable[[int], Sequence[tuple[str, ...]]]:
        """Return what draws the choices of a block."""
        order = self.order
        if callable(order):
            return lambda number: [checked_step(order(number * self.block), labels, "`order`")]
        if order == "round_robin":
            everything = [(name,) for name in labels]
            return lambda _: everything
        chances = self._chances(labels)
        return lambda _: _draw(labels, chances, _DRAWN_AHEAD, generator)

    def _annealed(
        self, labels: Mapping[str, int], generator: torch.Generator, progress: RunProgress
    ) -> Callable[[int], Sequence[tuple[str, ...]]]:
        """Return what draws the choices of an epoch."""
        epochs = math.ceil(progress.steps / progress.epoch_steps)

        def begun(epoch: int) -> int:
            # blocks that begin up to the end of an epoch; they need not end in it
            return math.ceil(epoch * progress.epoch_steps / self.block)

        def draw(number: int) -> Sequence[tuple[str, ...]]:
            # the run may go on after its last epoch; the chances then stay
            alpha = 1 - 0.8 * min(number, epochs - 1) / max(epochs - 1, 1)
            draws = begun(number + 1) - begun(number)
            return _draw(labels, _smoothed(labels, alpha), draws, generator)

        return draw

    def steps_per_epoch(
        self,
        batches: Mapping[str, int],
        together: int,  # noqa: ARG002
    ) -> int:
        """Return the number of batches of all tasks together."""
        return sum(batches.values())


def _smoothed(labels: Mapping[str, int], alpha: float) -> list[float]:
    return [rows**alpha for rows in labels.values()]


def _draw(
    labels: Mapping[str, int], chances: Sequence[float], draws: int, generator: torch.Generator
) -> list[tuple[str, ...]]:
    """Return as many independent choices of a task."""
    if draws < 1:
        return []
    tasks = [(name,) for name in labels]
    weights = torch.tensor(chances, dtype=torch.float64)
    drawn = torch.multinomial(weights, draws, replacement=True, generator=generator)
    return [tasks[index] for index in drawn.tolist()]


def _by_progress(
    labels: Mapping[str, int], generator: torch.Generator, progress: RunProgress, *, repeat: int
) -> Turns:
    # so that the trainer keeps losses from the first step on
    progress.losses = []
    learning = LearningProgress(labels)

    def draw(_: int) -> Sequence[tuple[str, ...]]:
        for task, loss in progress.take_losses():
            learning.see(task, loss)
        return _draw(labels, learning.chances(), _REVIEWED_EVERY, generator)

    return Turns(draw, repeat=repeat, memory=learning)


def checked_step(choice: str | Sequence[str], tasks: Collection[str], by: str) -> tuple[str, ...]:
    """Return the names of a step that code of others chose.

    Args:
        choice: A name or several.
        tasks: Those that there are.
        by: Who chose, in the words of errors.

    Raises:
        InvalidInputError: A name is none of the tasks, or there is none.
    """
    names = (choice,) if isinstance(choice, str) else tuple(choice)
    for name in names:
        if name not in tasks:
            raise InvalidInputError(
                f"{by} chose {name!r}, which is no task{closest(str(name), tasks)}"
            )
    if not names:
        raise InvalidInputError(f"{by} chose no task; return a name for every step")
    return names


@dataclass(frozen=True)
class Separate(Schedule):
    """Every task has a network of its own, trained by itself: the single-task baseline.

    A trainer sees one task at a time, so a step trains the one that it sees; `TableModel` makes a
    network for each task.

    Args:
        kind: What stored values call it; it has no other value.
    """

    kind: Literal["separate"] = "separate"

    def steps(
        self,
        labels: Mapping[str, int],
        generator: torch.Generator,  # noqa: ARG002
    ) -> Iterator[tuple[str, ...]]:
        """Yield the one task at every step.

        Raises:
            InvalidInputError: There are several tasks.
        """
        if len(labels) != 1:
            raise InvalidInputError(
                "schedule Separate() trains one task to a network; make a Trainer for each task, "
                "or use Joint() or Alternating()"
            )
        alone = [tuple(labels)] * _DRAWN_AHEAD
        return Turns(lambda _: alone)

    def steps_per_epoch(
        self,
        batches: Mapping[str, int],  # noqa: ARG002
        together: int,
    ) -> int:
        """Return the number of batches of the one task."""
        return together
