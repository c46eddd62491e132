"""The one call: in place of ``loss.backward()``, for several losses and any balancer."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from jointrain.balancing._accumulation import (
    ACCUMULATIONS,
    Accumulated,
    AccumulatedStep,
    begun,
    refuse_gradients_before,
)
from jointrain.balancing._arguments import (
    Losses,
    check_overlap,
    checked_losses,
    checked_parameters,
    listed,
    losses_of,
    on_cpu,
    scale_of,
    stacked,
    without_infinite,
)
from jointrain.balancing._balancer import (
    Balancer,
    BilevelProblem,
    BilevelWeighting,
    GramianWeighting,
    JacobianAggregation,
    LossWeighting,
)
from jointrain.balancing._block_order import in_kept_order
from jointrain.balancing._checks import check_choice, check_count
from jointrain.balancing._processes import Arguments, RowCounts, Together, labelled, meet
from jointrain.balancing._task_scales import learn_scales, scales_of
from jointrain.balancing.engine._graph import walk
from jointrain.balancing.engine._replicas import Group, several_processes
from jointrain.balancing.engine._rows import (
    Gradients,
    Rows,
    add_to_grad,
    explained,
    grad,
    is_finite,
    no_gradients,
)
from jointrain.balancing.engine._step import WAYS, Step, prepare
from jointrain.balancing.weighting import Equal
from jointrain.errors import InvalidInputError

PLACES = ("shared", "features", "last_shared_layer")


@dataclass(frozen=True)
class BalancedStep:
    """What a step did.

    Attributes:
        tasks: The tasks that took part, in order; positions as names if they had none.
        weights: [t], float64 on the CPU: what each task's gradient was multiplied by, or None if
            the method's update is no weighted sum.
        losses: [t], float64 on the CPU: the losses.
        gramian: [t, t], float64 on the CPU: the inner products of the tasks' gradients, if they
            were computed at this step.
        way: How the gradients were got: ``"one pass"``, ``"per_task"``, ``"batched"``,
            ``"layerwise"``, ``"features"``, ``"reused"``, ...
        ghost_layers: For how many layers output gradients stood for weight gradients.
        skipped: The tasks that were left out since their loss or gradient wasn't finite.
        overflow: Whether scaled gradients overflowed; the scaler then skips the step, and the
            balancer has learned nothing from it.
    """

    tasks: tuple[str, ...]
    weights: Tensor | None
    losses: Tensor
    gramian: Tensor | None = None
    way: str = "one pass"
    ghost_layers: int = 0
    skipped: tuple[str, ...] = ()
    overflow: bool = False
    _conflicts: list[tuple[str, str]] | None = field(default=None, repr=False, compare=False)

    @property
    def conflicts(self) -> list[tuple[str, str]] | None:
        """The pairs of tasks whose gradients point away from each other; None if not known."""
        if self.gramian is None:
            return None
        t = len(self.tasks)
        negative = (self.gramian < 0).tolist()
        return [
            (self.tasks[i], self.tasks[j])
            for i in range(t)
            for j in range(i + 1, t)
            if negative[i][j]
        ]

    def weight_of(self, task: str) -> float:
        """Return the weight of the named task, 0 if it was skipped.

        Raises:
            InvalidInputError: There is no such task, or the method has no weights.
        """
        if self.weights is None:
            raise InvalidInputError("The method's update is no weighted sum, it has no weights.")
        if task in self.skipped:
            return 0.0
        if task not in self.tasks:
            raise InvalidInputError(f"Task {task!r} took no part; those that did: {self.tasks}.")
        return float(self.weights[self.tasks.index(task)])


def backward(
    losses: Losses,
    balancer: Balancer | None = None,
    *,
    shared: nn.Module | Iterable[Tensor | nn.Module] | None = None,
    own: nn.Module | Iterable[Tensor | nn.Module] | None = None,
    features: Tensor | Iterable[Tensor] | None = None,
    at: str = "shared",
    refresh_every: int = 1,
    way: str = "auto",
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
            absent from a step; name them then.
        balancer: The method; by default the plain sum.
        shared: The shared parameters, or the module that holds them; by default those that two or
            more losses reach. Only `nn.Parameter` counts without being named; other leaf tensors
            that require a gradient, such as a network's input, get the gradient of the weighted
            losses. Where the losses reach no `nn.Parameter` at all, plain leaf tensors count.
        own: The task-specific parameters that are to get a gradient; by default all the others.
        features: The tensors that the tasks' own parts start from (the trunk's output); shared are
            then the parameters they were computed from. Paths around them are noticed and counted.
        at: Where gradients are compared, for methods that need their Gramian. ``"shared"``: all
            shared parameters, exact. ``"features"``: the gradients at the trunk's output, and
            ``"last_shared_layer"``: those of the last shared layer; both are other, cheaper
            methods, not the same result faster.
        refresh_every: Compute new weights every so many steps and reuse them in between; 1 is
            exact. For methods that need the Gramian.
        way: How the tasks' gradients are got: ``"batched"`` passes from the features on,
            ``"per_task"``, ``"ghost"`` (from layer inputs and output gradients), ``"layerwise"``
            (little memory, then one weighted pass), or ``"auto"``, by size. The result is the same.
        non_finite: What to do with a loss or a task's gradient that is NaN or infinite:
            ``"raise"``, or ``"skip"`` that task at this step. Where one pass with weights known
            beforehand does (loss weightings, reused weights), ``"raise"`` looks at the losses
            alone; ``"skip"`` looks at the gradients, too, which takes a few per cent of the pass.
        scaler: A ``torch.amp.GradScaler``: `.grad` is scaled as ``scaler.scale(loss).backward()``
            would leave it. What isn't finite is then left to the scaler, which skips the step.
        extra: Returns losses of a fresh training batch at each call; for balancers with
            ``extra_batches``.
        train: Returns the losses of this batch, computed anew; for bilevel balancers.
        held_out: Returns the losses of a held-out batch; for bilevel balancers.
        retain_graph: Whether the losses are to be differentiated again afterwards.
        memory_limit: Bytes that all tasks' gradients may take before ``"auto"`` goes layer by
            layer, as many at a time as fit; by default half of the free memory.
        penalty: A scalar whose gradient is added as it is, such as `Network.penalty`.
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
    check_choice(way, "way", WAYS)
    check_choice(at, "at", PLACES)
    check_choice(non_finite, "non_finite", ("raise", "skip"))
    check_count(refresh_every, "refresh_every")
    if accumulate is not None:
        check_choice(accumulate, "accumulate", ACCUMULATIONS)
    balancer = Equal() if balancer is None else balancer
    if not isinstance(balancer, Balancer):
        raise InvalidInputError(
            f"`balancer` must be a Balancer, got {balancer!r}. `balancer_from_name` builds one."
        )
    _check_meaning(balancer, at, refresh_every)
    penalty = penalty if penalty is not None and penalty.requires_grad else None
    arguments = Arguments(
        shared=checked_parameters(shared, "shared"),
        own=checked_parameters(own, "own"),
        features=[features] if isinstance(features, Tensor) else listed(features),
        penalty=penalty,
        module=module,
        group=process_group,
        rows=rows,
        settings=f"{at=}, {refresh_every=}, {way=}, {non_finite=}, {accumulate=}",
    )
    check_overlap(arguments.shared, arguments.own)
    scaled = scaler is not None and scaler.is_enabled()
    tasks = _tasks_of_step(losses, balancer, arguments, non_finite, scaled)
    if not tasks.names:
        return BalancedStep((), None, torch.zeros(0), way=tasks.way, skipped=tasks.skipped)
    call = _Call(
        balancer=balancer,
        names=tasks.names,
        values=tasks.values,
        vector=tasks.vector,
        numbers=tasks.numbers,
        skipped=tasks.skipped,
        shared=arguments.shared,
        own=arguments.own,
        features=arguments.features,
        at=at,
        refresh_every=refresh_every,
        way=way,
        non_finite=non_finite,
        scale=scale_of(scaler, tasks.vector.device),
        scaled=scaled,
        extra=extra,
        train=train,
        held_out=held_out,
        retain_graph=retain_graph,
        memory_limit=memory_limit,
        penalty=penalty,
        together=tasks.together,
        accumulate=accumulate,
    )
    with explained():
        if tasks.overflow:
            return _overflowed(call)
        if accumulate == "exact":
            return _run_accumulated(call)
        result = _run(call)
        if not isinstance(balancer, LossWeighting):
            call.add_penalty()
    return result


def _run_accumulated(call: _Call) -> BalancedStep:
    """Make the step of all batches since `.grad` was emptied, in place of that of those before."""
    balancer = call.balancer
    _check_accumulation(call)
    balancer.positions_of(call.names)  # binds the tasks, before the state is looked at
    kept = begun(balancer, call.scale)
    step = call.step()
    if not kept.rows:
        refuse_gradients_before(step)
    _check_inputs(step)
    step.factors, step.retain_graph = _constant_factors(call), call.penalty is not None
    rows, mine = step.rows(ghost=False)
    kept.add(call.names, call.numbers, step, rows)
    kept.add_own(call.names, mine)
    kept.add_penalty(call.of_penalty())
    names = tuple(kept.losses)
    losses = torch.tensor([kept.losses[name] for name in names], dtype=torch.float64)
    values = [torch.zeros_like(call.vector[0]).requires_grad_() for _ in names]
    changed = {
        "names": names,
        "values": values,
        "vector": stacked(values),
        "numbers": losses,
        "together": None,
        "penalty": None,
        "accumulated": kept,
    }
    result = _run(_Call(**vars(call) | changed))
    add_to_grad(kept.penalty_so_far())
    kept.note([tensor for tensor, _ in kept.parameters.values()])
    balancer.accumulated = kept
    return result


def _check_accumulation(call: _Call) -> None:
    """Check that the step of several batches would be exact."""
    balancer, given = call.balancer, []
    if isinstance(balancer, BilevelWeighting) or balancer.extra_batches:
        given.append(f"{type(balancer).__name__}, which takes further batches")
    given += [f'`at="{call.at}"`'] * (call.at != "shared")
    given += [f"`refresh_every={call.refresh_every}`"] * (call.refresh_every > 1)
    given += ['`non_finite="skip"`'] * (call.non_finite == "skip")
    if call.together is not None and call.together.sharded:
        given.append("parameters that `fully_shard` manages")
    if given:
        raise InvalidInputError(
            f'`accumulate="exact"` is not exact with {given[0]}. Take larger batches, or pass '
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


def _check_meaning(balancer: Balancer, at: str, refresh_every: int) -> None:
    """Check that the options mean something for the balancer."""
    kind = type(balancer).__name__
    given = [f'`at="{at}"`'] * (at != "shared")
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


def _run(call: _Call) -> BalancedStep:
    """Make the step with the tasks of the call."""
    balancer = call.balancer
    with balancer.taking_part(balancer.positions_of(call.names)):
        if isinstance(balancer, LossWeighting):
            return _by_losses(call, balancer)
        if isinstance(balancer, GramianWeighting):
            return _by_gramian(call, balancer)
        if isinstance(balancer, JacobianAggregation):
            return _by_jacobian(call, balancer)
        assert isinstance(balancer, BilevelWeighting), type(balancer)
        return _by_held_out(call, balancer)


class _Tasks(NamedTuple):
    """The tasks of a step; none, and why, if there is nothing to do."""

    names: tuple[str, ...]
    values: list[Tensor]
    vector: Tensor
    numbers: Tensor
    skipped: tuple[str, ...] = ()
    together: Together | None = None
    overflow: bool = False
    way: str = ""


def _tasks_of_step(
    losses: Losses, balancer: Balancer, arguments: Arguments, non_finite: str, scaled: bool
) -> _Tasks:
    """Return the tasks that have a label and a finite loss, on this process or on any."""
    together = meet(losses, balancer, arguments) if several_processes() else None
    nothing = torch.zeros(0)
    if together is not None:
        names, values = together.agreement.names, together.values
        vector = stacked(values) if values else nothing
        numbers = together.agreement.losses
    else:
        if arguments.rows is not None:
            losses = labelled(losses, arguments.rows)
            if not losses:
                return _Tasks((), [], nothing, nothing, way="no task has a label")
        names, values, vector = checked_losses(losses)
        numbers = on_cpu(vector)
    if not names:
        return _Tasks((), [], nothing, nothing, way="no task has a label")
    fine = list(map(math.isfinite, numbers.tolist()))
    if all(fine):
        return _Tasks(names, values, vector, numbers, (), together)
    if scaled and (non_finite == "raise" or not any(fine)):
        return _Tasks(names, values, vector, numbers, (), together, overflow=True)
    names, values, skipped = without_infinite(names, values, numbers, fine, non_finite)
    if not values:
        return _Tasks((), [], nothing, nothing, skipped, way="all skipped")
    bad = [k for k, ok in enumerate(fine) if not ok]
    together = None if together is None else together.without(bad)
    return _Tasks(names, values, stacked(values), numbers[fine], skipped, together)


def _run_without(call: _Call, bad: Sequence[int]) -> BalancedStep:
    """Make the step without the tasks at these positions."""
    rest = call.without(bad)
    return _run(rest) if rest.names else _all_skipped(rest.skipped)


def _all_skipped(names: tuple[str, ...]) -> BalancedStep:
    return BalancedStep((), None, torch.zeros(0), way="all skipped", skipped=names)


def _overflowed(call: _Call) -> BalancedStep:
    """Fill the gradients with what makes the scaler skip the step, as the plain loop's would."""
    infinite = torch.full((len(call.names),), math.inf, dtype=torch.float64)
    _one_pass(call, infinite)
    return call.result(call.numbers, torch.ones_like(infinite), overflow=True)


