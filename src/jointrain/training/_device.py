"""Devices, and random states that training leaves as it found them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from jointrain.errors import InvalidInputError


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed dropout on the CPU and `device` inside the block; leave the random states as found."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
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
    except RuntimeError:
        raise InvalidInputError(f"`device` must be auto, cpu or cuda, got {device!r}") from None
    if resolved.type == "cuda" and (resolved.index or 0) >= torch.cuda.device_count():
        raise InvalidInputError(
            f"device {str(resolved)!r} was asked for, but torch finds {torch.cuda.device_count()} "
            f"GPUs; use 'auto' or 'cpu'"
        )
    return resolved
