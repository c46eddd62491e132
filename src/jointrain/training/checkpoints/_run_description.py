"""What two runs must have in common, for one to go on where the other has stopped."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from typing import Any

from torch import Tensor, nn

from jointrain.balancing import Balancer
from jointrain.errors import InvalidInputError
from jointrain.networks import Network
from jointrain.task import Task
from jointrain.training._settings import TrainingSettings
from jointrain.training.sampling import TaskSets

MAY_DIFFER = ("epochs", "steps", "patience")
"""Settings that a run that goes on may have other values of."""


def run_description(
    network: Network,
    tasks: Sequence[Task],
    *,
    settings: TrainingSettings,
    schedule: Any,
    balancer: Balancer | None,
    auxiliary: Collection[str],
    weights: Mapping[str, float],
    seed: int,
    training: TaskSets | None,
) -> dict[str, Any]:
    """Return what makes a run, in words and numbers.

    Rows are known by their number alone: that they are the same ones is the caller's care.
    """
    described: dict[str, Any] = {
        "seed": seed,
        "schedule": _text(schedule),
        "balancer": "the sum" if balancer is None else _text(balancer),
        "tasks": [_described(task) for task in tasks],
        "auxiliary": sorted(auxiliary),
        "weights": dict(weights),
        "weights of the network": {
            name: [str(value.dtype), *value.shape]
            for name, value in network.state_dict().items()
            if isinstance(value, Tensor)
        },
    }
    described |= {one.name: _text(getattr(settings, one.name)) for one in fields(settings)}
    if training is not None:
        described["labelled rows"] = _known(training.labels)
        described["batches"] = _known(training.batches)
    return described


def check_same_run(
    stored: Mapping[str, Any], described: Mapping[str, Any], *, finished: bool
) -> None:
    """Refuse to go on with a run of another kind.

    Args:
        stored: The description of the run that was stored.
        described: That of the run that is to go on.
        finished: Whether the stored run is through, and can't become longer.

    Raises:
        InvalidInputError: They differ.
    """
    for name, value in described.items():
        if name in stored and stored[name] != value:
            if name in MAY_DIFFER and not finished:
                continue
            through = "is through and " if finished else ""
            raise InvalidInputError(
                f"the run that was stored {through}had other {name}: {_short(stored[name])}, not "
                f"{_short(value)}; give the same, or start anew with fit(restart=True)"
            )


def _known(counts: Mapping[str, int]) -> dict[str, int | None]:
    """Return the counts that are known; a stream has none."""
    found: dict[str, int | None] = {}
    for name in counts:
        try:
            found[name] = counts[name]
        except InvalidInputError:
            found[name] = None
    return found


def _described(task: Task) -> str:
    classes = "" if task.class_weights is None else f", classes weigh {task.class_weights}"
    given = "" if task.given is None else f", given {task.given}"
    corrected = "" if task.correction is None else f", corrected {task.correction}"
    return f"{task.name} ({task.kind}{classes}{given}{corrected})"


def _text(thing: Any) -> str:
    """Return what a value, a module or a function is, without where it lies in memory."""
    text = " ".join(repr(thing).split()) if isinstance(thing, nn.Module) else repr(thing)
    return re.sub(r" at 0x[0-9a-fA-F]+", "", text)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 200 else f"{text[:200]}..."
