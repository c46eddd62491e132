"""A call to `backward` once its arguments are checked, and the tasks that take part in it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from jointrain.balancing._accumulation import Accumulated, AccumulatedStep, refuse_gradients_before
from jointrain.balancing._arguments import (
    Losses,
    checked_losses,
    losses_of,
    on_cpu,
    stacked,
    without_infinite,
)
from jointrain.balancing._balanced_step import BalancedStep
from jointrain.balancing._balancer import Balancer, LossWeighting
from jointrain.balancing._meeting import labelled, meet
from jointrain.balancing._processes import Arguments, Together
from jointrain.balancing._recomputed import Draws
from jointrain.balancing.engine import (
    Gradients,
    Step,
    add_to_grad,
    grad,
    no_gradients,
    prepare,
    several_processes,
    walk,
)
from jointrain.errors import NonFiniteError


@dataclass
class Call:
    """A call to :func:`backward`: its arguments, the tasks of the step, what is known so far.

    Attributes:
        given: The arguments of `backward`, checked.
        balancer: The method, or the one that a sharpness-aware method lets aggregate.
        names: The tasks of the step.
        values: Their losses with graph, [t] scalars; of several processes those here.
        vector: The same as one tensor, [t].
        numbers: [t], float64 on the CPU: the losses, of several processes over all their rows.
        skipped: The tasks that were left out as their loss or gradient isn't finite.
        together: The step of several processes; None where this one takes it by itself.
        scale: What the gradients are multiplied by.
        scaled: Whether they are multiplied.
        may_overflow: Whether what isn't finite is left to a scaler, which skips the step.
        draws: The random numbers of before the losses, where those were given as a function.
        accumulated: The gradients of the tasks, where they are known already; None if they are to
            be computed.
        task_scales: [t], what the tasks' gradients are multiplied by besides; None for nothing.
        of_penalty: The gradient of the penalty, once it is computed.
        held: Where gradients are put in place of `.grad`; None for `.grad`.
    """

    given: Arguments
    balancer: Balancer
    names: tuple[str, ...]
    values: list[Tensor]
    vector: Tensor
    numbers: Tensor
    skipped: tuple[str, ...]
    together: Together | None
    scale: float
    scaled: bool
    may_overflow: bool
    draws: Draws | None = None
    accumulated: Accumulated | None = None
    task_scales: Tensor | None = None
    of_penalty: Gradients | None = None
    held: list[Gradients] | None = None

    def without(self, bad: Sequence[int]) -> Call:
        """Return the call without the tasks at these positions."""
        keep = [k for k in range(len(self.names)) if k not in bad]
        values = [self.values[k] for k in keep]
        return replace(
            self,
            names=tuple(self.names[k] for k in keep),
            values=values,
            vector=stacked(values) if keep else self.vector[:0],
            numbers=self.numbers[keep],
            skipped=self.skipped + tuple(self.names[k] for k in bad),
            together=None if self.together is None else self.together.without(bad),
            task_scales=None,
        )

    def of_weighted(self, weights: Tensor, tensors: Sequence[Tensor], *, keep: bool) -> Gradients:
        """Return the weighted losses' gradients of these parameters."""
        retain = keep or self.given.retain_graph
        if self.accumulated is not None:
            step = self.step()
            step.factors = self.factors()
            return step.weighted(weights, own=True, weigh_own=True)
        if self.together is not None:
            return self.together.of_weighted(weights, tensors, self.scale, retain=retain)
        start = (weights * self.scale).to(self.vector)
        return Gradients.of(tensors, grad([self.vector], tensors, [start], retain=retain))

    def everywhere(self, ok: bool) -> bool:
        """Return whether it is so on every process."""
        return ok if self.together is None else bool(self.together.agreement.ranks.least(ok))

    def anywhere(self, bad: set[int]) -> set[int]:
        """Return the tasks that are in the set on some process."""
        if self.together is None:
            return bad
        flags = [float(k in bad) for k in range(len(self.names))]
        found = self.together.agreement.ranks.gather(flags)
        return {k for k in range(len(self.names)) if any(row[k] for row in found)}

    def add_to_grad(self, *found: Gradients, foreign: Sequence[Tensor] = ()) -> None:
        """Add these and the penalty's gradient to `.grad`, all at once: hooks run on the whole."""
        whole = no_gradients()
        for part in found:
            whole.extend(part)
        if self.held is not None:
            self.held.append(whole)
            return
        if self.of_penalty is not None:
            whole.extend(self.of_penalty)
        add_to_grad(whole, foreign)

    def check_penalty(self) -> None:
        """Check that the penalty is finite.

        Raises:
            NonFiniteError: It isn't, on some process.
        """
        if self.given.penalty is None or self.may_overflow:
            return
        value = float(self.given.penalty.detach())
        if not self.everywhere(math.isfinite(value)):
            raise NonFiniteError(
                f"`penalty` is {value}, here or on another process. Lower the learning rate, or "
                "look for a root or a logarithm of zero in it."
            )

    def take_penalty(self) -> None:
        """Compute the gradient of the penalty, before the losses' passes use up a common graph.

        Raises:
            NonFiniteError: It is NaN or infinite.
        """
        penalty = self.given.penalty
        if penalty is None or self.of_penalty is not None:
            return
        if self.together is not None:
            found = self.together.of_penalty(self.scale)
        else:
            graph, of_losses = walk([penalty]), walk(self.values).children
            common = any(below and node in of_losses for node, below in graph.children.items())
            tensors = [leaf.tensor for leaf in graph.leaves]
            start = torch.full_like(penalty, self.scale)
            retain = self.given.retain_graph or common
            found = Gradients.of(tensors, grad([penalty], tensors, [start], retain=retain))
        if not self.may_overflow and not found.finite():
            raise NonFiniteError(
                "The gradient of `penalty` is NaN or infinite though it is finite itself. Look for "
                "a root or a logarithm of zero in it."
            )
        self.of_penalty = found

    def again(self, closure: Callable[[], Losses], name: str) -> list[Tensor]:
        """Return the losses that a closure gives for the step's tasks."""
        if self.together is None:
            return losses_of(closure, self.names, name)
        with self.together.agreement.ranks.all_or_none():
            return losses_of(closure, self.names, name)

    def step(self) -> Step:
        """Return the step of this process, or that of all of them, without factors."""
        if self.accumulated is not None:
            return AccumulatedStep.of(self.accumulated, self.names, self.vector.device)
        if self.together is not None:
            step: Step = self.together.step()
        else:
            given = self.given
            step = prepare(self.values, shared=given.shared, own=given.own, features=given.features)
        if self.given.accumulate is None and not isinstance(self.balancer, LossWeighting):
            refuse_gradients_before(step.shared)
        return step

    def result(self, losses: Tensor, weights: Tensor | None, **more: Any) -> BalancedStep:
        """Return what the step did."""
        weights = None if weights is None else on_cpu(weights)
        return BalancedStep(self.names, weights, losses, skipped=self.skipped, **more)

    def factors(self) -> list[Tensor]:
        """Return for each loss, [t] scalars, the scaler's factor times its share of rows here."""
        if self.together is not None:
            factors = (self.scale * self.together.shares).unbind()
            return [f.to(v) for f, v in zip(factors, self.together.values, strict=True)]
        device = self.vector.device
        kinds = {v.dtype for v in self.values}
        by_dtype = {kind: torch.full((), self.scale, dtype=kind, device=device) for kind in kinds}
        return [by_dtype[v.dtype] for v in self.values]


