"""The losses of a step, of whatever batches it has drawn, and those over all rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from jointrain.balancing._task_losses import TaskLosses
from jointrain.networks import Network
from jointrain.task import Task
from jointrain.training._batches import Batch


def compute_losses(
    network: Network, tasks: Mapping[str, Task], batches: Sequence[Batch]
) -> Mapping[str, Tensor]:
    """Return the loss of each task on the given batches, by name.

    Args:
        network: The network.
        tasks: The tasks by name.
        batches: One batch or several, no task in two of them.

    Shape:
        returns: [] each, the mean over the rows that have the task's label.
    """
    losses: dict[str, Tensor] = {}
    for batch in batches:
        if len(network.heads.groups):
            grouped = network(batch.data.inputs, batch.tasks, grouped=True)
            names, values = network.losses(tasks, grouped, batch.data.targets)
            together = TaskLosses(names, values)
            if len(batches) == 1:
                return together
            losses.update(together)
            continue
        outputs = network(batch.data.inputs, batch.tasks)
        for name, complete in zip(batch.tasks, batch.complete, strict=True):
            losses[name] = network.loss(
                tasks[name], outputs[name], batch.data.targets[name], complete=complete
            )
    return losses


@torch.no_grad()
def validation_losses(
    network: Network, tasks: Mapping[str, Task], batches: Iterable[Batch]
) -> dict[str, float]:
    """Return each task's loss over all labelled rows; tasks without any are left out.

    Args:
        network: Maps inputs to outputs by task; left in evaluation mode.
        tasks: The tasks by name.
        batches: All rows, once.
    """
    network.eval()
    sums: dict[str, list[Tensor]] = {}
    counts: dict[str, list[Tensor]] = {}
    for batch in batches:
        outputs = network(batch.data.inputs, batch.tasks)
        for name in batch.tasks:
            target = batch.data.targets[name]
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
