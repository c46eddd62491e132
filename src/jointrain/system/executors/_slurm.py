"""Jobs of Slurm, by submitit."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, InvalidStateError
from contextlib import suppress
from numbers import Real
from pathlib import Path
from threading import Lock, Thread
from typing import Any

from jointrain.errors import InvalidInputError
from jointrain.system.executors._extras import import_extra
from jointrain.system.executors._sent_job import SentJob, give, outcome_of
from jointrain.system.own_code import one_line

_LOOK_SECONDS = 0.5
"""How often to look for results; submitit asks Slurm itself less often."""

_MINUTES = 24 * 60


class SlurmExecutor(Executor):
    """Runs each job as a job of Slurm, with a core, and a GPU where it trains on one.

    Args:
        folder: Where jobs and their results are written, on a disk that all nodes see; default the
            working folder. What was written is removed at the end.
        cluster: ``slurm`` (default), or ``local`` for processes of this machine.
        parameters: What submitit's `update_parameters` takes, such as ``timeout_min=600`` (default
            a day), ``slurm_partition="gpu"`` or ``gpus_per_node=1``.

    Raises:
        InvalidInputError: There is no Slurm here, or a parameter is unknown.
        MissingDependencyError: submitit is not installed.
    """

    def __init__(
        self, folder: str | Path = ".", *, cluster: str = "slurm", **parameters: Any
    ) -> None:
        submitit = import_extra("submitit", "slurm")
        minutes = parameters.get("timeout_min", _MINUTES)
        if not isinstance(minutes, Real) or not float(minutes) > 0:
            raise InvalidInputError(f"`timeout_min` must be a number of minutes, got {minutes!r}")
        try:
            self._folder = Path(tempfile.mkdtemp(prefix=".jointrain-jobs-", dir=folder))
        except OSError as error:
            raise InvalidInputError(
                f"jobs can't be written to {folder}: {error.strerror}; choose another `folder`"
            ) from error
        try:
            self._executor = submitit.AutoExecutor(self._folder, cluster)
            self._executor.update_parameters(**{"timeout_min": _MINUTES, **parameters})
        except Exception as error:  # submitit raises what its parts do
            shutil.rmtree(self._folder)
            raise InvalidInputError(
                f"no jobs can be given to Slurm: {' '.join(str(error).split())}"
            ) from error
        self._gpus_said = any("gpus" in name for name in parameters)
        self._lock = Lock()
        self._waiting: list[tuple[Any, Future[Any]]] = []
        self._closed = False
        self._thread = Thread(target=self._look, daemon=True)
        self._thread.start()

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a function as a job.

        Raises:
            RuntimeError: Slurm takes no jobs, or the executor was shut down.
        """
        if self._closed:
            raise RuntimeError("the executor was shut down")
        gpu = function == SentJob.run and args[0].device.startswith("cuda")
        with self._lock:
            if gpu and not self._gpus_said:
                self._executor.update_parameters(gpus_per_node=1)
            try:
                job = self._executor.submit(outcome_of, function, args, kwargs)
            except (TypeError, ValueError, AttributeError) as error:  # of a parameter's value
                raise RuntimeError(one_line(error)) from error
            future = _SlurmFuture(job)
            self._waiting.append((job, future))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the watch over jobs, and remove their files."""
        with self._lock:
            waiting = [future for _, future in self._waiting]
        for future in waiting:
            if cancel_futures:
                future.cancel()
            elif wait:
                with suppress(CancelledError):
                    future.exception()
        self._closed = True
        self._thread.join()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _look(self) -> None:
        while not self._closed:
            with self._lock:
                waiting = list(self._waiting)
            done = [(job, future) for job, future in waiting if future.cancelled() or job.done()]
            for job, future in done:
                with suppress(InvalidStateError):  # cancelled
                    _take(job, future)
            with self._lock:
                self._waiting = [pair for pair in self._waiting if pair not in done]
            time.sleep(_LOOK_SECONDS)


class _SlurmFuture(Future[Any]):
    """A future that ends what runs."""

    def __init__(self, job: Any) -> None:
        super().__init__()
        self._job = job

    def cancel(self) -> bool:
        with suppress(Exception):  # it has ended
            self._job.cancel(check=False)
        return super().cancel()


def _take(job: Any, future: Future[Any]) -> None:
    if future.cancelled():
        return
    try:
        give(future, job.result())
    except InvalidStateError:
        raise
    except Exception as error:  # what a job raises is a result: its process died
        future.set_exception(BrokenExecutor(f"Slurm: {' '.join(str(error).split())[:300]}"))
