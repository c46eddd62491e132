"""What pipelines have in common: the prepared step, scales of tasks, non-finite gradients."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from jointrain.balancing._arguments import on_cpu
from jointrain.balancing._balanced_step import BalancedStep
from jointrain.balancing._balancer import (
    Balancer,
    GramianWeighting,
    HeadGuiding,
    JacobianAggregation,
)
from jointrain.balancing._call import Call
from jointrain.balancing._task_scales import learn_scales, scales_of
from jointrain.balancing.engine import (
    Gradients,
    Step,
    grad,
    is_finite,
    local,
    real_view,
)
from jointrain.errors import InvalidInputError, NonFiniteError


class Without(NamedTuple):
    """That the step is to be made anew without the tasks at these positions."""

    bad: Sequence[int]


def prepared(call: Call, balancer: GramianWeighting | JacobianAggregation) -> tuple[Step, Tensor]:
    """Return the step, and the (transformed) losses [t] in float64 on the CPU."""
    step = call.step()
    step.gradient_method, step.memory_limit = call.given.gradient_method, call.given.memory_limit
    # a task that turns out to have no finite gradient is left out by a second try
    step.retain_graph = call.given.retain_graph or call.given.non_finite == "skip"
    # as are the tasks' own parts, once the weights are known
    step.retain_graph |= isinstance(balancer, HeadGuiding)
    step.workspace = balancer.workspace
    step.factors = call.factors()
    local = call.together is None and call.accumulated is None
    seen = call.vector if local else call.numbers.to(call.vector)
    leaf = seen.detach().requires_grad_()  # `to` may return what the balancer is given
    changed = balancer.transform(leaf)
    if changed is not leaf:
        learned = [p for p in balancer.parameters() if p.requires_grad]
        slope, *mine = torch.autograd.grad(changed.sum(), [leaf, *learned], allow_unused=True)
        found = [None if g is None else g * call.scale for g in mine]
        step.learned = Gradients.of(learned, found)
        slopes = (slope * call.scale).unbind()
        if call.together is not None:
            slopes = (slope * call.scale * call.together.shares.to(slope)).unbind()
        step.factors = [s.to(v.dtype) for s, v in zip(slopes, call.values, strict=True)]
        return step, on_cpu(changed)
    return step, call.numbers


def refuse_complex(step: Step, balancer: Balancer) -> None:
    """Refuse complex parameters, for a method that is not defined for them.

    Raises:
        InvalidInputError: There is one.
    """
    if any(leaf.tensor.is_complex() for leaf in step.parameters):
        raise InvalidInputError(
            f"{type(balancer).__name__} is not defined for complex parameters. Choose a method "
            "that weighs by losses or by gradients, or keep the parameters as pairs of real ones."
        )


def nothing_shared(call: Call, step: Step, losses: Tensor) -> BalancedStep | Without:
    """Make the step of tasks that share no parameter: each gets its own loss's gradient."""
    weights = torch.ones(step.t)
    found = step.weighted(weights, own=True)
    fine = is_fine(call, step, found)
    if not fine and not call.may_overflow:
        return left_out(call, step, found)
    call.add_to_grad(step.learned, found)
    return call.result(losses, weights, gradient_method="nothing shared", overflow=not fine)


def scale_tasks(call: Call, step: Step) -> None:
    """Give each task a factor of its own, if gradients may be computed in float16.

    Not where one pass gives the weighted sum: in it all tasks have one scale.
    """
    if not call.may_overflow or call.accumulated is not None or step.t < 2:
        return
    if any(value.dtype == torch.float16 for value in call.values):
        return
    scales = scales_of(call.balancer, call.names)
    if call.together is not None:
        ranks = call.together.agreement.ranks
        scales = scales.new_tensor(ranks.gather(scales.tolist())[0])
    call.task_scales = scales
    pairs = zip(step.factors, scales.tolist(), strict=True)
    step.factors = [factor * number for factor, number in pairs]


def note_lengths(call: Call, lengths: Tensor, bad: Sequence[int] | None) -> None:
    """Choose the tasks' factors of the next step, if this one had such."""
    if call.task_scales is None:
        return
    found = lengths.tolist()
    for k in bad or ():
        found[k] = math.inf
    learn_scales(call.balancer, call.names, found)


def write(
    call: Call,
    balancer: GramianWeighting | JacobianAggregation,
    step: Step,
    shared: Gradients,
    mine: Gradients,
    weights: Tensor | None,
) -> None:
    """Write the gradients of the shared and of the tasks' own parameters to `.grad`."""
    if balancer.weighs_task_parameters and weights is not None:
        mine = mine.weighted(weights)
    call.add_to_grad(step.learned, shared, mine, foreign=step.factors)


def all_finite(values: Sequence[Tensor]) -> bool:
    """Return whether all numbers of these gradients are finite, by one look at their sums."""
    if not values:
        return True
    sums = [real_view(x._values() if x.is_sparse else x).sum() for x in values]
    kind = sums[0]
    # a sum of finite numbers may overflow
    return math.isfinite(sum(torch.stack([x.to(kind) for x in sums]).tolist())) or all(
        map(is_finite, values)
    )


def bad_own(call: Call, step: Step, mine: Gradients) -> set[int]:
    """Return the tasks whose own parameters' gradient isn't finite, on any process."""
    seen = _looked_at(call, step, mine)
    bad = set()
    if not all_finite(seen.values):
        bad = {k for value, k in zip(seen.values, seen.tasks, strict=True) if not is_finite(value)}
    return call.anywhere(bad) if _differ(call) else bad


