"""Proportions: shares of several parts, which sum to 1."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from jointrain.metrics import Metric, log_loss_metric, mean_over_rows
from jointrain.task._kind import Classes, TaskKind, filled_labels
from jointrain.task._multilabel import named_classes

_ROUNDING = 1e-3
"""How far the sum of a row's shares may be from 1."""


class Proportions(TaskKind):
    """The outputs are logits, the prediction the share of each part; its classes are the parts.

    The loss is the Kullback-Leibler divergence of the predicted shares from the true ones: the
    cross-entropy less its lowest value, so that it is 0 where they are equal.

    Source: Papke & Wooldridge, "Econometric methods for fractional response variables", Journal of
        Applied Econometrics 11, 1996, for several shares (a quasi-likelihood, which takes zeros).
    """

    name = "proportions"
    summary = "shares of several parts, which sum to 1"

    @classmethod
    def checked_classes(cls, name: str, classes: Classes, size: int | None) -> Classes:
        """Return the parts' names, or the numbers below `size`."""
        return named_classes(cls.name, name, classes, size)

    def default_metrics(self) -> tuple[Metric, ...]:
        """Return the divergence, and the share that lies in wrong parts."""
        return (
            log_loss_metric("KL divergence", _divergence),
            Metric(
                "misplaced share", _misplaced, higher_is_better=False, lowest=0, highest=1,
                percent_above=0.1,
            ),
        )  # fmt: skip

    def wrong_values(self, present: Tensor) -> tuple[Tensor, str] | None:
        """Return which are no shares."""
        return (present < 0) | (present > 1), "shares from 0 to 1"

    def wrong_rows(self, target: Tensor) -> tuple[Tensor, str] | None:
        """Return which rows do not sum to 1; rows with a missing share are no label."""
        return (target.double().sum(1) - 1).abs() > _ROUNDING, "must hold shares that sum to 1"

    def losses(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the divergences."""
        shares = filled_labels(target).to(output.dtype)
        return (torch.xlogy(shares, shares) - shares * output.log_softmax(-1)).sum(-1)

    def predict(self, output: Tensor) -> Tensor:
        """Return the shares, [b, c]."""
        return output.softmax(-1)

    def mean_output(self, outputs: Tensor) -> Tensor:
        """Return the logarithms of the mean shares."""
        return outputs.log_softmax(-1).logsumexp(1) - math.log(outputs.shape[1])


def _divergence(prediction: Tensor, target: Tensor, weights: Tensor | None = None) -> float:
    shares, found = target.double(), prediction.double().clamp_min(1e-7)
    return mean_over_rows((torch.xlogy(shares, shares) - shares * found.log()).sum(1), weights)


def _misplaced(prediction: Tensor, target: Tensor, weights: Tensor | None = None) -> float:
    return mean_over_rows((prediction.double() - target.double()).abs().sum(1), weights) / 2
