"""The pipeline of a step over several batches: sum, then that of the method on the sums."""

from __future__ import annotations

from dataclasses import replace

import torch

from jointrain.balancing._accumulation import (
    Accumulated,
    begun,
    refuse_gradients_before,
    refuse_what_would_be_lost,
)
from jointrain.balancing._arguments import stacked
from jointrain.balancing._balanced_step import BalancedStep
from jointrain.balancing._balancer import BilevelWeighting, HeadGuiding
from jointrain.balancing._block_order import wants_walks
from jointrain.balancing._call import Call
from jointrain.balancing._sharpness_aware import SharpnessAware
from jointrain.balancing.engine import Step, tasks_part_inside
from jointrain.balancing.pipelines._kinds import run
from jointrain.errors import InvalidInputError


def by_accumulated(call: Call) -> BalancedStep:
    """Make the step of all batches since `.grad` was emptied, in place of that of those before."""
    balancer = call.balancer
    _check_accumulation(call)
    balancer.positions_of(call.names)  # binds the tasks, before the state is looked at
    kept = begun(balancer, call.scale)
    step = call.step()
    if not kept.rows:
        refuse_gradients_before(step.shared)
    _check_inputs(step)
    _sort(call, kept, step)
    step.factors = call.factors()
    rows, mine = step.rows(ghost=False)
    kept.add(call.names, call.numbers, rows)
    if wants_walks(balancer) and not kept.walks.keys() >= set(call.names):
        walks = step.walks(step.parameters)
        kept.walks = dict(zip(call.names, walks, strict=True)) | kept.walks
    kept.add_own(call.names, mine)
    if call.of_penalty is not None:
        kept.add_penalty(call.of_penalty)
    names = balancer.in_order(kept.losses)
    losses = torch.tensor([kept.losses[name] for name in names], dtype=torch.float64)
    values = [torch.zeros_like(call.vector[0]).requires_grad_() for _ in names]
    summed = replace(
        call,
        names=names,
        values=values,
        vector=stacked(values),
        numbers=losses,
        together=None,
        of_penalty=kept.penalty_so_far(),
        accumulated=kept,
    )
    result = run(summed)
    kept.note([tensor for tensor, _ in kept.parameters.values()])
    balancer.accumulated = kept
    return result


def _sort(call: Call, kept: Accumulated, step: Step) -> None:
    """Take in which parameters the batch's tasks reach, and which are shared by now."""
    named = call.given.shared is not None or call.given.features is not None
    kept.sort(call.names, step, named=named)
    if not named:
        # tasks may part within an operation that each batch takes other outputs of
        kept.parts_known &= call.everywhere(not step.graph.leaves_outputs())
        if kept.spread and not kept.parts_known:
            raise tasks_part_inside()
    collected = [*step.shared, *(leaf for leaves in step.own for leaf in leaves)]
    of_penalty = [] if call.of_penalty is None else call.of_penalty.tensors
    refuse_what_would_be_lost([*(leaf.tensor for leaf in collected), *of_penalty])


def _check_accumulation(call: Call) -> None:
    """Check that the step of several batches would be exact."""
    balancer, given, others = call.balancer, call.given, []
    if isinstance(balancer, BilevelWeighting) or balancer.extra_batches:
        others.append(f"{type(balancer).__name__}, which takes further batches")
    if isinstance(balancer, SharpnessAware):
        others.append(f"{type(balancer).__name__}, which computes a batch's losses again")
    if isinstance(balancer, HeadGuiding):
        others.append(f"{type(balancer).__name__}, which differentiates a batch's losses twice")
    others += [f'`compare_at="{given.compare_at}"`'] * (given.compare_at != "shared")
    others += [f"`refresh_every={given.refresh_every}`"] * (given.refresh_every > 1)
    others += ['`non_finite="skip"`'] * (given.non_finite == "skip")
    if call.together is not None and call.together.sharded:
        others.append("parameters that `fully_shard` manages")
    if others:
        raise InvalidInputError(
            f'`accumulate="exact"` is not exact with {others[0]}. Take larger batches, or pass '
            '`accumulate="per-batch"`.'
        )


def _check_inputs(step: Step) -> None:
    if any(leaf.tensor.is_complex() for leaf in step.parameters):
        raise InvalidInputError(
            '`accumulate="exact"` is not defined for complex parameters. Take larger batches, or '
            'pass `accumulate="per-batch"`.'
        )
    parameters = {id(leaf.tensor) for leaf in step.parameters}
    reached = [leaf for leaves in step.own for leaf in leaves]
    if step.inputs or any(id(leaf.tensor) not in parameters for leaf in reached):
        raise InvalidInputError(
            '`accumulate="exact"` cannot give an input its gradient before the last batch. Detach '
            "the inputs, or name them in `shared` or `own` if they are parameters."
        )
