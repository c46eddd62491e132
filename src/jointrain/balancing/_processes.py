"""A step that several processes take together: what each brings, and what all make of it."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from jointrain.balancing._arguments import Losses, stacked
from jointrain.balancing._balancer import BilevelProblem, MovableParameters
from jointrain.balancing.engine import (
    Agreement,
    DistributedStep,
    Gradients,
    Group,
    ShardedStep,
    Step,
    add_to_grad,
    distributed,
    divisor,
    grad,
    no_gradients,
    parameters_of,
    refuse_sharded,
    sharded,
    sum_after_pass,
    sum_during_pass,
    sum_gradients,
)

RowCounts = Mapping[str, float] | Sequence[float] | float
"""In how many rows each task has a label: by name, in the order of the losses, or for all."""


_held_back: weakref.WeakSet[DistributedDataParallel] = weakref.WeakSet()
"""Wrappers under whose `no_sync` passes have been taken since the last one that sent."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The arguments of a call to `backward`, checked; all but losses, balancer and scaler.

    Attributes:
        group: `process_group`.
        train: Where `losses` is a function, that by default.

    The others have the names that `backward` documents.
    """

    shared: list[Tensor] | None
    own: list[Tensor] | None
    features: list[Tensor] | None
    compare_at: str
    refresh_every: int
    gradient_method: str
    non_finite: str
    extra: Callable[[], Losses] | None
    train: Callable[[], Losses] | None
    held_out: Callable[[], Losses] | None
    retain_graph: bool
    memory_limit: int | None
    penalty: Tensor | None
    module: nn.Module | None
    group: Group
    rows: RowCounts | None
    accumulate: str | None


@dataclass(frozen=True)
class Together:
    """A step of several processes.

    Attributes:
        agreement: What they agree on.
        values: This process's losses of the tasks of the agreement, [t]; a leaf that reaches no
            parameter where it has none.
        arguments: How `backward` was called.
        ready: The step of this process alone, if it has all tasks.
        inputs: Leaf tensors of this process's graph that are no parameters.
        custom: Whether that graph has operations that aren't torch's own.
    """

    agreement: Agreement
    values: list[Tensor]
    arguments: Arguments
    ready: Step | None
    inputs: list[Tensor]
    custom: bool

    @property
    def shares(self) -> Tensor:
        """What part of each task's rows is on this process, [t], float64."""
        return torch.tensor(self.agreement.shares, dtype=torch.float64)

    @property
    def sharded(self) -> bool:
        """Whether the parameters are shards of `fully_shard`."""
        return self.agreement.replicas.sharded is not None

    def without(self, bad: Sequence[int]) -> Together:
        """Return it without the tasks at these positions."""
        values = [v for k, v in enumerate(self.values) if k not in bad]
        return replace(self, agreement=self.agreement.without(bad), values=values, ready=None)

    def step(self) -> DistributedStep | ShardedStep:
        """Return the step, without factors."""
        arguments = self.arguments
        named_shared = arguments.shared is not None or arguments.features is not None
        if self.sharded:
            return sharded(
                self.values, self.agreement, shared_named=named_shared, own=arguments.own
            )
        return distributed(
            self.ready,
            self.values,
            self.agreement,
            shared_named=named_shared,
            own=arguments.own,
            features=arguments.features if self.agreement.alike else None,
        )

    def step_of(self, values: list[Tensor], scale: float) -> Step:
        """Return the step of other losses of the same tasks, with as many rows on each process."""
        if self.sharded:
            raise refuse_sharded("extra=")
        step = replace(self, values=values, ready=None).step()
        share = scale / self.agreement.ranks.size
        step.factors = [torch.full_like(v.detach(), share) for v in values]
        return step

    def one_pass(self, weights: Tensor, scale: float, *, retain: bool) -> None:
        """Fill `.grad` with the gradient of the weighted losses and of the penalty.

        `DistributedDataParallel` does its own sums where every parameter of it takes part: it
        sends while the pass is still under way.
        """
        penalty = self.arguments.penalty
        if self._by_wrapper():
            outputs = [stacked(self.values)]
            divided = divisor(self.agreement) if self.sharded else self.agreement.ranks.size
            starts = [weights * self.shares * (scale * divided)]
            if penalty is not None:
                outputs.append(penalty)
                starts.append(torch.tensor(scale, dtype=torch.float64))
            pairs = zip(starts, outputs, strict=True)
            torch.autograd.backward(outputs, [s.to(x) for s, x in pairs], retain)
            self._note_held_back()
            return
        places = [place.tensor for place in self.agreement.places]
        found = self.of_weighted(weights, places, scale, retain=retain or penalty is not None)
        found.extend(self.of_penalty(scale))
        add_to_grad(found)

    def of_weighted(
        self, weights: Tensor, tensors: Sequence[Tensor], scale: float, *, retain: bool
    ) -> Gradients:
        """Return the weighted losses' gradients of these parameters, summed.

        Leaf tensors of this process's graph that are no parameters get theirs as well.
        """
        if self.sharded:
            return self._of_weighted_shards(weights, scale)
        self._send_held_back()
        factors = (weights * self.shares * scale).unbind()
        starts = [f.to(v) for f, v in zip(factors, self.values, strict=True)]
        # an operation of another's making may itself send something, or take a pass
        early = self.agreement.alike and not self.custom
        summed = sum_during_pass if early else sum_after_pass
        total, of_inputs = summed(
            self.agreement, self.values, tensors, self.inputs, starts, retain=retain
        )
        result = Gradients.of(tensors, total)
        result.extend(Gradients.of(self.inputs, of_inputs))
        return result

    def _of_weighted_shards(self, weights: Tensor, scale: float) -> Gradients:
        step = self.step()
        step.factors = [(s * scale).to(v) for s, v in zip(self.shares, self.values, strict=True)]
        step.retain_graph = True
        return step.weighted(weights, own=True, weigh_own=True)

    def of_penalty(self, scale: float) -> Gradients:
        """Return the gradient of the penalty, the mean over the processes."""
        penalty, ranks = self.arguments.penalty, self.agreement.ranks
        if penalty is None:
            return no_gradients()
        bit = len(self.agreement.names)
        wanted = [p.tensor for p in self.agreement.places if p.mask >> bit & 1]
        start = torch.full_like(penalty, scale / ranks.size)
        found = grad([penalty], wanted, [start], retain=True)
        return Gradients.of(wanted, sum_gradients(self.agreement, wanted, found))

    def _by_wrapper(self) -> bool:
        wrapper = self.agreement.replicas.wrapper
        if self.sharded:
            return True
        if wrapper is None or not (self.agreement.alike and all(self.agreement.present)):
            return False
        held = sum(1 for p in parameters_of(wrapper) if p.requires_grad)
        return held == len(self.agreement.places)

    def _note_held_back(self) -> None:
        """Note whether the wrapper has left gradients of this process alone, as `no_sync` wants."""
        wrapper = self.agreement.replicas.wrapper
        if wrapper is None:
            return
        # the one of them that counts is what held when the losses were computed
        if wrapper.require_backward_grad_sync and wrapper.require_forward_param_sync:
            _held_back.discard(wrapper)
        else:
            _held_back.add(wrapper)

    def _send_held_back(self) -> None:
        """Make gradients that the wrapper has held back those of all processes.

        It would send them with the next pass of its own. What is the same everywhere stays so.
        """
        wrapper, ranks = self.agreement.replicas.wrapper, self.agreement.ranks
        if wrapper is None or wrapper not in _held_back:
            return
        _held_back.discard(wrapper)
        held = [p for p in parameters_of(wrapper) if p.grad is not None]
        dense = [p.grad for p in held if p.grad is not None and not p.grad.is_sparse]
        ranks.sum_in_place(dense)
        with torch.no_grad():
            for gradient in dense:
                gradient.div_(ranks.size)
        for table in held:
            if table.grad is not None and table.grad.is_sparse:
                table.grad = ranks.sum_sparse(table.grad.coalesce()) / ranks.size

    # --- bilevel methods -------------------------------------------------------------------------

    def mean(self, values: Tensor, *, same_rows: bool = True) -> Tensor:
        """Return the losses [t] over all rows; their gradient is this process's part.

        Args:
            values: This process's losses.
            same_rows: Whether they are those of the step's batch; else every process has as many
                rows.
        """
        size = self.agreement.ranks.size
        shares = self.shares if same_rows else torch.full_like(self.shares, 1 / size)
        found: Tensor = _Mean.apply(values, shares.to(values), self.agreement)  # type: ignore[no-untyped-call]
        return found

    def problem(
        self,
        parameters: Sequence[Tensor],
        train: Callable[[], Tensor],
        held_out: Callable[[], Tensor],
    ) -> BilevelProblem:
        """Return the bilevel problem whose losses and gradients are those of all processes."""
        if self.sharded:
            raise refuse_sharded("held_out=")
        return _Problem(
            self.agreement,
            self.mean(stacked(self.values)),
            parameters,
            lambda: self.mean(train()),
            lambda: self.mean(held_out(), same_rows=False),
        )

    def parameters(self, parameters: Sequence[Tensor]) -> MovableParameters:
        """Return parameters by which losses are differentiated on all processes."""
        if self.sharded:
            raise refuse_sharded("train=")
        return _Parameters(self.agreement, parameters)


class _Mean(torch.autograd.Function):
    """The sum over the processes of the losses times their shares."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, shares: Tensor, agreement: Agreement) -> Tensor:
        ctx.save_for_backward(shares)
        present = torch.tensor(agreement.present, device=values.device)
        return agreement.ranks.add_up(torch.where(present, values.detach() * shares, 0.0))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (shares,) = ctx.saved_tensors
        return gradients[0] * shares, None, None


class _Parameters(MovableParameters):
    """Parameters whose gradients are summed over the processes."""

    def __init__(self, agreement: Agreement, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._agreement = agreement

    def gradient(self, scalar: Tensor, *, retain_graph: bool = False) -> list[Tensor]:
        """Return the gradient of `scalar` by all parameters, over the rows of all processes."""
        found = grad([scalar], self.parameters, [torch.ones_like(scalar)], retain=retain_graph)
        return sum_gradients(self._agreement, self.parameters, found)


class _Problem(_Parameters, BilevelProblem):
    """A bilevel problem whose gradients are summed over the processes."""