class Tasks(NamedTuple):
    """The tasks of a step, as those of a `Call`; none, and why, if there is nothing to do.

    Attributes:
        overflow: Whether a loss isn't finite and the scaler is to skip the step.
        gradient_method: Why there is nothing to do.
    """

    names: tuple[str, ...]
    values: list[Tensor]
    vector: Tensor
    numbers: Tensor
    skipped: tuple[str, ...] = ()
    together: Together | None = None
    overflow: bool = False
    gradient_method: str = ""


def tasks_of_step(
    losses: Losses, balancer: Balancer, arguments: Arguments, may_overflow: bool
) -> Tasks:
    """Return the tasks that have a label and a finite loss, on this process or on any."""
    together = meet(losses, balancer, arguments) if several_processes() else None
    nothing = torch.zeros(0)
    if together is not None:
        names, values = together.agreement.names, together.values
        vector = stacked(values) if values else nothing
        numbers = together.agreement.losses
    else:
        if arguments.rows is not None:
            losses = labelled(losses, arguments.rows)
            if not losses:
                return Tasks((), [], nothing, nothing, gradient_method="no task has a label")
        names, values, vector = checked_losses(losses)
        numbers = on_cpu(vector)
    if not names:
        return Tasks((), [], nothing, nothing, gradient_method="no task has a label")
    fine = list(map(math.isfinite, numbers.tolist()))
    if all(fine):
        return Tasks(names, values, vector, numbers, (), together)
    policy = arguments.non_finite
    if may_overflow and (policy == "raise" or not any(fine)):
        return Tasks(names, values, vector, numbers, (), together, overflow=True)
    names, values, skipped = without_infinite(names, values, numbers, fine, policy)
    if not values:
        return Tasks((), [], nothing, nothing, skipped, gradient_method="all skipped")
    bad = [k for k, ok in enumerate(fine) if not ok]
    together = None if together is None else together.without(bad)
    return Tasks(names, values, stacked(values), numbers[fine], skipped, together)
