"""What all processes of a step agree on before its first pass: tasks, losses, parameters."""

from __future__ import annotations

import hashlib
import math
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from jointrain.balancing.engine._ranks import Ranks, other_rank_failed
from jointrain.balancing.engine._replicas import Replicas
from jointrain.errors import InvalidInputError

_ROOM = 32  # tasks whose losses fit into the first message
_MOST = 64  # graphs that are remembered as checked
_DRIFT = 1e-9  # by how much sums of the same numbers may differ between machines, relatively


class Place(NamedTuple):
    """A parameter as this process or all of them see it.

    Attributes:
        tensor: The parameter.
        mask: The tasks that reach it, as bits; the next bit is that of the penalty.
        picked: Whether the caller named it as shared, by itself or by `features`.
        sparse: Whether it is a table whose gradient has only the rows that were looked up.
    """

    tensor: Tensor
    mask: int
    picked: bool = False
    sparse: bool = False


@dataclass(frozen=True)
class Local:
    """What one process brings to a step.

    Attributes:
        names: Its tasks; those with a loss.
        losses: Their losses, [t].
        rows: In how many rows each of them has a label here; None if the caller didn't say.
        places: The parameters that its losses reach.
        settings: The other arguments of the call, which must be the same everywhere.
        state: A digest of the balancer's state.
    """

    names: tuple[str, ...]
    losses: list[float]
    rows: list[float] | None
    places: list[Place]
    settings: str
    state: bytes


@dataclass(frozen=True)
class Agreement:
    """What all processes of a step know.

    Attributes:
        ranks: The processes.
        replicas: How the parameters lie over them.
        names: The tasks that have a label on some process, [t], in one order for all.
        shares: What part of each task's rows is on this process, [t].
        losses: The mean loss of each task over all rows, [t], float64.
        present: Whether this process is to differentiate the task's loss, [t].
        places: The parameters that some process reaches, in one order for all.
        alike: Whether every process has all tasks and the same graph.
        same_state: Whether the balancers' states were equal.
    """

    ranks: Ranks
    replicas: Replicas
    names: tuple[str, ...]
    shares: tuple[float, ...]
    losses: Tensor
    present: tuple[bool, ...]
    places: tuple[Place, ...]
    alike: bool
    same_state: bool

    def without(self, bad: Sequence[int]) -> Agreement:
        """Return it without the tasks at these positions."""
        keep = [k for k in range(len(self.names)) if k not in bad]
        return replace(
            self,
            names=tuple(self.names[k] for k in keep),
            shares=tuple(self.shares[k] for k in keep),
            losses=self.losses[keep],
            present=tuple(self.present[k] for k in keep),
            places=tuple(
                p._replace(mask=_moved(p.mask, [*keep, len(self.names)])) for p in self.places
            ),
        )

    def mean(self, losses: Tensor) -> Tensor:
        """Return the losses [t] over the rows of all processes, of those of this one."""
        shares = torch.tensor(self.shares, dtype=torch.float64)
        present = torch.tensor(self.present)
        mine = torch.where(present, losses.detach().to(shares) * shares, 0.0)
        return self.ranks.add_up(mine).to(losses)

    def is_shared(self, place: Place, *, named: bool) -> bool:
        """Return whether the parameter's gradients are balanced.

        Args:
            place: The parameter.
            named: Whether the caller said which parameters are shared.
        """
        tasks = place.mask & ((1 << len(self.names)) - 1)
        return place.picked if named else bool(tasks & (tasks - 1))


def agree(ranks: Ranks, replicas: Replicas, local: Local) -> Agreement:
    """Tell the other processes what this one brings, and return what all of them know.

    Raises:
        InvalidInputError: The processes can't take a step together; all of them raise.
    """
    index = None if replicas.order is None else {id(p): i for i, p in enumerate(replicas.order)}
    known = _is_checked(ranks, local.places)
    room = max(_ROOM, len(local.names))
    losses = local.losses + [0.0] * (_ROOM - len(local.names))
    rows = (local.rows or []) + [0.0] * (room - len(local.rows or []))
    head = [
        0.0,
        *_numbers(_digest_of(local, index)),
        *_numbers(local.state),
        float(known),
        float(len(local.names)),
        float(local.rows is not None),
    ]
    messages = ranks.gather([*head, *losses[:_ROOM], *rows[:_ROOM]])
    _raise_if_failed(messages)
    same = all(m[1:3] == messages[0][1:3] for m in messages) and _told_rows(messages) is not None
    same_state = all(m[3:5] == messages[0][3:5] for m in messages)
    if not same or not all(m[5] for m in messages):
        return _agree_in_full(ranks, replicas, local, index, same_state)
    t = len(local.names)
    if t > _ROOM:
        tables = ranks.gather([*local.losses, *rows[:t]])
        losses_of = [m[:t] for m in tables]
        rows_of = [m[t:] for m in tables]
    else:
        losses_of = [m[len(head) : len(head) + t] for m in messages]
        rows_of = [m[len(head) + _ROOM : len(head) + _ROOM + t] for m in messages]
    if local.rows is None:
        rows_of = [[1.0] * t for _ in messages]
    return _weighed(
        ranks, replicas, local.names, losses_of, rows_of, local.places, True, same_state
    )