@dataclass
class _Call:
    """The arguments of a call to :func:`backward`, checked; `numbers`: the losses on the CPU."""

    balancer: Balancer
    names: tuple[str, ...]
    values: list[Tensor]
    vector: Tensor
    numbers: Tensor
    skipped: tuple[str, ...]
    shared: list[Tensor] | None
    own: list[Tensor] | None
    features: list[Tensor] | None
    at: str
    refresh_every: int
    way: str
    non_finite: str
    scale: float
    scaled: bool
    extra: Callable[[], Losses] | None
    train: Callable[[], Losses] | None
    held_out: Callable[[], Losses] | None
    retain_graph: bool
    memory_limit: int | None
    penalty: Tensor | None
    together: Together | None
    accumulate: str | None
    accumulated: Accumulated | None = None
    task_scales: Tensor | None = None

    def without(self, bad: Sequence[int]) -> _Call:
        """Return the call without the tasks at these positions."""
        keep = [k for k in range(len(self.names)) if k not in bad]
        changed = vars(self) | {
            "names": tuple(self.names[k] for k in keep),
            "values": [self.values[k] for k in keep],
            "vector": stacked([self.values[k] for k in keep]) if keep else self.vector[:0],
            "numbers": self.numbers[keep],
            "skipped": self.skipped + tuple(self.names[k] for k in bad),
            "together": None if self.together is None else self.together.without(bad),
            "task_scales": None,
        }
        return _Call(**changed)

    def of_weighted(self, weights: Tensor, tensors: Sequence[Tensor], *, keep: bool) -> Gradients:
        """Return the weighted losses' gradients of these parameters."""
        retain = keep or self.retain_graph
        if self.accumulated is not None:
            step = self.step()
            step.factors = _constant_factors(self)
            return step.weighted(weights, own=True, weigh_own=True)
        if self.together is not None:
            return self.together.of_weighted(weights, tensors, self.scale, retain=retain)
        start = (weights * self.scale).to(self.vector)
        return Gradients.of(tensors, grad([self.vector], tensors, [start], retain=retain))

    def everywhere(self, ok: bool) -> bool:
        """Return whether it is so on every process."""
        return ok if self.together is None else bool(self.together.agreement.ranks.least(ok))

    def anywhere(self, bad: set[int]) -> set[int]:
        """Return the tasks that are in the set on some process."""
        if self.together is None:
            return bad
        flags = [float(k in bad) for k in range(len(self.names))]
        found = self.together.agreement.ranks.gather(flags)
        return {k for k in range(len(self.names)) if any(row[k] for row in found)}

    def add_penalty(self) -> None:
        """Add the gradient of the penalty to `.grad`, as it is."""
        add_to_grad(self.of_penalty())

    def of_penalty(self) -> Gradients:
        """Return the gradient of the penalty."""
        if self.together is not None:
            return self.together.of_penalty(self.scale)
        if self.penalty is None:
            return no_gradients()
        tensors = [leaf.tensor for leaf in walk([self.penalty]).leaves]
        start = torch.full_like(self.penalty, self.scale)
        found = grad([self.penalty], tensors, [start], retain=self.retain_graph)
        return Gradients.of(tensors, found)

    def again(self, closure: Callable[[], Losses], name: str) -> list[Tensor]:
        """Return the losses that a closure gives for the step's tasks."""
        if self.together is None:
            return losses_of(closure, self.names, name)
        with self.together.agreement.ranks.all_or_none():
            return losses_of(closure, self.names, name)

    def step(self) -> Step:
        """Return the step of this process, or that of all of them, without factors."""
        if self.accumulated is not None:
            return AccumulatedStep.of(self.accumulated, self.names, self.vector.device)
        if self.together is not None:
            step: Step = self.together.step()
        else:
            step = prepare(self.values, shared=self.shared, own=self.own, features=self.features)
        if self.accumulate is None and not isinstance(self.balancer, LossWeighting):
            refuse_gradients_before(step)
        return step

    def result(self, losses: Tensor, weights: Tensor | None, **more: Any) -> BalancedStep:
        """Return what the step did."""
        weights = None if weights is None else on_cpu(weights)
        return BalancedStep(self.names, weights, losses, skipped=self.skipped, **more)


