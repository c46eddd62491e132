"""How tasks' own parameters are guided: their parts of the graph are differentiated twice."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from typing import Any, TypeGuard

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from jointrain.balancing._balancer import HeadGuiding
from jointrain.balancing._call import Call
from jointrain.balancing.engine import (
    Gradients,
    Step,
    grad,
    no_gradients,
    real_view,
    refuse_sharded,
)
from jointrain.errors import InvalidInputError


def check_guiding(call: Call, balancer: HeadGuiding) -> None:
    """Check that each task's own parameters can be guided at this step.

    Raises:
        InvalidInputError: They can't.
    """
    kind = type(balancer).__name__
    if call.given.refresh_every > 1:
        raise InvalidInputError(
            f"`refresh_every={call.given.refresh_every}` is not for {kind}, which guides the heads "
            "by the gradients of each step. Leave it out."
        )
    if call.together is not None:
        if call.together.sharded:
            raise refuse_sharded(kind)
        if not call.together.agreement.alike:
            raise InvalidInputError(
                f"{kind} needs the losses of the same tasks on every process. Give each process a "
                "loss of every task, or choose another method."
            )


def guidance(
    call: Call, step: Step, balancer: HeadGuiding, mine: Gradients, weights: Tensor
) -> Gradients:
    """Return what is added to the gradients of the tasks' own parameters.

    Args:
        call: The call.
        step: The step, whose graph is still there.
        balancer: The method.
        mine: The gradients of the tasks' own parameters, with the scaler's factor.
        weights: [t].
    """
    parameters = {id(leaf.tensor) for leaf in step.parameters}
    own = [[x.tensor for x in leaves if id(x.tensor) in parameters] for leaves in step.own]
    if step.t < 2 or not any(own):
        return no_gradients()
    scales = torch.ones_like(weights) if call.task_scales is None else call.task_scales
    sent = _sent(step, balancer)
    joint, length = _joint(call, sent, weights / scales)
    found = no_gradients()
    for k, (tensors, row) in enumerate(zip(own, sent, strict=True)):
        pairs = [(g, d.to(g)) for g, d in zip(row, joint, strict=True) if _has_graph(g)]
        with _differentiable_twice(balancer):
            turn = grad(
                [g for g, _ in pairs], tensors if pairs else [], [d for _, d in pairs], retain=True
            )
        found.extend(Gradients.of(tensors if pairs else [], turn, k))
    found = step.total_own(found)
    units = length / scales
    factors = balancer.guide(
        _lengths(mine, parameters, step.t) / call.scale,
        _lengths(found, parameters, step.t) * units / call.scale,
    )
    return found.weighted(factors * units)


def _sent(step: Step, balancer: HeadGuiding) -> list[Sequence[Tensor | None]]:
    """Return what each task sends into the shared part, with its graph: [t][edge]."""
    boundary = None if step.graph.parts_inside() else step.boundary()
    roots = set(step.graph.roots)
    if boundary is None or any((e.node, e.output_nr) in roots for e in boundary.edges):
        raise InvalidInputError(
            f"{type(balancer).__name__} needs the tensors that all tasks' own parts start from, "
            "and no way around them from a loss to a shared parameter. Name them with "
            "`features=`, or choose another method."
        )
    _refuse_once_differentiable(step, balancer)
    with _differentiable_twice(balancer):
        return [
            torch.autograd.grad(loss, boundary.edges, factor, create_graph=True, allow_unused=True)
            for loss, factor in zip(step.losses, step.factors, strict=True)
        ]


def _joint(
    call: Call, sent: Sequence[Sequence[Tensor | None]], weights: Tensor
) -> tuple[list[Tensor], float]:
    """Return the direction of the joint gradient, a tensor for each edge, and its length."""
    joint = []
    for column in zip(*sent, strict=True):
        total = torch.zeros(())
        for weight, g in zip(weights.tolist(), column, strict=True):
            if g is not None:
                wide = torch.promote_types(g.dtype, torch.float32)
                total = total.to(g.device, wide) + weight * g.detach().to(wide)
        joint.append(total)
    square = torch.stack([_length(g) ** 2 for g in joint]).sum()
    if call.together is not None:
        square = call.together.agreement.ranks.add_up(square)
    length = float(square) ** 0.5
    return [g / length if length else g for g in joint], length / call.scale


def _has_graph(gradient: Tensor | None) -> TypeGuard[Tensor]:
    return gradient is not None and gradient.requires_grad


def _length(gradient: Tensor) -> Tensor:
    """Return a gradient's length in float64 on the CPU, of one of 1e-25 too."""
    found: Tensor = torch.linalg.vector_norm(real_view(gradient), dtype=torch.float64)
    return found.cpu()


def _lengths(gradients: Gradients, of: Collection[int], t: int) -> Tensor:
    """Return the length of each task's gradient by these parameters, [t], float64 on the CPU."""
    squares = torch.zeros(t, dtype=torch.float64)
    for x, value, k in zip(*gradients, strict=True):
        if id(x) in of:
            dense = value.coalesce().values() if value.is_sparse else value
            squares[k] += _length(dense) ** 2
    return squares.sqrt()


@contextlib.contextmanager
def _differentiable_twice(balancer: HeadGuiding) -> Iterator[None]:
    """Say in the user's terms which operation can be differentiated only once.

    Raises:
        InvalidInputError: There is such a one.
    """
    try:
        yield
    except RuntimeError as error:
        if not any(part in str(error) for part in _ONCE):
            raise
        raise _only_once(balancer, str(error).splitlines()[0]) from error


def _refuse_once_differentiable(step: Step, balancer: HeadGuiding) -> None:
    """Refuse what is marked so; torch takes what it gives for constant where it may."""
    for node, mask in step.graph.masks.items():
        made: Any = getattr(node, "_forward_cls", None)
        marked = getattr(getattr(made, "backward", None), "__code__", None) is _MARK
        if marked and not mask & (mask - 1):
            raise _only_once(balancer, f"{made.__name__} is marked @once_differentiable.")


def _only_once(balancer: HeadGuiding, why: str) -> InvalidInputError:
    return InvalidInputError(
        f"{type(balancer).__name__} differentiates the tasks' own parts twice, and an operation of "
        f"them can be only once: {why} Build them of others, or choose another method."
    )


_MARK = once_differentiable(id).__code__
_ONCE = ("is not implemented", "double backward", "differentiate twice")
