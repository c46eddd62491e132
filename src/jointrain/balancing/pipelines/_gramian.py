"""The pipeline of methods that weigh by a Gramian: compare, weigh, combine."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from jointrain.balancing._balanced_step import BalancedStep
from jointrain.balancing._balancer import GramianWeighting, HeadGuiding
from jointrain.balancing._call import Call
from jointrain.balancing.engine import (
    Boundary,
    Cotangents,
    Gradients,
    Rows,
    Step,
    is_finite,
    no_gradients,
    prepare,
)
from jointrain.balancing.pipelines._guided import check_guiding, guidance
from jointrain.balancing.pipelines._parts import (
    Without,
    bad_own,
    check_made,
    note_lengths,
    nothing_shared,
    prepared,
    raise_if_asked,
    scale_tasks,
    write,
)
from jointrain.errors import InvalidInputError


class _Compared(NamedTuple):
    """The tasks' gradients, compared.

    Attributes:
        gramian: [t, t], with the factors of the losses.
        mine: The gradients of the tasks' own parameters, likewise.
        combine: Gives the shared parameters' gradients for weights [t]; None if a further pass is
            to be taken for them.
        method: How they were got.
    """

    gramian: Tensor
    mine: Gradients
    combine: Callable[[Tensor], Gradients] | None
    method: str


def by_gramian(call: Call, balancer: GramianWeighting) -> BalancedStep | Without:
    """Compare the tasks' gradients, ask for the weights, and combine."""
    step, losses = prepared(call, balancer)
    if isinstance(balancer, HeadGuiding):
        check_guiding(call, balancer)
    if not step.shared:
        return nothing_shared(call, step, losses)
    reused = _reusable(call, balancer)
    if reused is not None:
        found = step.weighted(reused, own=True, weigh_own=balancer.weighs_task_parameters)
        if call.non_finite == "raise" or call.scaled or call.everywhere(found.finite()):
            call.add_to_grad(step.learned, found)
            return call.result(losses, reused, gradient_method="reused")
    if balancer.extra_batches:
        return _by_cross_gramian(call, balancer, step, losses)
    scale_tasks(call, step)
    return _combined(call, balancer, step, losses, _compared(call, step))


def _compared(call: Call, step: Step) -> _Compared:
    """Return the tasks' gradients compared at the place that the call names."""
    heads = step.heads(dense=True) if call.compare_at == "features" else None
    if heads is not None:
        return _at_features(call, step, *heads)
    if call.compare_at == "features" and step.t > 1:
        raise InvalidInputError(_NO_BOUNDARY if call.features is None else _NOT_CUT)
    if call.compare_at == "last_shared_layer":
        rows, mine = step.rows(step.last_layer(), again=True)
        return _Compared(rows.gramian(), mine, None, call.compare_at)
    if call.compare_at == "shared" and step.too_large():
        parts: list[Tensor] = []
        mine = step.by_layer(lambda rows: parts.append(rows.gramian()))
        hooked = any(leaf.tensor._backward_hooks for leaf in step.shared)
        combine = _by_layer(step) if hooked else None  # hooks are to see each task's gradient
        return _Compared(torch.stack(parts).sum(0), mine, combine, step.method_used)
    rows, mine = step.rows()
    return _Compared(rows.gramian(), mine, rows.combine, step.method_used)


def _by_layer(step: Step) -> Callable[[Tensor], Gradients]:
    def combine(weights: Tensor) -> Gradients:
        found = no_gradients()
        step.by_layer(lambda rows: found.extend(rows.combine(weights)), inputs=True)
        return found

    return combine


def _at_features(
    call: Call, step: Step, boundary: Boundary, cotangents: Cotangents, mine: Gradients
) -> _Compared:
    ends = {(edge.node, edge.output_nr) for edge in boundary.edges}
    if call.features is None and (step.graph.parts_inside() or ends & set(step.graph.roots)):
        raise InvalidInputError(_NO_BOUNDARY)  # a loss has no part of its own that is known

    def combine(weights: Tensor) -> Gradients:
        return step.from_boundary(boundary, cotangents, weights)

    return _Compared(step.gramian_at(cotangents), mine, combine, call.compare_at)


_NO_BOUNDARY = (
    "No tensors were found that all tasks' own parts start from, as "
    '`compare_at="features"` needs. Name them with `features=`.'
)
_NOT_CUT = (
    "`features` doesn't hold all that the tasks' own parts take from the shared part: a path from "
    "a loss leads around it to a shared parameter (a skip connection, a tied weight). Name all "
    "such tensors, or leave out `compare_at`, or `features`."
)