# --- the four kinds of balancers -----------------------------------------------------------------


def _by_losses(call: _Call, balancer: LossWeighting) -> BalancedStep:
    """Weigh the losses, then take one pass, last: it leaves the caches cold."""
    careful = call.non_finite == "skip" and not call.scaled
    before = copy.deepcopy(balancer.state_dict()) if careful else None
    numbers, _, learned = balancer.weigh(call.numbers.tolist())
    weights = torch.tensor(numbers, dtype=torch.float64)
    found = None
    if careful or call.own is not None or call.accumulated is not None:
        tensors = _wanted_leaves(call)
        found = call.of_weighted(weights, tensors, keep=careful)
        if before is not None and not call.everywhere(found.finite()):
            balancer.load_state_dict(before)
            return _run_without(call, _bad_tasks(call, tensors))
        add_to_grad(found)
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
        _one_pass(call, weights)
    else:
        call.add_penalty()
    return result


def _one_pass(call: _Call, weights: Tensor) -> None:
    """Fill the gradients of the weighted losses and of the penalty."""
    if call.together is not None:
        call.together.one_pass(weights, call.scale, retain=call.retain_graph)
        return
    outputs, starts = [call.vector], [(weights * call.scale).to(call.vector)]
    if call.penalty is not None:
        outputs.append(call.penalty)
        starts.append(torch.full_like(call.penalty, call.scale))
    torch.autograd.backward(outputs, starts, call.retain_graph)


