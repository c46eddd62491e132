"""Multiclass: one of several classes, which have no order."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from jointrain.metrics import MULTICLASS_METRICS, Metric
from jointrain.task._kind import ClassKind, filled_labels
from jointrain.task._offered_metrics import OF_CLASSES
from jointrain.task._stacked_loss import StackedLoss


class _Softmax(StackedLoss):
    name = "softmax"
    of_logits = True
    one_target = True

    def __call__(
        self, output: Tensor, target: Tensor, share: Tensor, width: int
    ) -> tuple[Tensor, Tensor]:
        output = torch.unflatten(output, -1, (-1, width))
        log_chances = torch.log_softmax(output, -1)
        index = target.long().unsqueeze(-1)
        losses = -log_chances.gather(-1, index).squeeze(-1) * share
        slope = log_chances.exp_()
        slope.scatter_add_(-1, index, torch.full_like(target, -1).unsqueeze(-1))
        return losses, slope.mul_(share.unsqueeze(-1)).flatten(-2)


class Multiclass(ClassKind):
    """The outputs are logits, the prediction the probability of each class."""

    name = "multiclass"
    summary = "one of several classes"
    outputs_are_logits = True
    rare_classes_merge = True
    whole_numbers = True
    more_metrics = OF_CLASSES
    stacked_loss = _Softmax()

    def default_metrics(self) -> tuple[Metric, ...]:
        """Return accuracy, macro-F1 and log-loss."""
        return MULTICLASS_METRICS

    def losses(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the cross-entropies."""
        return functional.cross_entropy(
            output, filled_labels(target).long().reshape(-1), reduction="none"
        )

    def mean_loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean cross-entropy."""
        return functional.cross_entropy(output, target.long().reshape(-1))

    def predict(self, output: Tensor) -> Tensor:
        """Return the probabilities, [b, c]."""
        return output.softmax(-1)

    def mean_output(self, outputs: Tensor) -> Tensor:
        """Return the logarithms of the mean probabilities."""
        return outputs.log_softmax(-1).logsumexp(1) - math.log(outputs.shape[1])

    def can_be_columns(self) -> bool:
        """Return True."""
        return True

    @classmethod
    def column_losses(cls, outputs: Tensor, target: Tensor, missing: Tensor) -> Tensor:
        """Return the cross-entropies."""
        losses = functional.cross_entropy(
            outputs.movedim(-1, 1), target.masked_fill(missing, 0).long(), reduction="none"
        )
        return losses.masked_fill(missing, 0)
