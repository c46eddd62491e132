"""Threads for small and large steps."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from jointrain.training import _device
from jointrain.training._device import random_state_kept, threads_for, within_quota


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


def test_a_thread_that_waits_says_so(monkeypatch):
    monkeypatch.setattr(_device, "_LONG", 0.05)

    def late():
        with pytest.warns(UserWarning, match="training in another one"), random_state_kept():
            return torch.rand(1)

    with ThreadPoolExecutor(1) as pool:
        with random_state_kept():
            waiting = pool.submit(late)
            time.sleep(0.2)
            assert not waiting.done()
        assert waiting.result().shape == (1,)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
@pytest.mark.filterwarnings("ignore:.*fork")
def test_a_forked_process_does_not_wait_for_a_thread_that_it_does_not_have():
    def child():
        signal.alarm(5)  # it would wait for ever
        with random_state_kept():
            os._exit(0)

    with ThreadPoolExecutor(1) as pool, random_state_kept():
        process = pool.submit(lambda: os.fork() or child()).result()
        assert os.waitpid(process, 0)[1] == 0
