from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from jointrain.balancing._balancer import Direction, JacobianAggregation
from jointrain.balancing._checks import check_count


class TrimmedMean(JacobianAggregation):
    """Average the gradients coordinate by coordinate without the extreme values.

    Robust against a few tasks whose gradients are arbitrarily wrong.

    Args:
        trim: How many of the largest and of the smallest values are left out at each coordinate,
            >= 0.

    Shape:
        blocks: [t, *shape] each; losses: [t], unused. No weights: the update is coordinate-wise.

    Raises:
        InvalidInputError: `trim` is below zero.

    State: none. Cost: the Jacobian and one sort of it over tasks, block by block.
    Source: Yin, Chen, Ramchandran, Bartlett, "Byzantine-robust distributed learning: towards
        optimal statistical rates", ICML 2018, https://arxiv.org/abs/1803.01498, Definition 2.
        Written from the paper.
    Differs from the source: a number of values is trimmed instead of a share. With 2 * `trim` tasks
        or fewer in a step, as many are trimmed as leave one or two: the median.

    Example:
        >>> import torch
        >>> block = torch.tensor([[1.0], [2.0], [3.0], [100.0]])
        >>> TrimmedMean(trim=1).aggregate([block], torch.ones(4)).blocks
        [tensor([2.5000])]
    """

    name = "trimmed-mean"
    blockwise = True

    def __init__(self, *, trim: int = 1) -> None:
        super().__init__()
        self.trim = check_count(trim, "trim", low=0)

    def aggregate(self, blocks: Sequence[Tensor], losses: Tensor) -> Direction:
        """Return the trimmed means of blocks [t, *shape]."""
        t = len(losses)
        trim = min(self.trim, (t - 1) // 2)
        if trim == 0:
            return Direction([block.mean(dim=0) for block in blocks])
        if trim == 1:
            return Direction([_without_extremes(block) for block in blocks])
        return Direction(
            [block.sort(dim=0).values[trim : t - trim].mean(dim=0) for block in blocks]
        )


def _without_extremes(block: Tensor) -> Tensor:
    """Return the mean [*shape] without one largest and one smallest value, faster than sorting.

    The extremes are left out of the sum, not subtracted: they may be too large for that.

    Shape:
        block: [t, *shape], t > 2.
    """
    top, bottom = block.amax(dim=0), block.amin(dim=0)
    at_top, at_bottom = block == top, block == bottom
    inner = block.masked_fill(at_top | at_bottom, 0.0).sum(dim=0)
    inner += (at_top.sum(dim=0) - 1) * top + (at_bottom.sum(dim=0) - 1) * bottom
    return torch.where(top == bottom, top, inner / (len(block) - 2))
