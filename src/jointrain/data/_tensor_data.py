"""Data in tensors: what a trainer draws its batches from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jointrain.data._sparse_rows import SparseRows
from jointrain.errors import InvalidInputError, closest
from jointrain.task import CodeColumns, TargetColumns


@dataclass(frozen=True)
class TensorData:
    """Inputs and targets of the same rows, in memory.

    Args:
        inputs: What the network takes; first dimension n. A tensor, or a dictionary, tuple or list
            of tensors, nested at will, or `SparseRows`.
        targets: A target for each task, first dimension n. Missing labels are NaN in floating-point
            targets and -100 in integer ones.
        weights: How much each row counts, 0 or more: [n] for all tasks, or {task: [n]} for some,
            the others' rows being equal. A weight of 0 leaves a label out. Default: all are equal.
            A trainer divides them by their mean over the task's labelled rows.
        codes: Which columns of the inputs, [n, d], are codes and no numbers; networks of a table
            look vectors up by them.

    Raises:
        InvalidInputError: A tensor of the inputs, a target or the weights have another number of
            rows than the others, the weights name what is no target, there is no row, or an array
            is no tensor.
    """

    inputs: Any
    targets: Mapping[str, Tensor]
    weights: Tensor | Mapping[str, Tensor] | None = None
    codes: tuple[CodeColumns, ...] = ()

    def __post_init__(self) -> None:
        for name, given in (("inputs", self.inputs), ("targets", self.targets),
                            ("weights", self.weights)):  # fmt: skip
            if _holds_arrays(given):
                raise InvalidInputError(
                    f"`{name}` must be of tensors, got an array of numpy; give "
                    "torch.from_numpy(array)"
                )
        rows = _checked_rows(self.inputs)
        targets = self.targets
        if isinstance(targets, TargetColumns):
            targets = {targets.names[0]: targets.values_together}
        for name, target in targets.items():
            if not isinstance(target, Tensor) or not target.ndim:
                got = "one number" if isinstance(target, Tensor) else type(target).__name__
                raise InvalidInputError(
                    f"the target of task {name!r} must be a tensor of n rows, got {got}"
                )
            if len(target) != rows:
                raise InvalidInputError(
                    f"the target of task {name!r} has {len(target)} rows, the inputs have "
                    f"{rows}; give both the same rows, missing labels as NaN or -100"
                )
        if self.weights is not None:
            self._check_weights(rows)
            if isinstance(self.weights, Mapping) and not self.weights:
                object.__setattr__(self, "weights", None)

    def _check_weights(self, rows: int) -> None:
        weights = self.weights
        if isinstance(weights, TargetColumns):
            weights = {weights.names[0]: weights.values_together[:, 0]}
        elif isinstance(weights, Tensor):
            weights = {"": weights}
        for name, one in (weights or {}).items():
            if name and name not in self.targets:
                raise InvalidInputError(
                    f"there are weights for {name!r}, which has no target"
                    f"{closest(name, self.targets)}"
                )
            if tuple(one.shape) != (rows,):
                whose = f" of task {name!r}" if name else ""
                raise InvalidInputError(
                    f"the weights{whose} must be one number a row, [{rows}], got shape "
                    f"{list(one.shape)}"
                )

    def weights_of(self, task: str) -> Tensor | None:
        """Return the weights of a task's rows, [n]; None if all rows are equal."""
        if self.weights is None or isinstance(self.weights, Tensor):
            return self.weights
        return self.weights.get(task)

    def __len__(self) -> int:
        """Return the number of rows, n."""
        return count_rows(self.inputs)

    @property
    def device(self) -> torch.device:
        """Where the inputs are."""
        return _leaves(self.inputs)[0].device

    def take(self, rows: Tensor) -> TensorData:
        """Return the data of the given row numbers."""
        return self._changed(lambda y: y.take(rows), lambda x: x.index_select(0, rows))

    def only(self, tasks: Sequence[str]) -> TensorData:
        """Return the data with the targets of the named tasks alone."""
        targets = (
            self.targets.only(tasks)
            if isinstance(self.targets, TargetColumns)
            else {name: self.targets[name] for name in tasks}
        )
        weights = self.weights
        if isinstance(weights, TargetColumns):
            weights = weights.only(tasks)
        elif isinstance(weights, Mapping):
            weights = {name: weights[name] for name in tasks if name in weights}
        return TensorData(self.inputs, targets, weights, self.codes)

    def part(self, start: int, end: int) -> TensorData:
        """Return the rows from `start` to before `end`, views of the same memory."""
        return self._changed(lambda y: y.part(start, end), lambda x: x[start:end])

    def to(self, device: torch.device) -> TensorData:
        """Return the data on `device`; many alike targets lie side by side there."""
        targets, weights = TargetColumns.of(self.targets), self.weights
        if isinstance(weights, Mapping):
            weights = TargetColumns.of(weights)
        data = TensorData(self.inputs, targets, weights, self.codes)
        return data._changed(lambda y: y.to(device), lambda x: x.to(device))

    def _changed(
        self,
        columns: Callable[[TargetColumns], TargetColumns],
        one: Callable[[Tensor], Tensor],
    ) -> TensorData:
        """Return the data with every tensor changed: side by side ones in one go."""

        def change(values: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
            if isinstance(values, TargetColumns):
                return columns(values)
            return {name: one(tensor) for name, tensor in values.items()}

        weights = self.weights
        if weights is not None:
            weights = one(weights) if isinstance(weights, Tensor) else change(weights)
        inputs = map_tensors(one, self.inputs)
        return TensorData(inputs, change(self.targets), weights, self.codes)


def map_tensors(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """Apply a function to every tensor (or `SparseRows`) in nested dictionaries, tuples, lists."""
    if isinstance(value, (Tensor, SparseRows)):
        return function(value)  # type: ignore[arg-type]
    if isinstance(value, Mapping):
        return {key: map_tensors(function, item) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(map_tensors(function, item) for item in value))
    if isinstance(value, (tuple, list)):
        return type(value)(map_tensors(function, item) for item in value)
    return value


def count_rows(inputs: Any) -> int:
    """Return the first dimension of the tensors; the length of what holds no tensor.

    Raises:
        InvalidInputError: They have different ones, or a tensor is one number.
    """
    tensors = _leaves(inputs)
    if tensors:
        if any(isinstance(tensor, Tensor) and not tensor.ndim for tensor in tensors):
            raise InvalidInputError("the inputs must be tensors of n rows, got one number")
        rows = list(map(len, tensors))
        if rows.count(rows[0]) < len(rows):
            names = list(_names_of_leaves(inputs, "inputs"))
            other = next(place for place, count in enumerate(rows) if count != rows[0])
            raise InvalidInputError(
                f"{names[other]} has {rows[other]} rows, {names[0]} has {rows[0]}; give all inputs "
                "the same rows"
            )
        return rows[0]
    if isinstance(inputs, Mapping):
        return max((count_rows(item) for item in inputs.values()), default=0)
    return len(inputs) if hasattr(inputs, "__len__") else 0


def _checked_rows(inputs: Any) -> int:
    """Return the number of rows.

    Raises:
        InvalidInputError: There is none.
    """
    rows = count_rows(inputs)
    if rows == 0 and not hasattr(inputs, "__len__"):
        raise InvalidInputError(
            "the inputs must be a tensor, or a dictionary, tuple or list of tensors, got "
            f"{type(inputs).__name__}; give one of these (`vars(inputs)` of a dataclass)"
        )
    if rows == 0:
        raise InvalidInputError("the data have no rows")
    return rows


def _holds_arrays(value: Any) -> bool:
    """Return whether there are arrays of numpy in nested dictionaries, tuples and lists."""
    if isinstance(value, (Tensor, SparseRows, TargetColumns)):
        return False
    if isinstance(value, Mapping):
        return any(map(_holds_arrays, value.values()))
    if isinstance(value, (tuple, list)):
        return any(map(_holds_arrays, value))
    return isinstance(value, np.ndarray)


def _names_of_leaves(value: Any, name: str) -> Iterator[str]:
    """Yield how code names each tensor in nested dictionaries, tuples and lists."""
    if isinstance(value, (Tensor, SparseRows)):
        yield name
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _names_of_leaves(item, f"{name}[{key!r}]")
    elif isinstance(value, (tuple, list)):
        for place, item in enumerate(value):
            yield from _names_of_leaves(item, f"{name}[{place}]")


def _leaves(value: Any) -> list[Tensor]:
    found: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    map_tensors(keep, value)
    return found
