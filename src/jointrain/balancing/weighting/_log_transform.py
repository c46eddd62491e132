from __future__ import annotations

import torch
from torch import Tensor

from jointrain.balancing._balancer import LossWeighting
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

    Example:
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

    def objective(self, losses: Tensor) -> Tensor:
        """Return the sum of the logarithms of the losses [t]."""
        require_at_least(losses, 0.0, self)
        return torch.log(losses + self.epsilon).sum()
