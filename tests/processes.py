"""Processes of one group that tests hand functions to; started once, since importing takes long."""

from __future__ import annotations

import multiprocessing
import os
import socket
import traceback
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from typing import Any

_PATIENCE = 120  # seconds


class Processes:
    """A gloo group of `size` processes on this machine.

    ``run(function, *arguments)`` calls the function, one of a module's top level, in each of them
    at once and returns what each has returned. A process that raises makes it raise.
    """

    def __init__(self, size: int) -> None:
        context = multiprocessing.get_context("spawn")
        port = _free_port()
        self._pipes, self._processes = [], []
        for rank in range(size):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(rank, size, port, theirs), daemon=True)
            process.start()
            self._pipes.append(ours)
            self._processes.append(process)

    def run(self, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        for pipe in self._pipes:
            pipe.send((function, arguments))
        results = []
        for pipe in self._pipes:
            if not pipe.poll(_PATIENCE):
                raise TimeoutError(f"{function.__name__} did not end")
            results.append(pipe.recv())
        for rank, (result, error) in enumerate(results):
            if error:
                raise AssertionError(f"rank {rank} raised:\n{error}")
            del result
        return [result for result, _ in results]

    def close(self) -> None:
        for pipe in self._pipes:
            pipe.send(None)
        for process in self._processes:
            process.join(10)
            if process.is_alive():
                process.terminate()


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _serve(rank: int, size: int, port: int, pipe: Any) -> None:
    os.environ |= {"OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", rank=rank, world_size=size, timeout=timedelta(seconds=_PATIENCE / 2)
    )
    while (job := pipe.recv()) is not None:
        function, arguments = job
        try:
            pipe.send((function(*arguments), None))
        except Exception:
            pipe.send((None, traceback.format_exc()))
    dist.destroy_process_group()
