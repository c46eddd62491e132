"""`--executor`: where the jobs of a study run, by name."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any

from jointrain.errors import InvalidInputError

EXECUTOR_HELP = (
    "Where jobs run: dask:ADDRESS, ray:ADDRESS or slurm (slurm:timeout_min=600,slurm_partition=gpu "
    "for what submitit takes); default processes of this machine."
)


@contextmanager
def opened_executor(text: str | None) -> Iterator[Executor | None]:
    """Connect to what a flag names while the block runs; None for processes of this machine.

    Args:
        text: ``dask:ADDRESS``, ``ray:ADDRESS``, or ``slurm`` with parameters of submitit.

    Raises:
        InvalidInputError: It names nothing, or what it names does not answer.
        MissingDependencyError: The package that it needs is not installed.
    """
    if text is None:
        yield None
        return
    executor = _named(text)
    finished = False
    try:
        yield executor
        finished = True
    finally:
        executor.shutdown(wait=finished, cancel_futures=not finished)


def _named(text: str) -> Executor:
    from jointrain.system.executors import DaskExecutor, RayExecutor, SlurmExecutor

    kind, _, rest = text.partition(":")
    if kind == "dask" and rest:
        return DaskExecutor(rest)
    if kind == "ray" and rest:
        return RayExecutor(rest)
    if kind == "slurm":
        return SlurmExecutor(**_parameters(rest))
    raise InvalidInputError(
        f"there is no executor {text!r}; known are dask:ADDRESS, ray:ADDRESS and slurm"
    )


def _parameters(text: str) -> dict[str, Any]:
    """Read ``a=1,b=x``."""
    pairs = [part.partition("=") for part in text.split(",") if part]
    wrong = [name for name, equals, value in pairs if not (name.strip() and equals and value)]
    if wrong:
        raise InvalidInputError(f"slurm's {wrong[0]!r} has no value; write slurm:name=value,...")
    told = {name.strip(): value.strip() for name, _, value in pairs}
    if "self" in told:
        raise InvalidInputError("slurm has no parameter 'self'; submitit's documentation lists all")
    numbers = {
        name: int(value)
        for name, value in told.items()
        if value.isdecimal() and name not in ("folder", "cluster")
    }
    return told | numbers
