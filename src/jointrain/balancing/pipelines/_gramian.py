"""The pipeline of methods that weigh by a Gramian: compare, weigh, combine."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from jointrain.balancing._arguments import Losses
from jointrain.balancing._balanced_step import BalancedStep
from jointrain.balancing._balancer import GramianWeighting, HeadGuiding
from jointrain.balancing._call import Call
from jointrain.balancing.engine import (
    Boundary,
    Cotangents,
    Gradients,
    Rows,
    Step,
    grad,
    no_gradients,
    prepare,
)
from jointrain.balancing.pipelines._guided import check_guiding, guidance
from jointrain.balancing.pipelines._parts import (
    Memory,
    Without,
    bad_own,
    check_made,
    check_sizes,
    is_fine,
    left_out,
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
        whole: Whether it is the shared parameters' gradients that were compared, all of them: what
            isn't finite then shows in the Gramian.
    """

    gramian: Tensor
    mine: Gradients
    combine: Callable[[Tensor], Gradients] | None
    method: str
    whole: bool = True


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
        if call.given.non_finite == "raise" or call.may_overflow or call.everywhere(found.finite()):
            call.add_to_grad(step.learned, found)
            return call.result(losses, reused, gradient_method="reused")
    if balancer.extra_batches:
        return _by_cross_gramian(call, balancer, step, losses)
    scale_tasks(call, step)
    return _combined(call, balancer, step, losses, _compared(call, step))


def _compared(call: Call, step: Step) -> _Compared:
    """Return the tasks' gradients compared at the place that the call names."""
    heads = step.heads(dense=True) if call.given.compare_at == "features" else None
    if heads is not None:
        return _at_features(call, step, *heads)
    if call.given.compare_at == "features" and step.t > 1:
        raise InvalidInputError(_NO_BOUNDARY if call.given.features is None else _NOT_CUT)
    if call.given.compare_at == "last_shared_layer":
        rows, mine = step.rows(step.last_layer(), again=True)
        return _Compared(rows.gramian(), mine, None, call.given.compare_at, whole=False)
    if call.given.compare_at == "shared" and step.too_large():
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
    if call.given.features is None and (step.graph.parts_inside() or ends & set(step.graph.roots)):
        raise InvalidInputError(_NO_BOUNDARY)  # a loss has no part of its own that is known

    def combine(weights: Tensor) -> Gradients:
        return step.from_boundary(boundary, cotangents, weights)

    gramian = step.gramian_at(cotangents)
    return _Compared(gramian, mine, combine, call.given.compare_at, whole=False)


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
    gramian, mine, combine, method, whole = compared
    if call.scaled:
        gramian = gramian / call.scale / call.scale
    if call.task_scales is not None:
        gramian = gramian / call.task_scales / call.task_scales[:, None]
        mine = mine.weighted(1 / call.task_scales)
    bad = _not_finite(call, gramian, bad_own(call, step, mine))
    if bad and not call.may_overflow:
        return Without(bad)
    note_lengths(call, gramian.diagonal().sqrt(), bad)
    guiding = isinstance(balancer, HeadGuiding)
    memory = Memory(call, may_fail=guiding or not whole)
    weights = torch.ones(step.t, dtype=torch.float64)
    if not bad:
        with balancer.taking_part(balancer.present(step.t), step.rounding()):
            weights = _weights(balancer, gramian, losses, call, step)
    if not bad and isinstance(balancer, HeadGuiding):
        added = guidance(call, step, balancer, mine, weights)
        further = bad_own(call, step, added)
        if further:
            memory.restore()
            bad = sorted(further)
            if not call.may_overflow:
                raise_if_asked(call, bad)
                return Without(bad)
        mine.extend(added)
    factors = weights if call.task_scales is None else weights / call.task_scales
    shared = step.weighted(factors, own=False) if combine is None else combine(factors)
    overflow = bool(bad)
    if not whole and not is_fine(call, step, shared):
        memory.restore()
        overflow = True
        if not call.may_overflow:
            return left_out(call, step, shared)
    write(call, balancer, step, shared, mine, weights)
    return call.result(
        losses,
        weights,
        gramian=gramian,
        gradient_method=method,
        ghost_layers=step.ghost_layers,
        overflow=overflow,
    )