def is_fine(call: Call, step: Step, found: Gradients) -> bool:
    """Return whether what is to be added to `.grad` is finite, on every process."""
    fine = all_finite(_looked_at(call, step, found).values)
    return call.everywhere(fine) if _differ(call) else fine


def _looked_at(call: Call, step: Step, found: Gradients) -> Gradients:
    """Return the gradients that are to be finite, of shards this process's part.

    All where tasks may be left out; else those of parameters: no step is taken by what inputs get.
    """
    if call.together is not None and call.together.sharded:
        found = found._replace(values=[local(value) for value in found.values])
    if _may_skip(call):
        return found
    known = {id(leaf.tensor) for leaf in step.parameters}
    inside = [i for i, tensor in enumerate(found.tensors) if id(tensor) in known]
    return Gradients(
        [found.tensors[i] for i in inside],
        [found.values[i] for i in inside],
        [found.tasks[i] for i in inside],
    )


def _differ(call: Call) -> bool:
    """Return whether processes may see something else: shards, and the gradients of inputs."""
    return call.together is not None and (_may_skip(call) or call.together.sharded)


def _may_skip(call: Call) -> bool:
    return call.given.non_finite == "skip" and not call.may_overflow


def left_out(call: Call, step: Step, found: Gradients) -> Without:
    """Return which tasks the step is to be made without, as the gradients found aren't finite.

    Raises:
        NonFiniteError: The policy is to raise. It names the tasks if own parameters are those.
    """
    if call.given.non_finite == "raise":
        seen = _looked_at(call, step, found)
        bad = {id(x) for x, g in zip(seen.tensors, seen.values, strict=True) if not is_finite(g)}
        of_one = [k for k, own in enumerate(step.own) if any(id(x.tensor) in bad for x in own)]
        raise_if_asked(call, of_one)
    tensors = {id(x): x for x in found.tensors}
    return Without(bad_tasks(call, list(tensors.values())))


class Memory:
    """The balancer's state before a step that it may have to forget.

    Args:
        call: The call.
        may_fail: Whether gradients are looked at after the balancer has learned from the step.
    """

    def __init__(self, call: Call, *, may_fail: bool) -> None:
        self._balancer = call.balancer
        kept = may_fail and (call.may_overflow or call.given.non_finite == "skip")
        self._before = copy.deepcopy(call.balancer.state_dict()) if kept else None

    def restore(self) -> None:
        """Set the balancer back, as `Balancer.set_back` does."""
        if self._before is not None:
            self._balancer.set_back(self._before)


def bad_tasks(call: Call, tensors: Sequence[Tensor]) -> list[int]:
    """Return the positions of the tasks whose gradient isn't finite, all if it is none alone."""
    return bad_alone(call, tensors) or list(range(len(call.names)))


def bad_alone(call: Call, tensors: Sequence[Tensor]) -> list[int]:
    """Return the positions of the tasks whose gradient by these tensors isn't finite."""
    bad = {
        k
        for k, (value, factor) in enumerate(zip(call.values, call.factors(), strict=True))
        if not Gradients.of(tensors, grad([value], tensors, [factor], retain=True)).finite()
    }
    return sorted(call.anywhere(bad))


def raise_if_asked(call: Call, bad: Sequence[int]) -> None:
    """Raise if that is the policy.

    Args:
        call: The call.
        bad: The tasks whose gradient isn't finite; none if they aren't known.

    Raises:
        NonFiniteError: The policy is to raise.
    """
    if call.given.non_finite == "raise":
        names = [call.names[k] for k in bad]
        whose = f"of the tasks {names}" if names else f"of some of the tasks {list(call.names)}"
        raise NonFiniteError(
            f"The gradients {whose} are NaN or infinite though the losses are finite. "
            "Look for a root or a logarithm of zero, or for gradients above 1e150, whose squares "
            'are infinite; or pass `non_finite="skip"` to leave such tasks out of the step.'
        )


def check_sizes(call: Call, what: str, made: Sequence[Any], wanted: Sequence[torch.Size]) -> None:
    """Check that the balancer, maybe one of the caller's, made what its step needs.

    Args:
        call: The call.
        what: What it made: ``weights``, ...
        made: What should be tensors.
        wanted: Their shapes.

    Raises:
        InvalidInputError: They are of other shapes, or no tensors.
    """
    found = [part.shape if isinstance(part, Tensor) else type(part).__name__ for part in made]
    if found == [*wanted]:
        return
    raise InvalidInputError(
        f"{type(call.balancer).__name__} must make {what} of shape {_in_words(wanted)} for "
        f"{len(call.names)} tasks, got {_in_words(found)}"
    )


def _in_words(shapes: Sequence[torch.Size | str]) -> str:
    return ", ".join(x if isinstance(x, str) else str([*x]) for x in shapes[:3])


def check_made(call: Call, *made: Tensor) -> None:
    """Check the weights, or updates, that the balancer made of finite losses and gradients.

    Raises:
        NonFiniteError: There is a NaN or an infinite number among them.
    """
    sums = [part.sum() for part in made]
    # a sum of finite numbers may overflow
    if all(map(math.isfinite, torch.stack([x.to(sums[0]) for x in sums]).tolist())):
        return
    if not all(map(is_finite, made)):
        raise NonFiniteError(
            f"{type(call.balancer).__name__} made weights or updates that are NaN or infinite of "
            "losses and gradients that are finite. Look for a division by zero in it, or divide "
            "the losses by a constant; `.grad` is as it was."
        )
