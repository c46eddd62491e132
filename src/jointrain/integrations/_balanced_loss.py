"""BalancedLoss: several losses as one scalar whose backward pass is the balanced one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from jointrain.balancing import BalancedStep, Balancer, Needs, backward
from jointrain.balancing.engine import several_processes
from jointrain.errors import InvalidInputError, NonFiniteError


class BalancedLoss:
    """Turns the losses of a step into one scalar; its ``backward()`` fills balanced gradients.

    Where a framework computes a loss here and calls ``backward`` on it there, this carries the
    losses from here to there. The scalar's value is the sum of the losses. What the framework does
    to it in between, such as division by the number of accumulated batches or gradient scaling,
    reaches the gradients, and the balancer sees the losses as they were. ``backward(inputs=...)``
    fills nothing, since autograd does not call what leads to other tensors: leave ``inputs`` out.

    Args:
        balancer: The method; default the plain sum.
        tasks: Names of all tasks, for a balancer that remembers something of each; default those
            of the first step, which will do where every step trains all of them.
        learning_rate: Learning rate of the balancer's own parameters, if it has any, which Adam
            trains at each backward pass; default 1e-3.
        options: More arguments of `jointrain.balancing.backward`, such as ``refresh_every``,
            ``accumulate`` or ``process_group``.

    Attributes:
        last: What the last backward pass did; None before the first.

    Raises:
        InvalidInputError: The balancer is none, or one that computes the losses again.
    """

    def __init__(
        self,
        balancer: Balancer | None = None,
        *,
        tasks: Sequence[str] | None = None,
        learning_rate: float = 1e-3,
        **options: Any,
    ) -> None:
        if not isinstance(balancer, Balancer | None):
            raise InvalidInputError(
                f"`balancer` must be a Balancer, got {balancer!r}; `balancer_from_name` builds one"
            )
        if balancer is not None and balancer.needs is Needs.NEARBY:
            raise InvalidInputError(
                f"{type(balancer).__name__} computes a step's losses again, which are only carried "
                "here. Train it by `jointrain.Trainer`, or by `backward` in a loop of your own"
            )
        self.balancer = balancer
        self.last: BalancedStep | None = None
        self._options = options
        self._learning_rate = learning_rate
        self._optimizer: torch.optim.Optimizer | None = None
        self._before: dict[str, Any] | None = None
        self._bound = False
        self._kept: list[tuple[Any, int]] = []
        if tasks is not None:
            self._bind(tasks)

    def _bind(self, tasks: Sequence[str]) -> None:
        """Let the balancer know the tasks, and make the optimiser of its own parameters."""
        self._bound = True
        if self.balancer is None:
            return
        if self.balancer.task_state:
            self.balancer.bind(tuple(tasks))
        learned = list(self.balancer.parameters())
        if learned:
            self._optimizer = torch.optim.Adam(learned, lr=self._learning_rate)

    def __call__(
        self,
        losses: Mapping[str, Tensor],
        *,
        penalty: Tensor | None = None,
        module: nn.Module | None = None,
        rows: Mapping[str, float] | None = None,
        batches: int = 1,
        scaler: Any = None,
    ) -> Tensor:
        """Return the scalar.

        Args:
            losses: The loss of each task that takes part in the step; none on a process that has
                no task's label.
            penalty: What the network itself adds to the loss, see `Network.penalty`; no balancer
                weighs it.
            module: Over several processes, the module that holds all parameters.
            rows: Over several processes, in how many rows each task has a label on this one.
            batches: Over how many batches the framework accumulates gradients, whose scalars it
                divides by that number; matters with ``accumulate="exact"``.
            scaler: The ``GradScaler`` that is to multiply the scalar, if one is. What isn't finite
                is left to it, which skips the step; without one it raises.

        Shape:
            losses: [] each. returns: [].
        """
        values = [*losses.values(), *([] if penalty is None else [penalty])]
        total = torch.zeros(())
        if values:
            total = torch.stack([value.detach() for value in values]).sum()
        elif module is not None:
            total = total.to(next(module.parameters()).device)
        needed = any(value.requires_grad for value in values) or not values
        if not torch.is_grad_enabled() or not needed:
            return total
        # the node of this leaf is all of the scalar's graph: the losses keep their own
        anchor = total.clone().requires_grad_()
        carried = Carried(self, losses, penalty, module, rows, batches, scaler)
        scalar: Tensor = _Carry.apply(anchor, carried)  # type: ignore[no-untyped-call]
        return scalar

    def backward(self, carried: Carried, scale: float) -> None:
        """Fill the gradients, multiplied by `scale`; the scalar's backward pass calls it."""
        if self._optimizer is not None:
            self._set_back(self._optimizer)
            self._optimizer.zero_grad()
        losses = carried.losses
        if carried.batches > 1 and self._options.get("accumulate") == "exact":
            # the balancer is to see the mean loss of the batches, of which this is a part
            losses = {name: loss / carried.batches for name, loss in losses.items()}
            scale *= carried.batches
        skips_steps = carried.scaler is not None and carried.scaler.is_enabled()
        # as of a warm-up from 0: gradients times 0 have no directions to be compared
        balancer = None if scale == 0 else self.balancer
        try:
            self.last = backward(
                losses,
                balancer,
                scaler=_Scale(scale, skips_steps) if skips_steps or scale != 1 else None,
                penalty=carried.penalty,
                module=carried.module,
                rows=carried.rows,
                **self._options,
            )
        except NonFiniteError as error:
            if scale <= 1 or carried.scaler is not None:
                raise  # batches that are accumulated divide it
            raise NonFiniteError(
                f"{error} If a `GradScaler` is to skip such steps, name it where the scalar is "
                "made: `balanced(losses, scaler=scaler)`."
            ) from error
        if not self._bound:
            # only now, since other processes may have brought other tasks
            known = None if self.balancer is None else self.balancer.task_names
            self._bind(known or self.last.tasks)
        if self._optimizer is not None:
            for group in self._optimizer.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None and scale != 1:
                        parameter.grad.div_(scale)
            self._optimizer.step()

    def _set_back(self, optimizer: torch.optim.Optimizer) -> None:
        """Let a step over several batches move the balancer's parameters once."""
        if self._options.get("accumulate") != "exact" or self.balancer is None:
            return
        kept = self.balancer.accumulated
        if kept is not None and kept.goes_on() and self._before is not None:
            optimizer.load_state_dict(self._before)
        self._before = copy.deepcopy(optimizer.state_dict())

    def check_accumulation(self, batches: int) -> None:
        """Refuse that a framework accumulates several batches where that isn't the same method.

        Raises:
            InvalidInputError: The balancer compares gradients, and it wasn't said whether it is
                to do so for each batch or for all of a step, or it learns after steps of several
                batches over several processes.
        """
        weighs = self.balancer is None or self.balancer.needs is Needs.LOSSES
        if batches > 1 and not weighs and self._options.get("accumulate") is None:
            raise InvalidInputError(
                f"{batches} batches a step are accumulated, and {type(self.balancer).__name__} "
                "compares gradients: balancing each batch is another method than balancing all of "
                'them. Pass `BalancedLoss(..., accumulate="exact")` or `"per-batch"`.'
            )
        exact = self._options.get("accumulate") == "exact"
        several = several_processes() and dist.get_world_size() > 1
        if batches > 1 and exact and self.wants_after_step and several:
            raise InvalidInputError(
                f"{type(self.balancer).__name__} learns from the losses after a step, which over "
                f"several processes aren't known for {batches} batches a step. Take larger "
                'batches, or pass `BalancedLoss(..., accumulate="per-batch")`.'
            )

    @property
    def wants_after_step(self) -> bool:
        """Whether `after_step` is to be called."""
        return self.balancer is not None and self.balancer.wants_after_step

    @torch.no_grad()
    def after_step(self, losses: Mapping[str, Tensor]) -> None:
        """Show the balancer the losses of the same batch at the new weights.

        With ``accumulate="exact"``, the mean losses of all batches of the step.
        """
        if self.balancer is None or self.last is None or self.last.overflow:
            return  # a scaler skips a step that overflowed
        if self.balancer.mean_over_processes is not None:
            # tasks that only other processes have count for nothing here
            nothing = torch.zeros(())
            losses = {name: losses.get(name, nothing) for name in self.last.tasks}
        names = tuple(name for name in self.last.tasks if name in losses)
        if not names:
            return
        values = [losses[name] for name in names]
        with self.balancer.taking_part(self.balancer.positions_of(names)):
            self.balancer.after_step(torch.stack([x.to(values[0].device) for x in values]))

    def keep(self, batch: Any, batches: int = 1) -> None:
        """Keep a batch for `after_step_on`, if the balancer learns after steps.

        Args:
            batch: The batch whose scalar's backward pass was the last one.
            batches: As it was for the scalar.
        """
        if not self.wants_after_step:
            return
        if self._options.get("accumulate") != "exact":
            self._kept, batches = [], 1  # the balancer has seen the last batch by itself
        self._kept.append((batch, batches))

    @torch.no_grad()
    def after_step_on(self, losses_of: Callable[[Any], Mapping[str, Tensor]]) -> None:
        """Call `after_step` with the losses of the batches that were kept since the last step."""
        kept, self._kept = self._kept, []
        if not kept or self.last is None or self.last.overflow:
            return
        found: dict[str, Tensor] = {}
        for batch, batches in kept:
            for name, loss in losses_of(batch).items():
                part = loss if batches == 1 else loss / batches
                found[name] = found[name] + part if name in found else part
        self.after_step(found)

    def forget(self) -> None:
        """Forget the batches of a step that was not made."""
        self._kept = []

    def end_epoch(self) -> None:
        """Tell the balancer that an epoch is over."""
        if self.balancer is not None and self.balancer.wants_end_epoch:
            self.balancer.end_epoch()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the balancer and of its optimiser, its kind, and the tasks."""
        return {
            "kind": self._kind,
            "tasks": None if self.balancer is None else self.balancer.task_names,
            "balancer": {} if self.balancer is None else self.balancer.state_dict(),
            "optimizer": {} if self._optimizer is None else self._optimizer.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set the state to what `state_dict` gave.

        Raises:
            InvalidInputError: It is that of another balancer.
        """
        # older states don't say of which balancer they are
        kind = state.get("kind", self._kind)
        if kind != self._kind:
            raise InvalidInputError(
                f"The saved state is that of {_in_words(kind)}, and here is {_in_words(self._kind)}"
                ". Give `BalancedLoss` the same balancer, or leave the saved state out."
            )
        if self.balancer is None and state["balancer"]:
            raise InvalidInputError(_OTHER.format(_in_words(None)))
        if self.balancer is not None:
            if state["tasks"] is not None:
                self._bind(state["tasks"])
            try:
                self.balancer.load_state_dict(state["balancer"])
            except RuntimeError as error:
                raise InvalidInputError(_OTHER.format(_in_words(self._kind))) from error
        if self._optimizer is not None:
            self._optimizer.load_state_dict(state["optimizer"])

    @property
    def _kind(self) -> str | None:
        return None if self.balancer is None else type(self.balancer).__name__


