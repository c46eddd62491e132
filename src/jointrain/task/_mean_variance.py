"""Mean and variance: a number whose spread differs from row to row, by Gaussian likelihood."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from jointrain.metrics import REGRESSION_METRICS, Metric
from jointrain.task._kind import Classes, as_vector, check_fixed_size, filled_labels
from jointrain.task._regression import Regression
from jointrain.task._stacked_loss import StackedLoss

_LEAST_VARIANCE = 1e-4
"""Of standardised targets: what is fitted closer than a hundredth counts alike."""
LOG_LEAST_VARIANCE = math.log(_LEAST_VARIANCE)


class _Gaussian(StackedLoss):
    name = "gaussian"
    one_target = True

    def __call__(
        self, output: Tensor, target: Tensor, share: Tensor, width: int
    ) -> tuple[Tensor, Tensor]:
        of_tasks = torch.unflatten(output, -1, (-1, width))
        # no infinity of a row without a label, which a share of 0 would make NaN
        mean, logarithm = torch.where((share == 0).unsqueeze(-1), 0.0, of_tasks).unbind(-1)
        variance = logarithm.exp() + _LEAST_VARIANCE
        error = mean - target
        of_square = error.square() / variance
        losses = 0.5 * (variance.log() - LOG_LEAST_VARIANCE + of_square)
        slopes = [error / variance, 0.5 * (1 - of_square) * logarithm.exp() / variance]
        return losses * share, (torch.stack(slopes, -1) * share.unsqueeze(-1)).flatten(-2)


class MeanVariance(Regression):
    r"""The outputs are a mean and the logarithm of a variance; the prediction is the mean.

    The loss is the negative log-likelihood of the normal distribution,
    :math:`\frac{1}{2} (\ln v - \ln v_0 + (y - m)^2 / v)` with :math:`v = e^o + v_0` and the least
    variance :math:`v_0 = 10^{-4}`, which makes it 0 or more (balancers take logarithms of losses).
    So a target should have a spread of about 1, as those of tables are given; rows that are noisy
    by what the inputs tell then count less in the mean. `deviation` gives the spread.

    Source: Nix & Weigend, "Estimating the mean and variance of the target probability
        distribution", ICNN 1994.
    Differs from the source: the least variance.
    """

    name = "mean-variance"
    summary = "a number whose spread differs from row to row"
    steep = True
    stacked_loss = _Gaussian()

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
        """Return RMSE and R2."""
        return REGRESSION_METRICS

    def values_per_row(self, shape: Sequence[int]) -> int:  # noqa: ARG002
        """Return 1, the number."""
        return 1

    def losses(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the negative log-likelihoods."""
        return _losses(output, filled_labels(as_vector(target)).to(output.dtype))

    def predict(self, output: Tensor) -> Tensor:
        """Return the mean, [b]."""
        return output[..., 0]

    @staticmethod
    def deviation(output: Tensor) -> Tensor:
        """Return the standard deviation that a row's label has around the mean.

        Shape:
            output: [b, 2], as the head gives it. returns: [b].
        """
        return (output[..., 1].exp() + _LEAST_VARIANCE).sqrt()

    def mean_output(self, outputs: Tensor) -> Tensor:
        """Return the mean and the variance of the members' mixture."""
        means, variances = outputs[..., 0], outputs[..., 1].exp()
        mean = means.mean(1)
        # the least variance is in both
        variance = variances.mean(1) + (means - mean[:, None]).square().mean(1)
        return torch.stack([mean, variance.clamp_min(torch.finfo(variance.dtype).tiny).log()], -1)

    def can_be_columns(self) -> bool:
        """Return True."""
        return True

    @classmethod
    def column_losses(cls, outputs: Tensor, target: Tensor, missing: Tensor) -> Tensor:
        """Return the negative log-likelihoods."""
        filled = target.masked_fill(missing, 0).to(outputs.dtype)
        # before the loss, too: an infinite slope times 0 is NaN
        known = outputs.masked_fill(missing.unsqueeze(-1), 0)
        return _losses(known, filled).masked_fill(missing, 0)


def _losses(output: Tensor, target: Tensor) -> Tensor:
    """Return the losses of labels, [...], by outputs, [..., 2]."""
    mean, logarithm = output.unbind(-1)
    least = torch.full_like(logarithm, LOG_LEAST_VARIANCE)
    log_variance = torch.logaddexp(logarithm, least)
    errors = functional.mse_loss(mean, target, reduction="none")
    return 0.5 * (log_variance - LOG_LEAST_VARIANCE + errors * (-log_variance).exp())