def _wanted_leaves(call: _Call) -> list[Tensor]:
    """Return the leaf tensors that are to get a gradient."""
    leaves = call.step().parameters if call.together is not None else walk(call.values).leaves
    if call.own is not None:
        known = {id(x) for x in (*call.own, *(call.shared or ()))}
        leaves = [
            leaf
            for leaf in leaves
            if id(leaf.tensor) in known or (call.shared is None and leaf.mask & (leaf.mask - 1))
        ]
    return [leaf.tensor for leaf in leaves]


def _bad_tasks(call: _Call, tensors: Sequence[Tensor]) -> list[int]:
    """Return the positions of the tasks whose gradient isn't finite, all if it is none alone."""
    bad = {
        k
        for k, (value, factor) in enumerate(zip(call.values, _constant_factors(call), strict=True))
        if not Gradients.of(tensors, grad([value], tensors, [factor], retain=True)).finite()
    }
    return sorted(call.anywhere(bad)) or list(range(len(call.names)))


def _by_gramian(call: _Call, balancer: GramianWeighting) -> BalancedStep:
    step, losses = _prepared(call, balancer)
    if not step.shared:
        return _nothing_shared(call, step, losses)
    reused = _reusable(call, balancer)
    if reused is not None:
        weigh_own = balancer.weighs_task_parameters
        found = step.weighted(reused, own=True, weigh_own=weigh_own)
        if call.non_finite == "raise" or call.scaled or call.everywhere(found.finite()):
            add_to_grad(step.learned)
            add_to_grad(found)
            return call.result(losses, reused, way="reused")
    if balancer.extra_batches:
        return _by_cross_gramian(call, balancer, step, losses)
    _scale_tasks(call, step)
    if call.at == "features":
        return _at_features(call, balancer, step, losses)
    if call.at == "last_shared_layer":
        rows, mine = step.rows(step.last_layer(), again=True)
        return _finish(call, balancer, step, losses, rows.gramian(), mine, None, call.at)
    if step.too_large():
        parts: list[Tensor] = []
        mine = step.by_layer(lambda rows: parts.append(rows.gramian()))
        total = torch.stack(parts).sum(0)
        return _finish(call, balancer, step, losses, total, mine, None, step.took)
    rows, mine = step.rows()
    return _finish(call, balancer, step, losses, rows.gramian(), mine, rows.combine, step.took)


