"""Random states: all numbers of a process go on from where they were."""

import random

import numpy as np
import pytest
import torch

from jointrain.training.checkpoints._random_states import random_states, set_random_states
from jointrain.training.checkpoints._stored_state import from_bytes, to_bytes

CPU = torch.device("cpu")


def _draw():
    return [
        *torch.rand(3).tolist(), *np.random.rand(3), np.random.randn(),
        random.random(), random.gauss(0, 1),
    ]  # fmt: skip


@pytest.fixture(autouse=True)
def _states_as_found():
    states = random_states(CPU)
    yield
    set_random_states(states, CPU)


def test_numbers_go_on_from_a_stored_state():
    random.gauss(0, 1)  # leaves a second number for later
    np.random.randn()
    stored = to_bytes(random_states(CPU))
    expected = _draw()
    _draw()
    set_random_states(from_bytes(stored), CPU)
    assert _draw() == expected


def test_a_bit_generator_of_numbers_beyond_64_bits_is_stored():
    before = np.random.get_bit_generator()
    try:
        np.random.set_bit_generator(np.random.PCG64(3))
        stored = to_bytes(random_states(CPU))
        expected = np.random.rand(3).tolist()
        set_random_states(from_bytes(stored), CPU)
        assert np.random.rand(3).tolist() == expected
    finally:
        np.random.set_bit_generator(before)
