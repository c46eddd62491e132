"""A job as it is sent to a process of another machine, and what that process does with it."""

from __future__ import annotations

import pickle
import platform
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from threading import Lock
from typing import Any, NamedTuple, Protocol

from jointrain.errors import InvalidInputError
from jointrain.system.own_code import one_line

_ONE_AT_A_TIME = Lock()
"""Jobs set the thread count and the random numbers of their process: threads don't share it."""


class Runnable(Protocol):
    """What can be sent: it can be pickled, and so can its result."""

    def run(self) -> Any:
        """Return what came out."""


class Outcome(NamedTuple):
    """What a job returned, or what it raised."""

    value: Any
    error: BaseException | None = None


def not_sent(reason: str) -> InvalidInputError:
    """Return the error of a job that can't be pickled."""
    return InvalidInputError(
        f"the study can't be sent to another process ({reason}); keep open files, locks and the "
        "like out of what it holds, or run it with one worker (--workers 1) and no executor"
    )


def outcome_of(function: Callable[..., Any], args: Any, kwargs: Any) -> Outcome:
    """Return what a call returns or raises: some executors change or report what is raised."""
    try:
        return Outcome(function(*args, **kwargs))
    except Exception as error:
        return Outcome(None, error)


def give(future: Future[Any], outcome: Outcome) -> None:
    """Let a future have what a job returned, or raise what it raised."""
    if outcome.error is None:
        future.set_result(outcome.value)
    else:
        future.set_exception(outcome.error)


@dataclass(frozen=True)
class SentJob:
    """A job on its way, see `SentJob.of`.

    Args:
        content: The job, pickled.
        number: How many were sent before; it tells which of a machine's GPUs the job gets.
        device: Where it trains: auto, cpu or cuda.
        versions: Releases where it comes from.
        path: Where modules are looked for there.
    """

    content: bytes
    number: int
    device: str
    versions: Mapping[str, str]
    path: tuple[str, ...]

    @classmethod
    def of(cls, job: Runnable, number: int) -> SentJob:
        """Return what is sent of a job.

        Raises:
            InvalidInputError: It holds what can't be sent.
        """
        from loky.backend.reduction import dumps

        try:
            content = bytes(dumps(job))
        except Exception as error:  # classes of users raise what they like
            raise not_sent(one_line(error)) from error
        device = str(getattr(job, "device", "auto"))
        return cls(content, number, device, _versions(), tuple(sys.path))

    def run(self) -> Any:
        """Run the job in this process, on one thread and one device, and return its result.

        Raises:
            InvalidInputError: This process has other releases than where the job comes from, or
                lacks a module of the user's own.
            Exception: What the job raises.
        """
        here = f"a worker of the executor, on {platform.node()},"
        for name, there in self.versions.items():
            if (found := _versions()[name]) != there:
                raise InvalidInputError(
                    f"{here} has {name} {found}, and this program {there}; install the same, as "
                    "results of different releases can't be compared"
                )
        # what a worker of the same machine, or of a shared folder, finds like this program
        sys.path.extend(place for place in self.path if place not in sys.path)
        with _ONE_AT_A_TIME:
            try:
                job = pickle.loads(self.content)
            except (ImportError, AttributeError) as error:
                raise InvalidInputError(
                    f"{here} can't import what the study needs ({error}); install it there, or "
                    "start the workers where its file lies"
                ) from error
            with _pinned(self.number, self.device):
                return job.run()

    def outcome(self) -> Outcome:
        """Return what `run` returns or raises."""
        return outcome_of(self.run, (), {})


@contextmanager
def _pinned(number: int, device: str) -> Iterator[None]:
    import torch
    from threadpoolctl import threadpool_limits

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    count = torch.cuda.device_count() if device in ("auto", "cuda") else 0
    try:
        # with Ray, Slurm and dask-cuda a process sees but the GPU that it was given
        with threadpool_limits(1), torch.cuda.device(number % count if count else -1):
            yield
    finally:
        torch.set_num_threads(threads)


def _versions() -> dict[str, str]:
    return {
        "Python": ".".join(platform.python_version_tuple()[:2]),
        **{name: version(name) for name in ("jointrain", "torch")},
    }
