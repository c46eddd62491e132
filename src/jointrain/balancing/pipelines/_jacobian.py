"""The pipeline of methods that see the gradients themselves, and make the update of them."""

from __future__ import annotations

import torch
from torch import Tensor

from jointrain.balancing._arguments import on_cpu
from jointrain.balancing._balanced_step import BalancedStep
from jointrain.balancing._balancer import Direction, JacobianAggregation
from jointrain.balancing._block_order import in_kept_order, note_order
from jointrain.balancing._call import Call
from jointrain.balancing.engine import (
    Gradients,
    Rows,
    no_gradients,
)
from jointrain.balancing.pipelines._parts import (
    Memory,
    Without,
    bad_own,
    check_made,
    check_sizes,
    note_lengths,
    nothing_shared,
    prepared,
    raise_if_asked,
    scale_tasks,
    write,
)
from jointrain.errors import InvalidInputError


def by_jacobian(call: Call, balancer: JacobianAggregation) -> BalancedStep | Without:
    """Show the method the gradients, and write the update that it makes of them."""
    step, losses = prepared(call, balancer)
    if not step.shared:
        return nothing_shared(call, step, losses)
    step.shared = in_kept_order(balancer, step, call.names)
    scale_tasks(call, step)
    seen = _Seen(call, balancer, losses)
    layerwise = balancer.blockwise and step.too_large()
    memory = Memory(call, may_fail=layerwise)  # it sees some before all are known
    if layerwise:
        mine = step.by_layer(seen.take, inputs=True)
        own = bad_own(call, step, mine)
    else:
        rows, mine = step.rows(ghost=False)
        own = bad_own(call, step, mine)
        seen.take(rows, fine=not own)
    if call.task_scales is not None:
        mine = mine.weighted(1 / call.task_scales)
    bad = sorted({*seen.bad(), *own})
    if bad:
        memory.restore()
    if bad and not call.may_overflow:
        raise_if_asked(call, bad)
        return Without(bad)
    note_lengths(call, seen.squares.sqrt(), bad)
    weights = None if bad else seen.first_weights()
    if not bad:
        note_order(balancer, step, call.names)
        seen.update.extend(seen.of_inputs(weights))
    write(call, balancer, step, seen.update, mine, weights)
    return call.result(losses, weights, gradient_method=step.method_used, overflow=bool(bad))


class _Seen:
    """What a method makes of the gradients that it is shown, of some parameters at a time.

    Attributes:
        update: The gradients of the shared parameters so far.
        squares: [t], the squared lengths of the tasks' gradients, summed where they are needed.
    """

    def __init__(self, call: Call, balancer: JacobianAggregation, losses: Tensor) -> None:
        self._call, self._balancer, self._losses = call, balancer, losses
        self._ones = torch.ones(len(losses), dtype=torch.float64)
        self._weights: list[Tensor | None] = []
        self._finite: list[Tensor] = []
        self._first: Rows | None = None
        self.update = no_gradients()
        self.squares = torch.zeros_like(self._ones)

    def take(self, rows: Rows, *, fine: bool = True) -> None:
        """Show these gradients to the method, or add them up if some aren't finite.

        Args:
            rows: The gradients.
            fine: Whether all others that are known, those of own parameters, are finite.
        """
        self._first = rows if self._first is None or rows.inputs else self._first
        self._finite.append(rows.finite())
        if not fine or not bool(self._finite[-1].all()):
            self.update.extend(rows.combine(self._ones))
            return
        tensors, blocks = zip(*rows.per_parameter(), strict=True)
        scale = self._call.scale
        direction = self._balancer.aggregate([self._unscaled(x) for x in blocks], self._losses)
        if not isinstance(direction, Direction):
            raise InvalidInputError(
                f"{type(self._balancer).__name__}.aggregate must return a Direction, got "
                f"{type(direction).__name__}"
            )
        wanted = [block.shape[1:] for block in blocks]
        check_sizes(self._call, "updates", list(direction.blocks), wanted)
        check_made(self._call, *direction.blocks)
        if direction.weights is not None:
            check_sizes(self._call, "weights", [direction.weights], [self._losses.shape])
            check_made(self._call, direction.weights)
        self._weights.append(direction.weights)
        values = [d * scale if self._call.scaled else d for d in direction.blocks]
        found = [
            torch.view_as_complex(value.contiguous()) if tensor.is_complex() else value
            for tensor, value in zip(tensors, values, strict=True)
        ]
        self.update.extend(rows.update(tensors, found))

    def _unscaled(self, rows: Tensor) -> Tensor:
        """Take the factors out of the gradients [t, *shape]."""
        if not self._call.scaled:
            return rows
        scales = self._call.task_scales
        if scales is None:
            return rows / self._call.scale
        factors = (scales * self._call.scale).to(rows).view(-1, *[1] * (rows.ndim - 1))
        found = rows / factors
        lengths = torch.linalg.vector_norm(found.flatten(1), dim=1)
        self.squares += lengths.cpu().double().square()
        return found

    def bad(self) -> list[int]:
        """Return the tasks whose gradients aren't finite."""
        finite = torch.stack(self._finite).all(0).tolist()
        return [k for k, ok in enumerate(finite) if not ok]

    def first_weights(self) -> Tensor | None:
        """Return the weights [t] of the first block, if the method has such."""
        found = self._weights[0] if self._weights else None
        return None if found is None else on_cpu(found)

    def of_inputs(self, weights: Tensor | None) -> Gradients:
        """Return the gradients of leaf tensors that are no parameters."""
        assert self._first is not None
        weights = self._ones if weights is None else weights
        scales = self._call.task_scales
        return self._first.of_inputs(weights if scales is None else weights / scales)
