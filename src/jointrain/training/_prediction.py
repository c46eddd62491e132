"""Predictions of a network, batch by batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from jointrain.networks import Network
from jointrain.task import Task
from jointrain.training._batches import Source

EVALUATION_ROWS = 8192
"""How many rows go through the network at once where no gradient is needed."""


@torch.no_grad()
def predict(
    network: Network,
    tasks: Sequence[Task],
    inputs: Tensor,
    *,
    device: str | torch.device = "cpu",
    logits: bool = False,
) -> dict[str, Tensor]:
    """Return the predictions of each task, with dropout off.

    Args:
        network: Maps inputs to outputs by task; left in evaluation mode.
        tasks: Which tasks to predict.
        inputs: What the network takes; first dimension n.
        device: Where the network is.
        logits: Return the heads' outputs as they are.

    Shape:
        returns: as `Task.predict`, first dimension n, on the CPU.
    """
    network.eval()
    names = [task.name for task in tasks]
    parts: list[dict[str, Tensor]] = []
    # at least one pass, so that no rows give empty predictions of the right shape
    for start in range(0, max(len(inputs), 1), EVALUATION_ROWS):
        outputs = network(inputs[start : start + EVALUATION_ROWS].to(device), names)
        parts.append(
            {
                task.name: (
                    outputs[task.name] if logits else task.predict(outputs[task.name])
                ).cpu()
                for task in tasks
            }
        )
    return {name: torch.cat([part[name] for part in parts]) for name in names}


@torch.no_grad()
def validation_losses(
    network: Network, tasks: Mapping[str, Task], sources: Sequence[Source]
) -> dict[str, float]:
    """Return each task's loss over all labelled rows; tasks without any are left out.

    Args:
        network: Maps inputs to outputs by task; left in evaluation mode.
        tasks: The tasks by name.
        sources: The data sets with the tasks that each serves.
    """
    network.eval()
    sums: dict[str, list[Tensor]] = {}
    counts: dict[str, list[Tensor]] = {}
    for data, names in sources:
        for start in range(0, len(data), EVALUATION_ROWS):
            part = slice(start, start + EVALUATION_ROWS)
            outputs = network(data.inputs[part], names)
            for name in names:
                target = data.targets[name][part]
                count = tasks[name].labelled(target).sum()
                sums.setdefault(name, []).append(
                    tasks[name].loss(outputs[name], target).double() * count
                )
                counts.setdefault(name, []).append(count)
    means = {}
    for name in sums:
        total = int(torch.stack(counts[name]).sum())
        if total:
            means[name] = float(torch.stack(sums[name]).sum()) / total
    return means
