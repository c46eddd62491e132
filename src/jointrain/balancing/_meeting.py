"""How processes meet for a step: what this one brings, and what it takes on from the others."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from jointrain.balancing._arguments import Losses, checked_losses, named
from jointrain.balancing._balancer import Balancer, LossWeighting
from jointrain.balancing._processes import Arguments, RowCounts, Together
from jointrain.balancing.engine import (
    Agreement,
    Local,
    Place,
    Step,
    agree,
    announce_failure,
    digest_of_state,
    find_replicas,
    gathered,
    prepare,
    ranks_of,
    reached,
    refuse_sharded,
    walk,
)
from jointrain.errors import InvalidInputError

_SETTINGS = ("compare_at", "refresh_every", "gradient_method", "non_finite", "accumulate")
"""The arguments that have to be the same on all processes."""


def meet(losses: Losses, balancer: Balancer, arguments: Arguments) -> Together | None:
    """Return the step that this process takes with others, None if it trains by itself.

    Raises:
        InvalidInputError: This process or another one can't take the step.
    """
    try:
        mine = _brought(losses, balancer, arguments)
        names, values, places = mine.names, mine.values, mine.places
        parameters = [place.tensor for place in places]
        replicas = find_replicas(parameters, arguments.module, arguments.group)
        if replicas is None:
            balancer.mean_over_processes = None
            return None
        if replicas.sharded is not None:
            places = _of_shards(places, replicas.sharded, arguments)
        rows = None if arguments.rows is None else row_counts(arguments.rows, names)
        settings = [f"{name}={getattr(arguments, name)!r}" for name in _SETTINGS]
        local = Local(
            names,
            [float(v.detach()) for v in values],
            rows,
            places,
            ", ".join([_without_seed(repr(balancer)), *settings]),
            digest_of_state(balancer),
        )
    except Exception:
        group = _likely_group(arguments)
        if group is not None:
            announce_failure(group)
        raise
    agreement = agree(ranks_of(replicas.group), replicas, local)
    _share_state(balancer, agreement)
    balancer.mean_over_processes = agreement.mean
    return _sorted(agreement, mine, arguments)


def row_counts(rows: RowCounts, names: Sequence[str]) -> list[float]:
    """Return the number of labelled rows of each task, [t].

    Raises:
        InvalidInputError: A task has none, or a number is negative.
    """
    if isinstance(rows, Mapping):
        missing = [name for name in names if name not in rows]
        if missing:
            raise InvalidInputError(
                f"`rows` lacks the tasks {missing}. Give the number of labelled rows of each task."
            )
        found = [float(rows[name]) for name in names]
    elif isinstance(rows, Sequence):
        if len(rows) != len(names):
            raise InvalidInputError(
                f"`rows` must hold a number per loss, got {len(rows)} for {len(names)} losses."
            )
        found = [float(n) for n in rows]
    else:
        found = [float(rows)] * len(names)
    for name, n in zip(names, found, strict=True):
        if not 0 <= n < float("inf"):
            raise InvalidInputError(
                f"`rows` must hold numbers of at least 0, got {n} for task {name!r}."
            )
    return found


def labelled(losses: Losses, rows: RowCounts) -> dict[str, Tensor]:
    """Return the losses of the tasks that have a label in some row."""
    names, values = named(losses)
    counts = row_counts(rows, names)
    return {name: v for name, v, n in zip(names, values, counts, strict=True) if n}


class _Brought(NamedTuple):
    """What this process brings.

    Attributes:
        names: Its tasks.
        values: Their losses.
        step: Its step, where it is known before the others are.
        places: The parameters that it reaches.
        inputs: The other leaf tensors.
        custom: Whether its graph has operations that aren't torch's own.
    """

    names: tuple[str, ...]
    values: list[Tensor]
    step: Step | None
    places: list[Place]
    inputs: list[Tensor]
    custom: bool


def _brought(losses: Losses, balancer: Balancer, arguments: Arguments) -> _Brought:
    names, values = named(losses)
    if not values:
        places, custom = _places([], None, arguments)
        return _Brought((), [], None, places, [], custom)
    names, values, _ = checked_losses(losses)
    step = None
    if (
        arguments.shared is not None
        or arguments.features is not None
        or not isinstance(balancer, LossWeighting)
    ):
        step = prepare(
            values,
            shared=arguments.shared and gathered(arguments.shared),
            own=None if arguments.own is None else gathered(arguments.own),
            features=arguments.features,
        )
    picked = set() if step is None else {id(leaf.tensor) for leaf in step.shared}
    known = None if step is None else {id(leaf.tensor) for leaf in step.parameters}
    places, custom = _places(values, step, arguments)
    kept, inputs = [], []
    for p in places:
        if _counts(p, known, arguments):
            kept.append(p._replace(picked=id(p.tensor) in picked))
        else:
            inputs.append(p.tensor)
    return _Brought(names, values, step, kept, inputs, custom)


def _places(
    values: list[Tensor], step: Step | None, arguments: Arguments
) -> tuple[list[Place], bool]:
    """Return the leaf tensors that the losses and the penalty reach, and whether it is custom.

    Without a step nobody asks which of the losses reach a parameter.
    """
    if arguments.penalty is not None:
        graph = walk([*values, arguments.penalty])
        leaves, custom = graph.leaves, graph.custom
    elif step is not None:
        leaves, custom = step.graph.leaves, step.graph.custom
    else:
        leaves, custom = reached(values)
    return [Place(x.tensor, x.mask, sparse=x.sparse) for x in leaves], custom


def _counts(place: Place, known: set[int] | None, arguments: Arguments) -> bool:
    """Return whether a leaf tensor is a parameter that all processes hold."""
    if isinstance(place.tensor, nn.Parameter) or (known is not None and id(place.tensor) in known):
        return True
    named_ones = [*(arguments.shared or ()), *(arguments.own or ())]
    return any(place.tensor is x for x in named_ones)


def _of_shards(places: list[Place], managed: dict[int, Any], arguments: Arguments) -> list[Place]:
    """Return the places of the shards in place of the gathered parameters that the graph knows."""
    if arguments.penalty is not None:
        raise refuse_sharded("penalty=")
    kept = [p for p in places if id(p.tensor) in managed]
    return [p._replace(tensor=managed[id(p.tensor)][0].sharded_param) for p in kept]


def _without_seed(words: str) -> str:
    """Return a balancer in words without its seed, which the first process decides for all."""
    return re.sub(r"(, )?\bseed=-?\d+", "", words).replace("(, ", "(")


def _likely_group(arguments: Arguments) -> dist.ProcessGroup | None:
    """Return the group on which the others wait for this process."""
    if arguments.group is None:
        return None
    if arguments.group != "auto":
        group: Any = arguments.group
    elif isinstance(arguments.module, DistributedDataParallel):
        group = arguments.module.process_group
    else:
        group = dist.group.WORLD
    return group if dist.get_world_size(group) > 1 else None


def _share_state(balancer: Balancer, agreement: Agreement) -> None:
    """Let every process go on from the first one's balancer where they differ."""
    if balancer.task_state and balancer.task_names is None:
        names = agreement.ranks.from_first(agreement.names) if agreement.names else ()
        balancer.bind(names or None)
    if agreement.same_state:
        return
    tasks, state = agreement.ranks.from_first((balancer.task_names, balancer.state_dict()))
    balancer.bind(tasks)
    balancer.load_state_dict(state)


def _sorted(agreement: Agreement, mine: _Brought, arguments: Arguments) -> Together:
    """Put this process's losses in the order of the agreement, with leaves for absent ones."""
    own = dict(zip(mine.names, mine.values, strict=True))
    like = mine.values[0] if mine.values else next(iter(agreement.places)).tensor
    found = []
    for name, present in zip(agreement.names, agreement.present, strict=True):
        if name in own and (present or agreement.replicas.sharded is not None):
            found.append(own[name])
        else:
            found.append(torch.zeros((), device=like.device, dtype=like.dtype, requires_grad=True))
    complete = tuple(mine.names) == agreement.names and all(agreement.present)
    step = mine.step if complete else None
    return Together(agreement, found, arguments, step, mine.inputs, mine.custom)
