from __future__ import annotations

from torch import Tensor

from jointrain.balancing._balancer import GramianWeighting
from jointrain.balancing._checks import check_number
from jointrain.balancing.solvers import conflict_averse_weights


class CAGrad(GramianWeighting):
    r"""Help the worst-off task as much as a ball around the mean gradient allows.

    .. math:: \max_d \min_i g_i^\top d
        \quad \text{with}\quad \lVert d - g_0 \rVert \le c \lVert g_0 \rVert,
        \qquad g_0 = \tfrac1t \sum_i g_i

    With c = 0 it is the mean; with c < 1 it converges to a minimum of the mean loss; large c comes
    near to MGDA.

    Args:
        c: Radius of the ball in units of the mean gradient's length, >= 0. Paper default 0.5 (0.4
            on NYUv2).

    Shape:
        gramian: [t, t]; losses: [t], unused; returns [t], each weight at least 1 / t.

    Raises:
        InvalidInputError: `c` is below zero.

    State: none. Cost: the Gramian and a few t x t solves.
    Source: Liu, Liu, Jin, Stone, Liu, "Conflict-averse gradient descent for multi-task learning",
        NeurIPS 2021, https://arxiv.org/abs/2110.14048, Eq. (3) and Alg. 1. Written from the paper.
    Differs from the source: solved to rounding instead of by SLSQP; the update is not divided by
        1 + c, which the authors' code does. Where the gradients cancel out, so that the paper
        divides by zero, the update is the nearest one to the mean that makes no task worse.

    Examples:
        >>> import torch
        >>> gramian = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).double()
        >>> [round(w, 6) for w in CAGrad(c=0.5).weights(gramian, torch.ones(2)).tolist()]
        [0.75, 0.75]
    """

    name = "cagrad"
    plain_for_one_task = False

    def __init__(self, *, c: float = 0.5) -> None:
        super().__init__()
        self.c = check_number(c, "c", low=0.0)

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:  # noqa: ARG002
        """Return the weights [t] of the conflict-averse update."""
        return conflict_averse_weights(gramian, self.c, self.rounding) + 1.0 / len(gramian)
