from __future__ import annotations

from torch import Tensor

from jointrain.balancing._balancer import GramianWeighting
from jointrain.balancing._checks import check_number
from jointrain.balancing.solvers import bargaining_weights


class FairGrad(GramianWeighting):
    r"""Share progress among tasks by alpha-fairness, from total utility to the worst-off task.

    .. math:: G w = w^{-1/\alpha} \ \text{(entry by entry)}

    With alpha = 1 this is proportional fairness, as in Nash-MTL; the larger alpha, the more the
    task that gains least counts.

    Args:
        alpha: Kind of fairness, >= 0.05. The paper tunes it in {1, 2, 5, 10}; default 2, its
            choice for most data sets.

    Shape:
        gramian: [t, t]; losses: [t], unused; returns [t], non-negative.

    Raises:
        InvalidInputError: `alpha` is below 0.05.

    State: none. Cost: the Gramian and a few t x t solves.
    Source: Ban, Ji, "Fair resource allocation in multi-task learning", ICML 2024,
        https://arxiv.org/abs/2402.15638, Eq. (4) and Alg. 1. Written from the paper.
    Differs from the source: solved to rounding by Newton's method on a convex form instead of
        constrained least squares. Where gradients cancel out there is no solution; weights are
        then large and finite. A task whose gradient is zero has weight 0. `alpha` near 0, the mean
        in the limit, is left out.

    Examples:
        >>> import torch
        >>> gramian = torch.diag(torch.tensor([1.0, 8.0]).double())
        >>> [round(w, 6) for w in FairGrad(alpha=2.0).weights(gramian, torch.ones(2)).tolist()]
        [1.0, 0.25]
    """

    name = "fairgrad"
    non_conflicting = True
    plain_for_one_task = False
    scale_free = False

    def __init__(self, *, alpha: float = 2.0) -> None:
        super().__init__()
        self.alpha = check_number(alpha, "alpha", low=0.05)

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:  # noqa: ARG002
        """Return the alpha-fair weights [t]."""
        return bargaining_weights(gramian, 1.0 / self.alpha, self.rounding)
