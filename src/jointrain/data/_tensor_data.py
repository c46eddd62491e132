"""Data in tensors: what a trainer draws its batches from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from jointrain.errors import InvalidInputError
from jointrain.task import TargetColumns


@dataclass(frozen=True)
class TensorData:
    """Inputs and targets of the same rows, in memory.

    Args:
        inputs: What the network takes; first dimension n. A tensor, or a dictionary, tuple or list
            of tensors, nested at will.
        targets: A target for each task, first dimension n. Missing labels are NaN in floating-point
            targets and -100 in integer ones.

    Raises:
        InvalidInputError: A target has another number of rows than the inputs, or there is no row.
    """

    inputs: Any
    targets: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        rows = count_rows(self.inputs)
        if rows == 0:
            raise InvalidInputError("the data have no rows")
        targets = self.targets
        if isinstance(targets, TargetColumns):
            targets = {targets.names[0]: targets.values_together}
        for name, target in targets.items():
            if len(target) != rows:
                raise InvalidInputError(
                    f"the target of task {name!r} has {len(target)} rows, the inputs have "
                    f"{rows}; give both the same rows, missing labels as NaN or -100"
                )

    def __len__(self) -> int:
        """Return the number of rows, n."""
        return count_rows(self.inputs)

    @property
    def device(self) -> torch.device:
        """Where the inputs are."""
        return _leaves(self.inputs)[0].device

    def take(self, rows: Tensor) -> TensorData:
        """Return the data of the given row numbers."""
        targets: Mapping[str, Tensor]
        if isinstance(self.targets, TargetColumns):
            targets = self.targets.take(rows)
        else:
            targets = {name: y.index_select(0, rows) for name, y in self.targets.items()}
        return TensorData(map_tensors(lambda x: x.index_select(0, rows), self.inputs), targets)

    def only(self, tasks: Sequence[str]) -> TensorData:
        """Return the data with the targets of the named tasks alone."""
        if isinstance(self.targets, TargetColumns):
            return TensorData(self.inputs, self.targets.only(tasks))
        return TensorData(self.inputs, {name: self.targets[name] for name in tasks})

    def part(self, start: int, end: int) -> TensorData:
        """Return the rows from `start` to before `end`, views of the same memory."""
        targets: Mapping[str, Tensor]
        if isinstance(self.targets, TargetColumns):
            targets = self.targets.part(start, end)
        else:
            targets = {name: y[start:end] for name, y in self.targets.items()}
        return TensorData(map_tensors(lambda x: x[start:end], self.inputs), targets)

    def to(self, device: torch.device) -> TensorData:
        """Return the data on `device`; many alike targets lie side by side there."""
        targets = TargetColumns.of(self.targets)
        if isinstance(targets, TargetColumns):
            inputs = map_tensors(lambda x: x.to(device), self.inputs)
            return TensorData(inputs, targets.to(device))
        return TensorData(
            map_tensors(lambda x: x.to(device), self.inputs),
            {name: y.to(device) for name, y in targets.items()},
        )


def map_tensors(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """Apply a function to every tensor in nested dictionaries, tuples and lists."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, Mapping):
        return {key: map_tensors(function, item) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(map_tensors(function, item) for item in value))
    if isinstance(value, (tuple, list)):
        return type(value)(map_tensors(function, item) for item in value)
    return value


def count_rows(inputs: Any) -> int:
    """Return the first dimension of the first tensor; the length of what holds no tensor."""
    if isinstance(inputs, Tensor):
        return len(inputs)
    tensors = _leaves(inputs)
    if tensors:
        return len(tensors[0])
    if isinstance(inputs, Mapping):
        return max((count_rows(item) for item in inputs.values()), default=0)
    return len(inputs) if hasattr(inputs, "__len__") else 0


def _leaves(value: Any) -> list[Tensor]:
    found: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    map_tensors(keep, value)
    return found
