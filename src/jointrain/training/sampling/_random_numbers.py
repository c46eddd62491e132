"""Random numbers for reading data, apart from those of the run."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor


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
        # torch's and Python's states are copied; numpy's is put in place, as copying takes 0.2 ms
        self._states: tuple[Tensor, Any] | None = None
        self._numpy = np.random.MT19937(0)

    @contextmanager
    def active(self, seed: int | None = None) -> Iterator[None]:
        """Use the state inside the block, or a fresh one from `seed`."""
        outside = torch.get_rng_state(), random.getstate()
        outside_numpy = np.random.get_bit_generator()  # type: ignore[attr-defined]
        np.random.set_bit_generator(self._numpy)  # type: ignore[attr-defined]
        if seed is not None:
            seed_all(seed)
        elif self._states is not None:
            _restore(self._states)
        try:
            yield
        finally:
            self._states = torch.get_rng_state(), random.getstate()
            _restore(outside)
            np.random.set_bit_generator(outside_numpy)  # type: ignore[attr-defined]


def _restore(states: tuple[Tensor, Any]) -> None:
    torch.set_rng_state(states[0])
    random.setstate(states[1])
