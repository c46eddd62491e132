"""Contrastive: a row and its corrupted copy shall be closer than different rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from jointrain.errors import InvalidInputError
from jointrain.training.pretraining._objective import Loss, Objective


@dataclass(frozen=True)
class Contrastive(Objective):
    r"""Tell a row's corrupted copy from those of the other rows in the batch (InfoNCE).

    In the copy of each row a share of the values is replaced by values of the same columns in
    other rows, drawn independently. With :math:`z_i = g(f(x_i))` for the rows, :math:`\tilde z_i`
    for the copies, a projection g and :math:`s_{ij} = \cos(z_i, \tilde z_j)`:

    .. math:: L = - \frac{1}{b} \sum_i \log \frac{\exp(s_{ii} / \tau)}
        {\sum_k \exp(s_{ik} / \tau)}

    Args:
        rate: Share of the columns replaced, in (0, 1]; default 0.6. At least one is.
        temperature: :math:`\tau` > 0; default 1.
        part: Which module of a network is trained; default ``trunk``.
        kind: What records and stored values call it; it has no other value.

    Raises:
        InvalidInputError: A number lies outside its range.

    Source: Bahri et al., "SCARF: Self-Supervised Contrastive Learning using Random Feature
        Corruption", ICLR 2022, Algorithm 1 and its defaults.
    Differs from the source: the denominator is the sum, theirs the mean, so the loss is larger by
        the constant log b; g is linear, ReLU, linear of the trunk's width (theirs 256).
    """

    # unknown keys in stored values are errors
    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    rate: float = 0.6
    temperature: float = 1.0
    part: str = "trunk"
    kind: Literal["contrastive"] = "contrastive"

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 1:
            raise InvalidInputError(f"`rate` must lie in (0, 1], got {self.rate}")
        if not 0 < self.temperature < math.inf:
            raise InvalidInputError(f"`temperature` must be positive, got {self.temperature}")

    def build(self, rows: Tensor, features: int) -> Loss:
        """Return the loss with its projection."""
        return _ContrastiveLoss(rows, features, self.rate, self.temperature)


class _ContrastiveLoss(Loss):
    columns: Tensor

    def __init__(self, rows: Tensor, features: int, rate: float, temperature: float) -> None:
        super().__init__()
        self.replaced = max(1, math.floor(rate * rows.shape[1]))
        self.temperature = temperature
        self.projection = nn.Sequential(
            nn.Linear(features, features), nn.ReLU(), nn.Linear(features, features)
        )
        self.register_buffer("columns", rows)

    def corrupt(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Return the rows with the same number of values replaced in each, [b, d]."""
        chosen = torch.rand(rows.shape, generator=generator).argsort(1)[:, : self.replaced]
        donors = torch.randint(len(self.columns), tuple(chosen.shape), generator=generator)
        chosen, donors = chosen.to(rows.device), donors.to(rows.device)
        return rows.scatter(1, chosen, self.columns[donors, chosen])

    def forward(self, trunk: nn.Module, rows: Tensor, generator: torch.Generator) -> Tensor:
        projected = functional.normalize(self.projection(trunk(rows)), dim=1)
        corrupted = trunk(self.corrupt(rows, generator))
        copies = functional.normalize(self.projection(corrupted), dim=1)
        similarities = projected @ copies.T / self.temperature  # [b, b]
        return functional.cross_entropy(similarities, torch.arange(len(rows), device=rows.device))
