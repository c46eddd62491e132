from __future__ import annotations

import math
from collections.abc import Sequence

from jointrain.balancing._balancer import LossWeighting, Weighing
from jointrain.balancing._checks import check_positive
from jointrain.balancing.weighting._per_task import require_at_least


class GLS(LossWeighting):
    r"""Minimise the geometric mean of the losses: their units cancel out of the direction.

    .. math:: \Big( \prod_i L_i \Big)^{1/t}, \qquad
        w_i = \frac{1}{t\, L_i} \Big( \prod_j L_j \Big)^{1/t}

    Args:
        smallest: A loss below this counts as this, > 0, in the loss's unit, and has no gradient:
            at zero the root has none.

    Shape:
        losses: [t], non-negative; returns a scalar.

    Raises:
        InvalidInputError: `smallest` is not above zero, or a loss is negative.

    State: none. Cost: one backward pass.
    Source: Chennupati, Sistu, Yogamani, Rawashdeh, "MultiNet++: multi-stream feature aggregation
        and geometric loss strategy for multi-task learning", CVPR workshops 2019,
        https://arxiv.org/abs/1904.08492. Written from the paper.
    Differs from the source: `smallest`, and no focused form (some losses counted twice). The
        weights are the paper's, which for equal losses are 1 / t each.

    Examples:
        >>> import torch
        >>> round(float(GLS().objective(torch.tensor([1.0, 4.0]))), 4)
        2.0
    """

    name = "gls"

    def __init__(self, *, smallest: float = 1e-8) -> None:
        super().__init__()
        self.smallest = check_positive(smallest, "smallest")

    def weigh(self, losses: Sequence[float]) -> Weighing:
        """Return the gradient of the geometric mean of the losses [t], and that mean."""
        require_at_least(losses, 0.0, self)
        t = len(losses)
        mean = math.exp(sum(math.log(max(x, self.smallest)) for x in losses) / t)
        return Weighing([mean / t / x if x >= self.smallest else 0.0 for x in losses], mean)
