"""Masked losses of many homogeneous tasks in one go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from jointrain.task import IGNORED, Task

_FAST = ("regression", "binary", "multiclass")


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
    for index, task in enumerate(tasks):
        target = targets[task.name]
        fast = (
            task.loss_function is None
            and task.kind in _FAST
            and target.ndim == 1
            and not (task.kind == "regression" and task.output_size > 1)
            and outputs.ndim == 3
        )
        key: object = (task.kind, target.dtype) if fast else index
        alike.setdefault(key, []).append(index)
    for key, members in alike.items():
        names = tuple(tasks[index].name for index in members)
        if not isinstance(key, tuple):
            (index,) = members
            yield names, tasks[index].loss(outputs.select(-2, index), targets[names[0]])[None]
            continue
        whole = len(members) == len(tasks)
        chosen = outputs if whole else outputs[:, members]
        target = torch.stack([targets[name] for name in names], 1)  # [b, n]
        yield names, _masked_means(tasks[members[0]].kind, chosen, target)


def _masked_means(kind: str, outputs: Tensor, target: Tensor) -> Tensor:
    """Return the mean loss of each column over its labelled rows.

    Shape:
        outputs: [b, n, o]. target: [b, n]. returns: [n].
    """
    if target.is_floating_point():
        present = ~target.isnan()
        filled = target.nan_to_num(nan=0.0)
    else:
        present = target != IGNORED
        filled = target.masked_fill(~present, 0)
    if kind == "multiclass":
        losses = functional.cross_entropy(
            outputs.movedim(-1, 1), filled.long(), reduction="none"
        )  # [b, n]
    else:
        values = outputs.squeeze(-1)
        function = (
            functional.mse_loss
            if kind == "regression"
            else functional.binary_cross_entropy_with_logits
        )
        losses = function(values, filled.to(values.dtype), reduction="none")
    return torch.where(present, losses, 0.0).sum(0) / present.sum(0).clamp_min(1)
