"""Processes that wait for work: a process takes seconds to import torch, so none is wasted."""

from __future__ import annotations

import ctypes
import importlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import warnings
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from jointrain.system.quick_imports import quick_imports
from jointrain.system.training_feed import feed, open_feed

_IDLE_SECONDS = 300
"""Seconds after which a process ends that has nothing to do."""

_WATCH_SECONDS = 0.3
"""How often a process looks whether its parent is still there."""

_PR_SET_PDEATHSIG, _SYNCHRONIZE, _INFINITE = 1, 0x00100000, 0xFFFFFFFF

_spare: list[Any] = []
"""Pools of one process each that have nothing to do."""


class Runnable(Protocol):
    """What a process can be given; it can be pickled, and so can its result."""

    def run(self) -> Any:
        """Return what came out."""


def submit(job: Runnable, *, new: bool = False) -> tuple[Any, Future[Any]]:
    """Return a pool of one process, so that its death ends no other run, and what it will make.

    Args:
        job: What is to be run.
        new: Whether the process must be one that has imported nothing yet.
    """
    from loky.process_executor import BrokenProcessPool

    while _spare and not new:
        pool = _spare.pop()
        try:
            return pool, _give(pool, job)
        except BrokenProcessPool:  # it died while it had nothing to do
            pool.shutdown(wait=False, kill_workers=True)
    pool = _new_pool()
    return pool, _give(pool, job)


def _give(pool: Any, job: Runnable) -> Future[Any]:
    # a process whose memory has grown is replaced between two jobs, and nothing is lost by it; said
    # with each job, as a block that keeps the filters of warnings takes them back at its end
    warnings.filterwarnings("ignore", message="A worker (stopped|was restarted) while some jobs")
    # before the job is read, whose classes may lie where this process looks for modules by now
    told = feed()
    told_folder = None if told is None else told.folder
    pool.submit(_prepare_process, list(sys.path), told_folder, type(job).__module__)
    made: Future[Any] = pool.submit(job.run)
    return made


def _prepare_process(path: list[str], told: Path | None, module: str) -> None:
    open_feed(told)
    sys.path.extend(place for place in path if place not in sys.path)
    # loky's own way of starting processes is the default in its processes, and those that a job
    # starts by `spawn`, as loaders of data may, do not know it and would die
    multiprocessing.set_start_method(None, force=True)
    # loky ends a process that has 300 MB more than after its first call; torch alone is as much, so
    # that each job would have a process of its own if this were left to the job
    with suppress(ImportError):
        _import(module)


def give_back(pool: Any) -> None:
    """Keep a pool whose process has nothing to do any more."""
    _spare.append(pool)


def warm_up(count: int, module: str) -> None:
    """Let so many processes wait that import what jobs need, while this process goes on."""
    for _ in range(count - len(_spare)):
        pool = _new_pool()
        pool.submit(_import, module)
        _spare.append(pool)


def stop_spare() -> None:
    """End the processes that have nothing to do, whatever they still import."""
    while _spare:
        _spare.pop().shutdown(wait=False, kill_workers=True)


def _end_with(parent: int) -> None:
    """End this process within a second of its parent, whatever it does, and not by Ctrl-C.

    A terminal sends Ctrl-C to all processes; the one that gives out the work decides what it means.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    if sys.platform == "win32":
        # a process keeps its parent's number there; the handle is signalled when it ends
        kernel = ctypes.WinDLL("kernel32", use_last_error=True)
        handle = kernel.OpenProcess(_SYNCHRONIZE, False, parent)
        kernel.WaitForSingleObject(handle, _INFINITE)
    else:
        while os.getppid() == parent:
            time.sleep(_WATCH_SECONDS)
    os._exit(1)


def _import(module: str) -> None:
    if module not in sys.modules:
        with quick_imports():
            importlib.import_module(module)


def _new_pool() -> Any:
    from loky.process_executor import ProcessPoolExecutor

    one_thread = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS")}
    # loky's helper warns, after the last line of a command that a signal ended, of semaphores that
    # were gone before it could remove them; it takes the filters of the process that starts it
    quiet = "ignore:resource_tracker:UserWarning"
    if quiet not in sys.warnoptions:
        sys.warnoptions.append(quiet)
    return ProcessPoolExecutor(
        max_workers=1,
        timeout=_IDLE_SECONDS,
        env=one_thread,
        initializer=_end_with,
        initargs=(os.getpid(),),
    )
