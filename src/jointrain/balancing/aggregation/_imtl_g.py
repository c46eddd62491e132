from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from jointrain.balancing._balancer import GramianWeighting
from jointrain.balancing.solvers import FLOAT64, cutoff, equal_cosine_weights


def impartial_weights(gramian: Tensor, rounding: float = FLOAT64) -> Tensor:
    """Return weights [t] that sum to 1 and give equal projections onto all unit gradients.

    All zero where no such weights exist (gradients that cancel out).
    """
    if len(gramian) == 2:
        (first, product), (_, second) = gramian.tolist()
        first, second = math.sqrt(max(first, 0.0)), math.sqrt(max(second, 0.0))
        least = max(1e-10, cutoff(2, rounding))
        if abs(product) < (1.0 - least) * first * second:  # both have a length and a direction
            share = second / (first + second)
            return torch.tensor([share, 1.0 - share], dtype=torch.float64)
    g = gramian.numpy()
    v = equal_cosine_weights(g, np.sqrt(np.maximum(np.diagonal(g), 0.0)), rounding)
    size = np.abs(v).max()
    v = v / size if size > 0.0 else v
    total = v.sum()
    least = max(1e-12, cutoff(len(v), rounding))
    return torch.from_numpy(v / total if abs(total) > least else np.zeros(len(v)))


class IMTLG(GramianWeighting):
    r"""Find the update with the same projection onto every task's unit gradient (IMTL-G).

    .. math:: d^\top \frac{g_i}{\lVert g_i \rVert} = d^\top \frac{g_j}{\lVert g_j \rVert}
        \ \text{for all}\ i, j, \qquad d = J^\top w, \quad \sum_i w_i = 1

    Closed form: :math:`w \propto G^{-1} \ell` with the gradients' lengths :math:`\ell`.

    Shape:
        gramian: [t, t]; losses: [t], unused; returns [t], summing to 1; entries may be negative.

    State: none. Cost: the Gramian and one t x t solve.
    Source: Liu, Li, Kuang, Xue, Chen, Yang, Liao, Zhang, "Towards impartial multi-task learning",
        ICLR 2021, https://openreview.net/forum?id=IMPnRXEWpvr, Eq. (5)-(7). Written from the paper.
    Differs from the source: linearly dependent gradients, for which the paper has no formula, are
        handled by the pseudo-inverse; where no weights with sum 1 exist the update is zero.

    Examples:
        >>> import torch
        >>> gramian = torch.diag(torch.tensor([1.0, 9.0]).double())
        >>> [round(w, 6) for w in IMTLG().weights(gramian, torch.ones(2)).tolist()]
        [0.75, 0.25]
    """

    name = "imtl-g"
    non_negative = False

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:  # noqa: ARG002
        """Return the impartial weights [t]."""
        return impartial_weights(gramian, self.rounding)
