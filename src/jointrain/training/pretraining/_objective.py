"""What every pre-training objective offers, and what reconstructing ones share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from jointrain.errors import InvalidInputError


class Objective(ABC):
    """A loss of a trunk on rows without labels. A value: comparable, printable, stored.

    Attributes:
        kind: What records and stored values call it.
        part: Which module of a network is trained.
    """

    kind: str
    part: str

    @abstractmethod
    def build(self, rows: Tensor, features: int) -> Loss:
        """Return the loss with layers of its own, freshly initialised from torch's random state.

        Args:
            rows: All rows to train on, from which it takes what it needs to know of the columns.
            features: Width of what the trunk gives, f.

        Shape:
            rows: [n, d].
        """


class Loss(nn.Module, ABC):
    """The loss, and the layers that only it needs: they are dropped after pre-training."""

    @abstractmethod
    def forward(self, trunk: nn.Module, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Return the loss of a batch.

        Args:
            trunk: Maps [b, d] to [b, f].
            rows: The batch.
            generator: Source of all random choices, on the CPU.

        Shape:
            rows: [b, d]. returns: [].
        """


class Reconstruction(Loss):
    """A decoder from the trunk's features back to the columns, in units of their deviation.

    The decoder is linear, ReLU, linear: f -> f -> d.

    Args:
        rows: All rows to train on, [n, d].
        features: Width of what the trunk gives, f.
    """

    mean: Tensor
    deviation: Tensor
    numbers: Tensor

    def __init__(self, rows: Tensor, features: int) -> None:
        super().__init__()
        self.decoder = nn.Sequential(
            nn.Linear(features, features), nn.ReLU(), nn.Linear(features, rows.shape[1])
        )
        self.register_buffer("mean", rows.mean(0))
        deviation = rows.std(0, correction=0)
        # a constant column has no unit of its own
        self.register_buffer("deviation", torch.where(deviation > 0, deviation, 1.0))

        self.register_buffer("numbers", torch.ones(rows.shape[1], dtype=torch.bool))

    def leave_out(self, codes: Sequence[int]) -> None:
        """Leave columns out that are codes: they are passed on, and not reconstructed as numbers.

        Raises:
            InvalidInputError: No column is left.
        """
        self.numbers[list(codes)] = False
        if not self.numbers.any():
            raise InvalidInputError(
                "all inputs are ids, which no decoder reconstructs; pretrain with Contrastive()"
            )

    def errors(self, trunk: nn.Module, given: Tensor, wanted: Tensor) -> Tensor:
        """Return the squared error of each value that the decoder makes of `given`, [b, d]."""
        decoded: Tensor = self.decoder(trunk(given))
        errors = ((decoded - wanted) / self.deviation).square()
        return errors if bool(self.numbers.all()) else errors.where(self.numbers, 0.0)