def _nothing_shared(call: _Call, step: Step, losses: Tensor) -> BalancedStep:
    weights = torch.ones(step.t)
    found = step.weighted(weights, own=True)
    if call.non_finite == "skip" and not call.scaled and not call.everywhere(found.finite()):
        tensors = [leaf.tensor for leaf in step.parameters]
        return _run_without(call, _bad_tasks(call, tensors))
    add_to_grad(step.learned)
    add_to_grad(found)
    return call.result(losses, weights, way="nothing shared")


def _at_features(
    call: _Call, balancer: GramianWeighting, step: Step, losses: Tensor
) -> BalancedStep:
    heads = step.heads(dense=True)
    if heads is None and step.t == 1:
        rows, mine = step.rows()
        return _finish(call, balancer, step, losses, rows.gramian(), mine, rows.combine, step.took)
    if heads is None:
        raise InvalidInputError(
            _NO_BOUNDARY if call.features is None else _NOT_CUT.format("`at`, or `features`")
        )
    boundary, cotangents, mine = heads
    ends = {(edge.node, edge.output_nr) for edge in boundary.edges}
    if call.features is None and (step.graph.parts_inside() or ends & set(step.graph.roots)):
        raise InvalidInputError(_NO_BOUNDARY)  # a loss has no part of its own that is known

    def combine(weights: Tensor) -> Gradients:
        return step.from_boundary(boundary, cotangents, weights)

    return _finish(
        call, balancer, step, losses, step.gramian_at(cotangents), mine, combine, call.at
    )


