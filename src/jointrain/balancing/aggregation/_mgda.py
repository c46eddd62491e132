from __future__ import annotations

from torch import Tensor

from jointrain.balancing._balancer import GramianWeighting
from jointrain.balancing._checks import check_choice
from jointrain.balancing.solvers import min_norm_weights


class MGDA(GramianWeighting):
    r"""Take the shortest vector in the convex hull of the gradients: no task is made worse.

    .. math:: \min_{w \ge 0,\ \sum_i w_i = 1} \lVert J^\top w \rVert^2

    Args:
        normalization: What each gradient is divided by beforehand: ``"none"``, its length
            (``"l2"``), its loss (``"loss"``) or both (``"loss+"``). The weights of the update
            include the division.

    Shape:
        gramian: [t, t]; losses: [t]; returns [t], non-negative, summing to 1 without
        normalisation.

    Raises:
        InvalidInputError: `normalization` is none of the four.

    State: none. Cost: the Gramian and one t x t active-set solve.
    Source: Désidéri, "Multiple-gradient descent algorithm (MGDA) for multiobjective optimization",
        Comptes Rendus Mathématique 2012; Sener, Koltun, "Multi-task learning as multi-objective
        optimization", NeurIPS 2018, https://arxiv.org/abs/1810.04650, Eq. (3) and Alg. 2. Written
        from the papers.
    Differs from the source: an exact active-set solver instead of Frank-Wolfe steps.

    Examples:
        >>> import torch
        >>> MGDA().weights(torch.diag(torch.tensor([1.0, 3.0]).double()), torch.ones(2)).tolist()
        [0.75, 0.25]
    """

    name = "mgda"
    non_conflicting = True

    def __init__(self, *, normalization: str = "none") -> None:
        super().__init__()
        self.normalization = check_choice(
            normalization, "normalization", ("none", "l2", "loss", "loss+")
        )

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:
        """Return the min-norm weights [t] of the normalised gradients, for the given ones."""
        if self.normalization == "none":
            return min_norm_weights(gramian, self.rounding)
        divisor = gramian.new_ones(len(gramian))
        if self.normalization in ("l2", "loss+"):
            divisor = gramian.diagonal().clamp_min(0.0).sqrt()
        if self.normalization.startswith("loss"):
            divisor = divisor * losses.abs()
        divisor = divisor.where(divisor > 0, 1.0)
        scaled = gramian / divisor.outer(divisor)
        return min_norm_weights(scaled, self.rounding) / divisor
