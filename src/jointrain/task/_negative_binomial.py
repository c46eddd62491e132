"""Negative binomial: counts that spread more than a Poisson distribution has them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from jointrain.task._count import Count
from jointrain.task._kind import Classes, as_vector, check_fixed_size, filled_labels

_MOST = 1e6
"""The largest shape, where the distribution is as good as Poisson's."""
_LOG_MOST = math.log(_MOST)


class NegativeBinomial(Count):
    r"""The outputs are the logarithms of the rate and of the shape; the prediction is the rate.

    The loss is the negative log-likelihood of the distribution with mean :math:`\mu` and variance
    :math:`\mu + \mu^2 / r`. The shape r differs from row to row and stays below 1e6, where nothing
    tells the distribution from Poisson's. Rows of large counts that spread widely weigh less in the
    rate than a Poisson loss has them. It is computed in double precision.

    A target may have a second column, the exposure e that a row's count was taken over: then
    :math:`\mu` is e times the rate. The likelihood has a unit of its own, so that networks of
    tables learn labels as they are, with their mean as the exposure: an output of 0 is the mean.

    Source: Hilbe, "Negative Binomial Regression", 2nd edition, 2011, chapter 8 (NB2); the shape by
        row as in Salinas et al., "DeepAR", International Journal of Forecasting 36, 2020, eq. 4.
    """

    name = "negative-binomial"
    summary = "how often something happens, where it spreads more than chance alone has it"
    stacked_loss = None

    @classmethod
    def checked_classes(cls, name: str, classes: Classes, size: int | None) -> Classes:
        """Return no classes; there are two outputs."""
        check_fixed_size(cls.name, name, size, cls.default_size(()))
        return super().checked_classes(name, classes, size)

    @classmethod
    def default_size(cls, classes: Classes) -> int:  # noqa: ARG003
        """Return 2, for rate and shape."""
        return 2

    def values_per_row(self, shape: Sequence[int]) -> int:
        """Return 1, the count, or 2 with the exposure."""
        return 2 if tuple(shape[1:]) == (2,) else 1

    def standard_target(self, target: Tensor) -> Tensor:
        """Return the rates, as a vector: counts by their exposure."""
        return as_vector(target) if target.shape[1:] != (2,) else target[:, 0] / target[:, 1]

    def losses(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the negative log-likelihoods."""
        target = filled_labels(target).double()
        count = target if target.ndim == 1 else target[:, 0]
        logarithm, of_shape = output.double().unbind(-1)
        if target.shape[1:] == (2,):
            # a row without exposure has no count
            logarithm = logarithm + target[:, 1].clamp_min(1e-300).log()
        shape = _shape(of_shape)
        total = torch.logaddexp(logarithm, shape.log())  # of mean and shape
        found = (
            torch.lgamma(shape)
            + torch.lgamma(count + 1)
            - torch.lgamma(count + shape)
            + (count + shape) * total
            - shape * shape.log()
            - count * logarithm
        )
        return found.to(output.dtype)

    def predict(self, output: Tensor) -> Tensor:
        """Return the rate, [b]."""
        return output[..., 0].exp()

    @staticmethod
    def deviation(output: Tensor) -> Tensor:
        """Return the standard deviation of a row's count, of exposure 1.

        Shape:
            output: [b, 2], as the head gives it. returns: [b].
        """
        rate, shape = output[..., 0].exp(), _shape(output[..., 1])
        return (rate + rate.square() / shape).sqrt()

    def mean_output(self, outputs: Tensor) -> Tensor:
        """Return the logarithms of the mean rate, and of the shape with the mixture's variance."""
        rates, shapes = outputs[..., 0].double().exp(), _shape(outputs[..., 1].double())
        rate = rates.mean(1)
        spread = (rates.square() / shapes).mean(1) + (rates - rate[:, None]).square().mean(1)
        share = (rate.square() / spread / _MOST).clamp(1e-12, 1 - 1e-6)
        logarithm = outputs[..., 0].logsumexp(1) - math.log(outputs.shape[1])
        of_shape = (torch.logit(share) + _LOG_MOST).to(outputs.dtype)
        return torch.stack([logarithm, of_shape], -1)

    def can_be_columns(self) -> bool:
        """Return False: a target may have two columns."""
        return False

    def training_target(self, labels: np.ndarray, scaling: tuple[float, float]) -> np.ndarray:
        """Return the counts with their mean as exposure, [n, 2]."""
        return np.stack([labels, np.full(len(labels), scaling[1])], axis=1)


def _shape(logarithm: Tensor) -> Tensor:
    """Return shapes, as good as exp where they are far below the largest."""
    return _MOST * torch.sigmoid(logarithm - _LOG_MOST)