def _combined(
    call: Call, balancer: GramianWeighting, step: Step, losses: Tensor, compared: _Compared
) -> BalancedStep | Without:
    """Ask for the weights and write the update."""
    gramian, mine, combine, method = compared
    if call.scaled:
        gramian = gramian / call.scale / call.scale
    if call.task_scales is not None:
        gramian = gramian / call.task_scales / call.task_scales[:, None]
        mine = mine.weighted(1 / call.task_scales)
    bad = _not_finite(call, gramian, mine)
    if bad is not None and not call.scaled:
        return Without(bad)
    note_lengths(call, gramian.diagonal().sqrt(), bad)
    if bad is None:
        with balancer.taking_part(balancer.present(step.t), step.rounding()):
            weights = _weights(balancer, gramian, losses, call)
        if isinstance(balancer, HeadGuiding):
            added = guidance(call, step, balancer, mine, weights)
            further = {
                k for k, g in zip(added.tasks, added.values, strict=True) if not is_finite(g)
            }
            if further and not call.scaled:
                raise_if_asked(call, sorted(further))
                return Without(sorted(further))
            mine.extend(added)
    else:
        weights = torch.ones(step.t, dtype=torch.float64)
    factors = weights if call.task_scales is None else weights / call.task_scales
    shared = step.weighted(factors, own=False) if combine is None else combine(factors)
    write(call, balancer, step, shared, mine, weights)
    return call.result(
        losses,
        weights,
        gramian=gramian,
        gradient_method=method,
        ghost_layers=step.ghost_layers,
        overflow=bad is not None,
    )


def _by_cross_gramian(
    call: Call, balancer: GramianWeighting, step: Step, losses: Tensor
) -> BalancedStep | Without:
    """Weigh by the Gramian of two batches, then take one weighted pass over this one."""
    if call.extra is None:
        raise InvalidInputError(
            f"{type(balancer).__name__} needs {balancer.extra_batches} more batch(es) at each "
            "step. Pass `extra=`, a function that returns the losses of a fresh training batch."
        )
    batches = [_rows_of_extra(call, step) for _ in range(balancer.extra_batches)]
    if balancer.extra_batches == 1:
        batches.insert(0, step.plain_rows([leaf.tensor for leaf in step.shared]))
    gramian = batches[0].cross(batches[1])
    if call.scaled:
        gramian = gramian / call.scale / call.scale
    bad = _not_finite(call, gramian, no_gradients())
    if bad is not None and not call.scaled:
        return Without(bad)
    weights = _weights(balancer, gramian, losses, call)
    weigh_own = balancer.weighs_task_parameters
    call.add_to_grad(step.learned, step.weighted(weights, own=True, weigh_own=weigh_own))
    return call.result(losses, weights, gramian=gramian, gradient_method="two batches")


def _rows_of_extra(call: Call, step: Step) -> Rows:
    assert call.extra is not None
    values = call.again(call.extra, "extra")
    if call.together is not None:
        joint = call.together.step_of(values, call.scale)
        return joint.plain_rows([leaf.tensor for leaf in step.shared])
    other = prepare(values, shared=[leaf.tensor for leaf in step.shared], own=[])
    other.factors = step.factors
    return other.plain_rows([leaf.tensor for leaf in step.shared])


def _weights(balancer: GramianWeighting, gramian: Tensor, losses: Tensor, call: Call) -> Tensor:
    """Return the balancer's weights [t], and give its own parameters their gradient."""
    weights = balancer.weights(gramian, losses).detach()
    check_made(call, weights)
    own_loss = balancer.parameter_loss(gramian, losses)
    if own_loss is not None:
        torch.autograd.backward(own_loss * call.scale)
    if call.refresh_every > 1:
        balancer.remember("kept_weights", weights)
        balancer.remember("kept_tasks", _encoded(call.names))
        balancer.remember("kept_age", torch.tensor(0))
    return weights


def _reusable(call: Call, balancer: GramianWeighting) -> Tensor | None:
    """Return the weights of an earlier step if they are for the same tasks and young enough."""
    weights = balancer.recall("kept_weights")
    tasks, age = balancer.recall("kept_tasks"), balancer.recall("kept_age")
    if call.refresh_every == 1 or weights is None or tasks is None or age is None:
        return None
    if not torch.equal(tasks, _encoded(call.names)):
        return None
    balancer.remember("kept_age", age + 1)
    return weights if int(age) + 1 < call.refresh_every else None


def _encoded(names: Sequence[str]) -> Tensor:
    """Return the tasks' names as bytes in a tensor, so that they can be saved as state."""
    return torch.tensor(list("\n".join(names).encode()), dtype=torch.uint8)


def _not_finite(call: Call, gramian: Tensor, mine: Gradients) -> list[int] | None:
    """Return the tasks whose gradient isn't finite, None if there is none.

    Raises:
        InvalidInputError: There is one, and the policy is to raise.
    """
    own = bad_own(call, mine)
    if not own and math.isfinite(float(gramian.sum())):
        return None
    bad = [k for k, x in enumerate(gramian.diagonal().tolist()) if not math.isfinite(x)]
    bad = sorted({*bad, *own}) or list(range(len(gramian)))
    if not call.scaled:
        raise_if_asked(call, bad)
    return bad
