"""Runs the jobs of a study: in processes of this machine, or by an executor, which has its own."""

from __future__ import annotations

import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    wait,
)
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import count
from pickle import PicklingError
from typing import Any, Protocol

import torch

from jointrain.errors import InvalidInputError, WorkerDiedError
from jointrain.experiments import check_whole
from jointrain.studies._run_store import RunStore
from jointrain.system.cores import available_cores
from jointrain.system.executors import SentJob, not_sent
from jointrain.system.own_code import ChangedCodeError
from jointrain.system.worker_processes import give_back, submit

ATTEMPTS = 3
"""How often a job is given to a process that dies."""


class Job(Protocol):
    """A part of a study that any process can run; it can be pickled, and so can its result."""

    @property
    def key(self) -> str:
        """A name that jobs of other data, settings or seeds don't have."""

    def run(self) -> Any:
        """Return what came out; with a store, what `RunStore.finish` can keep."""


def run_jobs(
    jobs: Iterable[Job],
    *,
    workers: int | None = None,
    store: RunStore | None = None,
    until: float | None = None,
    executor: Executor | None = None,
) -> Iterator[tuple[str, Any]]:
    """Run jobs and yield the key and result of each as it is finished.

    With a store, jobs that it has results of are not run, but yielded first. Those that other
    processes or machines work on are waited for, so that all of them yield the same results.

    Args:
        jobs: What to run; of several with the same key, one is run.
        workers: Processes; default one for each core that there is for this process. One worker, or
            one job, runs in this process. With an executor: how many jobs it is given at a time,
            default all of them.
        store: Keeps the results, and shares the work.
        until: `time.monotonic()` at which what is not finished is ended; then all run in processes.
            Default never.
        executor: Runs the jobs, each on one thread, in place of processes of this machine. What it
            can't cancel goes on when the jobs are stopped, and comes to nothing.

    Raises:
        WorkerDiedError: A job's process died, and so did those that were given it again; or the
            executor takes no more jobs.
        InvalidInputError: The store can't be reached, the executor forks this process, or `workers`
            is no number of processes.
        Exception: What a job raised, as it is.
    """
    workers = check_workers(workers)
    waiting = {job.key: job for job in jobs}
    shared = store or _Unshared()
    running: list[_Run] = []
    start: Callable[[Job], _Run] = _LocalRun
    most = workers or available_cores()
    if executor is not None:
        _check_start(executor)
        start = partial(_ExecutorRun, executor, count())
        most = workers or len(waiting)
    here = executor is None and until is None and min(most, len(waiting)) == 1
    with shared.session():
        try:
            while waiting:
                for key, value in shared.finished(waiting).items():
                    del waiting[key]
                    yield key, value
                if not waiting or (until is not None and time.monotonic() >= until):
                    break
                if here:
                    _run_one_here(waiting, shared)
                else:
                    _run_elsewhere(waiting, shared, running, start, min(most, len(waiting)), until)
        finally:
            for run in running:
                run.stop()


def check_workers(workers: int | None) -> int | None:
    """Return a number of processes; None for as many as there are cores.

    Raises:
        InvalidInputError: It is none, or below 1.
    """
    return None if workers is None else check_whole("workers", workers, 1)


def _check_start(executor: Executor) -> None:
    """Refuse a pool whose processes would wait forever for threads that a fork does not copy."""
    context = getattr(executor, "_mp_context", None)
    if context is not None and context.get_start_method() == "fork":
        raise InvalidInputError(
            "`executor` forks this process, and polars would hang in its copies; give the pool "
            "mp_context=multiprocessing.get_context('spawn')"
        )


def workers_of(executor: Executor | None) -> int:
    """Return how many jobs run side by side: what an executor says, else the cores here."""
    known = getattr(executor, "workers", None) or getattr(executor, "_max_workers", None)
    return known if isinstance(known, int) else available_cores()


def _run_one_here(waiting: Mapping[str, Job], shared: RunStore | _Unshared) -> None:
    key = shared.claim(waiting)
    if key is None:
        time.sleep(shared.poll_seconds or 0)
    else:
        with _torch_as_at_start():
            value = waiting[key].run()
        shared.finish(key, value)


@contextmanager
def _torch_as_at_start() -> Iterator[None]:
    """Let a job find torch as in a new process, whatever the program that calls has set."""
    dtype = torch.get_default_dtype()
    device = torch.get_default_device()
    torch.set_default_dtype(torch.float32)
    try:
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            # entered, it costs a little with each call of torch
            torch.device("cpu") if device.type != "cpu" else nullcontext(),
        ):
            yield
    finally:
        torch.set_default_dtype(dtype)


