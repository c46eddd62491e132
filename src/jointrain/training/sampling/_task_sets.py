"""The data sets of a run, of whatever kind, each with the tasks that it serves."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from jointrain.data import DataSource, RowStream, TensorData
from jointrain.errors import InvalidInputError, closest
from jointrain.task import Task, chained_targets
from jointrain.training.sampling._bad_rows import BadRows
from jointrain.training.sampling._batch import Batch
from jointrain.training.sampling._batches import SetBatches, TensorBatches, mix
from jointrain.training.sampling._class_weights import ClassFactors, weigh_classes
from jointrain.training.sampling._loader_batches import LoaderBatches, one_pass
from jointrain.training.sampling._loader_rows import refuse_other_order, refuse_other_rows
from jointrain.training.sampling._mixture import Mixture, tasks_of
from jointrain.training.sampling._random_numbers import derived_seed
from jointrain.training.sampling._row_shares import RowShare
from jointrain.training.sampling._row_weights import weigh_rows
from jointrain.training.sampling._schedule import Schedule
from jointrain.training.sampling._streamed_batches import StreamedBatches

Data = (
    TensorData
    | RowStream
    | DataSource
    | DataLoader[Any]
    | Dataset[Any]
    | Mixture
    | Mapping[Any, Any]
)
"""What a trainer draws from: one data set for all tasks, or one for each task or some of them."""


class TaskSets:
    """Draws batches for any set of tasks from the data sets that serve them.

    Args:
        sets: The data sets, each with the tasks that it serves.
        labels: Number of labelled rows of each task, in task order.
        batches: How many batches each task's labelled rows make.
        together: How many batches the rows of the largest set with any label make.
        mixture: Says which sets a step draws from, if there is one.
        part_rows: Rows of a batch that go through the network at once.
        bad_rows: Counts rows that can't be read.
    """

    def __init__(
        self,
        sets: Sequence[tuple[tuple[str, ...], SetBatches]],
        labels: Mapping[str, int],
        batches: Mapping[str, int],
        together: int,
        mixture: Mixture | None = None,
        part_rows: int = 0,
        bad_rows: BadRows | None = None,
    ) -> None:
        self.part_rows = part_rows
        self.bad_rows = bad_rows or BadRows()
        self._sets = sets
        self.labels = labels
        self.batches = batches
        self.together = together
        self._mixture = mixture

    @staticmethod
    def of(
        data: Data,
        tasks: Mapping[str, Task],
        purpose: str,
        *,
        batch_size: int,
        device: torch.device,
        generator: torch.Generator | None = None,
        seed: int = 0,
        needed: Sequence[str] | None = None,
        factors: ClassFactors | None = None,
        accumulate: int = 1,
        share: RowShare | None = None,
        bad_rows: BadRows | None = None,
    ) -> TaskSets:
        """Return the data sets on the device, checked.

        Args:
            data: One data set for all tasks, or one for each task or tuple of tasks.
            tasks: The tasks by name.
            purpose: What the data are for, in the words of errors: ``training``, ...
            batch_size: Rows in a batch.
            device: Where the batches are wanted.
            generator: Source of the order of rows, unless there is a mixture.
            seed: Seed of a mixture's order and of the random numbers of loaders.
            needed: Tasks that must have data; default all. The others are left out if they have
                none.
            factors: What the weights of rows are multiplied by, by their classes, see
                `class_factors`; default 1.
            accumulate: How many times the rows of a batch are drawn for a step; default 1.
            share: The part of each batch that this process takes; default the whole.
            bad_rows: Counts rows that can't be read; default: the first one raises.

        Raises:
            InvalidInputError: The data are of no known kind, a task has no data or no label, or a
                target does not fit its task.
        """
        everything = tuple(tasks)
        needed = everything if needed is None else needed
        factors = factors or {}
        if isinstance(data, TensorData):
            served = tuple(name for name in tasks if name in needed or name in data.targets)
            pairs = [(data, served)]
            return _in_memory(
                pairs, tasks, purpose, batch_size, device, generator, factors, accumulate, share
            )
        if isinstance(data, RowStream):
            if bad_rows is not None and bad_rows.limit:
                raise InvalidInputError(
                    "`bad_rows` 'skip' leaves out rows of data sets, and those of a RowStream are "
                    "read as row groups of files; leave it out"
                )
            part = derived_seed(seed, purpose)
            return _streamed(
                data, tasks, batch_size, accumulate, part, device, needed, factors, share
            )
        if isinstance(data, Mapping):
            _check_served([tasks_of(key) for key in data], tasks, purpose, needed)
            plain = all(isinstance(name, str) for name in data)
            if plain and all(isinstance(source, TensorData) for source in data.values()):
                pairs = [(data[name], (name,)) for name in everything if name in data]
                return _in_memory(
                    pairs, tasks, purpose, batch_size, device, generator, factors, accumulate, share
                )
            data = Mixture(data, batch_size=batch_size)
        elif not isinstance(data, Mixture):
            if not is_data_set(data):
                raise InvalidInputError(
                    f"the {purpose} data must be TensorData, a DataLoader, a data set, a Mixture, "
                    f"or a data set for each task by its name, got {type(data).__name__}"
                )
            data = Mixture({everything: data}, batch_size=batch_size)
        _check_served(list(data.sources), tasks, purpose, needed)
        drawn = data if accumulate == 1 else data.times(accumulate)
        sizes = data.batch_sizes.values()
        part_rows = sum(sizes) if data.mixed else max(sizes)
        if share is not None and accumulate > 1:
            if data.mixed:
                raise InvalidInputError(
                    "`accumulate` does not go with a mixture's mixed batches on several "
                    "processes; leave out one of them"
                )
            share = replace(share, part_rows=part_rows)
        seed = derived_seed(seed, purpose)
        counted = bad_rows or BadRows()
        sets = _mixed(drawn, tasks, purpose, device, seed, factors, share, counted)
        sets.part_rows = part_rows
        return sets

    def schedule(self, given: Schedule) -> Schedule:
        """Return the schedule of a run on these data: the mixture's own where it chooses."""
        return given if self._mixture is None else self._mixture.schedule(given)

    def loss_weights(self, weights: Mapping[str, float]) -> dict[str, float]:
        """Return the weight of each task's loss: the given one by that of the mixture."""
        if self._mixture is None:
            return dict(weights)
        shares = self._mixture.loss_weights()
        return {name: weight * shares[name] for name, weight in weights.items()}

    def draw(self, names: Sequence[str]) -> list[Batch]:
        """Draw a batch from every data set that serves one of the named tasks."""
        drawn = []
        wanted = frozenset(names)
        for served, batches in self._sets:
            active = tuple(name for name in served if name in wanted)
            if active:
                drawn.append(batches.draw(active))
        mixed = self._mixture is not None and self._mixture.mixed and len(drawn) > 1
        return [mix(drawn)] if mixed else drawn

    def first(self) -> list[Batch]:
        """Return a batch of each set, which will be drawn all the same."""
        return [batches.first() for _, batches in self._sets]

    def once(self, share: RowShare | None = None) -> Iterator[Batch]:
        """Yield all rows of all sets once; or the part of them that is a process's `share`."""
        for served, batches in self._sets:
            for batch in batches.once(share):
                yield replace(batch, tasks=served, complete=(False,) * len(served))

    def serving(self, tasks: Sequence[str]) -> TaskSets:
        """Return the same sets for some of their tasks alone.

        They share the order of rows with these ones. A mixture chooses no sets for them.
        """
        if all(name in tasks for name in self.labels):
            return self
        labels = {name: count for name, count in self.labels.items() if name in tasks}
        batches = {name: self.batches[name] for name in labels}
        sets = [(tuple(name for name in served if name in labels), s) for served, s in self._sets]
        kept = [(served, s) for served, s in sets if served]
        together = max((s.count(served) for served, s in kept), default=0)
        return TaskSets(
            kept,
            labels,
            batches,
            together,
            part_rows=self.part_rows,
            bad_rows=self.bad_rows,
        )

    def form(self) -> tuple[Any, ...]:
        """Return what must be the same on all processes: tasks by set, labels, rows in memory."""
        labels = self.labels if isinstance(self.labels, dict) else None
        rows = [one.digest() for _, one in self._sets if isinstance(one, TensorBatches)]
        return [served for served, _ in self._sets], labels, self.together, rows

    def close(self) -> None:
        """End the worker processes of the loaders."""
        for _, batches in self._sets:
            batches.close()

    def state_dict(self) -> dict[str, Any]:
        """Return which batches have been drawn from each set."""
        return {
            "sets": [batches.state_dict() for _, batches in self._sets],
            "bad_rows": self.bad_rows.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on after the batches that `state_dict` tells of, on sets of the same rows."""
        for (_, batches), place in zip(self._sets, state["sets"], strict=True):
            batches.load_state_dict(place)
        if "bad_rows" in state:  # not in a state of an earlier release
            self.bad_rows.load_state_dict(state["bad_rows"])


def is_data_set(data: Any) -> bool:
    """Return whether the data are read in batches, not taken as they are."""
    # the data sets of Hugging Face are known by their method alone, the package is not needed
    return isinstance(data, (DataSource, DataLoader, Dataset)) or hasattr(data, "with_format")


def input_batches(data: Any, tasks: Sequence[str], batch_size: int) -> Iterator[Any]:
    """Yield the inputs of data to predict: those in memory at once, those of a data set in batches.

    Args:
        data: A tensor, or a dictionary, tuple or list of tensors; `TensorData`; or a DataLoader, a
            data set or a `DataSource`, with or without targets.
        tasks: The tasks, whose targets are no inputs.
        batch_size: Rows in a batch of a data set.

    Raises:
        InvalidInputError: A DataLoader gives rows in random order, or leaves some out.
    """
    if isinstance(data, TensorData):
        yield data.inputs
    elif is_data_set(data):
        source = data if isinstance(data, DataSource) else DataSource(data)
        if source.in_memory:
            yield source.data.inputs
            return
        if source.is_loader:
            refuse_other_order(source.data, "prediction")
        for batch in one_pass(source, source.batch_size or batch_size, 0):
            yield source.read_inputs(batch, tasks)
    else:
        yield data


def _check_served(
    keys: Sequence[tuple[str, ...]],
    tasks: Mapping[str, Task],
    purpose: str,
    needed: Sequence[str],
) -> None:
    served = [name for key in keys for name in key]
    for name in served:
        if name not in tasks:
            raise InvalidInputError(
                f"there are {purpose} data for {name!r}, which is none of the tasks"
                f"{closest(name, tasks)}"
            )
    for name in needed:
        if name not in served:
            raise InvalidInputError(f"task {name!r} has no {purpose} data")


def _chained(data: TensorData, tasks: Sequence[Task], purpose: str) -> TensorData:
    """Return the data with the targets of chains, after a check of all."""
    for task in tasks:
        if task.name not in data.targets:
            raise InvalidInputError(
                f"the {purpose} data have no target of task {task.name!r}"
                f"{closest(task.name, data.targets)}"
            )
        task.check_target(data.targets[task.name])
    targets = chained_targets(tasks, data.targets)
    return data if targets is data.targets else replace(data, targets=targets)


def _check_labels(task: Task, data: TensorData, purpose: str) -> None:
    target = data.targets[task.name]
    if purpose == "training" and not bool(task.labelled(target).any()):
        raise InvalidInputError(f"task {task.name!r} has no label in the {purpose} data")
    weights = data.weights_of(task.name)
    if purpose == "training" and task.has_classes and weights is not None:
        for code, label in enumerate(task.classes):
            rows = target.reshape(len(target), -1)[:, 0].long() == code
            if bool(rows.any()) and bool((weights[rows] == 0).all()):
                raise InvalidInputError(
                    f"all rows of class {label!r} of task {task.name!r} have weight 0 in the "
                    "training data; give some a weight above 0, or mark their labels as missing"
                )


def _in_memory(
    pairs: Sequence[tuple[TensorData, tuple[str, ...]]],
    tasks: Mapping[str, Task],
    purpose: str,
    batch_size: int,
    device: torch.device,
    generator: torch.Generator | None,
    factors: ClassFactors,
    accumulate: int,
    share: RowShare | None,
) -> TaskSets:
    """Return data sets in memory, whose rows are drawn in one order from one generator."""
    sets: list[tuple[tuple[str, ...], SetBatches]] = []
    labels: dict[str, int] = {}
    together = 0
    part_rows, batch_size = batch_size, batch_size * accumulate
    of_batch = None if share is None else replace(share, part_rows=part_rows)
    for data, names in pairs:
        served = [tasks[name] for name in names]
        data = _chained(data, served, purpose)
        for task in served:
            _check_labels(task, data, purpose)
        data = weigh_rows(weigh_classes(data, factors), served)
        labelled = torch.stack([task.labelled(data.targets[task.name]) for task in served])
        labels.update(zip(names, labelled.sum(1).tolist(), strict=True))
        together = max(together, math.ceil(int(labelled.any(0).sum()) / batch_size))
        order = torch.Generator() if generator is None else generator
        sets.append((names, TensorBatches(data.to(device), served, batch_size, order, of_batch)))
    labels = {name: labels[name] for name in tasks if name in labels}
    batches = {name: math.ceil(count / batch_size) for name, count in labels.items()}
    return TaskSets(sets, labels, batches, together, part_rows=part_rows)


def _streamed(
    stream: RowStream,
    tasks: Mapping[str, Task],
    batch_size: int,
    accumulate: int,
    seed: int,
    device: torch.device,
    needed: Sequence[str],
    factors: ClassFactors,
    share: RowShare | None,
) -> TaskSets:
    """Return the one set of a stream of rows, which has labels of all its tasks."""
    served = tuple(name for name in tasks if name in needed or name in stream.labels)
    for name in served:
        if name not in stream.labels:
            raise InvalidInputError(f"task {name!r} has no data in the stream of rows")
    if share is not None and accumulate > 1:
        raise InvalidInputError(
            "`accumulate` does not go with a stream of rows on several processes; leave out one of "
            "them"
        )
    of_tasks = [tasks[name] for name in served]
    size = batch_size * accumulate
    drawn = StreamedBatches(stream, of_tasks, size, seed, device, factors, share)
    count = drawn.count(served)
    labels = {name: stream.labels[name] for name in served}
    batches = dict.fromkeys(served, count)
    return TaskSets([(served, drawn)], labels, batches, count, part_rows=batch_size)


def _mixed(
    mixture: Mixture,
    tasks: Mapping[str, Task],
    purpose: str,
    device: torch.device,
    seed: int,
    factors: ClassFactors,
    share: RowShare | None,
    bad_rows: BadRows,
) -> TaskSets:
    """Return the sets of a mixture, each with random numbers of its own."""
    sets: list[tuple[tuple[str, ...], SetBatches]] = []
    for names, source in mixture.sources.items():
        served = [tasks[name] for name in names]
        size, part = mixture.batch_sizes[names], derived_seed(seed, *names)
        if source.in_memory:
            data = _chained(source.data, served, purpose)
            for task in served:
                _check_labels(task, data, purpose)
            generator = torch.Generator().manual_seed(part)
            data = weigh_rows(weigh_classes(data, factors), served)
            memory = TensorBatches(data.to(device), served, size, generator, share)
            sets.append((names, memory))
        else:
            if source.is_loader and purpose != "training":
                refuse_other_rows(source.data, purpose)
            read = LoaderBatches(
                source, served, size, part, device, factors, share, bad_rows, purpose
            )
            sets.append((names, read))
    rows, batches = mixture.rows_by_task(), mixture.batches_by_task()
    return TaskSets(sets, rows, batches, mixture.largest(), mixture, bad_rows=bad_rows)
