"""Checks of a trainer's tasks and weights, and of its network's outputs."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from jointrain.balancing import Balancer, Needs
from jointrain.errors import InvalidInputError, closest
from jointrain.networks import Network
from jointrain.task import Task
from jointrain.training._in_place import refusing_writes
from jointrain.training._phases import Phases
from jointrain.training._settings import TrainingSettings, named
from jointrain.training.callbacks import Callback
from jointrain.training.checkpoints import Checkpoints
from jointrain.training.merging import Merge
from jointrain.training.sampling import Batch, Schedule


def check_arguments(
    network: Any,
    tasks: Any,
    schedule: Any,
    balancer: Any,
    seed: Any,
    callbacks: Any,
    checkpoints: Any,
) -> None:
    """Refuse arguments of a trainer that are of another type, such as names.

    Raises:
        InvalidInputError: There is one.
    """
    # a network compiled as a whole is of another class
    if not isinstance(network, nn.Module) or not hasattr(network, "index_of"):
        raise InvalidInputError(
            "`network` must be a Network, such as HardSharing(trunk, {task: head}), got "
            f"{named(network)}"
        )
    several = isinstance(tasks, Iterable) and not isinstance(tasks, str)
    wrong = [one for one in tasks if not isinstance(one, Task)] if several else [tasks]
    if wrong:
        raise InvalidInputError(
            f"`tasks` must be Tasks, such as [Task.regression('price')], got {named(wrong[0])}"
        )
    if schedule is not None and not isinstance(schedule, (Schedule, Phases, Merge)):
        raise InvalidInputError(
            "`schedule` must be a schedule, such as Alternating(), or Phases or Merge(), got "
            f"{named(schedule)}"
        )
    if balancer is not None and not isinstance(balancer, Balancer):
        raise InvalidInputError(
            f"`balancer` must be a Balancer, such as MGDA(), got {named(balancer)}; "
            "jointrain.balancing.balancer_from_name builds one of its name"
        )
    if not isinstance(seed, Integral):
        raise InvalidInputError(f"`seed` must be a whole number, got {named(seed)}")
    several = isinstance(callbacks, Sequence)
    wrong = [x for x in callbacks if not isinstance(x, Callback)] if several else [callbacks]
    if wrong:
        raise InvalidInputError(
            f"`callbacks` must be Callbacks, such as [ConsoleLogger()], got {named(wrong[0])}"
        )
    if checkpoints is not None and not isinstance(checkpoints, Checkpoints):
        raise InvalidInputError(
            f"`checkpoints` must be Checkpoints(folder), got {named(checkpoints)}"
        )


def checked_weights(
    weights: Mapping[str, float] | None, names: tuple[str, ...]
) -> dict[str, float]:
    """Return the weight of each task, 1 where none is given."""
    if weights is not None and not isinstance(weights, Mapping):
        raise InvalidInputError(
            f"`weights` must be {{task: weight}}, got {named(weights)}; the tasks are "
            f"{', '.join(names)}"
        )
    given = {} if weights is None else dict(weights)
    for name, weight in given.items():
        if name not in names:
            raise InvalidInputError(
                f"`weights` names {name!r}, which is no task{closest(name, names)}"
            )
        if not isinstance(weight, (Real, Tensor)) or not 0 <= weight < math.inf:
            raise InvalidInputError(f"the weight of task {name!r} must be >= 0, got {weight!r}")
    if given and not any(given.get(name, 1.0) for name in names):
        raise InvalidInputError("at least one task must have a weight above 0")
    return {name: float(given.get(name, 1.0)) for name in names}


def checked_auxiliary(auxiliary: Sequence[str], names: tuple[str, ...]) -> frozenset[str]:
    """Return the names of the auxiliary tasks."""
    given = (auxiliary,) if isinstance(auxiliary, str) else tuple(auxiliary)
    for name in given:
        if name not in names:
            raise InvalidInputError(
                f"`auxiliary` names {name!r}, which is no task{closest(name, names)}"
            )
    if set(given) == set(names):
        raise InvalidInputError("all tasks are auxiliary; at least one must not be")
    return frozenset(given)


def check_accumulates(balancer: Balancer, accumulate: int) -> None:
    """Refuse a balancer whose step over several batches is not that over one of all their rows.

    Raises:
        InvalidInputError: It draws further batches, takes held-out losses, computes losses again or
            differentiates them twice.
    """
    several = balancer.extra_batches or balancer.needs in (Needs.HELD_OUT, Needs.NEARBY)
    twice = balancer.needs is Needs.HEADS
    if accumulate > 1 and (several or twice):
        what = "differentiates heads twice" if twice else "computes losses several times a step"
        raise InvalidInputError(
            f"`accumulate` is not exact with {type(balancer).__name__}, which {what}; give a "
            "larger `batch_size`"
        )


def check_heads(balancer: Balancer, network: Network, settings: TrainingSettings) -> None:
    """Refuse heads that can't be differentiated twice, each by itself, where a balancer does so.

    Raises:
        InvalidInputError: They are compiled, or grouped.
    """
    kind = type(balancer).__name__
    if balancer.needs is Needs.HEADS and settings.compile:
        raise InvalidInputError(
            f"{kind} differentiates heads twice, which compiled ones can't be; leave out `compile`"
        )
    if balancer.needs is Needs.HEADS and len(network.heads.groups):
        raise InvalidInputError(
            f"{kind} guides each head by itself, and heads are grouped; build the network with "
            "`group_from=None`, or choose another network or balancer"
        )


def refuse_chains(network: Network) -> None:
    """Refuse to train the tasks of a chain one by one in copies of one network.

    Raises:
        InvalidInputError: A task is given another one.
    """
    if network.linked:
        place = next(k for k, given in enumerate(network.given_places) if given >= 0)
        name, given = network.task_names[place], network.task_names[network.given_places[place]]
        raise InvalidInputError(
            f"Merge() trains each task apart, and {name!r} is given {given!r}; train them "
            "together, or leave `given` out"
        )


def check_losses(network: nn.Module, tasks: Iterable[Task]) -> None:
    """Refuse a task's loss with weights of its own that nothing would train.

    Raises:
        InvalidInputError: There is one.
    """
    trained = {id(parameter) for parameter in network.parameters()}
    for task in tasks:
        function = task.loss_function
        # a method of a module, too
        bound = getattr(function, "__self__", None)
        module = function if isinstance(function, nn.Module) else bound
        if not isinstance(module, nn.Module):
            continue
        for name, parameter in module.named_parameters():
            if parameter.requires_grad and id(parameter) not in trained:
                raise InvalidInputError(
                    f"the loss function of task {task.name!r} has a parameter {name!r} that the "
                    "network does not have, so nothing would train it; put it into the task's "
                    "head, whose output the loss takes, or freeze it (requires_grad_(False))"
                )


def check_made(network: nn.Module) -> None:
    """Refuse a network of lazy layers that do not know their sizes yet.

    Raises:
        InvalidInputError: There is one.
    """
    for name, value in (*network.named_parameters(), *network.named_buffers()):
        if is_lazy(value):
            what = "parameter" if isinstance(value, nn.Parameter) else "buffer"
            raise InvalidInputError(
                f"{what} {name!r} of the network is lazy and has no size yet; call the network "
                "once on some inputs first"
            )


@torch.no_grad()
def check_outputs(network: Network, batches: Iterable[Batch], tasks: Mapping[str, Task]) -> None:
    """Refuse a head whose output does not fit its task, and layers that write into the data.

    Raises:
        InvalidInputError: A head has the wrong width, or gives no tensor; or a layer changes in
            place what others are given, too.
    """
    network.eval()
    for batch in batches:
        with refusing_writes(network, batch.data.inputs) as inputs:
            outputs = network(inputs, batch.tasks)
        for name in batch.tasks:
            task = tasks[name]
            if not isinstance(outputs[name], Tensor):
                raise InvalidInputError(
                    f"the head of {task.kind} task {name!r} must give one tensor, got "
                    f"{type(outputs[name]).__name__}"
                )
            output = outputs[name][:1]
            width = task.rules.output_width(output)
            if task.loss_function is None and width != task.output_size:
                raise InvalidInputError(
                    f"the head of {task.kind} task {name!r} must give {task.output_size} "
                    f"numbers, got {width}"
                )


def check_validated(
    initial: Mapping[str, float], tasks: Sequence[str], settings: TrainingSettings
) -> None:
    """Warn of validation data by which no task can be scored, and refuse to stop early by them.

    Args:
        initial: The validation losses before training; a task without a validation label has none.
        tasks: Names of those that count in the score.
        settings: Those of the training.

    Raises:
        InvalidInputError: There is patience, for a score that never comes.
    """
    if not initial.keys().isdisjoint(tasks):
        return
    names = ", ".join(map(repr, tasks))
    what = f"the validation data have no label of task{'s' * (len(tasks) > 1)} {names}"
    for argument in ("patience", "task_patience"):
        if getattr(settings, argument) is not None:
            raise InvalidInputError(
                f"{what}, and `{argument}` waits for their losses; give rows with labels, or leave "
                f"{argument} out"
            )
    warnings.warn(
        f"{what}, so nothing is scored, and the weights after the last step are kept; give rows "
        f"with labels",
        stacklevel=4,
    )
