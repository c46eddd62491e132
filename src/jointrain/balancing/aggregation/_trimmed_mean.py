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

    State: none. Cost: the Jacobian and 1 + 4 * `trim` passes over it, block by block.
    Source: Yin, Chen, Ramchandran, Bartlett, "Byzantine-robust distributed learning: towards
        optimal statistical rates", ICML 2018, https://arxiv.org/abs/1803.01498, Definition 2.
        Written from the paper.
    Differs from the source: a number of values is trimmed instead of a share. With 2 * `trim` tasks
        or fewer in a step, as many are trimmed as leave one or two: the median.

    Examples:
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
        return Direction([_mean_of_the_rest(block, trim) for block in blocks])


def _mean_of_the_rest(block: Tensor, trim: int) -> Tensor:
    """Return the mean [*shape] without the extreme values; sorting takes several times as long.

    Each row goes past the lowest and the highest values so far and leaves its own where it is more
    extreme; what is neither is summed. So extremes never enter the sum, which may not hold them.

    Shape:
        block: [t, *shape], t > 2 * trim; overwritten.
    """
    lowest: list[Tensor] = []
    highest: list[Tensor] = []
    rest = torch.zeros_like(block[0])
    spare = torch.empty_like(rest)
    for row in block.unbind():
        for kept, more, less in (
            *((low, torch.minimum, torch.maximum) for low in lowest),
            *((high, torch.maximum, torch.minimum) for high in highest),
        ):
            less(kept, row, out=spare)
            more(kept, row, out=kept)
            row, spare = spare, row
        if len(lowest) < trim:
            lowest.append(row)
        elif len(highest) < trim:
            highest.append(row)
        else:
            rest += row
    return rest / (len(block) - 2 * trim)
