"""How processes agree on a step: one short message from each where nothing has changed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import nn

from jointrain.balancing.engine._agreement import Agreement, Local, weighed
from jointrain.balancing.engine._comparison import agree_in_full, is_checked
from jointrain.balancing.engine._ranks import Ranks, other_rank_failed
from jointrain.balancing.engine._replicas import Replicas

_ROOM = 32  # tasks whose losses fit into the first message


def agree(ranks: Ranks, replicas: Replicas, local: Local) -> Agreement:
    """Tell the other processes what this one brings, and return what all of them know.

    Raises:
        InvalidInputError: The processes can't take a step together; all of them raise.
    """
    index = None if replicas.order is None else {id(p): i for i, p in enumerate(replicas.order)}
    known = is_checked(ranks, local.places)
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
        return agree_in_full(ranks, replicas, local, index, same_state)
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
    return weighed(ranks, replicas, local.names, losses_of, rows_of, local.places, True, same_state)


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
    # one that was loaded has to find its parameters again, which all do together
    orders = [getattr(part, "block_order", None) is None for part in balancer.modules()]
    found.update(bytes(orders))
    for name, value in balancer.state_dict().items():
        found.update(name.encode())
        if value.device.type == "cpu" and value.numel() <= 2**13:
            found.update(
                value.detach().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes()
            )
        else:
            found.update(repr(tuple(value.shape)).encode())
    return found.digest()
