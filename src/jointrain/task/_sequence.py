"""Sequence: a class at every position."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional

from jointrain.errors import InvalidInputError
from jointrain.metrics import SEQUENCE_METRICS, Metric
from jointrain.task._kind import IGNORED, Classes, TaskKind, with_room_for_missing
from jointrain.task._multilabel import named_classes


class SequenceOfClasses(TaskKind):
    """The outputs are logits, [b, s, c]; the prediction the probabilities at each position."""

    name = "sequence"
    summary = "a class at every position"
    any_label_counts = True

    @classmethod
    def checked_classes(cls, name: str, classes: Classes, size: int | None) -> Classes:
        """Return the classes, or the numbers below `size`."""
        return named_classes(cls.name, name, classes, size)

    def default_metrics(self) -> tuple[Metric, ...]:
        """Return accuracy and log-loss over positions."""
        return SEQUENCE_METRICS

    def values_per_row(self, shape: Sequence[int]) -> int:
        """Return the number of positions."""
        if len(shape) < 2:
            raise InvalidInputError(
                f"the target of sequence task {self.task.name!r} must be [n, positions], got shape "
                f"{tuple(shape)}"
            )
        return math.prod(shape[1:])

    def output_width(self, output: Tensor) -> int:
        """Return the width at each position."""
        return output.shape[-1]

    def wrong_values(self, present: Tensor) -> tuple[Tensor, str] | None:
        """Return which are no index of a class."""
        count = self.task.output_size
        wrong = (present < 0) | (present >= count) | (present != present.floor())
        return wrong, f"class indices from 0 to {count - 1}"

    def losses(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the cross-entropies, the mean over the positions that have a label."""
        target = self.standard_target(target)
        per_position = functional.cross_entropy(
            output.movedim(-1, 1), target, ignore_index=IGNORED, reduction="none"
        )
        count = (target != IGNORED).flatten(1).sum(1)
        return per_position.flatten(1).sum(1) / count.clamp_min(1)

    def predict(self, output: Tensor) -> Tensor:
        """Return the probabilities, [b, s, c]."""
        return output.softmax(-1)

    def standard_target(self, target: Tensor) -> Tensor:
        """Return the class indices as integers, -100 where one is missing."""
        if target.is_floating_point():
            return target.nan_to_num(nan=IGNORED).long()
        return target.long()

    def joined(self, parts: Sequence[Tensor]) -> Tensor:
        """Return batches as one tensor, filled up to the longest.

        Targets of positions that are not there are missing, predictions 0.
        """
        if len({part.shape[1] for part in parts}) == 1:
            return super().joined(parts)
        longest = max(part.shape[1] for part in parts)
        target = parts[0].ndim == 2
        if target:
            parts = [with_room_for_missing(part) for part in parts]
        whole = parts[0].new_full(
            (sum(map(len, parts)), longest, *parts[0].shape[2:]), IGNORED if target else 0
        )
        start = 0
        for part in parts:
            whole[start : start + len(part), : part.shape[1]] = part
            start += len(part)
        return whole
