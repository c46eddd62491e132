"""Multilabel: several yes/no labels at once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from torch import Tensor
from torch.nn import functional

from jointrain.errors import InvalidInputError
from jointrain.metrics import MULTILABEL_METRICS, Metric
from jointrain.task._binary import Logistic, mean_logit
from jointrain.task._kind import (
    IGNORED,
    SMALLEST_PROBABILITY,
    Classes,
    PlainProblem,
    PredictedColumn,
    TableTaskKind,
    check_named,
    equal_to,
    filled_labels,
    of_mean_one,
    present_labels,
)


class Multilabel(TableTaskKind):
    """The outputs are logits, the prediction the probability of each label."""

    name = "multilabel"
    summary = "several yes/no labels at once"
    outputs_are_logits = True
    any_label_counts = True
    stacked_loss = Logistic()
    cells = "yes or no"
    blended_by = "probabilities"
    objective = "problems"
    calibrated_by = "temperature"

    @classmethod
    def said(cls, name: str, parts: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the columns of the labels, which name them."""
        return named_columns(cls.name, name, parts)

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
        return target.double().masked_fill(equal_to(target, IGNORED), math.nan)

    def mean_output(self, outputs: Tensor) -> Tensor:
        """Return the logits of the mean probabilities."""
        return mean_logit(outputs)

    # --- tables -----------------------------------------------------------------------------------

    def label_shape(self) -> tuple[int, ...]:
        """Return a place for each label."""
        return (len(self.task.classes),)

    def known(self, labels: np.ndarray) -> np.ndarray:
        """Return which rows have some of their labels."""
        return np.asarray(~np.isnan(labels).all(1))

    def spread_evenly(self, labels: np.ndarray) -> np.ndarray:
        """Return each label, yes and no."""
        return np.concatenate([labels == 1, labels == 0], axis=1)

    def prediction_shape(self) -> tuple[int, ...]:
        """Return a place for each label."""
        return (len(self.task.classes),)

    def predicted_columns(self, prediction: np.ndarray) -> list[PredictedColumn]:
        """Return the probability of each label."""
        return [
            PredictedColumn(f"={label}", "probability", prediction[:, index])
            for index, label in enumerate(self.task.classes)
        ]

    def constant(self, labels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """Return the share of each label, [c], yes and no counted once more than they occur."""
        counts = of_mean_one(weights, np.ones(len(labels), dtype=bool))
        yes = counts @ np.nan_to_num(labels)
        known = counts @ ~np.isnan(labels)
        return np.asarray((yes + 1) / (known + 2))

    def from_columns(self, values: np.ndarray) -> np.ndarray:
        """Return the probabilities as they are."""
        return values

    def check_constant(self, constant: np.ndarray) -> str | None:
        """Return what is wrong with probabilities."""
        if constant.shape != (len(self.task.classes),):
            return "has another length"
        return None if constant.min() >= 0 and constant.max() <= 1 else "has no probabilities"

    def plain_problems(self, labels: np.ndarray) -> list[PlainProblem]:
        """Return two classes for each label."""
        known = [np.flatnonzero(~np.isnan(column)) for column in labels.T]
        return [PlainProblem(rows, labels[rows, index], 2) for index, rows in enumerate(known)]

    def plain_inputs(self) -> list[tuple[int, np.ndarray | None]]:
        """Return the problems."""
        return [(index, None) for index in range(len(self.task.classes))]

    def from_plain(self, answers: Sequence[np.ndarray]) -> np.ndarray:
        """Return the probabilities of yes."""
        return np.stack([answer[:, 1] for answer in answers], axis=1)

    def row_losses(self, prediction: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return the cross-entropies, the mean over the labels that are there."""
        given = np.where(labels > 0.5, prediction, 1 - prediction)
        losses = -np.log(np.clip(given, SMALLEST_PROBABILITY, 1.0))
        known = ~np.isnan(labels)
        return np.asarray((losses * known).sum(1) / np.maximum(known.sum(1), 1))

    def evidence(
        self, stacked: np.ndarray, labels: np.ndarray, weights: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the probability of each label that is there, and its part of the row's weight."""
        known = ~np.isnan(labels)
        rows, places = np.nonzero(known)
        yes = stacked[rows, :, places]
        given = np.where(labels[rows, places, None] > 0.5, yes, 1 - yes)
        return np.clip(given, SMALLEST_PROBABILITY, 1.0), (weights / known.sum(1))[rows]


def named_columns(
    kind: str, name: str, parts: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return columns that are named after a kind, as columns and as classes.

    Raises:
        InvalidInputError: They are fewer than two, or one comes twice.
    """
    check_named(kind, name, parts, None, f"{kind}:FIRST:SECOND")
    if len(parts) < 2:
        raise InvalidInputError(
            f"{kind} target {name!r} needs two columns or more; write {kind}:FIRST:SECOND"
        )
    return tuple(parts), tuple(parts)


def named_classes(kind: str, name: str, classes: Classes, size: int | None) -> Classes:
    """Return the classes, or the numbers below `size`.

    Raises:
        InvalidInputError: There are none.
    """
    classes = classes or tuple(range(size or 0))
    if not classes:
        raise InvalidInputError(f"{kind} task {name!r} needs its classes (or size=their number)")
    return classes
