"""Masked losses of many homogeneous tasks in one go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from jointrain.task import TargetColumns, Task, present_labels


def masked_losses(
    tasks: Sequence[Task], outputs: Tensor, targets: Mapping[str, Tensor]
) -> Iterator[tuple[tuple[str, ...], Tensor]]:
    """Yield the mean losses over labelled rows of tasks whose outputs are stacked.

    Tasks of the same kind are computed as one masked loss; it equals `Task.loss` of each to
    rounding. Tasks with a loss function of their own, or of a kind that has no such form, are
    computed one by one.

    Args:
        tasks: The tasks, in the order of the outputs.
        outputs: What the group of heads gave.
        targets: Each task's targets, missing labels marked.

    Shape:
        outputs: [b, t, o], or [b, s, t, o] for sequences.
        targets: [b], [b, 1] or [b, ...] for each task.
        yields: names, and their losses, [n]; every task once.
    """
    alike: dict[object, list[int]] = {}
    columns = isinstance(targets, TargetColumns)
    for index, task in enumerate(tasks):
        key: object = index
        if task.loss_function is None and task.rules.can_be_columns() and outputs.ndim == 3:
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
            yield names, tasks[index].loss(outputs.select(-2, index), targets[names[0]])[None]
            continue
        whole = len(members) == len(tasks)
        chosen = outputs if whole else outputs[:, members]
        yield names, _masked_means(tasks[members[0]], chosen, _together(names, targets))


def _together(names: Sequence[str], targets: Mapping[str, Tensor]) -> Tensor:
    """Return the targets of the named tasks as columns, [b, n]."""
    if isinstance(targets, TargetColumns):
        return targets.together(names)
    return torch.stack([targets[name] for name in names], 1)


def _masked_means(task: Task, outputs: Tensor, target: Tensor) -> Tensor:
    """Return the mean loss of each column over its labelled rows; the columns are of one kind.

    Shape:
        outputs: [b, n, o]. target: [b, n]. returns: [n].
    """
    missing = ~present_labels(target)
    labelled = (len(target) - missing.sum(0)).clamp_min(1)
    return task.rules.column_losses(outputs, target, missing).sum(0) / labelled
