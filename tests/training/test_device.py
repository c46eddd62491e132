"""Threads for small and large steps."""

import pytest
import torch

from jointrain.training import _device
from jointrain.training._device import threads_for, within_quota


@pytest.mark.parametrize("multiplications, threads", [(1e6, 1), (1e10, 3)])
def test_large_steps_keep_their_threads(multiplications, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with threads_for(multiplications):
            assert torch.get_num_threads() == threads
        with pytest.raises(ValueError), threads_for(multiplications):  # noqa: PT011
            raise ValueError
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_no_more_threads_than_the_container_has_cores(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setattr(_device, "available_cores", lambda: 2)
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            with within_quota():
                assert torch.get_num_threads() == min(threads, 2)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
