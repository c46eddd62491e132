from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor

from jointrain.balancing._balancer import Direction, JacobianAggregation
from jointrain.balancing._checks import check_number
from jointrain.balancing.aggregation._blocks import cut


class GradDrop(JacobianAggregation):
    r"""Pick a sign for each parameter at random and drop the gradients of the other sign.

    The positive sign is picked with probability

    .. math:: P = \tfrac12 \Bigl( 1 + \frac{\sum_i g_i}{\sum_i |g_i|} \Bigr)

    Args:
        leak: Share of the dropped gradients that gets through, in [0, 1]. Paper default 0.
        seed: Seed of the draws.

    Shape:
        blocks: [t, *shape] each; losses: [t], unused. No weights: the update is coordinate-wise.

    Raises:
        InvalidInputError: `leak` is outside [0, 1].

    State: the generator of the draws. Cost: the Jacobian and a few passes over it, block by block.
    Source: Chen, Ngiam, Huang, Luong, Kretzschmar, Chai, Anguelov, "Just pick a sign: optimizing
        deep multitask models with gradient sign dropout", NeurIPS 2020,
        https://arxiv.org/abs/2010.06808, Eq. (1) and Alg. 1. Written from the paper.
    Differs from the source: signs are picked for the gradients of the shared parameters; the paper
        does so for those of the shared representation, multiplied by its sign and summed over the
        batch. One leak for all tasks.

    Examples:
        >>> import torch
        >>> drop = GradDrop(seed=3)
        >>> drop.aggregate([torch.tensor([[1.0, 2.0], [1.0, 4.0]])], torch.ones(2)).blocks
        [tensor([2., 6.])]
    """

    name = "graddrop"
    random = True
    blockwise = True

    def __init__(self, *, leak: float = 0.0, seed: int = 0) -> None:
        super().__init__(seed=seed)
        self.leak = check_number(leak, "leak", low=0.0, high=1.0)

    def aggregate(self, blocks: Sequence[Tensor], losses: Tensor) -> Direction:  # noqa: ARG002
        """Return, for blocks [t, *shape], the sum of the gradients with the picked signs."""
        return Direction([self._one(block) for block in blocks])

    def _one(self, block: Tensor) -> Tensor:
        # in half precision a draw close to 1 would be 1, which no share is above
        wide = block.to(torch.promote_types(block.dtype, torch.float32))
        positive = reduce(Tensor.add_, (part.clamp_min(0.0).sum(dim=0) for part in cut(wide)))
        negative = reduce(Tensor.add_, (part.clamp_max(0.0).sum(dim=0) for part in cut(wide)))
        draw = torch.rand(positive.shape, generator=self.generator, dtype=torch.float32)
        share = draw.to(positive).mul_(positive - negative)  # P is the share of the positive part
        # ones and zeros in place of booleans, which take a processor ten times as long
        kept = torch.lt(share, positive, out=share).mul_(1.0 - self.leak)
        return positive.mul_(kept + self.leak).addcmul_(negative, 1.0 - kept).to(block.dtype)
