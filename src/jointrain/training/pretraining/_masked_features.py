"""Masked features: reconstruct the columns that were hidden from the trunk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from jointrain.errors import InvalidInputError
from jointrain.training.pretraining._objective import Loss, Objective, Reconstruction


@dataclass(frozen=True)
class MaskedFeatures(Objective):
    r"""Hide some values of each row from the trunk and reconstruct them.

    .. math:: L = \frac{1}{\sum_{bj} S_{bj}} \sum_{bj} S_{bj}
        \Big(\frac{\hat x_{bj} - x_{bj}}{\sigma_j}\Big)^2

    with :math:`S_{bj} = 1` where value j of row b is hidden, and :math:`\hat x` what a decoder
    makes of the trunk's features of :math:`(1 - S) x + S \mu`.

    Args:
        rate: Probability of hiding a value, in (0, 1); default 0.3, as VIME's mask.
        part: Which module of a network is trained; default ``trunk``.
        kind: What records and stored values call it; it has no other value.

    Raises:
        InvalidInputError: `rate` lies outside its range.

    Source: Arik & Pfister, "TabNet: Attentive Interpretable Tabular Learning", AAAI 2021, section
        "Tabular self-supervised learning"; the default rate from Yoon et al., "VIME", NeurIPS 2020.
    Differs from the source: a hidden value becomes its column's mean, not 0; the deviation
        :math:`\sigma` is that of all rows, not of the batch; any trunk.
    """

    # unknown keys in stored values are errors
    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    rate: float = 0.3
    part: str = "trunk"
    kind: Literal["masked_features"] = "masked_features"

    def __post_init__(self) -> None:
        if not 0 < self.rate < 1:
            raise InvalidInputError(f"`rate` must lie in (0, 1), got {self.rate}")

    def build(self, rows: Tensor, features: int) -> Loss:
        """Return the loss with its decoder."""
        return _MaskedFeaturesLoss(rows, features, self.rate)


class _MaskedFeaturesLoss(Reconstruction):
    def __init__(self, rows: Tensor, features: int, rate: float) -> None:
        super().__init__(rows, features)
        self.rate = rate

    def forward(self, trunk: nn.Module, rows: Tensor, generator: torch.Generator) -> Tensor:
        hidden = (torch.rand(rows.shape, generator=generator) < self.rate).to(rows.device)
        hidden &= self.numbers
        errors = self.errors(trunk, torch.where(hidden, self.mean, rows), rows)
        return torch.where(hidden, errors, 0.0).sum() / hidden.sum().clamp_min(1)
