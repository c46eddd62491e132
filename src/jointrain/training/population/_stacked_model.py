"""What a stack trains: networks of one structure as one, a row of weights for each.

Letters: s members, b rows of a batch, i inputs, c columns of the outputs, t slots, p numbers of a
member's row.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from jointrain.networks import Dropout, Network
from jointrain.training.population._stacked_losses import StackedLosses

PASSES = 3
"""Products with each weight for a row of a batch: one forward, two backward."""

Weigh = Callable[[Tensor, Tensor], Tensor]
"""Gives each task's factor from the sums of the losses and the numbers of labelled rows, [s, t]."""


class StackedModel(ABC):
    """Networks of one structure whose weights are the rows of a matrix [s, p].

    A row holds the weights of the trunk, those of all heads, and running statistics, which no
    optimiser moves.

    Args:
        losses: The slots of the heads.

    Attributes:
        size: p.
        dtype: Of the weights.
        trained: Where what the optimiser moves lies in a row.
        trunk: Where the shared weights lie.
        heads: For each slot, where its own weights lie.
        penalised: [p], true for weight matrices.
        dropout_units: Numbers that each dropout layer sees for one row of a batch.
        needs_present: Whether a row's output depends on which other rows are there.
    """

    size: int
    dtype: torch.dtype
    trained: slice
    trunk: slice
    heads: Sequence[tuple[slice, ...]]
    penalised: Tensor
    dropout_units: Sequence[int]
    needs_present: bool = False

    def __init__(self, losses: StackedLosses) -> None:
        self.losses = losses

    @abstractmethod
    def dropouts_in(self, network: Network) -> list[Dropout]:
        """Return the dropout layers of a network, in the order in which they draw noise."""

    @abstractmethod
    def pairs(
        self, row: Tensor, network: Network, slots: Mapping[str, int]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield each parameter and statistic of a network with its place in a row, [p]."""

    @abstractmethod
    def places(self, batch: int) -> int:
        """Return how many members to train at the same time, on so many rows each."""

    @abstractmethod
    def use(self, weights: Tensor, gradients: Tensor) -> None:
        """Compute with these rows from now on.

        Shape:
            weights, gradients: [s, p].
        """

    @abstractmethod
    def outputs(self, inputs: Tensor, rows: Tensor | None = None) -> Tensor:
        """Return the outputs of all heads in evaluation mode.

        Args:
            inputs: For each member; may be overwritten.
            rows: Numbers of the members; None for all that are in use.

        Shape:
            inputs: [s, b, i]. returns: [s, b, c].
        """

    @abstractmethod
    def loss_and_gradients(
        self,
        inputs: Tensor,
        table: Tensor,
        keep: Sequence[Tensor],
        weigh: Weigh,
        present: Tensor | None,
    ) -> None:
        """Write the gradients of each member's weighted losses.

        Args:
            inputs: Rows for each member; may be overwritten.
            table: What the losses need of them.
            keep: Factors of each dropout layer.
            weigh: Sees the losses, and gives the factor of the sum of each.
            present: Where a member has a row, if `needs_present`.

        Shape:
            inputs: [s, b, i]. table: [s, b, 2 c']. keep: [s, b, o] each. present: [s, b, 1].
        """

    def read(self, network: Network, slots: Mapping[str, int]) -> Tensor:
        """Return the weights of a network as a row, [p]; its tasks have the given slots."""
        row = torch.zeros(self.size, dtype=self.dtype)
        for place, tensor in self.pairs(row, network, slots):
            place.copy_(tensor.detach())
        return row

    @torch.no_grad()
    def write(self, row: Tensor, network: Network, slots: Mapping[str, int]) -> None:
        """Give a network the weights of a row, [p]."""
        for place, tensor in self.pairs(row, network, slots):
            tensor.copy_(place)
