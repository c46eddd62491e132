"""What processes tell each other where they differ, or haven't been compared yet."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from jointrain.balancing.engine._agreement import Agreement, Local, Place, weighed
from jointrain.balancing.engine._ranks import Ranks
from jointrain.balancing.engine._replicas import Replicas
from jointrain.errors import InvalidInputError

_MOST = 64  # graphs that are remembered as checked
_DRIFT = 1e-9  # by how much sums of the same numbers may differ between machines, relatively


class _Description(NamedTuple):
    """A parameter in words: its place in the common order, and what `Place` holds; sums."""

    place: int
    shape: tuple[int, ...]
    mask: int
    picked: bool
    sparse: bool
    sums: tuple[float, float] | None


def agree_in_full(
    ranks: Ranks,
    replicas: Replicas,
    local: Local,
    index: dict[int, int] | None,
    same_state: bool,
) -> Agreement:
    """Tell the other processes all that this one brings, and return what all of them know.

    Args:
        ranks: The processes.
        replicas: How the parameters lie over them.
        local: What this process brings.
        index: The place of each parameter in the common order, by its id, if there is one.
        same_state: Whether the balancers' states are equal.

    Raises:
        InvalidInputError: The processes can't take a step together; all of them raise.
    """
    sums = replicas.sharded is None and not is_checked(ranks, local.places)
    mine = [
        _Description(
            i if index is None else index.get(id(place.tensor), -1),
            tuple(place.tensor.shape),
            place.mask,
            place.picked,
            place.sparse,
            _sums(place.tensor) if sums else None,
        )
        for i, place in enumerate(local.places)
    ]
    message = (local.names, local.settings, local.losses, local.rows, mine)
    found = ranks.gather_objects(message)
    _check_arguments(found)
    names = tuple(dict.fromkeys(name for names, *_ in found for name in names))
    if replicas.sharded is not None:
        _check_shards(found)
    alike = all(m[0] == found[0][0] and _without_sums(m[4]) == _without_sums(mine) for m in found)
    if alike:
        names = local.names
    described = [
        [d._replace(mask=_moved_to(d.mask, own, names)) for d in descriptions]
        for own, _, _, _, descriptions in found
    ]
    if not alike:
        _check_order(replicas, described)
    _check_copies(described)
    if alike:
        places = local.places
        _remember_checked(ranks, places)
    else:
        places = _union(replicas, described)
        if sums and all(descriptions for descriptions in described):
            _remember_checked(ranks, local.places)
    losses = [_spread(m[2], m[0], names, 0.0) for m in found]
    rows = [_spread(m[3] or [1.0] * len(m[0]), m[0], names, 0.0) for m in found]
    return weighed(ranks, replicas, names, losses, rows, places, alike, same_state)


def _check_arguments(
    found: Sequence[tuple[tuple[str, ...], str, list[float], object, object]],
) -> None:
    settings = {m[1] for m in found if m[0]}
    if len(settings) > 1:
        one, other = sorted(settings)[:2]
        raise InvalidInputError(
            f"The processes called `backward` differently: {one}; and {other}. Pass the same "
            "balancer and arguments on every process."
        )
    if len({m[3] is None for m in found if m[0]}) > 1:
        raise InvalidInputError(
            "`rows` was given on some processes only. Pass it on all of them, 0 for a task "
            "without a label."
        )


def _check_shards(found: Sequence[tuple[tuple[str, ...], object, object, object, object]]) -> None:
    if len({frozenset(m[0]) for m in found}) > 1:
        raise InvalidInputError(
            "Over shards of `fully_shard` every process must have a loss of every task, since each "
            "pass gathers the shards of all. For a task without a label here give a loss of 0 that "
            "is computed from its output (`0 * output.sum()`), and `rows` of 0."
        )


def _check_copies(described: Sequence[Sequence[_Description]]) -> None:
    """Raise where two processes hold different numbers in the same parameter."""
    seen: dict[int, tuple[int, _Description]] = {}
    for rank, descriptions in enumerate(described):
        for d in descriptions:
            first, other = seen.setdefault(d.place, (rank, d))
            close = other.sums is None or d.sums is None or _close(d.sums, other.sums)
            if d.shape == other.shape and close:
                continue
            raise InvalidInputError(
                f"Ranks {first} and {rank} don't hold copies of one network: parameter {d.place} "
                f"has shape {other.shape} and {d.shape}, sum {_first(other)} and {_first(d)}. "
                "Start from the same seed, wrap the network in DistributedDataParallel, or pass "
                "`process_group=None` if every process trains a network of its own."
            )


def _check_order(replicas: Replicas, described: Sequence[Sequence[_Description]]) -> None:
    if replicas.order is None or any(d.place < 0 for all_ in described for d in all_):
        raise InvalidInputError(
            "The processes' losses reach different parameters, and without the module it can't be "
            "said which is which. Pass `module=`, the network that holds them all, or wrap it in "
            "DistributedDataParallel."
        )


def _union(replicas: Replicas, described: Sequence[Sequence[_Description]]) -> list[Place]:
    assert replicas.order is not None
    found: dict[int, Place] = {}
    for d in (d for descriptions in described for d in descriptions):
        _, mask, picked, sparse = found.get(d.place, (None, 0, False, False))
        found[d.place] = Place(
            replicas.order[d.place], mask | d.mask, picked or d.picked, sparse or d.sparse
        )
    return [found[i] for i in sorted(found)]


def _spread(
    values: Sequence[float], own: Sequence[str], names: Sequence[str], default: float
) -> list[float]:
    found = dict(zip(own, values, strict=True))
    return [found.get(name, default) for name in names]


def _moved_to(mask: int, own: Sequence[str], names: Sequence[str]) -> int:
    """Return a mask of the tasks `own` as one of the tasks `names`, which hold them all."""
    if tuple(own) == tuple(names):
        return mask
    place = {name: i for i, name in enumerate(names)}
    extra = mask >> len(own) << len(names)  # what is no task: the penalty
    return extra | sum(1 << place[name] for i, name in enumerate(own) if mask >> i & 1)


def _without_sums(descriptions: Sequence[_Description]) -> list[_Description]:
    return [d._replace(sums=None) for d in descriptions]


def _sums(tensor: Tensor) -> tuple[float, float]:
    """Return the sum of the numbers and of their sizes, by which copies are told from others."""
    x = tensor.detach()
    x = torch.view_as_real(x) if x.is_complex() else x
    wide = x.double()
    return float(wide.sum()), float(wide.abs().sum())


def _close(first: tuple[float, float], second: tuple[float, float]) -> bool:
    limit = _DRIFT * max(first[1], second[1])
    return all(abs(a - b) <= limit for a, b in zip(first, second, strict=True))


def _first(description: _Description) -> str:
    return "?" if description.sums is None else f"{description.sums[0]:.9g}"


def is_checked(ranks: Ranks, places: Sequence[Place]) -> bool:
    """Return whether these parameters were found to be the same on all processes before."""
    known = ranks.checked.get(tuple(id(p.tensor) for p in places))
    return known is not None and all(
        ref() is p.tensor for ref, p in zip(known, places, strict=True)
    )


def _remember_checked(ranks: Ranks, places: Sequence[Place]) -> None:
    while len(ranks.checked) >= _MOST:
        del ranks.checked[next(iter(ranks.checked))]
    ranks.checked[tuple(id(p.tensor) for p in places)] = [weakref.ref(p.tensor) for p in places]
