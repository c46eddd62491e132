"""The pipeline of loss weightings: weights first, then one pass."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor

from jointrain.balancing._balanced_step import BalancedStep
from jointrain.balancing._balancer import LossWeighting, Weighing
from jointrain.balancing._call import Call
from jointrain.balancing.engine import walk
from jointrain.balancing.pipelines._parts import Without, bad_tasks, check_made
from jointrain.errors import InvalidInputError


def by_losses(call: Call, balancer: LossWeighting) -> BalancedStep | Without:
    """Weigh the losses, then take one pass, last: it leaves the caches cold."""
    careful = call.given.non_finite == "skip" and not call.may_overflow
    before = copy.deepcopy(balancer.state_dict()) if careful else None
    made = balancer.weigh(call.numbers.tolist())
    if not isinstance(made, Weighing) or len(made.weights) != len(call.names):
        got = f"{len(made.weights)} weights" if isinstance(made, Weighing) else type(made).__name__
        raise InvalidInputError(
            f"{type(balancer).__name__}.weigh must return Weighing(weights) with one weight for "
            f"each of {len(call.names)} tasks, got {got}"
        )
    numbers, _, learned = made
    weights = torch.tensor(numbers, dtype=torch.float64)
    if not all(map(math.isfinite, numbers)):
        check_made(call, weights)
    found = None
    if careful or call.given.own is not None or call.accumulated is not None:
        tensors = _wanted_leaves(call)
        call.take_penalty()
        found = call.of_weighted(weights, tensors, keep=careful)
        if before is not None and not call.everywhere(found.finite()):
            balancer.load_state_dict(before)
            return Without(bad_tasks(call, tensors))
        call.add_to_grad(found)
    for parameter, gradient in learned:
        scaled = gradient.to(parameter)
        if call.scaled:
            scaled = scaled * call.scale
        if parameter.grad is None:
            parameter.grad = scaled
        else:
            parameter.grad += scaled
    result = call.result(call.numbers, weights)
    if found is None:
        one_pass(call, weights)
    return result


def one_pass(call: Call, weights: Tensor) -> None:
    """Fill the gradients of the weighted losses and of the penalty."""
    if call.together is not None:
        call.together.one_pass(weights, call.scale, retain=call.given.retain_graph)
        return
    outputs, starts = [call.vector], [(weights * call.scale).to(call.vector)]
    penalty = call.given.penalty
    if penalty is not None:
        outputs.append(penalty)
        starts.append(torch.full_like(penalty, call.scale))
    torch.autograd.backward(outputs, starts, call.given.retain_graph)


def overflowed(call: Call) -> BalancedStep:
    """Fill the gradients with what makes the scaler skip the step, as the plain loop's would."""
    infinite = torch.full((len(call.names),), math.inf, dtype=torch.float64)
    one_pass(call, infinite)
    return call.result(call.numbers, torch.ones_like(infinite), overflow=True)


def _wanted_leaves(call: Call) -> list[Tensor]:
    """Return the leaf tensors that are to get a gradient."""
    leaves = call.step().parameters if call.together is not None else walk(call.values).leaves
    own, shared = call.given.own, call.given.shared
    if own is not None:
        known = {id(x) for x in (*own, *(shared or ()))}
        leaves = [
            leaf
            for leaf in leaves
            if id(leaf.tensor) in known or (shared is None and leaf.mask & (leaf.mask - 1))
        ]
    return [leaf.tensor for leaf in leaves]