_NO_BOUNDARY = (
    'No tensors were found that all tasks\' own parts start from, as `at="features"` needs. Name '
    "them with `features=`."
)
_NOT_CUT = (
    "`features` doesn't hold all that the tasks' own parts take from the shared part: a path from "
    "a loss leads around it to a shared parameter (a skip connection, a tied weight). Name all "
    "such tensors, or leave out {}."
)


def _finish(
    call: _Call,
    balancer: GramianWeighting,
    step: Step,
    losses: Tensor,
    gramian: Tensor,
    mine: Gradients,
    combine: Callable[[Tensor], Gradients] | None,
    took: str,
) -> BalancedStep:
    """Ask for the weights and write the update, by `combine` or else by one weighted pass."""
    if call.scaled:
        gramian = gramian / call.scale / call.scale
    if call.task_scales is not None:
        gramian = gramian / call.task_scales / call.task_scales[:, None]
        mine = mine.weighted(1 / call.task_scales)
    bad = _not_finite(call, gramian, mine)
    if bad is not None and not call.scaled:
        return _run_without(call, bad)
    if call.task_scales is not None:
        _learn_scales(call, gramian.diagonal().sqrt(), bad)
    if bad is None:
        with balancer.taking_part(balancer.present(step.t), step.rounding()):
            weights = _weights(balancer, gramian, losses, call)
    else:
        weights = torch.ones(step.t, dtype=torch.float64)
    factors = weights if call.task_scales is None else weights / call.task_scales
    shared = step.weighted(factors, own=False) if combine is None else combine(factors)
    _write(balancer, step, shared, mine, weights)
    return call.result(
        losses,
        weights,
        gramian=gramian,
        way=took,
        ghost_layers=step.ghost_layers,
        overflow=bad is not None,
    )


def _by_cross_gramian(
    call: _Call, balancer: GramianWeighting, step: Step, losses: Tensor
) -> BalancedStep:
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
        return _run_without(call, bad)
    weights = _weights(balancer, gramian, losses, call)
    weigh_own = balancer.weighs_task_parameters
    add_to_grad(step.learned)
    add_to_grad(step.weighted(weights, own=True, weigh_own=weigh_own))
    return call.result(losses, weights, gramian=gramian, way="two batches")


def _rows_of_extra(call: _Call, step: Step) -> Rows:
    assert call.extra is not None
    values = call.again(call.extra, "extra")
    if call.together is not None:
        joint = call.together.step_of(values, call.scale)
        return joint.plain_rows([leaf.tensor for leaf in step.shared])
    other = prepare(values, shared=[leaf.tensor for leaf in step.shared], own=[])
    other.factors = step.factors
    return other.plain_rows([leaf.tensor for leaf in step.shared])