def _by_cross_gramian(
    call: Call, balancer: GramianWeighting, step: Step, losses: Tensor
) -> BalancedStep | Without:
    """Weigh by the Gramian of two batches, then take one weighted pass over this one."""
    extra = call.given.extra
    if extra is None:
        raise InvalidInputError(
            f"{type(balancer).__name__} needs {balancer.extra_batches} more batch(es) at each "
            "step. Pass `extra=`, a function that returns the losses of a fresh training batch."
        )
    batches = [_rows_of_extra(call, step, extra) for _ in range(balancer.extra_batches)]
    if balancer.extra_batches == 1:
        batches.insert(0, step.plain_rows([leaf.tensor for leaf in step.shared]))
    gramian = batches[0].cross(batches[1])
    if call.scaled:
        gramian = gramian / call.scale / call.scale
    bad = _not_finite(call, gramian, set())
    if bad and not call.may_overflow:
        return Without(bad)
    memory = Memory(call, may_fail=True)
    weights = torch.ones(step.t, dtype=torch.float64)
    if not bad:
        weights = _weights(balancer, gramian, losses, call, step)
    found = step.weighted(weights, own=True, weigh_own=balancer.weighs_task_parameters)
    fine = is_fine(call, step, found)
    if not fine:
        memory.restore()
    if not fine and not call.may_overflow:
        return left_out(call, step, found)
    call.add_to_grad(step.learned, found)
    return call.result(
        losses,
        weights,
        gramian=gramian,
        gradient_method="two batches",
        overflow=bool(bad) or not fine,
    )


def _rows_of_extra(call: Call, step: Step, extra: Callable[[], Losses]) -> Rows:
    values = call.again(extra, "extra")
    if call.together is not None:
        joint = call.together.step_of(values, call.scale)
        return joint.plain_rows([leaf.tensor for leaf in step.shared])
    other = prepare(values, shared=[leaf.tensor for leaf in step.shared], own=[])
    other.factors = step.factors
    return other.plain_rows([leaf.tensor for leaf in step.shared])


def _weights(
    balancer: GramianWeighting, gramian: Tensor, losses: Tensor, call: Call, step: Step
) -> Tensor:
    """Return the balancer's weights [t]; its own parameters' gradient is kept with the step."""
    weights = balancer.weights(gramian, losses)
    check_sizes(call, "weights", [weights], [losses.shape])
    weights = weights.detach()
    check_made(call, weights)
    own_loss = balancer.parameter_loss(gramian, losses)
    if own_loss is not None:
        learned = [p for p in balancer.parameters() if p.requires_grad]
        start = torch.full_like(own_loss, call.scale)
        step.learned.extend(Gradients.of(learned, grad([own_loss], learned, [start], retain=False)))
    if call.given.refresh_every > 1:
        balancer.remember("kept_weights", weights)
        balancer.remember("kept_tasks", _encoded(call.names))
        balancer.remember("kept_age", torch.tensor(0))
    return weights


def _reusable(call: Call, balancer: GramianWeighting) -> Tensor | None:
    """Return the weights of an earlier step if they are for the same tasks and young enough."""
    weights = balancer.recall("kept_weights")
    tasks, age = balancer.recall("kept_tasks"), balancer.recall("kept_age")
    if call.given.refresh_every == 1 or weights is None or tasks is None or age is None:
        return None
    if not torch.equal(tasks, _encoded(call.names)):
        return None
    balancer.remember("kept_age", age + 1)
    return weights if int(age) + 1 < call.given.refresh_every else None


def _encoded(names: Sequence[str]) -> Tensor:
    """Return the tasks' names as bytes in a tensor, so that they can be saved as state."""
    return torch.tensor(list("\n".join(names).encode()), dtype=torch.uint8)


def _not_finite(call: Call, gramian: Tensor, own: set[int]) -> list[int]:
    """Return the tasks whose gradient isn't finite.

    Args:
        call: The call.
        gramian: [t, t].
        own: Those whose own parameters' gradient isn't.

    Raises:
        NonFiniteError: There is one, and the policy is to raise.
    """
    if not own and math.isfinite(float(gramian.sum())):
        return []
    bad = [k for k, x in enumerate(gramian.diagonal().tolist()) if not math.isfinite(x)]
    bad = sorted({*bad, *own}) or list(range(len(gramian)))
    if not call.may_overflow:
        raise_if_asked(call, bad)
    return bad
