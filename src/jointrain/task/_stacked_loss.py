"""StackedLoss: a loss of many networks at once, and its slope."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor


class StackedLoss(ABC):
    """A form of loss, for many tasks side by side in each of many networks.

    Letters: s networks, b rows, p tasks, w numbers that a row has of each.
    """

    name: ClassVar[str]
    of_logits: ClassVar[bool] = False
    """Whether the outputs are logits, which a temperature can divide."""
    one_target: ClassVar[bool] = False
    """Whether a row has one target whatever w is; else it has w."""

    @abstractmethod
    def __call__(
        self, output: Tensor, target: Tensor, share: Tensor, width: int
    ) -> tuple[Tensor, Tensor]:
        """Return the losses times their share, and their slope.

        Shape:
            output: [s, b, p w]. target, share: [s, b, p] if `one_target`, else [s, b, p w]; 0
            where there is no label.
            returns: losses, as the target; slope, as the output.
        """