_OTHER = (
    "The saved state is not that of {}. Give `BalancedLoss` the balancer that it was saved with, "
    "or leave the saved state out."
)


def _in_words(kind: str | None) -> str:
    return "the plain sum" if kind is None else kind


@dataclass
class Carried:
    """What the backward pass of the scalar needs."""

    owner: BalancedLoss
    losses: Mapping[str, Tensor]
    penalty: Tensor | None
    module: nn.Module | None
    rows: Mapping[str, float] | None
    batches: int
    scaler: Any


class _Carry(torch.autograd.Function):
    """A scalar whose backward pass is that of the losses."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, carried: Carried) -> Tensor:
        ctx.carried = carried
        return anchor.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None]:
        carried = ctx.carried
        with torch.enable_grad():
            carried.owner.backward(carried, float(gradients[0]))
        return None, None


class _Scale:
    """Says by what the gradients are to be multiplied, as a ``GradScaler`` does.

    Args:
        scale: The factor.
        skips_steps: Whether a ``GradScaler`` skips steps whose gradients aren't finite.
    """

    def __init__(self, scale: float, skips_steps: bool) -> None:
        self._scale = scale
        self.skips_steps = skips_steps

    def scale(self, losses: Tensor) -> Tensor:
        """Return the losses, multiplied."""
        return losses * self._scale

    def is_enabled(self) -> bool:
        """Return whether there is a factor."""
        return True
