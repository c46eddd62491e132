"""Devices, and random states that training leaves as it found them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import RLock

import torch

from jointrain.errors import InvalidInputError
from jointrain.system.cores import available_cores

_WORTH_SHARING = 50e6
"""Multiplications of a step from which several threads take less time than one."""


@contextmanager
def one_thread() -> Iterator[None]:
    """Run what is in the block on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def within_quota() -> Iterator[None]:
    """Run what is in the block on no more threads than the container's processor time allows.

    Torch starts a thread for each core of the machine, which then wait for each other.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(min(before, available_cores()))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def threads_for(multiplications: float) -> AbstractContextManager[None]:
    """Return a context of one thread for small steps, of as many as there are for large ones.

    Threads wait for each other at every product. That costs more than a small product, and many
    times more on a machine that is busy with other things.

    Args:
        multiplications: How many a step makes on the CPU.
    """
    return one_thread() if multiplications < _WORTH_SHARING else nullcontext()


_LONG = 60.0
"""Seconds after which a thread says that it waits."""


class _OneThread:
    """Holds a block for one thread at a time, which may come to it again."""

    def __init__(self) -> None:
        self._lock = RLock()

    def renew(self) -> None:
        """Begin anew: a process that was forked has no thread that would leave the block."""
        self._lock = RLock()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        lock = self._lock
        if not lock.acquire(timeout=_LONG):
            warnings.warn(
                "this thread waits for a training in another one, as both draw torch's random "
                "numbers; one that a callback of a training starts and waits for never begins: "
                "train there in the same thread, or in processes",
                stacklevel=5,
            )
            lock.acquire()
        try:
            yield
        finally:
            lock.release()


_one_at_a_time = _OneThread()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_one_at_a_time.renew)


@contextmanager
def random_state_kept(devices: Sequence[torch.device] = ()) -> Iterator[None]:
    """Leave torch's random state as found, of the CPU and the given GPUs.

    It is one for all threads. Another one that comes to such a block waits, with a warning after a
    minute, else both would draw what depends on chance.
    """
    with _one_at_a_time(), torch.random.fork_rng(devices=devices):
        yield


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed dropout on the CPU and `device` inside the block; leave the random states as found.

    As in `random_state_kept`, other threads wait.
    """
    devices = [device] if device.type == "cuda" else []
    with random_state_kept(devices):
        # torch.manual_seed would also seed the GPUs that are not ours to touch
        torch.default_generator.manual_seed(seed)
        if devices:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def resolve_device(device: str | torch.device) -> torch.device:
    """Return the torch device; ``auto`` is a GPU if there is one.

    Raises:
        InvalidInputError: The device is unknown or not on this machine.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except (RuntimeError, TypeError):
        raise InvalidInputError(f"`device` must be auto, cpu or cuda, got {device!r}") from None
    if resolved.type == "cuda" and (resolved.index or 0) >= torch.cuda.device_count():
        raise InvalidInputError(
            f"device {str(resolved)!r} was asked for, but torch finds {torch.cuda.device_count()} "
            f"GPUs; use 'auto' or 'cpu'"
        )
    return resolved
