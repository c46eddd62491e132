"""The pipeline of bilevel methods: weights by held-out losses, then one pass."""

from __future__ import annotations

from torch import Tensor

from jointrain.balancing._arguments import on_cpu, stacked
from jointrain.balancing._balanced_step import BalancedStep
from jointrain.balancing._balancer import BilevelProblem, BilevelWeighting
from jointrain.balancing._call import Call
from jointrain.balancing.engine import (
    Gradients,
    is_finite,
)
from jointrain.balancing.pipelines._parts import (
    Memory,
    Without,
    bad_alone,
    check_sizes,
    is_fine,
    left_out,
    refuse_complex,
)
from jointrain.errors import InvalidInputError


def by_held_out(call: Call, balancer: BilevelWeighting) -> BalancedStep | Without:
    if call.given.held_out is None or call.given.train is None:
        raise InvalidInputError(
            f"{type(balancer).__name__} chooses weights by held-out losses. Pass `held_out=`, a "
            "function that returns losses of a held-out batch, and `train=`, one that computes "
            "the losses of this batch anew."
        )
    train, held_out = call.given.train, call.given.held_out
    step = call.step()
    refuse_complex(step, balancer)
    step.factors = call.factors()
    # a task that turns out to have no finite gradient is left out by a second try
    step.retain_graph = call.given.retain_graph or call.given.non_finite == "skip"
    leaves = [leaf for leaf in step.parameters if not _is_outside(leaf.tensor, call)]
    parameters = [leaf.tensor for leaf in leaves]
    closures = (
        lambda: stacked(call.again(train, "train")),
        lambda: stacked(call.again(held_out, "held_out")),
    )
    if call.together is not None:
        problem = call.together.problem(parameters, *closures)
    else:
        problem = BilevelProblem(call.vector, parameters, *closures)
    memory = Memory(call, may_fail=True)
    made = balancer.weights(problem)
    check_sizes(call, "weights", [made], [call.numbers.shape])
    weights = on_cpu(made)
    added = [value * call.scale for value in problem.added or ()]
    if not (bool(weights.isfinite().all()) and (call.may_overflow or all(map(is_finite, added)))):
        memory.restore()
        return _without_bad(call, balancer, parameters)
    found = step.weighted(weights, own=True, weigh_own=True)
    fine = is_fine(call, step, found)
    if not fine:
        memory.restore()
    if not fine and not call.may_overflow:
        return left_out(call, step, found)
    if problem.added is not None:
        found.extend(Gradients.of(problem.parameters, added))
    call.add_to_grad(found, foreign=step.factors)
    return call.result(call.numbers, weights, gradient_method="held out", overflow=not fine)


def _without_bad(call: Call, balancer: BilevelWeighting, parameters: list[Tensor]) -> Without:
    """Return which tasks have training losses whose gradient makes weights NaN or infinite.

    Raises:
        InvalidInputError: None has, or the policy is to raise.
    """
    if call.given.non_finite == "skip" and not call.may_overflow:
        bad = bad_alone(call, parameters)
        if bad:
            return Without(bad)
    raise InvalidInputError(
        f"The weights of {type(balancer).__name__} are NaN or infinite, so a gradient of the "
        "training or held-out losses is. Look for a root or a logarithm of zero in a loss."
    )


def _is_outside(tensor: Tensor, call: Call) -> bool:
    own, shared = call.given.own, call.given.shared
    if own is None or shared is None:
        return False
    return all(tensor is not x for x in (*own, *shared))
