"""Fixtures for all tests.

JOINTRAIN_TEST_DEVICE=cuda runs the tests that ask for `device` on a GPU.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import settings

# examples vary in time on a shared machine, and their order must not vary between runs
settings.register_profile("jointrain", deadline=None, derandomize=True, max_examples=30)
settings.load_profile("jointrain")
torch.set_num_threads(1)  # fixtures of a module are made before those of a test


@pytest.fixture(autouse=True)
def _seeded_and_single_threaded() -> Iterator[None]:
    """Start every test from the same random state, on one thread, and leave no threads setting."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    np.random.seed(0)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def device() -> torch.device:
    """Return the device under test; the CPU unless JOINTRAIN_TEST_DEVICE says otherwise."""
    return torch.device(os.environ.get("JOINTRAIN_TEST_DEVICE", "cpu"))
