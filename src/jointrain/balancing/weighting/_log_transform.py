from __future__ import annotations

import math
from collections.abc import Sequence

from jointrain.balancing._balancer import LossWeighting, Weighing
from jointrain.balancing._checks import check_positive
from jointrain.balancing.weighting._per_task import require_at_least


class LogTransform(LossWeighting):
    r"""Add up the logarithms of the losses, so that no loss's unit matters (DB-MTL's first half).

    .. math:: \sum_i \log(L_i + \epsilon), \qquad w_i = \frac{1}{L_i + \epsilon}

    Args:
        epsilon: Keeps the weight of a vanishing loss finite, > 0, in the loss's unit. Paper
            default 1e-8.

    Shape:
        losses: [t], non-negative; returns a scalar.

    Raises:
        InvalidInputError: `epsilon` is not above zero, or a loss is negative.

    State: none. Cost: one backward pass.
    Source: Lin, Jiang, Ye, Zhang, Chen, Chen, Liu, Kwok, "Dual-balancing for multi-task learning",
        2023, https://arxiv.org/abs/2308.12029, section 3.1. Written from the paper.
    Differs from the source: the scale balancing of the losses alone; with the balancing of the
        gradients' lengths it is DB-MTL.

    Examples:
        >>> import torch
        >>> losses = torch.tensor([0.5, 4.0], requires_grad=True)
        >>> LogTransform().objective(losses).backward()
        >>> [round(w, 4) for w in losses.grad.tolist()]
        [2.0, 0.25]
    """

    name = "log"
    plain_for_one_task = False

    def __init__(self, *, epsilon: float = 1e-8) -> None:
        super().__init__()
        self.epsilon = check_positive(epsilon, "epsilon")

    def weigh(self, losses: Sequence[float]) -> Weighing:
        """Return the inverse of the losses [t], and the sum of their logarithms."""
        require_at_least(losses, 0.0, self)
        shifted = [x + self.epsilon for x in losses]
        return Weighing([1.0 / x for x in shifted], sum(map(math.log, shifted)))
