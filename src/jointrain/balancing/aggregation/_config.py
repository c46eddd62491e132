from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from jointrain.balancing._balancer import GramianWeighting
from jointrain.balancing.solvers import cutoff, equal_cosine_weights


class ConFIG(GramianWeighting):
    r"""Take the direction with equal cosines to all gradients, as long as their projections' sum.

    .. math:: d = \Bigl( \sum_i g_i^\top u \Bigr) u, \qquad
        u = \frac{U^{+} 1}{\lVert U^{+} 1 \rVert}

    U holds the unit gradients. The direction is IMTL-G's; its length is by how much the gradients
    agree, and so it shortens where they conflict. No task is made worse as long as the gradients
    are linearly independent.

    Shape:
        gramian: [t, t]; losses: [t], unused; returns [t]; entries may be negative.

    State: none. Cost: the Gramian and one t x t solve.
    Source: Liu, Chu, Thuerey, "ConFIG: towards conflict-free training of physics informed neural
        networks", ICLR 2025, https://arxiv.org/abs/2408.11104, Eq. (2) and (3). Written from the
        paper.
    Differs from the source: the pseudo-inverse is taken of the cosines, so that the Jacobian need
        not be kept; the momentum variant is left out.

    Examples:
        >>> import torch
        >>> gramian = torch.diag(torch.tensor([1.0, 9.0]).double())
        >>> [round(w, 6) for w in ConFIG().weights(gramian, torch.ones(2)).tolist()]
        [2.0, 0.666667]
    """

    name = "config"
    non_negative = False

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:  # noqa: ARG002
        """Return the weights [t] of the conflict-free update."""
        g = gramian.numpy()
        lengths = np.sqrt(np.maximum(np.diagonal(g), 0.0))
        scale = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0.0)
        cosines = g * scale[:, None] * scale
        part = equal_cosine_weights(cosines, (lengths > 0.0).astype(np.float64), self.rounding)
        slope = cosines @ part
        square = float(part @ slope)
        # a sum of unit vectors of length zero has no direction
        least = max(1e-14, cutoff(len(g), self.rounding))
        if not square > least * float(np.abs(part).sum()) ** 2:
            return torch.zeros(len(g), dtype=torch.float64)
        return torch.from_numpy(part * scale * (float(lengths @ slope) / square))
