"""The one call: in place of ``loss.backward()``, for several losses and any balancer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from jointrain.balancing._accumulation import ACCUMULATIONS
from jointrain.balancing._arguments import (
    Losses,
    check_overlap,
    checked_parameters,
    checked_penalty,
    listed,
    scale_of,
)
from jointrain.balancing._balanced_step import BalancedStep
from jointrain.balancing._balancer import Balancer, GramianWeighting, LossWeighting
from jointrain.balancing._call import Call, tasks_of_step
from jointrain.balancing._checks import check_choice, check_count
from jointrain.balancing._processes import Arguments, RowCounts
from jointrain.balancing._recomputed import Draws
from jointrain.balancing._surroundings import in_plain_surroundings
from jointrain.balancing.engine import (
    GRADIENT_METHODS,
    NOTHING_SHARED,
    Group,
    explained,
)
from jointrain.balancing.pipelines import by_accumulated, overflowed, run
from jointrain.balancing.weighting import Equal
from jointrain.errors import InvalidInputError

COMPARE_AT = ("shared", "features", "last_shared_layer")


@in_plain_surroundings
def backward(
    losses: Losses | Callable[[], Losses],
    balancer: Balancer | None = None,
    *,
    shared: nn.Module | Iterable[Tensor | nn.Module] | None = None,
    own: nn.Module | Iterable[Tensor | nn.Module] | None = None,
    features: Tensor | Iterable[Tensor] | None = None,
    compare_at: str = "shared",
    refresh_every: int = 1,
    gradient_method: str = "auto",
    non_finite: str = "raise",
    scaler: Any = None,
    extra: Callable[[], Losses] | None = None,
    train: Callable[[], Losses] | None = None,
    held_out: Callable[[], Losses] | None = None,
    retain_graph: bool = False,
    memory_limit: int | None = None,
    penalty: Tensor | None = None,
    module: nn.Module | None = None,
    process_group: Group = "auto",
    rows: RowCounts | None = None,
    accumulate: str | None = None,
) -> BalancedStep:
    """Fill `.grad` of all parameters with the balanced update of several losses.

    Stands where ``loss.backward()`` stood, and adds to `.grad` as that does. Shared parameters
    get the balancer's update; each task's own parameters get the gradient of its loss (weighted,
    if the balancer is one that says so).

    The losses are looked at before the backward pass (`non_finite`), so on a GPU every step waits
    for its forward pass. With a loss weighting that is the only wait.

    Args:
        losses: One scalar per task: ``{name: loss}``, a sequence, or a vector. Tasks may be
            absent from a step; name them then. Or a function that returns them, for methods that
            compute them again (SAMO): it has the same random numbers at each call, and buffers
            such as running statistics change at the first one alone.
        balancer: The method; by default the plain sum.
        shared: The shared parameters, or the module that holds them; by default those that two or
            more losses reach. An empty list says that they share none. Only `nn.Parameter` counts
            without being named; other leaf tensors that require a gradient, such as a network's
            input, get the gradient of the weighted losses. Where the losses reach no
            `nn.Parameter` at all, plain leaf tensors count.
        own: The task-specific parameters that are to get a gradient; by default all the others.
        features: The tensors that the tasks' own parts start from (the trunk's output); shared are
            then the parameters they were computed from. Paths around them are noticed and counted.
        compare_at: Where gradients are compared, for methods that need their Gramian.
            ``"shared"``: all shared parameters, exact. ``"features"``: the gradients at the
            trunk's output, and ``"last_shared_layer"``: those of the last shared layer; both are
            other, cheaper methods, not the same result faster.
        refresh_every: Compute new weights every so many steps and reuse them in between; 1 is
            exact. For methods that need the Gramian.
        gradient_method: How the tasks' gradients are got: ``"batched"`` passes from the features
            on, ``"per_task"``, ``"ghost"`` (from layer inputs and output gradients),
            ``"layerwise"`` (little memory, then one weighted pass), or ``"auto"``, by size. The
            result is the same.
        non_finite: What to do with a loss or a task's gradient that is NaN or infinite:
            ``"raise"``, or ``"skip"`` that task at this step. Where one pass with weights known
            beforehand does (loss weightings, reused weights), ``"raise"`` looks at the losses
            alone; ``"skip"`` looks at the gradients, too, which takes a few per cent of the pass.
        scaler: A ``torch.amp.GradScaler``: `.grad` is scaled as ``scaler.scale(loss).backward()``
            would leave it. What isn't finite is then left to the scaler, which skips the step
            (not where it has an attribute ``skips_steps`` that is False).
        extra: Returns losses of a fresh training batch at each call; for balancers with
            ``extra_batches``.
        train: Returns the losses of this batch, computed anew; for bilevel balancers, and those
            that take gradients at moved weights where `losses` is no function.
        held_out: Returns the losses of a held-out batch; for bilevel balancers.
        retain_graph: Whether the losses are to be differentiated again afterwards.
        memory_limit: Bytes that all tasks' gradients may take before ``"auto"`` goes layer by
            layer, as many at a time as fit; by default half of the free memory.
        penalty: A scalar whose gradient is added as it is, such as `Network.penalty`. It may be
            computed from what the losses are. One that is NaN or infinite raises.
        module: The module that holds the parameters of all tasks; needed under torch.distributed
            where processes reach different parameters and nothing wraps them.
        process_group: Under torch.distributed, the processes that train copies of the network:
            ``"auto"``, those of the wrapper (DistributedDataParallel, `fully_shard`) or else all;
            a group; or None, if this process trains a network of its own. `.grad` is that of one
            process on the rows of all of them, the same everywhere.
        rows: In how many rows each task has a label on this process (by name, in the order of the
            losses, or one number for all), so that the mean over all rows is exact; by default as
            many on each process that has the task. A task with 0 rows takes no part here.
        accumulate: What to do where `.grad` of the shared parameters isn't empty. ``"exact"``: the
            tasks' gradients and losses of the batches since `zero_grad` are summed, and `.grad`
            becomes what one step on that sum gives (the balancer's state, too); divide each loss
            by the number of batches for their mean. Keeps a gradient per task. ``"per-batch"``:
            each batch is balanced by itself and added. By default methods that compare gradients
            raise, and loss weightings add up.

    Returns:
        The weights and what else was done.

    Raises:
        InvalidInputError: An argument can't be used; the message says what to do.
    """
    check_choice(gradient_method, "gradient_method", GRADIENT_METHODS)
    check_choice(compare_at, "compare_at", COMPARE_AT)
    check_choice(non_finite, "non_finite", ("raise", "skip"))
    check_count(refresh_every, "refresh_every")
    if accumulate is not None:
        check_choice(accumulate, "accumulate", ACCUMULATIONS)
    if balancer is None:
        balancer = Equal()
        if non_finite == "raise" and accumulate == "exact":
            accumulate = None  # sums of batches add up to the sum of all, with nothing to be kept
    if not isinstance(balancer, Balancer):
        raise InvalidInputError(
            f"`balancer` must be a Balancer, got {balancer!r}. `balancer_from_name` builds one."
        )
    _check_meaning(balancer, compare_at, refresh_every)
    penalty = checked_penalty(penalty)
    draws = None
    if callable(losses):
        draws = Draws()
        train = losses if train is None else train
        losses = losses()
    arguments = Arguments(
        # a list: an iterator may be one that an earlier step has used up
        shared=(
            NOTHING_SHARED
            if isinstance(shared, list) and not shared
            else checked_parameters(shared, "shared")
        ),
        own=checked_parameters(own, "own"),
        features=[features] if isinstance(features, Tensor) else listed(features),
        compare_at=compare_at,
        refresh_every=refresh_every,
        gradient_method=gradient_method,
        non_finite=non_finite,
        extra=extra,
        train=train,
        held_out=held_out,
        retain_graph=retain_graph,
        memory_limit=memory_limit,
        penalty=penalty,
        module=module,
        group=process_group,
        rows=rows,
        accumulate=accumulate,
    )
    check_overlap(arguments.shared, arguments.own)
    scaled = scaler is not None and scaler.is_enabled()
    may_overflow = scaled and getattr(scaler, "skips_steps", True)
    tasks = tasks_of_step(losses, balancer, arguments, may_overflow)
    if not tasks.names:
        return BalancedStep(
            (), None, torch.zeros(0), gradient_method=tasks.gradient_method, skipped=tasks.skipped
        )
    call = Call(
        arguments,
        balancer,
        names=tasks.names,
        values=tasks.values,
        vector=tasks.vector,
        numbers=tasks.numbers,
        skipped=tasks.skipped,
        together=tasks.together,
        scale=scale_of(scaler, tasks.vector.device),
        scaled=scaled,
        may_overflow=may_overflow,
        draws=draws,
    )
    with explained():
        if tasks.overflow:
            return overflowed(call)
        call.check_penalty()
        if accumulate == "exact" or not isinstance(balancer, LossWeighting):
            call.take_penalty()
        return by_accumulated(call) if accumulate == "exact" else run(call)


def _check_meaning(balancer: Balancer, compare_at: str, refresh_every: int) -> None:
    """Check that the options mean something for the balancer."""
    kind = type(balancer).__name__
    given = [f'`compare_at="{compare_at}"`'] * (compare_at != "shared")
    if isinstance(balancer, GramianWeighting):
        if given and balancer.extra_batches:
            raise InvalidInputError(
                f"{given[0]} means nothing for {kind}, which compares the gradients of two "
                "batches. Leave it out."
            )
        return
    given += [f"`refresh_every={refresh_every}`"] * (refresh_every > 1)
    if given:
        raise InvalidInputError(
            f"{given[0]} means nothing for {kind}, which does not weigh by the Gramian of the "
            "gradients. Leave it out."
        )
