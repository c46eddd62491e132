"""Regression: a real number, or several."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from jointrain.metrics import REGRESSION_METRICS, Metric
from jointrain.task._kind import NumberKind, filled_labels, mean_and_deviation
from jointrain.task._offered_metrics import OF_NUMBERS
from jointrain.task._stacked_loss import StackedLoss


class _Squared(StackedLoss):
    name = "squared"

    def __call__(
        self,
        output: Tensor,
        target: Tensor,
        share: Tensor,
        width: int,  # noqa: ARG002
    ) -> tuple[Tensor, Tensor]:
        error = output - target
        slope = error * share
        losses = error.mul_(slope)
        return losses, slope * 2


class Regression(NumberKind):
    """The loss is the squared error; networks of tables are trained on standardised targets."""

    name = "regression"
    summary = "a real number, or several"
    objective = "squared"
    more_metrics = OF_NUMBERS
    stacked_loss: StackedLoss | None = _Squared()

    def default_metrics(self) -> tuple[Metric, ...]:
        """Return RMSE, over all numbers, and R2, which is that of one number a row."""
        return REGRESSION_METRICS if self.task.size == 1 else REGRESSION_METRICS[:1]

    def wrong_values(self, present: Tensor) -> tuple[Tensor, str] | None:
        """Return which are infinite."""
        return present.isinf(), "finite numbers"

    def losses(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the squared errors, the mean over a row's numbers."""
        filled = filled_labels(target).to(output.dtype)
        errors = functional.mse_loss(output.reshape(filled.shape), filled, reduction="none")
        return errors if errors.ndim == 1 else errors.flatten(1).mean(1)

    def mean_loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean squared error."""
        return functional.mse_loss(output.reshape(target.shape), target.to(output.dtype))

    def predict(self, output: Tensor) -> Tensor:
        """Return the output."""
        return output.squeeze(-1) if self.task.output_size == 1 else output

    def can_be_columns(self) -> bool:
        """Whether it is one number."""
        return self.task.size == 1

    @classmethod
    def column_losses(cls, outputs: Tensor, target: Tensor, missing: Tensor) -> Tensor:
        """Return the squared errors."""
        values = outputs.squeeze(-1)
        # where the target is the output itself, loss and gradient are 0
        filled = torch.where(missing, values.detach(), target.to(values.dtype))
        return functional.mse_loss(values, filled, reduction="none")

    def scaling(self, labels: np.ndarray, weights: np.ndarray | None = None) -> tuple[float, float]:
        """Return mean and standard deviation; 1 for a constant."""
        return mean_and_deviation(labels, weights)

    def row_losses(self, prediction: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return the squared errors."""
        return np.asarray((prediction - labels) ** 2)