def _by_jacobian(call: _Call, balancer: JacobianAggregation) -> BalancedStep:  # noqa: C901
    step, losses = _prepared(call, balancer)
    if not step.shared:
        return _nothing_shared(call, step, losses)
    step.shared = in_kept_order(balancer, step.shared)
    shared = no_gradients()
    weights: list[Tensor | None] = []
    finite: list[Tensor] = []
    first: list[Rows] = []
    _scale_tasks(call, step)
    ones = torch.ones(step.t, dtype=torch.float64)
    per_task = ones if call.task_scales is None else call.task_scales
    squares = torch.zeros_like(ones)

    def unscaled(rows: Tensor) -> Tensor:
        """Take the factors out of the gradients [t, *shape]."""
        if not call.scaled:
            return rows
        factors = (per_task * call.scale).to(rows).view(-1, *[1] * (rows.ndim - 1))
        found = rows / factors
        squares.add_(torch.linalg.vector_norm(found.flatten(1), dim=1).cpu().double().square())
        return found

    def see(rows: Rows) -> None:
        if not first:
            first.append(rows)
        finite.append(rows.finite())
        if not bool(finite[-1].all()):
            shared.extend(rows.combine(torch.ones(step.t)))
            return
        pairs = rows.per_parameter()
        blocks = [unscaled(rows_of) for _, rows_of in pairs]
        direction = balancer.aggregate(blocks, losses)
        weights.append(direction.weights)
        values = [d * call.scale if call.scaled else d for d in direction.blocks]
        tensors = [tensor for tensor, _ in pairs]
        found = [
            torch.view_as_complex(value.contiguous()) if tensor.is_complex() else value
            for tensor, value in zip(tensors, values, strict=True)
        ]
        shared.extend(rows.update(tensors, found))

    if balancer.blockwise and step.too_large():
        mine = step.by_layer(see, inputs=True)
    else:
        rows, mine = step.rows(ghost=False)
        see(rows)
    if call.task_scales is not None:
        mine = mine.weighted(1 / per_task)
    bad = [k for k, ok in enumerate(torch.stack(finite).all(0).tolist()) if not ok]
    bad = sorted({*bad, *_bad_own(call, mine)})
    if call.task_scales is not None:
        _learn_scales(call, squares.sqrt(), bad)
    if bad and not call.scaled:
        _raise_if_asked(call, bad)
        return _run_without(call, bad)
    if bad:
        weights.clear()
    found = weights[0] if weights else None
    if found is not None:
        found = on_cpu(found)
    if not bad:
        shared.extend(first[0].of_inputs((ones if found is None else found) / per_task))
    _write(balancer, step, shared, mine, found)
    return call.result(losses, found, way=step.took, overflow=bool(bad))


def _by_held_out(call: _Call, balancer: BilevelWeighting) -> BalancedStep:
    if call.held_out is None or call.train is None:
        raise InvalidInputError(
            f"{type(balancer).__name__} chooses weights by held-out losses. Pass `held_out=`, a "
            "function that returns losses of a held-out batch, and `train=`, one that computes "
            "the losses of this batch anew."
        )
    train, held_out = call.train, call.held_out
    step = call.step()
    if any(leaf.tensor.is_complex() for leaf in step.parameters):
        raise InvalidInputError(
            f"{type(balancer).__name__} is not defined for complex parameters. Choose a method "
            "that weighs by losses or by gradients, or keep the parameters as pairs of real ones."
        )
    step.factors = _constant_factors(call)
    step.retain_graph = call.retain_graph
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
    weights = on_cpu(balancer.weights(problem))
    if not bool(weights.isfinite().all()):
        raise InvalidInputError(
            f"The weights of {type(balancer).__name__} are NaN or infinite, so a gradient of the "
            "training or held-out losses is. Look for a root or a logarithm of zero in a loss."
        )
    add_to_grad(step.weighted(weights, own=True, weigh_own=True), foreign=step.factors)
    if problem.added is not None:
        added = [value * call.scale for value in problem.added]
        add_to_grad(Gradients.of(problem.parameters, added))
    return call.result(call.numbers, weights, way="held out")


# --- what they have in common --------------------------------------------------------------------


def _prepared(call: _Call, balancer: GramianWeighting | JacobianAggregation) -> tuple[Step, Tensor]:
    """Return the step, and the (transformed) losses [t] in float64 on the CPU."""
    step = call.step()
    step.way, step.memory_limit = call.way, call.memory_limit
    # a task that turns out to have no finite gradient is left out by a second try
    step.retain_graph = call.retain_graph or call.non_finite == "skip"
    step.workspace = balancer.workspace
    step.factors = _constant_factors(call)
    local = call.together is None and call.accumulated is None
    seen = call.vector.detach() if local else call.numbers.to(call.vector)
    leaf = seen.requires_grad_()
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


