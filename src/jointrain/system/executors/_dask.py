"""Jobs on a cluster of dask.distributed."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import (
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    InvalidStateError,
    wait,
)
from contextlib import suppress
from typing import Any

from jointrain.errors import InvalidInputError
from jointrain.system.executors._extras import import_extra
from jointrain.system.executors._sent_job import Outcome, SentJob, give
from jointrain.system.worker_processes import give_back, submit

_TRANSFER_SECONDS = 600
"""How long the transfer of a result may take."""

_LOOK_SECONDS = 0.5
"""How often a worker looks whether the job that it runs was cancelled."""


class DaskExecutor(Executor):
    """Runs jobs on the workers of a dask cluster, each in a child process that can be ended.

    dask itself gives a job to another worker if its worker dies, as often as
    ``distributed.scheduler.allowed-failures`` says. Threads of one worker run jobs side by side.

    Args:
        cluster: The address of the scheduler, such as ``tcp://10.0.0.1:8786``, or a `Client`, which
            is left open.

    Raises:
        InvalidInputError: Nothing answers at the address.
        MissingDependencyError: dask.distributed is not installed.
    """

    def __init__(self, cluster: Any) -> None:
        distributed = import_extra("distributed", "dask")
        self._own = isinstance(cluster, str)
        if not self._own:
            self._client = cluster
            return
        try:
            self._client = distributed.Client(cluster, timeout=10, set_as_default=False)
        except (OSError, ValueError) as error:
            raise InvalidInputError(
                f"no scheduler of dask answers at {cluster}: start one with `dask scheduler`, and "
                "its workers with `dask worker`"
            ) from error

    @property
    def workers(self) -> int:
        """How many jobs run side by side at the moment."""
        return sum(self._client.nthreads().values())

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a function on a worker; a `SentJob` in a child process of it.

        Raises:
            RuntimeError: The scheduler is gone.
        """
        if self._client.status != "running":
            raise RuntimeError("the scheduler of dask is gone")
        if function == SentJob.run:
            function = _run_in_child
        return _DaskFuture(self._client.submit(function, *args, **kwargs, pure=False))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002
        """Leave the cluster as it is."""
        if self._own:
            self._client.close()


class _DaskFuture(Future[Any]):
    """A future that cancels what runs."""

    def __init__(self, remote: Any) -> None:
        super().__init__()
        self._remote = remote
        remote.add_done_callback(self._take)

    def cancel(self) -> bool:
        with suppress(Exception):  # the cluster is gone, and what ran there with it
            self._remote.cancel(force=True)
        return super().cancel()

    def _take(self, remote: Any) -> None:
        gone = BrokenExecutor("the scheduler of dask is gone")
        with suppress(InvalidStateError):  # cancelled in the meantime
            try:
                if remote.status == "finished":
                    give(self, remote.result(timeout=_TRANSFER_SECONDS))
                elif remote.status == "error":
                    # what a job raises is a result: dask lost its worker too often
                    error = remote.exception(timeout=_TRANSFER_SECONDS)
                    self.set_exception(BrokenExecutor(f"dask: {error}"))
                else:
                    self.set_exception(gone)
            except (CancelledError, OSError):
                self.set_exception(gone)


def _run_in_child(job: SentJob) -> Outcome:
    """Run a job in a child process of a worker, and end it if dask cancels it.

    A thread of a worker can't be ended, and jobs need a process of their own.
    """
    from distributed import get_worker
    from distributed.worker import thread_state  # type: ignore[attr-defined]

    # dask's workers may have no children of multiprocessing; these end with their parent anyway
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
    worker, key = get_worker(), thread_state.key
    pool, future = submit(job)
    while not future.done() and _is_wanted(worker, key):
        wait([future], _LOOK_SECONDS)
    error = future.exception() if future.done() else CancelledError()
    if isinstance(error, (BrokenExecutor, CancelledError)):
        pool.shutdown(wait=False, kill_workers=True)
        return Outcome(None, BrokenExecutor(str(error)))
    give_back(pool)
    return Outcome(None, error) if error else Outcome(future.result())


def _is_wanted(worker: Any, key: Any) -> bool:
    task = worker.state.tasks.get(key)
    ends = worker.status.name in ("stopping", "closing", "closed", "failed")
    return task is not None and task.state == "executing" and not ends
