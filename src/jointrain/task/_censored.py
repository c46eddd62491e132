"""Censored: a number of which some labels are bounds only, such as above 10 or below 0.5."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from jointrain.metrics import Metric, mean_over_rows, share_metric
from jointrain.task._censored_concordance import censored_concordance
from jointrain.task._kind import (
    Classes,
    PlainProblem,
    TableTaskKind,
    check_fixed_size,
    check_named,
    mean_and_deviation,
    of_mean_one,
)
from jointrain.task._mean_variance import LOG_LEAST_VARIANCE, MeanVariance


class Censored(TableTaskKind):
    r"""The outputs are those of `MeanVariance`; the prediction is the mean.

    A target has two columns, the lower and the upper bound of the number: equal where it is known,
    infinite where there is no bound. The loss is the negative log-likelihood of the normal
    distribution: of its density where the number is known (0 at its best, as in `MeanVariance`),
    else of the probability between the bounds. Give targets a spread of about 1.

    Source: Tobin, "Estimation of Relationships for Limited Dependent Variables", Econometrica 26,
        1958; intervals as in Amemiya, "Advanced Econometrics", 1985, chapter 10.
    """

    name = "censored"
    summary = "a number, of which some labels are bounds only"
    cells = "bounds"
    blended_by = "losses"
    objective = "problems"
    has_scale = True
    steep = True

    @classmethod
    def said(cls, name: str, parts: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the column of numbers and bounds, or those of lower and upper bounds, if any."""
        check_named(cls.name, name, parts, 2, "censored:COLUMN or censored:LOWER:UPPER")
        return tuple(parts), ()

    @classmethod
    def checked_classes(cls, name: str, classes: Classes, size: int | None) -> Classes:
        """Return no classes; there are two outputs."""
        check_fixed_size(cls.name, name, size, cls.default_size(()))
        return super().checked_classes(name, classes, size)

    @classmethod
    def default_size(cls, classes: Classes) -> int:  # noqa: ARG003
        """Return 2, for mean and variance."""
        return 2

    def default_metrics(self) -> tuple[Metric, ...]:
        """Return the root mean square of what lies outside the bounds, and the C-index."""
        return (
            Metric("RMSE beyond bounds", _beyond_bounds, higher_is_better=False, lowest=0),
            share_metric("C-index", _concordance),
        )

    def values_per_row(self, shape: Sequence[int]) -> int:  # noqa: ARG002
        """Return 2, the bounds."""
        return 2

    def wrong_rows(self, target: Tensor) -> tuple[Tensor, str] | None:
        """Return which rows hold no number between their bounds."""
        lower, upper = target.unbind(1)
        wrong = (lower > upper) | ((lower == upper) & lower.isinf())
        return wrong, "must have a lower bound that is at most the upper one, both infinite or not"

    def losses(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the negative log-likelihoods."""
        # infinite bounds stay
        target = target.double()
        lower, upper = target.masked_fill(target.isnan(), 0.0).unbind(1)
        mean, logarithm = output.double().unbind(-1)
        log_variance = torch.logaddexp(logarithm, torch.full_like(logarithm, LOG_LEAST_VARIANCE))
        deviation = (0.5 * log_variance).exp()
        known = lower == upper
        # no infinity enters the graph, whose slopes would be NaN
        exact = torch.where(known, lower, mean.detach())
        of_known = 0.5 * (log_variance - LOG_LEAST_VARIANCE + ((exact - mean) / deviation).square())
        from_low, to_high = ~known & lower.isfinite(), ~known & upper.isfinite()
        low = (torch.where(from_low, lower, mean - 1) - mean) / deviation
        high = (torch.where(to_high, upper, mean + 1) - mean) / deviation
        above, below = torch.special.log_ndtr(-low), torch.special.log_ndtr(high)
        of_bounds = torch.where(from_low, above, torch.where(to_high, below, 0.0))
        of_bounds = torch.where(from_low & to_high, _log_between(low, high), of_bounds)
        return torch.where(known, of_known, -of_bounds).to(output.dtype)

    def predict(self, output: Tensor) -> Tensor:
        """Return the mean, [b]."""
        return output[..., 0]

    @staticmethod
    def deviation(output: Tensor) -> Tensor:
        """Return the standard deviation of a row's number; [b, 2] -> [b]."""
        return MeanVariance.deviation(output)

    def mean_output(self, outputs: Tensor) -> Tensor:
        """Return the mean and the variance of the members' mixture."""
        return MeanVariance(self.task).mean_output(outputs)

    # --- tables -----------------------------------------------------------------------------------

    def label_shape(self) -> tuple[int, ...]:
        """Return 2, the bounds."""
        return (2,)

    def spread_evenly(self, labels: np.ndarray) -> np.ndarray:
        """Return where the number is known, and where it is not."""
        known = labels[:, 0] == labels[:, 1]
        return np.stack([known, self.known(labels) & ~known], axis=1)

    def scaling(self, labels: np.ndarray, weights: np.ndarray | None = None) -> tuple[float, float]:
        """Return mean and standard deviation with bounds in place of numbers."""
        return mean_and_deviation(_numbers(labels), weights)

    def constant(self, labels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """Return what lies beyond the bounds by the least mean square, [1]; the mean of numbers."""
        counts = of_mean_one(weights, np.ones(len(labels), dtype=bool))
        numbers = _numbers(labels)
        low, high = float(numbers.min()), float(numbers.max())
        # the sum of what lies beyond rises with the constant
        for _ in range(200):
            middle = low + (high - low) / 2
            if (counts * (middle - np.clip(middle, labels[:, 0], labels[:, 1]))).sum() < 0:
                low = middle
            else:
                high = middle
        return np.array([low + (high - low) / 2])

    def from_columns(self, values: np.ndarray) -> np.ndarray:
        """Return the only column."""
        return np.asarray(values[:, 0])

    def plain_problems(self, labels: np.ndarray) -> list[PlainProblem]:
        """Return numbers, with bounds in their place, or what is in the middle of two."""
        return [PlainProblem(np.arange(len(labels)), _numbers(labels))]

    def plain_inputs(self) -> list[tuple[int, np.ndarray | None]]:
        """Return the problem."""
        return [(0, None)]

    def from_plain(self, answers: Sequence[np.ndarray]) -> np.ndarray:
        """Return the numbers."""
        return np.asarray(answers[0])

    def row_losses(self, prediction: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return the squares of what lies beyond the bounds."""
        return np.asarray((prediction - np.clip(prediction, labels[:, 0], labels[:, 1])) ** 2)


def _numbers(labels: np.ndarray) -> np.ndarray:
    """Return what stands for numbers and bounds, [n, 2] -> [n]: the bound, the middle of two."""
    lower, upper = labels.T
    with np.errstate(invalid="ignore"):
        middle = np.where(np.isinf(lower), upper, lower / 2 + upper / 2)
        middle = np.where(np.isinf(upper), lower, middle)
    return np.asarray(np.where(lower == upper, lower, middle))


def _log_between(lower: Tensor, upper: Tensor) -> Tensor:
    """Return the logarithm of a standard normal's probability between finite bounds."""
    # in the left tail, where differences of probabilities lose nothing
    right = lower + upper > 0
    low, high = torch.where(right, -upper, lower), torch.where(right, -lower, upper)
    log_high = torch.special.log_ndtr(high)
    apart = torch.special.log_ndtr(low) - log_high
    within: Tensor = log_high + (-torch.expm1(apart.clamp_max(-torch.finfo(low.dtype).eps))).log()
    return within


def _beyond_bounds(prediction: Tensor, target: Tensor, weights: Tensor | None = None) -> float:
    lower, upper = target.double().unbind(1)
    prediction = prediction.double()
    outside = (lower - prediction).clamp_min(0) + (prediction - upper).clamp_min(0)
    return math.sqrt(mean_over_rows(outside.square(), weights))


def _concordance(prediction: Tensor, target: Tensor, weights: Tensor | None = None) -> float:
    lower, upper = target.unbind(1)
    return censored_concordance(prediction, lower, upper, weights)
