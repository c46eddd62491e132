"""Data sets and the tasks that each serves: which, how many labels, whether the heads fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from jointrain.errors import InvalidInputError
from jointrain.networks import Network
from jointrain.task import Task
from jointrain.training._batches import Source


def serving(sources: Sequence[Source], tasks: Sequence[str]) -> list[Source]:
    """Return the data sets that serve any of the tasks, with those of them that each serves."""
    found = [(data, tuple(name for name in names if name in tasks)) for data, names in sources]
    return [(data, names) for data, names in found if names]


def count_rows(sources: Sequence[Source], tasks: Mapping[str, Task]) -> list[int]:
    """Return for each data set how many rows have any label."""
    counts = []
    for data, names in sources:
        labelled = [tasks[name].labelled(data.targets[name]) for name in names]
        counts.append(int(torch.stack(labelled).any(0).sum()))
    return counts


def count_labels(sources: Sequence[Source], tasks: Mapping[str, Task]) -> dict[str, int]:
    """Return for each task that is served how many rows have its label, in task order."""
    counts = {
        name: int(tasks[name].labelled(data.targets[name]).sum())
        for data, names in sources
        for name in names
    }
    return {name: counts[name] for name in tasks if name in counts}


@torch.no_grad()
def check_outputs(network: Network, sources: Sequence[Source], tasks: Mapping[str, Task]) -> None:
    """Refuse a head whose output does not fit its task.

    Raises:
        InvalidInputError: A head has the wrong width.
    """
    network.eval()
    for data, names in sources:
        outputs = network(data.inputs[:1], names)
        for name in names:
            task, output = tasks[name], outputs[name]
            width = output.shape[-1] if task.kind == "sequence" else output.numel()
            if task.loss_function is None and width != task.output_size:
                raise InvalidInputError(
                    f"the head of {task.kind} task {name!r} must give {task.output_size} "
                    f"numbers, got {width}"
                )
