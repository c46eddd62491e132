"""Multilabel: several yes/no labels at once."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional

from jointrain.errors import InvalidInputError
from jointrain.metrics import MULTILABEL_METRICS, Metric
from jointrain.task._binary import Logistic, mean_logit
from jointrain.task._kind import IGNORED, Classes, TaskKind, filled_labels, present_labels


class Multilabel(TaskKind):
    """The outputs are logits, the prediction the probability of each label."""

    name = "multilabel"
    summary = "several yes/no labels at once"
    outputs_are_logits = True
    any_label_counts = True
    stacked_loss = Logistic()

    @classmethod
    def checked_classes(cls, name: str, classes: Classes, size: int | None) -> Classes:
        """Return the labels' names, or the numbers below `size`."""
        return named_classes(cls.name, name, classes, size)

    def default_metrics(self) -> tuple[Metric, ...]:
        """Return ROC-AUC and log-loss, means over labels."""
        return MULTILABEL_METRICS

    def wrong_values(self, present: Tensor) -> tuple[Tensor, str] | None:
        """Return which are no probability."""
        return (present < 0) | (present > 1), "numbers from 0 to 1"

    def losses(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the cross-entropies, the mean over the labels that are there."""
        present = present_labels(target)
        per_label = functional.binary_cross_entropy_with_logits(
            output, filled_labels(target).to(output.dtype), reduction="none"
        )
        return (per_label * present).sum(1) / present.sum(1).clamp_min(1)

    def predict(self, output: Tensor) -> Tensor:
        """Return the probabilities, [b, c]."""
        return output.sigmoid()

    def standard_target(self, target: Tensor) -> Tensor:
        """Return the labels as numbers, NaN where one is missing."""
        if target.is_floating_point():
            return target
        return target.double().masked_fill(target == IGNORED, math.nan)

    def mean_output(self, outputs: Tensor) -> Tensor:
        """Return the logits of the mean probabilities."""
        return mean_logit(outputs)


def named_classes(kind: str, name: str, classes: Classes, size: int | None) -> Classes:
    """Return the classes, or the numbers below `size`.

    Raises:
        InvalidInputError: There are none.
    """
    classes = classes or tuple(range(size or 0))
    if not classes:
        raise InvalidInputError(f"{kind} task {name!r} needs its classes (or size=their number)")
    return classes
