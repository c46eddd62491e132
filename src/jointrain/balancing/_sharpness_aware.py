"""Methods that take each task's gradient at moved weights, for another method to aggregate."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from jointrain.balancing import aggregation, weighting
from jointrain.balancing._balancer import (
    Balancer,
    GramianWeighting,
    HeadGuiding,
    JacobianAggregation,
    LossWeighting,
    MovableParameters,
    Needs,
)
from jointrain.errors import InvalidInputError, closest

Row = list[Tensor]
"""A gradient or a move: one tensor for each parameter."""


class Move(NamedTuple):
    """Where a task's gradient is taken.

    Attributes:
        direction: What is added to each parameter there.
        here: The task's gradient at the parameters as they are, if the method has it.
    """

    direction: Row
    here: Row | None = None


@dataclass(frozen=True)
class Landscape:
    """The step's losses as a function of the parameters.

    Attributes:
        trained: The parameters; moves them, and differentiates by them.
        losses: t scalars with graph: the losses here, of several processes this one's part.
        again: Computes them at the parameters as they are now.
        total: Adds up the parts of all processes.
        shared: Which of the parameters are shared, by their places.
        own: Which of the others each task reaches, likewise.
    """

    trained: MovableParameters
    losses: list[Tensor]
    again: Callable[[], list[Tensor]]
    total: Callable[[Tensor], Tensor]
    shared: Sequence[int]
    own: Sequence[Sequence[int]]

    def uphill(self, gradient: Row, task: int, radius: float) -> Row:
        """Return the move of the length `radius` along a gradient.

        The shared parameters' move has that length, and so has that of the task's own ones.
        """
        found = [torch.zeros_like(g) for g in gradient]
        for group in (self.shared, self.own[task]):
            if group:
                lengths = [torch.linalg.vector_norm(gradient[i]) for i in group]
                scale = radius / (torch.linalg.vector_norm(torch.stack(lengths)) + 1e-12)
                for i in group:
                    found[i] = gradient[i] * scale
        return found


class SharpnessAware(Balancer):
    """Take each task's gradient at parameters of its own nearby; another method aggregates them.

    A method says by :meth:`moves` where. The tasks' own parameters get the gradients that are
    taken there, too. The losses have to be computed again there, with the same random numbers:
    `backward` takes them as a function.

    Attributes:
        balancer: What aggregates: the weights or the update are its.
        aggregates: The kinds of methods that can.
    """

    needs = Needs.NEARBY
    aggregates: ClassVar[tuple[type[Balancer], ...]] = (
        LossWeighting,
        GramianWeighting,
        JacobianAggregation,
    )
    equivariant = False
    plain_for_one_task = False
    non_negative = False
    scale_free = False

    def __init__(self, balancer: Balancer | str, *, seed: int = 0) -> None:
        super().__init__(seed=seed)
        self.balancer = self._aggregator(balancer)

    @abstractmethod
    def moves(self, landscape: Landscape) -> Iterator[Move]:
        """Yield for each task where its gradient is to be taken; called once a step."""

    def aggregations(self, here: list[Row], there: list[Row]) -> list[tuple[Balancer, list[Row]]]:
        """Return which method aggregates which gradients; the update is the sum of theirs.

        Args:
            here: The tasks' gradients at the parameters as they are, [t], where `moves` gave them.
            there: Those at the moved parameters, [t].
        """
        del here
        return [(self.balancer, there)]

    def _aggregator(self, given: Balancer | str) -> Balancer:
        if isinstance(given, str):
            known = {
                cls.name: cls
                for package in (weighting, aggregation)
                for cls in package.METHODS.values()
                if self._can_aggregate(cls)
                if all(p.default is not p.empty for p in inspect.signature(cls).parameters.values())
            }
            if given not in known:
                raise InvalidInputError(
                    f"`balancer` must be one of {sorted(known)}, got {given!r}"
                    f"{closest(given, known)}."
                )
            made: Balancer = known[given]()
            return made
        if not self._can_aggregate(type(given)):
            kinds = " or ".join(kind.__name__ for kind in self.aggregates)
            raise InvalidInputError(
                f"`balancer` must be a {kinds} without further batches, got {given!r}. "
                f'{type(self).__name__}("upgrad") is one.'
            )
        return given

    def _can_aggregate(self, cls: type) -> bool:
        return (
            issubclass(cls, self.aggregates)
            and not cls.extra_batches
            and not issubclass(cls, HeadGuiding)
        )

    # --- what the aggregating methods keep -------------------------------------------------------

    # what other methods say of their class, an instance of these says of its aggregator
    task_state: ClassVar[Any] = property(attrgetter("balancer.task_state"))
    wants_after_step: ClassVar[Any] = property(attrgetter("balancer.wants_after_step"))
    wants_end_epoch: ClassVar[Any] = property(attrgetter("balancer.wants_end_epoch"))

    @property
    def told_of_tasks(self) -> bool:
        """Whether it was built with something for each task."""
        return self.balancer.told_of_tasks

    def _aggregators(self) -> Iterator[Balancer]:
        return (child for child in self.children() if isinstance(child, Balancer))

    def allocate(self, n_tasks: int) -> None:  # noqa: ARG002
        """Let the aggregating methods know the tasks."""
        for one in self._aggregators():
            one.bind(self.task_names)

    def reset(self) -> None:
        """Set all state back to what it was after construction."""
        super().reset()
        for one in self._aggregators():
            one.reset()

    def after_step(self, losses: Tensor) -> None:
        """Show the aggregating methods the losses [t] after the step."""
        present = self.present(len(losses))
        for one in self._aggregators():
            one.mean_over_processes = self.mean_over_processes
            with one.taking_part(present):
                one.after_step(losses)

    def end_epoch(self) -> None:
        """Tell the aggregating methods that an epoch is over."""
        for one in self._aggregators():
            one.end_epoch()
