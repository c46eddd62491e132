from __future__ import annotations

from torch import Tensor

from jointrain.balancing._balancer import GramianWeighting
from jointrain.balancing.solvers import dual_cone_weights


class DualProj(GramianWeighting):
    r"""Project the mean gradient onto the cone of updates that make no task worse.

    .. math:: \min_d \lVert d - \tfrac1t \sum_i g_i \rVert^2 \ \text{with}\ J d \ge 0

    Nearer to the plain mean than UPGrad, but a long gradient can rule the update.

    Shape:
        gramian: [t, t]; losses: [t], unused; returns [t], each weight at least 1 / t.

    State: none. Cost: the Gramian and one small non-negative problem.
    Source: Lopez-Paz, Ranzato, "Gradient episodic memory for continual learning", NeurIPS 2017,
        https://arxiv.org/abs/1706.08840, Eq. (11), with the mean in place of the new task's
        gradient as in Quinton, Rey, 2024, https://arxiv.org/abs/2406.16232, section 4. Written from
        the papers.
    Differs from the source: nothing known.

    Examples:
        >>> import torch
        >>> gramian = torch.tensor([[1.0, -2.0], [-2.0, 8.0]]).double()
        >>> [round(w, 6) for w in DualProj().weights(gramian, torch.ones(2)).tolist()]
        [1.0, 0.5]
    """

    name = "dualproj"
    non_conflicting = True

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:  # noqa: ARG002
        """Return the weights [t] of the projected mean."""
        mean = gramian.new_full((1, len(gramian)), 1.0 / len(gramian))
        return dual_cone_weights(gramian, mean, self.rounding)[0]
