"""Moving averages of weights, which stand in for the weights where those are measured and kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    r"""The exponential moving average :math:`a \leftarrow d a + (1 - d) \theta` of parameters.

    It begins with the weights as they are. Buffers, such as running statistics, have no average.

    Args:
        parameters: Of which; those that are frozen have an average that stays.
        decay: d, in (0, 1).

    Source: Tarvainen & Valpola, "Mean teachers are better role models", NeurIPS 2017, eq. 2.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float) -> None:
        self._parameters: list[Tensor] = list(parameters)
        self._decay = decay
        self.values = [parameter.detach().clone() for parameter in parameters]

    @torch.no_grad()
    def see(self) -> None:
        """Take in the weights after a step."""
        torch._foreach_lerp_(self.values, self._parameters, 1 - self._decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the parameters be their averages within the block."""
        kept = [parameter.detach().clone() for parameter in self._parameters]
        self.put(self.values)
        try:
            yield
        finally:
            self.put(kept)

    @torch.no_grad()
    def put(self, values: Sequence[Tensor]) -> None:
        """Set the parameters to values."""
        for parameter, value in zip(self._parameters, values, strict=True):
            parameter.copy_(value)