def announce_failure(group: dist.ProcessGroup) -> None:
    """Tell the other processes that this one takes no step, where `agree` would stand."""
    Ranks(group).gather([1.0] + [0.0] * (7 + 2 * _ROOM))


def _raise_if_failed(messages: Sequence[Sequence[float]]) -> None:
    for rank, message in enumerate(messages):
        if message[0]:
            raise other_rank_failed(rank)


def _told_rows(messages: Sequence[Sequence[float]]) -> bool | None:
    """Return whether `rows` was given, None where only some processes have given it."""
    said = {bool(m[7]) for m in messages if m[6]}
    return None if len(said) > 1 else True in said


def _digest_of(local: Local, index: dict[int, int] | None) -> bytes:
    """Return a digest of all that must be the same where no more is to be said."""
    found = hashlib.blake2b(digest_size=12)
    found.update(repr((local.names, local.settings)).encode())
    for i, place in enumerate(local.places):
        where = i if index is None else index.get(id(place.tensor), -1)
        found.update(b"%d %d %d %d " % (where, *place[1:]))
        found.update(repr(tuple(place.tensor.shape)).encode())
    return found.digest()


def _numbers(digest: bytes) -> list[float]:
    """Return 12 bytes as two numbers that a double holds exactly."""
    return [float(int.from_bytes(digest[:6], "big")), float(int.from_bytes(digest[6:12], "big"))]


def digest_of_state(balancer: nn.Module) -> bytes:
    """Return a digest of what a balancer remembers: large tensors by their shape only."""
    found = hashlib.blake2b(digest_size=12)
    for name, value in balancer.state_dict().items():
        found.update(name.encode())
        if value.device.type == "cpu" and value.numel() <= 2**13:
            found.update(
                value.detach().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes()
            )
        else:
            found.update(repr(tuple(value.shape)).encode())
    return found.digest()


# --- where the processes differ, or haven't been compared yet ------------------------------------


class _Description(NamedTuple):
    """A parameter in words: its place in the common order, and what `Place` holds; sums."""

    place: int
    shape: tuple[int, ...]
    mask: int
    picked: bool
    sparse: bool
    sums: tuple[float, float] | None


def _agree_in_full(
    ranks: Ranks,
    replicas: Replicas,
    local: Local,
    index: dict[int, int] | None,
    same_state: bool,
) -> Agreement:
    sums = replicas.sharded is None and not _is_checked(ranks, local.places)
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
    return _weighed(ranks, replicas, names, losses, rows, places, alike, same_state)


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


def _weighed(
    ranks: Ranks,
    replicas: Replicas,
    names: tuple[str, ...],
    losses: Sequence[Sequence[float]],
    rows: Sequence[Sequence[float]],
    places: Sequence[Place],
    alike: bool,
    same_state: bool,
) -> Agreement:
    """Return the agreement: each task's loss is the mean over the rows of all processes."""
    # in plain numbers: so few of them take tensors ten times as long
    if replicas.sharded is not None:
        here = zip(rows, losses, strict=True)
        numbers = [pair for some in here for pair in zip(*some, strict=True)]
        if not all(math.isfinite(loss) for n, loss in numbers if n == 0):
            raise InvalidInputError(
                "Over shards of `fully_shard` the loss of a task without rows on a process must be "
                "finite, since its pass is made all the same. Take a sum in place of a mean there."
            )
    total = [sum(some[k] for some in rows) for k in range(len(names))]
    mean = [
        sum(v[k] * (n[k] / total[k]) for n, v in zip(rows, losses, strict=True) if n[k] > 0)
        for k in range(len(names))
    ]
    mine = rows[ranks.rank]
    found = Agreement(
        ranks,
        replicas,
        names,
        tuple(n / every if every else 0.0 for n, every in zip(mine, total, strict=True)),
        torch.tensor(mean, dtype=torch.float64),
        tuple(n > 0 for n in mine),
        tuple(places),
        alike,
        same_state,
    )
    empty = [k for k, n in enumerate(total) if n == 0]
    return found.without(empty) if empty else found


def _spread(
    values: Sequence[float], own: Sequence[str], names: Sequence[str], default: float
) -> list[float]:
    found = dict(zip(own, values, strict=True))
    return [found.get(name, default) for name in names]


def _moved(mask: int, keep: Sequence[int]) -> int:
    """Return the bits at the positions `keep`, moved together."""
    return sum((mask >> k & 1) << i for i, k in enumerate(keep))


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


def _is_checked(ranks: Ranks, places: Sequence[Place]) -> bool:
    """Return whether these parameters were found to be the same on all processes before."""
    known = ranks.checked.get(tuple(id(p.tensor) for p in places))
    return known is not None and all(
        ref() is p.tensor for ref, p in zip(known, places, strict=True)
    )


def _remember_checked(ranks: Ranks, places: Sequence[Place]) -> None:
    while len(ranks.checked) >= _MOST:
        del ranks.checked[next(iter(ranks.checked))]
    ranks.checked[tuple(id(p.tensor) for p in places)] = [weakref.ref(p.tensor) for p in places]
