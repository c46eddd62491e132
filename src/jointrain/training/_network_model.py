"""NetworkModel: trained networks of any inputs, each with the tasks that it predicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from jointrain.errors import InvalidInputError, closest
from jointrain.networks import Network
from jointrain.task import Task, conditional_metrics, conditionals
from jointrain.training._fitted_network import FittedNetwork
from jointrain.training._prediction import joined, predict
from jointrain.training.sampling import Data, TaskSets, input_batches


@dataclass(frozen=True)
class NetworkModel:
    """What predicts tasks from whatever its networks take: a fitted `Trainer`, or a loaded bundle.

    Args:
        tasks: All tasks.
        parts: Networks; each task is predicted by one of them.
        auxiliary: Names of tasks that only helped, which `predict` and `evaluate` leave out.
        factory: What makes a network of some tasks, where that is known; `save_bundle` needs it.
        batch_size: Rows of a data set that are read at once; default 256.

    Raises:
        InvalidInputError: A task is predicted by no network or by two, or a part has another task.
    """

    tasks: tuple[Task, ...]
    parts: tuple[FittedNetwork, ...]
    auxiliary: tuple[str, ...] = ()
    factory: Callable[[Sequence[Task]], Network] | None = None
    batch_size: int = 256

    def __post_init__(self) -> None:
        names = [task.name for task in self.tasks]
        predicted = [name for part in self.parts for name in part.tasks]
        for name in {*names, *predicted}:
            if names.count(name) != 1 or predicted.count(name) != 1:
                raise InvalidInputError(
                    f"a model needs one network for each task, but {name!r} is "
                    f"{names.count(name)} of its tasks and predicted by {predicted.count(name)} of "
                    "its networks"
                )
        for part in self.parts:
            part.network.link(self.tasks)

    @property
    def predicted_tasks(self) -> tuple[Task, ...]:
        """The tasks that are not auxiliary."""
        return tuple(task for task in self.tasks if task.name not in self.auxiliary)

    @property
    def device(self) -> torch.device:
        """Where the first network is."""
        return _device_of(self.parts[0].network)

    def to(self, device: str | torch.device) -> NetworkModel:
        """Move the networks to a device, and return the model."""
        for part in self.parts:
            part.network.to(device)
        return self

    def network_for(self, task: str) -> Network:
        """Return the network that predicts a task.

        Raises:
            InvalidInputError: There is no such task.
        """
        for part in self.parts:
            if task in part.tasks:
                return part.network
        known = [one.name for one in self.tasks]
        raise InvalidInputError(f"{task!r} is none of the tasks{closest(task, known)}")

    def predict(
        self, inputs: Any, tasks: Sequence[str] | None = None, *, logits: bool = False
    ) -> dict[str, Tensor]:
        """Return the predictions of each task: values, or probabilities of classes.

        Args:
            inputs: What the networks take, first dimension n; or a DataLoader, a data set or a
                `DataSource` of it, with or without targets.
            tasks: Which tasks; default all that are not auxiliary.
            logits: Return the heads' outputs as they are.

        Shape:
            returns: as `Task.predict`, first dimension n, on the CPU.

        Raises:
            InvalidInputError: A name is none of the tasks, or a DataLoader gives rows in random
                order or leaves some out.
        """
        by_name = {task.name: task for task in self.tasks}
        names = self._chosen(tasks)
        together: dict[Network, list[Task]] = {}
        for name in names:
            together.setdefault(self.network_for(name), []).append(by_name[name])
        parts: dict[str, list[Tensor]] = {name: [] for name in names}
        for part in input_batches(inputs, tuple(by_name), self.batch_size):
            for network, wanted in together.items():
                found = predict(network, wanted, part, device=_device_of(network), logits=logits)
                for name, prediction in found.items():
                    parts[name].append(prediction)
        return {name: joined(by_name[name], parts[name]) for name in names}

    def evaluate(
        self, data: Data, tasks: Sequence[str] | None = None
    ) -> dict[str, dict[str, float]]:
        """Return each task's metrics over its labelled rows, by task and metric name.

        Rows count by their weights, where the data have some.

        Args:
            data: One data set with the targets of all tasks (missing labels allowed), a data set
                for each task by name, or a `Mixture`, whose sets are gone through once.
            tasks: Which tasks; default all that are not auxiliary.

        Raises:
            InvalidInputError: A task has no data, a target does not fit its task, or a DataLoader
                does not give each row once.
        """
        wanted = self._chosen(tasks)
        for name in wanted:
            self.network_for(name)
        by_name = {task.name: task for task in self.tasks}
        sets = TaskSets.of(
            data,
            by_name,
            "evaluation",
            batch_size=self.batch_size,
            device=self.device,
            needed=wanted,
        )
        predictions: dict[str, list[Tensor]] = {name: [] for name in wanted}
        targets: dict[str, list[Tensor]] = {name: [] for name in wanted}
        weights: dict[str, list[Tensor]] = {name: [] for name in wanted}
        for batch in sets.serving(wanted).once():
            found = self.predict(batch.data.inputs, batch.tasks)
            for name in batch.tasks:
                predictions[name].append(found[name])
                targets[name].append(batch.data.targets[name].cpu())
                if batch.weights is not None:
                    weights[name].append(batch.weights[name].cpu())
        measured: dict[str, dict[str, float]] = {}
        whole: dict[str, tuple[Tensor, Tensor, Tensor | None]] = {}
        for name in wanted:
            task = by_name[name]
            whole[name] = (
                joined(task, predictions[name]),
                joined(task, targets[name]),
                torch.cat(weights[name]) if weights[name] else None,
            )
            measured[name] = task.evaluate(*whole[name])
        for name in wanted:
            given = by_name[name].given
            # of one data set, so that rows are the same
            if given in whole and len(whole[given][0]) == len(whole[name][0]):
                own, other = whole[name], whole[given]
                measured[name] |= conditional_metrics(
                    by_name[name], own[0], own[1], other[0], other[1], own[2]
                )
        return measured

    def predict_given(self, inputs: Any) -> dict[str, Tensor]:
        """Return the probabilities of tasks that are given another one, where that one is.

        Args:
            inputs: As in `predict`.

        Returns:
            [n] by names such as ``purchase|click``; p(purchase) is p(click) times it.
        """
        chain = [name for task in self.tasks if task.given for name in (task.name, task.given)]
        known = {task.name for task in self.tasks}
        named = [name for name in dict.fromkeys(chain) if name in known]
        return conditionals(self.tasks, self.predict(inputs, named)) if named else {}

    def _chosen(self, tasks: Sequence[str] | None) -> tuple[str, ...]:
        return tuple(task.name for task in self.predicted_tasks) if tasks is None else tuple(tasks)


def _device_of(network: Network) -> torch.device:
    return next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
