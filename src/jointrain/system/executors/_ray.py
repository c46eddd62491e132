"""Jobs on a cluster of Ray."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future, InvalidStateError
from contextlib import suppress
from typing import Any

from jointrain.errors import InvalidInputError
from jointrain.system.executors._extras import import_extra
from jointrain.system.executors._sent_job import Outcome, SentJob, give, outcome_of


class RayExecutor(Executor):
    """Runs jobs as tasks of Ray: a core each, and a GPU where they train on one and there is one.

    Ray itself gives a task to another worker twice if its worker dies.

    Args:
        address: Of the cluster, such as ``10.0.0.1:6379``, ``ray://10.0.0.1:10001`` or ``auto``;
            None starts one on this machine. A program that has called `ray.init` stays with what
            it has.

    Raises:
        InvalidInputError: There is no cluster at the address.
        MissingDependencyError: Ray is not installed.
    """

    def __init__(self, address: str | None = None) -> None:
        self._ray = import_extra("ray", "ray")
        self._own = not self._ray.is_initialized()
        if self._own:
            try:
                self._ray.init(address=address, log_to_driver=False, logging_level="ERROR")
            except (ConnectionError, ValueError, RuntimeError, OSError) as error:
                raise InvalidInputError(
                    f"no cluster of Ray answers at {address}: start one with `ray start --head`, "
                    "and join it from other machines with `ray start --address ADDRESS`"
                ) from error

    @property
    def workers(self) -> int:
        """How many jobs run side by side, without GPUs."""
        return int(self._ray.cluster_resources().get("CPU", 1))

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a function as a task.

        Raises:
            RuntimeError: The cluster is gone.
        """
        needs: dict[str, Any] = {"num_cpus": 1, "max_retries": 2}
        if function == SentJob.run and args[0].device != "cpu" and self._has_gpus():
            needs["num_gpus"] = 1
        task = self._ray.remote(outcome_of).options(**needs)
        return _RayFuture(self._ray, task.remote(function, args, kwargs))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002
        """Leave the cluster as it is."""
        if self._own:
            self._ray.shutdown()

    def _has_gpus(self) -> bool:
        return bool(self._ray.cluster_resources().get("GPU", 0))


class _RayFuture(Future[Any]):
    """A future that ends what runs."""

    def __init__(self, ray: Any, task: Any) -> None:
        super().__init__()
        self._ray, self._task = ray, task
        task.future().add_done_callback(self._take)

    def cancel(self) -> bool:
        with suppress(Exception):  # the cluster is gone, and the task with it
            self._ray.cancel(self._task, force=True)
        return super().cancel()

    def _take(self, remote: Future[Outcome]) -> None:
        with suppress(InvalidStateError):  # cancelled in the meantime
            error = remote.exception()
            if error is None:
                give(self, remote.result())
            else:
                # what a job raises is a result: Ray lost its worker too often
                self.set_exception(BrokenExecutor(f"Ray: {' '.join(str(error).split())}"))
