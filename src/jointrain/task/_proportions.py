"""Proportions: shares of several parts, which sum to 1."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from jointrain.metrics import Metric, log_loss_metric, mean_over_rows
from jointrain.task._kind import (
    SMALLEST_PROBABILITY,
    Classes,
    PlainProblem,
    PredictedColumn,
    TableTaskKind,
    filled_labels,
)
from jointrain.task._multilabel import named_classes, named_columns

_ROUNDING = 1e-3
"""How far the sum of a row's shares may be from 1."""


class Proportions(TableTaskKind):
    """The outputs are logits, the prediction the share of each part; its classes are the parts.

    The loss is the Kullback-Leibler divergence of the predicted shares from the true ones: the
    cross-entropy less its lowest value, so that it is 0 where they are equal.

    Source: Papke & Wooldridge, "Econometric methods for fractional response variables", Journal of
        Applied Econometrics 11, 1996, for several shares (a quasi-likelihood, which takes zeros).
    """

    name = "proportions"
    summary = "shares of several parts, which sum to 1"
    cells = "shares"
    blended_by = "probabilities"
    objective = "problems"

    @classmethod
    def said(cls, name: str, parts: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the columns of the shares, which name the parts."""
        return named_columns(cls.name, name, parts)

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

    # --- tables -----------------------------------------------------------------------------------

    def label_shape(self) -> tuple[int, ...]:
        """Return a place for each part."""
        return (len(self.task.classes),)

    def prediction_shape(self) -> tuple[int, ...]:
        """Return a place for each part."""
        return (len(self.task.classes),)

    def predicted_columns(self, prediction: np.ndarray) -> list[PredictedColumn]:
        """Return the share of each part."""
        return [
            PredictedColumn(f"={part}", "share", prediction[:, index])
            for index, part in enumerate(self.task.classes)
        ]

    def constant(self, labels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """Return the mean shares, [c]."""
        counts = None if weights is None else weights / weights.max()
        mean = np.average(labels.astype(np.float64), axis=0, weights=counts)
        return np.asarray(mean / mean.sum())

    def from_columns(self, values: np.ndarray) -> np.ndarray:
        """Return the shares as they are."""
        return values

    def check_constant(self, constant: np.ndarray) -> str | None:
        """Return what is wrong with shares."""
        if constant.shape != (len(self.task.classes),):
            return "has another length"
        if constant.min() < 0 or abs(constant.sum() - 1) > 1e-6:
            return "has shares that do not sum to 1"
        return None

    def plain_problems(self, labels: np.ndarray) -> list[PlainProblem]:
        """Return classes: each part of a row, which weighs by its share."""
        rows, parts = np.nonzero(labels)
        return [PlainProblem(rows, parts, len(self.task.classes), labels[rows, parts])]

    def plain_inputs(self) -> list[tuple[int, np.ndarray | None]]:
        """Return the problem."""
        return [(0, None)]

    def from_plain(self, answers: Sequence[np.ndarray]) -> np.ndarray:
        """Return the probabilities of the parts."""
        return np.asarray(answers[0])

    def row_losses(self, prediction: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return the divergences."""
        from scipy.special import xlogy

        found = np.clip(prediction, SMALLEST_PROBABILITY, 1.0)
        return np.asarray((xlogy(labels, labels) - labels * np.log(found)).sum(1))

    def evidence(
        self, stacked: np.ndarray, labels: np.ndarray, weights: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the shares that components gave to each part, and weights by the true share."""
        rows, parts = np.nonzero(labels)
        given = np.clip(stacked[rows, :, parts], SMALLEST_PROBABILITY, 1.0)
        return given, weights[rows] * labels[rows, parts]


def _divergence(prediction: Tensor, target: Tensor, weights: Tensor | None = None) -> float:
    shares, found = target.double(), prediction.double().clamp_min(1e-7)
    return mean_over_rows((torch.xlogy(shares, shares) - shares * found.log()).sum(1), weights)


def _misplaced(prediction: Tensor, target: Tensor, weights: Tensor | None = None) -> float:
    return mean_over_rows((prediction.double() - target.double()).abs().sum(1), weights) / 2
