"""Chains of tasks: one that can only happen where another one has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from jointrain.errors import InvalidInputError, closest
from jointrain.metrics import compute_metrics
from jointrain.task._corrected import label_of
from jointrain.task._target_columns import TargetColumns
from jointrain.task._task import Task

Array = TypeVar("Array", Tensor, np.ndarray)


def with_given(tasks: Sequence[Task], given: Mapping[str, str]) -> list[Task]:
    """Return the tasks with what each is given.

    Args:
        tasks: The tasks.
        given: The other task's name by task name, and after a colon the correction, if any:
            ``{"purchase": "click:doubly-robust"}``.

    Raises:
        InvalidInputError: A name is no task, a correction is unknown, or as in `check_chains`.
    """
    names = [task.name for task in tasks]
    for name in given:
        if name not in names:
            raise InvalidInputError(
                f"`given` is said of {name!r}, which is no target{closest(name, names)}"
            )
        if not isinstance(given[name], str):
            raise InvalidInputError(
                f"`given` names what {name!r} is given as text, got {given[name]!r}"
            )
    found = []
    for task in tasks:
        if task.name in given:
            said = given[task.name]
            # a name may hold a colon
            other, _, correction = (said, "", "") if said in names else said.rpartition(":")
            if not other:
                other, correction = said, ""
            if task.kind != "binary":
                raise InvalidInputError(_not_binary(task, task.name, other))
            task = replace(
                task, given=other, correction=correction or None, size=None, metrics=task.metrics
            )
        found.append(task)
    check_chains(found, all_needed=True)
    return found


def _not_binary(task: Task, name: str, given: str) -> str:
    return (
        f"{name!r} given {given!r} needs two binary targets, and {task.name!r} is {task.kind}; "
        "make it yes or no"
    )


def check_chains(tasks: Sequence[Task], *, all_needed: bool = False) -> None:
    """Refuse tasks whose chains can't be followed.

    Args:
        tasks: Those that are trained together.
        all_needed: Whether what a task is given must be among them.

    Raises:
        InvalidInputError: Tasks are given each other in a circle, or one is given a task that is
            not binary or, if needed, not there.
    """
    by_name = {task.name: task for task in tasks}
    for task in tasks:
        if task.given is None:
            continue
        other = by_name.get(task.given)
        if other is None:
            if all_needed:
                raise InvalidInputError(
                    f"{task.name!r} is given {task.given!r}, which is no target"
                    f"{closest(task.given, by_name)}; name it among the targets, too"
                )
            continue
        if other.kind != "binary" or other.loss_function is not None:
            raise InvalidInputError(_not_binary(other, task.name, other.name))
        seen = [task.name]
        while other is not None and other.given is not None:
            if other.name in seen:
                break
            seen.append(other.name)
            other = by_name.get(other.given)
        if other is not None and other.name == task.name:
            circle = " given ".join(map(repr, [*seen, task.name]))
            raise InvalidInputError(
                f"targets are given each other in a circle: {circle}; leave one `given` out"
            )


def in_order_of_chains(tasks: Sequence[Task]) -> list[Task]:
    """Return the tasks that are given another one of them, each after that one."""
    by_name = {task.name: task for task in tasks}
    left = [task for task in tasks if task.given in by_name]
    ordered: list[Task] = []
    while left:
        waiting = {task.name for task in left}
        ready = [task for task in left if task.given not in waiting]
        assert ready, "a circle"
        ordered += ready
        left = [task for task in left if task.name not in {one.name for one in ready}]
    return ordered


def joint_labels(own: Array, given: Array, task: str, given_task: str) -> Array:
    """Return the labels of a task over all rows: no where the other one is no.

    Shape:
        own, given: [n], 0 or 1, NaN where missing. returns: [n].

    Raises:
        InvalidInputError: It happened where the other one did not; the row (from 1) is named.
    """
    against = (own == 1) & (given == 0)
    if bool(against.any()):
        row = int(against.nonzero()[0].flatten()[0])
        raise InvalidInputError(
            f"{task!r} is given {given_task!r}, but row {row + 1} has {task!r} without "
            f"{given_task!r}; mend the labels, or leave `given` out"
        )
    if isinstance(own, Tensor):
        return torch.where(given == 0, torch.zeros_like(own), own)
    return np.where(given == 0, 0.0, own)


def chained_labels(tasks: Sequence[Task], labels: Mapping[str, Array]) -> dict[str, Array]:
    """Return the labels of tasks over all rows: what is given another is no where that one is.

    Labels of tasks without another one stay as they are, as do those of which the other is not
    there.

    Shape:
        labels: [n] or [n, 1] each of the tasks in chains, missing ones marked.

    Raises:
        InvalidInputError: A task happened where the one that it is given did not.
    """
    found = dict(labels)
    for task in in_order_of_chains(tasks):
        if task.given is None or task.name not in found or task.given not in found:
            continue
        own, other = found[task.name], found[task.given]
        found[task.name] = joint_labels(
            own.reshape(len(own)), other.reshape(len(other)), task.name, task.given
        )
    return found


def chained_targets(tasks: Sequence[Task], targets: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return what chains are trained on: `chained_labels`, and which rows were selected.

    A task with a correction gets a second column: 1 where the other task's label is yes, else 0.

    Shape:
        targets: [n] each of the tasks in chains. returns: [n], or [n, 2] with a correction.

    Raises:
        InvalidInputError: A task happened where the one that it is given did not.
    """
    if not any(task.given is not None for task in tasks):
        return targets
    if any(target.ndim == 2 and task.correction for task, target in _own(tasks, targets)):
        return targets  # made before
    found = chained_labels(tasks, targets)
    for task in in_order_of_chains(tasks):
        if task.correction is None or not {task.name, task.given} <= found.keys():
            continue
        assert task.given is not None
        own, other = found[task.name], label_of(found[task.given])
        selected = (other == 1).to(own.dtype)
        found[task.name] = torch.stack([own, selected], 1)
    return found if not isinstance(targets, TargetColumns) else TargetColumns.of(found)


