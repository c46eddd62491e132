"""Denoising: reconstruct rows from which noise has taken away."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from jointrain.errors import InvalidInputError
from jointrain.training.pretraining._objective import Loss, Objective, Reconstruction


@dataclass(frozen=True)
class Denoising(Objective):
    r"""Add noise to every value of a row and reconstruct the row as it was.

    .. math:: L = \frac{1}{bd} \sum_{bj} \Big(\frac{\hat x_{bj} - x_{bj}}{\sigma_j}\Big)^2

    where :math:`\hat x` is what a decoder makes of the trunk's features of
    :math:`x + s \sigma \epsilon`, with standard normal :math:`\epsilon` and the columns' deviations
    :math:`\sigma`.

    Args:
        noise: s > 0, in deviations of the columns; default 0.3.
        part: Which module of a network is trained; default ``trunk``.
        kind: What records and stored values call it; it has no other value.

    Raises:
        InvalidInputError: `noise` is not positive.

    Source: Vincent et al., "Stacked Denoising Autoencoders", JMLR 11, 2010, section 3 with additive
        isotropic Gaussian noise and squared error.
    Differs from the source: the whole trunk at once, not layer by layer; noise and error in units
        of each column's deviation.
    """

    # unknown keys in stored values are errors
    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    noise: float = 0.3
    part: str = "trunk"
    kind: Literal["denoising"] = "denoising"

    def __post_init__(self) -> None:
        if not 0 < self.noise < math.inf:
            raise InvalidInputError(f"`noise` must be positive, got {self.noise}")

    def build(self, rows: Tensor, features: int) -> Loss:
        """Return the loss with its decoder."""
        return _DenoisingLoss(rows, features, self.noise)


class _DenoisingLoss(Reconstruction):
    def __init__(self, rows: Tensor, features: int, noise: float) -> None:
        super().__init__(rows, features)
        self.noise = noise

    def forward(self, trunk: nn.Module, rows: Tensor, generator: torch.Generator) -> Tensor:
        drawn = torch.randn(rows.shape, generator=generator, dtype=rows.dtype).to(rows.device)
        noise = (self.noise * self.deviation * drawn).where(self.numbers, 0.0)
        errors = self.errors(trunk, rows + noise, rows)
        return errors.mean() if bool(self.numbers.all()) else errors[:, self.numbers].mean()
