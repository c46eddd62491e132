"""Schedules: which tasks take part in which step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import cycle
from typing import Literal, get_args

import torch

from jointrain.errors import InvalidInputError, closest

Order = Literal["random", "round_robin", "proportional"]


class Schedule(ABC):
    """Says, step by step, which tasks are trained. A value: comparable, printable, stored."""

    @abstractmethod
    def steps(
        self, labels: Mapping[str, int], generator: torch.Generator
    ) -> Iterator[tuple[str, ...]]:
        """Yield, without end, the tasks that take part in each step.

        Args:
            labels: Number of labelled training rows of each task, in task order.
            generator: Source of all random choices.
        """

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

    Source: R. Caruana, "Multitask Learning", Machine Learning 28, 1997.
    """

    kind: Literal["joint"] = "joint"

    def steps(
        self,
        labels: Mapping[str, int],
        generator: torch.Generator,  # noqa: ARG002
    ) -> Iterator[tuple[str, ...]]:
        """Yield all tasks at every step."""
        everything = tuple(labels)
        while True:
            yield everything

    def steps_per_epoch(
        self,
        batches: Mapping[str, int],  # noqa: ARG002
        together: int,
    ) -> int:
        """Return the number of batches of the rows with any label."""
        return together


@dataclass(frozen=True)
class Alternating(Schedule):
    """Every step trains one task.

    Args:
        order: ``random`` draws each step's task, all equally likely unless `probabilities` says
            otherwise; ``round_robin`` takes them in turn; ``proportional`` draws them in proportion
            to their labelled rows. Default ``random``.
        probabilities: With ``random``: pairs of (task, probability), one for each task, summing
            to 1. A mapping is accepted.

    Raises:
        InvalidInputError: The order is unknown, or the probabilities are negative, do not sum to 1,
            do not go with the order, or (when training starts) do not name the tasks.

    Source: Collobert & Weston, "A Unified Architecture for Natural Language Processing", ICML 2008,
        section 4 (random choice of the task at each step).
    """

    order: Order = "random"
    probabilities: tuple[tuple[str, float], ...] | None = None
    kind: Literal["alternating"] = "alternating"

    def __post_init__(self) -> None:
        if self.order not in get_args(Order):
            raise InvalidInputError(
                f"`order` must be one of {', '.join(get_args(Order))}, got {self.order!r}"
                f"{closest(self.order, get_args(Order))}"
            )
        if self.probabilities is None:
            return
        if self.order != "random":
            raise InvalidInputError(f"`probabilities` go with order 'random', not {self.order!r}")
        pairs = tuple((str(name), float(p)) for name, p in dict(self.probabilities).items())
        object.__setattr__(self, "probabilities", pairs)
        if any(not p >= 0 for _, p in pairs):
            raise InvalidInputError(f"`probabilities` must not be negative, got {dict(pairs)}")
        total = sum(p for _, p in pairs)
        if abs(total - 1) > 1e-6:
            raise InvalidInputError(f"`probabilities` must sum to 1, got {dict(pairs)}")

    def _chances(self, labels: Mapping[str, int]) -> list[float]:
        if self.order == "proportional":
            return [float(count) for count in labels.values()]
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
        """Yield one task at every step."""
        tasks = [(name,) for name in labels]
        if self.order == "round_robin":
            yield from cycle(tasks)
        chances = torch.tensor(self._chances(labels), dtype=torch.float64)
        while True:
            drawn = torch.multinomial(chances, 1024, replacement=True, generator=generator)
            for index in drawn.tolist():
                yield tasks[index]

    def steps_per_epoch(
        self,
        batches: Mapping[str, int],
        together: int,  # noqa: ARG002
    ) -> int:
        """Return the number of batches of all tasks together."""
        return sum(batches.values())


@dataclass(frozen=True)
class Separate(Schedule):
    """Every task has a network of its own, trained by itself: the single-task baseline.

    A trainer sees one task at a time, so a step trains the one that it sees; `TableModel` makes a
    network for each task.
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
        return cycle([tuple(labels)])

    def steps_per_epoch(
        self,
        batches: Mapping[str, int],  # noqa: ARG002
        together: int,
    ) -> int:
        """Return the number of batches of the one task."""
        return together


AnySchedule = Joint | Alternating | Separate
"""The schedules that a recipe can hold."""
