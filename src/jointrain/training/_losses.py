"""The losses of a step, of whatever batches it has drawn, and those over all rows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from jointrain.balancing import TaskLosses
from jointrain.networks import Network, drawing_for
from jointrain.task import Task
from jointrain.training.sampling import Batch

TEMPERATURES = tuple(2 ** (step / 4) for step in range(-4, 13))
"""Those that a calibrated loss tries: from 1/2 to 8."""

_PENALTY = 2.0
"""Of the squared logarithm of the temperature, beside the sum of the losses of the rows."""


def compute_losses(
    network: Network,
    tasks: Mapping[str, Task],
    batches: Sequence[Batch],
    forward: Callable[..., Any] | None = None,
) -> Mapping[str, Tensor]:
    """Return the loss of each task on the given batches, by name.

    Args:
        network: The network.
        tasks: The tasks by name.
        batches: One batch or several, no task in two of them.
        forward: What gives the network's outputs; default itself.

    Shape:
        returns: [] each, the mean over the rows that have the task's label, of losses times
            weights.
    """
    losses: dict[str, Tensor] = {}
    forward = network if forward is None else forward
    for batch in batches:
        if batch.joined is not None:
            with drawing_for(batch.joined):
                here = replace(batch, complete=batch.complete_here, joined=None)
                found = compute_losses(network, tasks, [here], forward)
            if len(batches) == 1:
                return found
            losses.update(found)
            continue
        weights = batch.weights
        # none is named where there are none, as networks of one's own may take none
        if len(network.heads.groups):
            grouped = forward(batch.data.inputs, batch.tasks, grouped=True)
            every = {} if weights is None else {"weights": weights}
            names, values = network.losses(tasks, grouped, batch.data.targets, **every)
            together = TaskLosses(names, values)
            if len(batches) == 1:
                return together
            losses.update(together)
            continue
        outputs = forward(batch.data.inputs, batch.tasks)
        for name, complete in zip(batch.tasks, batch.complete, strict=True):
            weighted = {} if weights is None else {"weights": weights[name]}
            losses[name] = network.loss(
                tasks[name],
                outputs[name],
                batch.data.targets[name],
                complete=complete,
                **weighted,
            )
    return losses


def without_labels(batches: Sequence[Batch]) -> set[str]:
    """Return the tasks that no row of the batches has a label of, as far as that is known."""
    return {
        name
        for batch in batches
        if batch.present is not None
        for name, there in zip(batch.tasks, batch.present.tolist(), strict=True)
        if not there
    }


def of_labelled_tasks(
    losses: Mapping[str, Tensor], batches: Sequence[Batch]
) -> Mapping[str, Tensor]:
    """Return the losses without those of tasks that no row of the batches has a label of.

    Such a loss is 0 and says nothing, but a balancer would give weight to it.
    """
    return losses_without(losses, without_labels(batches))


def losses_without(losses: Mapping[str, Tensor], absent: Collection[str]) -> Mapping[str, Tensor]:
    """Return the losses of the other tasks alone."""
    if not absent:
        return losses
    names = tuple(name for name in losses if name not in absent)
    if isinstance(losses, TaskLosses):
        places = [k for k, name in enumerate(losses.names) if name not in absent]
        return TaskLosses(names, losses.together[places])
    return {name: losses[name] for name in names}


def label_counts(tasks: Mapping[str, Task], batches: Sequence[Batch]) -> dict[str, int]:
    """Return in how many rows of the batches each task has a label."""
    return {
        name: len(batch.data) if complete else int(tasks[name].labelled(target).sum())
        for batch in batches
        for name, complete in zip(batch.tasks, batch.complete_here, strict=True)
        for target in (batch.data.targets[name],)
    }


@torch.no_grad()
def validation_losses(
    network: Network,
    tasks: Mapping[str, Task],
    batches: Iterable[Batch],
    *,
    calibrated: bool = False,
    add_up: Callable[[Tensor], Tensor] | None = None,
) -> dict[str, float]:
    """Return each task's weighted mean loss over all labelled rows; tasks without any are left out.

    Args:
        network: Maps inputs to outputs by task; left in evaluation mode.
        tasks: The tasks by name.
        batches: All rows, once.
        calibrated: Give tasks whose outputs are logits, see `has_temperature`, the lowest loss of
            outputs divided by one of `TEMPERATURES`.
        add_up: Where each process has some of the rows, adds numbers up over them.

    Source: Berta, Holzmueller, Jordan & Bach, "Rethinking Early Stopping: Refine, Then Calibrate",
        2025, https://arxiv.org/abs/2501.19195.
    Differs from the source: temperatures of a grid, and a penalty of their logarithm, which matters
        for few rows.
    """
    network.eval()
    sums: dict[str, list[Tensor]] = {}
    counts: dict[str, list[Tensor]] = {}
    totals: dict[str, list[Tensor]] = {}
    for batch in batches:
        outputs = network(batch.data.inputs, batch.tasks)
        for name in batch.tasks:
            target = batch.data.targets[name]
            weights = None if batch.weights is None else batch.weights[name]
            labelled = tasks[name].labelled(target)
            count = labelled.sum()
            if calibrated and has_temperature(tasks[name]):
                part = _sums_by_temperature(tasks[name], outputs[name], target, weights)
            else:
                loss = tasks[name].loss(outputs[name], target, weights=weights)
                part = loss.double() * count
            sums.setdefault(name, []).append(part)
            counts.setdefault(name, []).append(count)
            weight = count if weights is None else (weights * labelled).sum()
            totals.setdefault(name, []).append(weight.double())
    means: dict[str, float] = {}
    for name in sums:
        found = torch.stack(sums[name]).sum(0)
        number = torch.stack(counts[name]).sum()
        weighed = torch.stack(totals[name]).sum()
        if add_up is not None:
            parts = [found.reshape(-1), number.double()[None], weighed[None]]
            *of_temperatures, number, weighed = add_up(torch.cat(parts)).unbind()
            found = torch.stack(of_temperatures).reshape(found.shape)
        total = float(weighed)
        if total:
            if found.ndim:
                found += temperature_penalties().to(found.device) * (total / int(number))
            means[name] = float(found.min()) / total
    return means


def temperature_penalties() -> Tensor:
    """Return what is added to the sum of the losses at each temperature, [k].

    A few rows that are predicted rightly would else speak for the lowest temperature.
    """
    return _PENALTY * torch.tensor(TEMPERATURES, dtype=torch.float64).log().square()


def has_temperature(task: Task) -> bool:
    """Return whether the task's outputs are logits, which a temperature can divide."""
    return task.loss_function is None and task.rules.outputs_are_logits


def _sums_by_temperature(
    task: Task, output: Tensor, target: Tensor, weights: Tensor | None
) -> Tensor:
    """Return the sum of the losses of the labelled rows at each of the temperatures, [k]."""
    temperatures = output.new_tensor(TEMPERATURES)[:, None, None]
    losses = task.unreduced_loss(
        (output / temperatures).flatten(0, 1), torch.cat([target] * len(TEMPERATURES))
    )
    losses = losses.view(len(TEMPERATURES), -1)
    if weights is not None:
        losses = losses * weights.to(losses.dtype)
    return torch.where(task.labelled(target), losses, 0.0).sum(1).double()
