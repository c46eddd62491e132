"""Count: how often something happens, by Poisson regression with a log link."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from jointrain.errors import InvalidInputError
from jointrain.metrics import REGRESSION_METRICS, Metric, mean_over_rows
from jointrain.task._kind import NumberKind, as_vector, filled_labels, of_mean_one
from jointrain.task._offered_metrics import OF_NUMBERS, mean_absolute_error
from jointrain.task._stacked_loss import StackedLoss

_SMALLEST_RATE = 1e-7
"""What a prediction is at least where its logarithm is taken."""


class _Poisson(StackedLoss):
    name = "poisson"

    def __call__(
        self,
        output: Tensor,
        target: Tensor,
        share: Tensor,
        width: int,  # noqa: ARG002
    ) -> tuple[Tensor, Tensor]:
        # no infinity of a row without a label, which a share of 0 would make NaN
        output = torch.where(share == 0, 0.0, output)
        rate = output.exp()
        losses = (rate - target * output + _offset(target)) * share
        return losses, rate.sub_(target).mul_(share)


class Count(NumberKind):
    r"""The output is the logarithm of the rate; the prediction is the rate, a number >= 0.

    The loss is half the unit deviance of the Poisson distribution,
    :math:`e^o - y o + y \ln y - y`: the negative log-likelihood, but 0 where the rate is the label.
    Networks of tables are trained on labels that are divided by their mean, so that an output of 0
    is the mean: this divides the loss by the mean and changes no slope otherwise. So the loss takes
    numbers with fractions; labels of a table have none.

    Source: McCullagh & Nelder, "Generalized Linear Models", 2nd edition, 1989, section
        2.3 (deviance) and chapter 6 (log link).
    """

    name = "count"
    summary = "how often something happens: a whole number, 0 or more"
    objective = "poisson"
    more_metrics = OF_NUMBERS
    steep = True
    stacked_loss: StackedLoss | None = _Poisson()

    def default_metrics(self) -> tuple[Metric, ...]:
        """Return Poisson deviance, MAE and RMSE."""
        return (
            Metric(
                "Poisson deviance", mean_poisson_deviance, higher_is_better=False, lowest=0,
                percent_above=0.01,
            ),
            Metric("MAE", mean_absolute_error, higher_is_better=False, lowest=0),
            REGRESSION_METRICS[0],
        )  # fmt: skip

    def wrong_values(self, present: Tensor) -> tuple[Tensor, str] | None:
        """Return which are negative or infinite."""
        return (present < 0) | present.isinf(), "numbers of 0 or more"

    def losses(self, output: Tensor, target: Tensor) -> Tensor:
        """Return half the unit deviances."""
        filled = filled_labels(as_vector(target)).to(output.dtype)
        values = output.squeeze(-1)
        return values.exp() - filled * values + _offset(filled)

    def predict(self, output: Tensor) -> Tensor:
        """Return the rate, [b]."""
        return output.squeeze(-1).exp()

    def mean_output(self, outputs: Tensor) -> Tensor:
        """Return the logarithm of the mean rate."""
        return outputs.logsumexp(1) - math.log(outputs.shape[1])

    def can_be_columns(self) -> bool:
        """Return True."""
        return True

    @classmethod
    def column_losses(cls, outputs: Tensor, target: Tensor, missing: Tensor) -> Tensor:
        """Return half the unit deviances."""
        # before the loss, too: an infinite slope times 0 is NaN
        values = outputs.squeeze(-1).masked_fill(missing, 0)
        filled = target.masked_fill(missing, 0).to(values.dtype)
        losses = values.exp() - filled * values + _offset(filled)
        return losses.masked_fill(missing, 0)

    def check_labels(self, labels: np.ndarray) -> None:
        """Refuse labels that are negative or have a fraction."""
        with np.errstate(invalid="ignore"):
            wrong = np.flatnonzero((labels < 0) | (labels != np.floor(labels)) & ~np.isnan(labels))
        if len(wrong):
            row = int(wrong[0])
            raise InvalidInputError(
                f"{self.name} target {self.task.name!r} holds {labels[row]:.15g} in row {row + 1}; "
                "counts are whole numbers of 0 or more: mend the label, or make it regression"
            )

    def possible_interval(self, ends: np.ndarray) -> np.ndarray:
        """Return the next whole numbers outwards.

        Most rows may have the same count, such as 0. The model of all rows predicts a little more
        or less than those that left rows out; an interval that ends between would lose all of them.
        """
        return np.stack([np.floor(ends[:, 0]), np.ceil(ends[:, 1])], 1)

    def scaling(self, labels: np.ndarray, weights: np.ndarray | None = None) -> tuple[float, float]:
        """Return 0 and the mean; 1 where all are 0."""
        if weights is None:
            return 0.0, float(np.nanmean(labels)) or 1.0
        known = np.isfinite(labels)
        counted = of_mean_one(weights, known)
        return 0.0, float(np.average(labels[known], weights=counted[known])) or 1.0

    def check_constant(self, constant: np.ndarray) -> str | None:
        """Return what is wrong with a rate."""
        return super().check_constant(constant) or ("is negative" if constant[0] < 0 else None)

    def row_losses(self, prediction: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return half the unit deviances."""
        from scipy.special import xlogy

        rate = np.maximum(prediction, _SMALLEST_RATE)
        return np.asarray(rate - labels + xlogy(labels, labels) - labels * np.log(rate))


def _offset(target: Tensor) -> Tensor:
    """Return what makes the loss 0 where the rate is the label."""
    return torch.xlogy(target, target) - target


def mean_poisson_deviance(
    prediction: Tensor, target: Tensor, weights: Tensor | None = None
) -> float:
    r"""Return the mean of :math:`2 (y \ln (y / r) - y + r)`; rates are kept above 1e-7.

    Shape:
        prediction: [b], rates r >= 0. target: [b], y >= 0. weights: [b].
    """
    rate, count = prediction.double().clamp_min(_SMALLEST_RATE), target.double()
    return mean_over_rows(2 * (rate + _offset(count) - count * rate.log()), weights)
