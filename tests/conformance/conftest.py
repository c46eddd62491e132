"""The matrices that every method is tried on."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def _one_seed_and_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)
