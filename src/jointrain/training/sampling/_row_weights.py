"""Weights of rows as losses take them: of mean 1, and no label where a weight is 0."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from jointrain.data import TensorData
from jointrain.errors import InvalidInputError
from jointrain.task import IGNORED, Task


def weigh_rows(data: TensorData, tasks: Iterable[Task]) -> TensorData:
    """Return the data with weights for each of the tasks, of mean 1 over its labelled rows.

    Labels of weight 0 are missing in what is returned. It has no weights where those of every task
    are equal, so that they change nothing. Data that are so already come back with the same
    numbers.

    Args:
        data: Rows with or without weights.
        tasks: The tasks whose targets are wanted; the targets of others stay as they are.

    Raises:
        InvalidInputError: A weight is negative or not finite, or all of a task's are 0.
    """
    if data.weights is None:
        return data
    targets, changed, weights = data.targets, {}, {}
    for task in tasks:
        given = data.weights_of(task.name)
        target = targets[task.name]
        if given is None:
            weights[task.name] = torch.ones(len(target), dtype=torch.float64, device=target.device)
            continue
        check_weights(given, f" of task {task.name!r}")
        labelled = task.labelled(target)
        counted = labelled & (given > 0)
        if not bool(counted.any()) and bool(labelled.any()):
            raise InvalidInputError(
                f"all rows that have a label of task {task.name!r} have weight 0; give some a "
                "weight above 0, or leave the task out"
            )
        if bool((counted != labelled).any()):
            changed[task.name] = without_labels(target, given <= 0)
        weights[task.name] = _of_mean_one(given, counted)
    if changed:
        targets = {**targets, **changed}
    if all(bool((weight == 1).all()) for weight in weights.values()):
        return TensorData(data.inputs, targets, None, data.codes)
    return TensorData(data.inputs, targets, weights, data.codes)


def without_weightless_labels(data: TensorData) -> TensorData:
    """Return a batch with its weights as they are, labels of weight 0 missing.

    Raises:
        InvalidInputError: A weight is negative or not finite.
    """
    if data.weights is None:
        return data
    changed = {}
    for name, target in data.targets.items():
        weights = data.weights_of(name)
        if weights is None:
            continue
        check_weights(weights, f" of task {name!r}")
        if bool((weights == 0).any()):
            changed[name] = without_labels(target, weights == 0)
    if not changed:
        return data
    return TensorData(data.inputs, {**data.targets, **changed}, data.weights, data.codes)


def check_weights(weights: Tensor, whose: str = "") -> None:
    """Refuse weights that are negative or not finite.

    Args:
        weights: [n].
        whose: For the message, such as `` of task 'a'``.

    Raises:
        InvalidInputError: One is; the row is counted from 1.
    """
    wrong = (weights < 0) | ~weights.isfinite()
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0])
        raise InvalidInputError(
            f"the weights{whose} hold {weights[row].item():g} in row {row + 1}; weights of rows "
            "are finite numbers of 0 or more"
        )


def _of_mean_one(weights: Tensor, counted: Tensor) -> Tensor:
    """Return the weights over their mean over the rows that count; 1 in all the others, [n]."""
    weights = weights.double()
    chosen = weights[counted]
    if not len(chosen) or bool((chosen == chosen[0]).all()):
        return torch.ones_like(weights)
    # by the largest first: the sum of huge weights is infinite, that of tiny ones loses digits
    largest = chosen.max()
    mean = largest * (chosen / largest).mean()
    if not abs(float(mean) - 1) < 1e-9:
        weights = (weights / largest) / (chosen / largest).mean()
    return torch.where(counted, weights, 1.0)


def without_labels(target: Tensor, rows: Tensor) -> Tensor:
    """Return the target with the labels of some rows missing."""
    if not target.is_floating_point():
        target = target.long()
    missing = math.nan if target.is_floating_point() else IGNORED
    shape = (-1,) + (1,) * (target.ndim - 1)
    return target.masked_fill(rows.view(shape), missing)