def _run_elsewhere(
    waiting: Mapping[str, Job],
    shared: RunStore | _Unshared,
    running: list[_Run],
    start: Callable[[Job], _Run],
    most: int,
    until: float | None,
) -> None:
    """Start what there is room for, and wait until something may have been finished."""
    while len(running) < most and (key := shared.claim(waiting)) is not None:
        running.append(start(waiting[key]))
    if not running:
        time.sleep(shared.poll_seconds or 0)
    pauses = [shared.poll_seconds, None if until is None else max(until - time.monotonic(), 0)]
    pause = min((one for one in pauses if one is not None), default=None)
    wait([run.future for run in running], pause, FIRST_COMPLETED)
    for run in [run for run in running if run.future.done()]:
        if run.died():
            run.start_again()
        else:
            running.remove(run)
            shared.finish(run.job.key, run.result())


class _Unshared:
    """What `RunStore` does, for one process that keeps nothing."""

    poll_seconds: float | None = None
    session = nullcontext

    def __init__(self) -> None:
        self._claimed: set[str] = set()
        self._results: dict[str, Any] = {}

    def finished(self, keys: Iterable[str]) -> dict[str, Any]:
        return {key: self._results.pop(key) for key in keys if key in self._results}

    def claim(self, keys: Iterable[str]) -> str | None:
        key = next((key for key in keys if key not in self._claimed), None)
        if key is not None:
            self._claimed.add(key)
        return key

    def finish(self, key: str, value: Any) -> None:
        self._results[key] = value


class _Run(ABC):
    """A run of a job in another process."""

    future: Future[Any]

    def __init__(self, job: Job) -> None:
        self.job = job
        self._deaths = 0
        self._start()

    @abstractmethod
    def _start(self) -> None:
        """Give the job to a process, again if it was given to one before."""

    @abstractmethod
    def stop(self) -> None:
        """End what runs."""

    def died(self) -> bool:
        """Return whether the process died before the run came to its end."""
        return self.future.cancelled() or isinstance(self.future.exception(), BrokenExecutor)

    def start_again(self) -> None:
        """Give the job to another process.

        Raises:
            WorkerDiedError: It was given to as many as it may be given to, or there is none.
        """
        self.stop()
        self._deaths += 1
        if self._deaths == ATTEMPTS:
            error = None if self.future.cancelled() else self.future.exception()
            codes = re.search(r"\{(.*)\}", str(error))
            raise WorkerDiedError(
                f"{ATTEMPTS} processes died one after the other while they ran the part "
                f"{self.job.key} of the study"
                + (f" (exit code {codes[1]})" if codes else "")
                + "; most often memory runs out: use fewer workers, or smaller networks"
            ) from error
        self._start()

    def result(self) -> Any:
        """Return the result, or raise what the job raised."""
        return self.future.result()


class _LocalRun(_Run):
    """A run in a pool of one process, so that its death ends no other run."""

    def _start(self) -> None:
        old = self._deaths > 0 and isinstance(self.future.exception(), ChangedCodeError)
        self._pool, self.future = submit(self.job, new=old)
        self._new = old

    def died(self) -> bool:
        """Return whether the process died before the run came to its end, or has old code."""
        old = isinstance(self.future.exception(), ChangedCodeError) and not self._new
        return old or super().died()

    def result(self) -> Any:
        """Return the result, or raise what the job raised."""
        give_back(self._pool)
        try:
            return super().result()
        except PicklingError as error:
            if "to send it to the workers" not in str(error):  # of a job itself
                raise
            reason = str(error.__cause__).strip('"\n ').splitlines()[-1]
            raise not_sent(reason) from error

    def stop(self) -> None:
        """End the process, whatever it does."""
        self._pool.shutdown(wait=False, kill_workers=True)


class _ExecutorRun(_Run):
    """A run by an executor.

    Args:
        executor: Has the processes.
        numbers: Counts the jobs that it was given.
        job: What is to be run.
    """

    def __init__(self, executor: Executor, numbers: Iterator[int], job: Job) -> None:
        self._executor = executor
        self._sent = SentJob.of(job, next(numbers))
        super().__init__(job)

    def _start(self) -> None:
        try:
            self.future = self._executor.submit(SentJob.run, self._sent)
        except (RuntimeError, OSError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise WorkerDiedError(
                f"the executor takes no more jobs ({reason}); start its workers again, and the "
                "study: with a store it goes on where it was"
            ) from error

    def stop(self) -> None:
        """Cancel the run; most executors can't end one that has begun."""
        self.future.cancel()
