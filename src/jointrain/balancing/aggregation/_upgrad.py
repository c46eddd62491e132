from __future__ import annotations

import torch
from torch import Tensor

from jointrain.balancing._balancer import GramianWeighting
from jointrain.balancing.solvers import dual_cone_weights


class UPGrad(GramianWeighting):
    r"""Project every gradient onto the cone of updates that make no task worse, then average.

    .. math:: d = \frac1t \sum_i \pi_J(g_i), \qquad
        \pi_J(g) = \arg\min_d \lVert d - g \rVert^2 \ \text{with}\ J d \ge 0

    The update never increases a loss to first order, and grows with each gradient's length.

    Shape:
        gramian: [t, t]; losses: [t], unused; returns [t], each weight at least 1 / t.

    State: none. Cost: the Gramian and t small non-negative problems that share their work.
    Source: Quinton, Rey, "Jacobian descent for multi-objective optimization", 2024,
        https://arxiv.org/abs/2406.16232, Definition 1 and Prop. 1. Written from the paper.
    Differs from the source: nothing known. (The authors' library adds 1e-4 to the diagonal of the
        normalised Gramian; here the cone is exact.)

    Examples:
        >>> import torch
        >>> gramian = torch.tensor([[1.0, -1.0], [-1.0, 2.0]]).double()
        >>> UPGrad().weights(gramian, torch.ones(2)).tolist()
        [1.0, 0.75]
    """

    name = "upgrad"
    non_conflicting = True

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:  # noqa: ARG002
        """Return the summed weights [t] of the projected gradients."""
        t = len(gramian)
        equal = torch.eye(t, dtype=gramian.dtype) / t
        return dual_cone_weights(gramian, equal, self.rounding).sum(dim=0)