def _scale_tasks(call: _Call, step: Step) -> None:
    """Give each task a factor of its own, if gradients may be computed in float16.

    Not where one pass gives the weighted sum: in it all tasks have one scale.
    """
    half = any(value.dtype == torch.float16 for value in call.values)
    if not call.scaled or call.accumulate == "exact" or half or step.t < 2:
        return
    scales = scales_of(call.balancer, call.names)
    if call.together is not None:
        ranks = call.together.agreement.ranks
        scales = scales.new_tensor(ranks.gather(scales.tolist())[0])
    call.task_scales = scales
    pairs = zip(step.factors, scales.tolist(), strict=True)
    step.factors = [factor * number for factor, number in pairs]


def _learn_scales(call: _Call, lengths: Tensor, bad: Sequence[int] | None) -> None:
    """Choose the tasks' factors of the next step."""
    found = lengths.tolist()
    for k in bad or ():
        found[k] = math.inf
    learn_scales(call.balancer, call.names, found)


def _constant_factors(call: _Call) -> list[Tensor]:
    """Return for each loss, [t] scalars, the scaler's factor times this process's share of rows."""
    if call.together is not None:
        factors = (call.scale * call.together.shares).unbind()
        return [f.to(v) for f, v in zip(factors, call.together.values, strict=True)]
    device = call.vector.device
    kinds = {v.dtype for v in call.values}
    by_dtype = {kind: torch.full((), call.scale, dtype=kind, device=device) for kind in kinds}
    return [by_dtype[v.dtype] for v in call.values]


def _weights(balancer: GramianWeighting, gramian: Tensor, losses: Tensor, call: _Call) -> Tensor:
    """Return the balancer's weights [t], and give its own parameters their gradient."""
    weights = balancer.weights(gramian, losses).detach()
    own_loss = balancer.parameter_loss(gramian, losses)
    if own_loss is not None:
        torch.autograd.backward(own_loss * call.scale)
    if call.refresh_every > 1:
        balancer.remember("kept_weights", weights)
        balancer.remember("kept_tasks", _encoded(call.names))
        balancer.remember("kept_age", torch.tensor(0))
    return weights


def _reusable(call: _Call, balancer: GramianWeighting) -> Tensor | None:
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


def _write(
    balancer: GramianWeighting | JacobianAggregation,
    step: Step,
    shared: Gradients,
    mine: Gradients,
    weights: Tensor | None,
) -> None:
    """Write the gradients of the shared and of the tasks' own parameters to `.grad`."""
    if balancer.weighs_task_parameters and weights is not None:
        mine = mine.weighted(weights)
    add_to_grad(step.learned)
    add_to_grad(shared)
    add_to_grad(mine, foreign=step.factors)


def _not_finite(call: _Call, gramian: Tensor, mine: Gradients) -> list[int] | None:
    """Return the tasks whose gradient isn't finite, None if there is none.

    Raises:
        InvalidInputError: There is one, and the policy is to raise.
    """
    own = _bad_own(call, mine)
    if not own and math.isfinite(float(gramian.sum())):
        return None
    bad = [k for k, x in enumerate(gramian.diagonal().tolist()) if not math.isfinite(x)]
    bad = sorted({*bad, *own}) or list(range(len(gramian)))
    if not call.scaled:
        _raise_if_asked(call, bad)
    return bad


def _bad_own(call: _Call, mine: Gradients) -> set[int]:
    """Return the tasks whose own parameters' gradient isn't finite, if such are to be skipped."""
    if call.non_finite == "raise" or call.scaled:
        return set()
    pairs = zip(mine.tasks, mine.values, strict=True)
    return call.anywhere({k for k, value in pairs if not is_finite(value)})


def _raise_if_asked(call: _Call, bad: Sequence[int]) -> None:
    if call.non_finite == "raise":
        names = [call.names[k] for k in bad]
        raise InvalidInputError(
            f"The gradients of the tasks {names} are NaN or infinite though the losses are finite. "
            'Look for a root or a logarithm of zero, or pass `non_finite="skip"` to leave such '
            "tasks out of the step."
        )


def _is_outside(tensor: Tensor, call: _Call) -> bool:
    if call.own is None:
        return False
    known = {id(x) for x in (*call.own, *(call.shared or ()))}
    return call.shared is not None and id(tensor) not in known
