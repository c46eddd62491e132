"""Random numbers for reading data, apart from those of the run."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def derived_seed(seed: int, *labels: object) -> int:
    """Return a seed for one use of random numbers, the same on every machine.

    Args:
        seed: Seed of the run.
        labels: What the numbers are for; other labels give unrelated seeds.
    """
    text = "/".join(map(str, (seed, *labels)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def seed_all(seed: int) -> None:
    """Seed torch's numbers on the CPU, numpy's and Python's."""
    torch.default_generator.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


class RandomNumbers:
    """A state of all random numbers that goes on from use to use and leaves the run's alone.

    Reading data draws random numbers: the order of a shuffling loader, augmentation. Within
    `active` these come from a state of their own, so that dropout does not depend on how data are
    read, nor the data on the network.
    """

    def __init__(self) -> None:
        self._state: tuple[Any, ...] | None = None

    @contextmanager
    def active(self, seed: int | None = None) -> Iterator[None]:
        """Use the state inside the block, or a fresh one from `seed`."""
        outside = _states()
        if seed is not None:
            seed_all(seed)
        elif self._state is not None:
            _restore(self._state)
        try:
            yield
        finally:
            self._state = _states()
            _restore(outside)


def _states() -> tuple[Any, ...]:
    return torch.get_rng_state(), np.random.get_state(), random.getstate()


def _restore(states: tuple[Any, ...]) -> None:
    torch.set_rng_state(states[0])
    np.random.set_state(states[1])
    random.setstate(states[2])
