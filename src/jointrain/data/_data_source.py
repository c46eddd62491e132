"""DataSource: a data set of any kind, and how its batches become inputs and targets."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from jointrain.data._tensor_data import TensorData
from jointrain.errors import InvalidInputError, closest


@dataclass(frozen=True, eq=False)
class DataSource:
    """A data set of any kind, and how a batch of it becomes inputs and targets.

    A batch that is a mapping holds a target under each task's name (or the name that `targets`
    gives), and inputs under all the other names. A batch that is a tuple holds the inputs first and
    then the targets: one for each task in their order, or one dictionary of them by task name,
    after which the weights of the rows may follow, as floats.

    Args:
        data: `TensorData`; a torch ``DataLoader``, whose batches are taken as they come; a torch
            ``Dataset``, or anything else with a length and rows by number, such as a list or a
            ``datasets.Dataset`` of Hugging Face; or an iterable data set (``IterableDataset`` of
            torch or Hugging Face).
        inputs: Which entries of a mapping are the inputs. One name: that entry itself; several: a
            dictionary of them. Default: all that are no targets, and if it is one, that itself.
        targets: Under which entry of a mapping a task's target is; default the task's name.
        weights: Under which entry of a mapping the weights of the rows are; default none. Those of
            `TensorData` are its own. Weights that are read in batches are taken as they are: give
            them a mean of about 1, or the losses are larger or smaller by it.
        batch_size: Rows in a batch; default the mixture's. A DataLoader has its own.
        collate_fn: Makes a batch of a list of rows; default that of torch. For data sets only.
        num_workers: Processes that read the rows; default 0: none. For data sets only.

    Raises:
        InvalidInputError: The data are of no such kind or empty, or an argument does not go with
            them.
    """

    data: Any
    inputs: str | Sequence[str] | None = None
    targets: Mapping[str, str] = field(default_factory=dict)
    batch_size: int | None = None
    collate_fn: Callable[[list[Any]], Any] | None = None
    num_workers: int = 0
    weights: str | None = None

    def __post_init__(self) -> None:
        if not (self.in_memory or self.is_loader or self.has_rows or self.is_stream):
            advice = ""
            if isinstance(self.data, Tensor):
                advice = "; give TensorData(inputs, {task: target})"
            elif hasattr(self.data, "__next__"):
                advice = "; an iterator ends after one pass, give the iterable itself"
            raise InvalidInputError(
                f"the data must be TensorData, a DataLoader or a data set, got "
                f"{type(self.data).__name__}{advice}"
            )
        if self.has_rows and hasattr(self.data, "with_format"):
            columns = self.data.format
            if columns["type"] is None:
                object.__setattr__(self, "data", self.data.with_format("torch"))
        elif self.is_stream and hasattr(self.data, "with_format"):
            object.__setattr__(self, "data", self.data.with_format("torch"))
        if self.rows == 0:
            raise InvalidInputError("the data set has no rows; leave it out")
        if self.batch_size is not None and self.batch_size < 1:
            raise InvalidInputError(f"`batch_size` must be at least 1, got {self.batch_size}")
        self._check_reading()

    def _check_reading(self) -> None:
        if self.weights is not None and self.in_memory:
            raise InvalidInputError(
                "`weights` names an entry of batches, which TensorData has not; give "
                "TensorData(inputs, targets, weights)"
            )
        if self.is_loader and self.batch_size is not None:
            raise InvalidInputError(
                "`batch_size` does not go with a DataLoader, which has its own; give its data set "
                "instead, or leave batch_size out"
            )
        reads_rows = self.has_rows or self.is_stream
        if not reads_rows and (self.collate_fn is not None or self.num_workers):
            what = "a DataLoader, which has its own" if self.is_loader else "data in memory"
            raise InvalidInputError(f"`collate_fn` and `num_workers` do not go with {what}")
        if self.num_workers < 0:
            raise InvalidInputError(f"`num_workers` must be at least 0, got {self.num_workers}")
        if self.is_stream and self.num_workers > 1:
            raise InvalidInputError(
                "an iterable data set can have one worker, because each worker would read all of "
                "it; give a DataLoader whose data set shares the rows out among its workers"
            )

    @property
    def in_memory(self) -> bool:
        """Whether the data are `TensorData`."""
        return isinstance(self.data, TensorData)

    @property
    def is_loader(self) -> bool:
        """Whether the data come as the batches of a DataLoader."""
        return isinstance(self.data, DataLoader)

    @property
    def has_rows(self) -> bool:
        """Whether rows can be had by number."""
        return (
            hasattr(self.data, "__getitem__")
            and hasattr(self.data, "__len__")
            and not isinstance(self.data, (TensorData, IterableDataset, Tensor, Mapping, str))
        )

    @property
    def is_stream(self) -> bool:
        """Whether rows come one after the other."""
        return isinstance(self.data, IterableDataset)

    @property
    def rows(self) -> int | None:
        """How many rows one pass gives; None where the data do not say."""
        if not isinstance(self.data, DataLoader):
            return _length(self.data)
        batches = _length(self.data)
        known = self.data.dataset if self.data.batch_size is None else self.data.sampler
        if isinstance(self.data.dataset, IterableDataset):
            known = self.data.dataset
        rows = _length(known)
        if rows is not None and batches is not None and self.data.drop_last:
            return min(rows, batches * (self.data.batch_size or rows))
        return rows

    def batches(self, batch_size: int) -> int | None:
        """Return how many batches one pass gives; None where the data do not say."""
        if self.is_loader:
            return _length(self.data)
        return None if self.rows is None else math.ceil(self.rows / batch_size)

    def read(self, batch: Any, tasks: Sequence[str], wanted: Sequence[str]) -> TensorData:
        """Return the inputs of a batch, the targets of the wanted tasks and the rows' weights.

        Args:
            batch: What the loader gave.
            tasks: All tasks that the data set serves, in order.
            wanted: Those of them whose targets are asked for.

        Raises:
            InvalidInputError: The batch is of no known form or lacks an entry, a target is no
                tensor or has other rows than the inputs.
        """
        found: Mapping[str, Any]
        if isinstance(batch, Mapping):
            found = {task: _entry(batch, self.targets.get(task, task), task) for task in wanted}
        else:
            found = _targets_of_tuple(batch, tasks, wanted)
        for task in wanted:
            if not isinstance(found[task], Tensor):
                raise InvalidInputError(
                    f"the target of task {task!r} must be a tensor, got "
                    f"{type(found[task]).__name__}; give a collate_fn that makes one"
                )
        return TensorData(
            self.read_inputs(batch, tasks),
            {task: found[task] for task in wanted},
            self._read_weights(batch, wanted),
        )

    def _read_weights(
        self, batch: Any, wanted: Sequence[str]
    ) -> Tensor | Mapping[str, Tensor] | None:
        """Return the weights of a batch's rows: for all tasks, or by task."""
        if isinstance(batch, Mapping):
            if self.weights is None:
                return None
            found = _entry(batch, self.weights, None)
        elif len(batch) == 3 and isinstance(batch[1], Mapping):
            found = batch[2]
            _refuse_counts(found.values() if isinstance(found, Mapping) else [found])
        else:
            return None
        if isinstance(found, Tensor):
            return found
        if isinstance(found, Mapping):
            found = {task: found[task] for task in wanted if task in found}
            if all(isinstance(one, Tensor) for one in found.values()):
                return found
        raise InvalidInputError(
            f"the weights of a batch must be a tensor, or tensors by task, got "
            f"{type(found).__name__}; give a collate_fn that makes one"
        )

    def read_inputs(self, batch: Any, tasks: Sequence[str]) -> Any:
        """Return the inputs of a batch that may hold no targets.

        Raises:
            InvalidInputError: The batch lacks an entry, or has none that is an input.
        """
        if not isinstance(batch, Mapping):
            return batch[0] if isinstance(batch, (tuple, list)) and len(batch) else batch
        if isinstance(self.inputs, str):
            return _entry(batch, self.inputs, None)
        if self.inputs is not None:
            return {name: _entry(batch, name, None) for name in self.inputs}
        targets = {self.targets.get(task, task) for task in tasks} | {self.weights}
        rest = {name: value for name, value in batch.items() if name not in targets}
        if not rest:
            raise InvalidInputError(f"a batch has nothing but the targets {', '.join(batch)}")
        return next(iter(rest.values())) if len(rest) == 1 else rest


