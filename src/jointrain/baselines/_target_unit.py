"""The unit in which trees are fitted to numbers: libraries compare some with their constants."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self, TypeVar

import numpy as np

from jointrain.baselines._tree_arrays import SymmetricTrees, TreeEnsemble

Trees = TypeVar("Trees", TreeEnsemble, SymmetricTrees)

_LARGEST = 1e12
"""Numbers that deviate by more are squared in single precision soon."""

SMALLEST = 1e-9
"""Numbers that deviate by less are squared to none in single precision soon."""

_FARTHEST = 1e5
"""Means of more deviations leave too few digits in single precision, in which labels are kept."""


@dataclass(frozen=True)
class TargetUnit:
    """What is taken off a target, and what it is then divided by.

    Args:
        offset: What is taken off, 0 if the target is near enough to 0.
        size: A power of two, so that dividing by it rounds nothing; 1 if the target is of a size
            that the library can take, so that its trees are those of the target itself.
    """

    offset: float = 0.0
    size: float = 1.0

    @classmethod
    def of(cls, target: np.ndarray, smallest: float) -> Self:
        """Return the unit for numbers, [n].

        Args:
            target: The numbers.
            smallest: The deviation below which the library takes differences for none.
        """
        mean, deviation = float(target.mean()), float(target.std())
        return cls(
            mean if abs(mean) > _FARTHEST * deviation else 0.0,
            1.0 if smallest <= deviation <= _LARGEST else _power_of_two(deviation),
        )

    def taken(self, target: np.ndarray) -> np.ndarray:
        """Return the target in this unit."""
        return target if self == TargetUnit() else (target - self.offset) / self.size

    def put_back(self, trees: Trees) -> Trees:
        """Return trees of the target from those of the target in this unit."""
        if self == TargetUnit():
            return trees
        return replace(
            trees, value=trees.value * self.size, base=trees.base * self.size + self.offset
        )


def feature_units(inputs: np.ndarray, smallest: float) -> np.ndarray:
    """Return powers of two to divide features by, [d]; 1 for those that vary enough or not at all.

    Args:
        inputs: In the precision in which they are compared.
        smallest: The range below which the library takes differences for none.

    Shape:
        inputs: [n, d].
    """
    ranges = inputs.max(0).astype(np.float64) - inputs.min(0)
    return np.array([1.0 if r >= smallest else _power_of_two(r) for r in ranges.tolist()])


def _power_of_two(size: float) -> float:
    """Return the one up to a size above 0, else 1."""
    return float(2.0 ** np.floor(np.log2(size))) if size > 0 else 1.0
