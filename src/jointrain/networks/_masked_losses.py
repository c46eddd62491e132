"""Masked losses of many homogeneous tasks in one go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from jointrain.task import TargetColumns, Task, present_labels


def masked_losses(
    tasks: Sequence[Task],
    outputs: Tensor,
    targets: Mapping[str, Tensor],
    weights: Mapping[str, Tensor] | None = None,
) -> Iterator[tuple[tuple[str, ...], Tensor]]:
    """Yield the mean losses over labelled rows of tasks whose outputs are stacked.

    Tasks of the same kind are computed as one masked loss; it equals `Task.loss` of each to
    rounding. Tasks with a loss function of their own, or of a kind that has no such form, are
    computed one by one.

    Args:
        tasks: The tasks, in the order of the outputs.
        outputs: What the group of heads gave.
        targets: Each task's targets, missing labels marked.
        weights: What each row's loss is multiplied by; default 1. See `Task.loss`.

    Shape:
        outputs: [b, t, o], or [b, s, t, o] for sequences.
        targets: [b], [b, 1] or [b, ...] for each task.
        weights: [b] for each task.
        yields: names, and their losses, [n]; every task once.
    """
    alike: dict[object, list[int]] = {}
    columns = isinstance(targets, TargetColumns)
    for index, task in enumerate(tasks):
        key: object = index
        alone = type(task) is not Task or task.loss_function is not None
        if not alone and task.rules.can_be_columns() and outputs.ndim == 3:
            if columns:
                key = task.kind
            else:
                target = targets[task.name]
                key = (task.kind, target.dtype) if target.ndim == 1 else index
        if key in alike:
            alike[key].append(index)
        else:
            alike[key] = [index]
    for key, members in alike.items():
        names = tuple([tasks[index].name for index in members])
        if isinstance(key, int):
            (index,) = members
            loss = tasks[index].loss(
                outputs.select(-2, index),
                targets[names[0]],
                weights=None if weights is None else weights[names[0]],
            )
            yield names, loss[None]
            continue
        whole = len(members) == len(tasks)
        chosen = outputs if whole else outputs[:, members]
        yield (
            names,
            _masked_means(
                tasks[members[0]],
                chosen,
                _together(names, targets),
                None if weights is None else _together(names, weights),
            ),
        )


def _together(names: Sequence[str], targets: Mapping[str, Tensor]) -> Tensor:
    """Return the targets, or the weights, of the named tasks as columns, [b, n]."""
    if isinstance(targets, TargetColumns):
        return targets.together(names)
    return torch.stack([targets[name] for name in names], 1)


def _masked_means(task: Task, outputs: Tensor, target: Tensor, weights: Tensor | None) -> Tensor:
    """Return the mean loss of each column over its labelled rows; the columns are of one kind.

    Shape:
        outputs: [b, n, o]. target, weights: [b, n]. returns: [n].
    """
    missing = ~present_labels(target)
    labelled = (len(target) - missing.sum(0)).clamp_min(1)
    losses = task.rules.column_losses(outputs, target, missing)
    if weights is not None:
        losses = losses * weights.to(losses.dtype)
    return losses.sum(0) / labelled