def _refuse_counts(weights: Iterable[Any]) -> None:
    """Refuse as weights what is rather the number of a row, or a mask."""
    for one in weights:
        if isinstance(one, Tensor) and not one.is_floating_point():
            raise InvalidInputError(
                "the third entry of a batch, the weights of its rows, must be of floats, got "
                f"{str(one.dtype).removeprefix('torch.')}; leave it out if it is no weight, such "
                "as the number of a row"
            )


def _length(data: Any) -> int | None:
    try:
        return len(data)
    except (TypeError, NotImplementedError):
        return None


def _entry(batch: Mapping[str, Any], name: str, task: str | None) -> Any:
    if name not in batch:
        what = "input" if task is None else f"target of task {task!r}"
        raise InvalidInputError(
            f"a batch has no {name!r}, the {what}{closest(name, map(str, batch))}; it has "
            f"{', '.join(map(str, batch))}"
        )
    return batch[name]


def _targets_of_tuple(batch: Any, tasks: Sequence[str], wanted: Sequence[str]) -> Mapping[str, Any]:
    """Return the targets of a batch that is a tuple of inputs and targets."""
    if not isinstance(batch, (tuple, list)) or len(batch) < 2:
        shape = f"{len(batch)} entries" if isinstance(batch, (tuple, list)) else ""
        raise InvalidInputError(
            f"a batch must be a mapping, or a tuple of inputs and targets, got "
            f"{type(batch).__name__} {shape}".rstrip()
        )
    targets = batch[1:]
    if len(targets) <= 2 and isinstance(targets[0], Mapping):
        return {task: _entry(targets[0], task, task) for task in wanted}
    if len(targets) == 1 and len(tasks) > 1 and isinstance(targets[0], (tuple, list)):
        targets = targets[0]
    if len(targets) != len(tasks):
        raise InvalidInputError(
            f"a batch holds {len(targets)} target{'' if len(targets) == 1 else 's'} for the "
            f"{len(tasks)} task{'' if len(tasks) == 1 else 's'} {', '.join(tasks)}; give one each, "
            f"in this order, or a dictionary by task name"
        )
    return dict(zip(tasks, targets, strict=True))
