"""Data in tensors: what a trainer draws its batches from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from jointrain.data._target_columns import TargetColumns
from jointrain.errors import InvalidInputError


@dataclass(frozen=True)
class TensorData:
    """Inputs and targets of the same rows, in memory.

    Args:
        inputs: What the network takes; first dimension n.
        targets: A target for each task, first dimension n. Missing labels are NaN in floating-point
            targets and -100 in integer ones.

    Raises:
        InvalidInputError: A target has another number of rows than the inputs, or there is no row.
    """

    inputs: Tensor
    targets: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        if len(self.inputs) == 0:
            raise InvalidInputError("the data have no rows")
        targets = self.targets
        if isinstance(targets, TargetColumns):
            targets = {targets.names[0]: targets.values_together}
        for name, target in targets.items():
            if len(target) != len(self.inputs):
                raise InvalidInputError(
                    f"the target of task {name!r} has {len(target)} rows, the inputs have "
                    f"{len(self.inputs)}; give both the same rows, missing labels as NaN or -100"
                )

    def __len__(self) -> int:
        """Return the number of rows, n."""
        return len(self.inputs)

    def take(self, rows: Tensor) -> TensorData:
        """Return the data of the given row numbers."""
        targets: Mapping[str, Tensor]
        if isinstance(self.targets, TargetColumns):
            targets = self.targets.take(rows)
        else:
            targets = {name: y.index_select(0, rows) for name, y in self.targets.items()}
        return TensorData(self.inputs.index_select(0, rows), targets)

    def only(self, tasks: Sequence[str]) -> TensorData:
        """Return the data with the targets of the named tasks alone."""
        if isinstance(self.targets, TargetColumns):
            return TensorData(self.inputs, self.targets.only(tasks))
        return TensorData(self.inputs, {name: self.targets[name] for name in tasks})

    def to(self, device: torch.device) -> TensorData:
        """Return the data on `device`; many alike targets lie side by side there."""
        targets = TargetColumns.of(self.targets)
        if isinstance(targets, TargetColumns):
            return TensorData(self.inputs.to(device), targets.to(device))
        return TensorData(
            self.inputs.to(device), {name: y.to(device) for name, y in targets.items()}
        )
