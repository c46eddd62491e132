"""Weights of classes as weights of rows: resolved by the training rows, multiplied into data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jointrain.data import DataSource, TensorData, balanced_class_weights
from jointrain.errors import InvalidInputError
from jointrain.task import Task, chained_labels
from jointrain.training.sampling._mixture import Mixture, tasks_of
from jointrain.training.sampling._row_weights import check_weights

ClassFactors = Mapping[str, Tensor]
"""What the weights of a task's rows are multiplied by, [c] for its classes; by its name."""


def class_factors(data: Any, tasks: Mapping[str, Task]) -> dict[str, Tensor]:
    """Return the weight of each class of the tasks that have class weights.

    Args:
        data: The training data, whose rows are counted where classes are to be balanced.
        tasks: The tasks by name.

    Shape:
        returns: [c] each.

    Raises:
        InvalidInputError: Classes are to be balanced, and the data are read in batches; or a target
            or weights do not fit the task.
    """
    found = {}
    chain = list(tasks.values())
    for name, task in tasks.items():
        if task.class_weights is None:
            continue
        if task.class_weights == "balanced":
            found[name] = torch.from_numpy(_balanced(task, list(_sources(data, name)), chain))
        else:
            found[name] = torch.tensor(task.class_weights, dtype=torch.float64)
    return found


def weigh_classes(data: TensorData, factors: ClassFactors) -> TensorData:
    """Return the data with the weights of rows multiplied by those of their classes.

    Weights of tasks that are not named stay as they are.

    Raises:
        InvalidInputError: A weight is negative or not finite.
    """
    named = [name for name in data.targets if name in factors]
    if not named:
        return data
    weights = {name: given for name in data.targets if (given := data.weights_of(name)) is not None}
    for name in named:
        target = data.targets[name]
        of_rows = factors[name].to(target.device)[_codes(target)]
        given = weights.get(name)
        if given is not None:
            check_weights(given, f" of task {name!r}")
            of_rows = of_rows * given.double()
        weights[name] = of_rows
    return TensorData(data.inputs, data.targets, weights, data.codes)


def _balanced(task: Task, sources: Iterable[Any], tasks: Sequence[Task]) -> np.ndarray:
    """Return the weight of each class by the labels of the data sets together, [c].

    Args:
        task: The task.
        sources: The data sets.
        tasks: All tasks, for labels by what a task is given.
    """
    labels, weights = [], []
    for source in sources:
        if isinstance(source, DataSource) and source.in_memory:
            source = source.data
        if not isinstance(source, TensorData):
            raise InvalidInputError(
                f"the classes of task {task.name!r} can't be balanced: its training data are read "
                "in batches and not counted beforehand; give class_weights= a number for each class"
            )
        task.check_target(source.targets[task.name])
        target = chained_labels(tasks, source.targets)[task.name]
        given = source.weights_of(task.name)
        if given is None:
            given = torch.ones(len(target))
        check_weights(given, f" of task {task.name!r}")
        known = task.labelled(target)
        labels.append(_codes(target)[known].cpu().numpy())
        weights.append(given[known].double().cpu().numpy())
    if not labels:
        return np.ones(len(task.classes))
    return balanced_class_weights(
        np.concatenate(labels), np.concatenate(weights), len(task.classes)
    )


def _sources(data: Any, task: str) -> Iterator[Any]:
    """Yield the data sets that serve a task; one without its target is refused where it is read."""
    if isinstance(data, TensorData):
        data = {task: data}
    elif isinstance(data, Mixture):
        data = data.sources
    elif not isinstance(data, Mapping):
        data = {task: data}
    for key, source in data.items():
        if task in tasks_of(key) and (not isinstance(source, TensorData) or task in source.targets):
            yield source


def _codes(target: Tensor) -> Tensor:
    """Return the index of each row's class, [n]; 0 where the label is missing."""
    # the first column: one that is corrected for selection has two
    target = target.reshape(len(target), -1)[:, 0]
    if target.is_floating_point():
        target = target.nan_to_num(0.0)
    return target.long().clamp_min(0)
