"""Rows that worker processes read where there is little shared memory, as in most containers."""

from __future__ import annotations

import os
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

ENOUGH = 2**28
"""Bytes of shared memory from which workers hand tensors over by it, as torch does."""

_PLACE = Path("/dev/shm")

Collate = Callable[[list[Any]], Any]


class Packed(NamedTuple):
    """Rows as bytes, which go through a pipe."""

    content: bytes


def pack(rows: list[Any]) -> Packed:
    """Return rows as bytes; a batch is made of them by who gets them, out of shared memory."""
    return Packed(pickle.dumps(rows, pickle.HIGHEST_PROTOCOL))


def sending(collate: Collate | None, workers: int, place: Path = _PLACE) -> Collate | None:
    """Return what a loader's workers make of the rows of a batch.

    Args:
        collate: Makes a batch of rows.
        workers: How many there are.
        place: Where shared memory lies in the file system.
    """
    free = _free(place)
    if not workers or free is None or free >= ENOUGH:
        return collate
    warnings.warn(
        f"{place} has {free / 2**20:.0f} MB of shared memory left, so rows that workers read come "
        f"through pipes, which takes longer; give the container more, such as docker run "
        f"--shm-size=2g",
        stacklevel=2,
    )
    return pack


def received(batch: Any, collate: Collate) -> Any:
    """Return the batch that a loader gave, made of its rows if workers have packed them."""
    if isinstance(batch, Packed):
        # bytes of our own workers
        return collate(pickle.loads(batch.content))
    return batch


def _free(place: Path) -> int | None:
    """Return the bytes that are left, None where it is not known."""
    try:
        found = os.statvfs(place)
    except (OSError, AttributeError):  # not on Linux
        return None
    return found.f_bavail * found.f_frsize