def _own(tasks: Sequence[Task], targets: Mapping[str, Tensor]) -> list[tuple[Task, Tensor]]:
    return [(task, targets[task.name]) for task in tasks if task.name in targets]


def given_name(task: Task) -> str:
    """Return what the probability of a task given another one is called: ``purchase|click``."""
    return f"{task.name}|{task.given}"


def conditional(joint: Array, given: Array) -> Array:
    """Return p(purchase | click) by p(purchase) and p(click): their ratio, 1 at most."""
    if isinstance(joint, Tensor):
        return (joint / given.clamp_min(1e-30)).clamp(0, 1)
    return np.asarray(np.clip(joint / np.maximum(given, 1e-30), 0, 1))


def conditionals(tasks: Sequence[Task], predictions: Mapping[str, Array]) -> dict[str, Array]:
    """Return the probabilities of the tasks that are given another one, where that one is.

    Args:
        tasks: The tasks.
        predictions: Their probabilities over all rows, [n] each.

    Returns:
        By `given_name`; empty where no task is given one that is predicted.
    """
    return {
        given_name(task): conditional(predictions[task.name], predictions[task.given])
        for task in tasks
        if task.given is not None and {task.name, task.given} <= predictions.keys()
    }


def conditional_metrics(
    task: Task,
    prediction: Tensor,
    target: Tensor,
    given_prediction: Tensor,
    given_target: Tensor,
    weights: Tensor | None = None,
) -> dict[str, float]:
    """Return the metrics of p(purchase | click) over the rows that were clicked.

    Those within queries are left out.

    Shape:
        all: [n], missing labels marked; targets may be those of `chained_targets`.

    Returns:
        By names such as ``log-loss given click``.
    """
    target, given_target = label_of(target), label_of(given_target)
    chosen = (given_target == 1) & task.labelled(target)
    if weights is not None:
        chosen = chosen & (weights > 0)
    metrics = tuple(metric for metric in task.metrics or () if metric.query is None)
    found = compute_metrics(
        metrics,
        conditional(prediction, given_prediction)[chosen],
        target[chosen],
        None if weights is None else weights[chosen],
        {},
    )
    return {f"{name} given {task.given}": value for name, value in found.items()}
