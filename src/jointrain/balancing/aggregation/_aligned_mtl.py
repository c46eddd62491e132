from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from jointrain.balancing._balancer import GramianWeighting
from jointrain.balancing._checks import check_choice
from jointrain.balancing.solvers import components


class AlignedMTL(GramianWeighting):
    r"""Make the gradients orthogonal and equally long by aligning their principal components.

    With the eigenvalues and eigenvectors of the Gramian, :math:`G = V \Lambda V^\top`,

    .. math:: w = \sqrt{\lambda} \; V \Lambda^{-1/2} V^\top \tfrac1t 1,

    so that all components get the same length :math:`\sqrt\lambda`; directions in which the
    gradients have none are left out.

    Args:
        scale: Which :math:`\lambda` of the eigenvalues above zero: the smallest (``"min"``,
            paper), the ``"median"`` (of two, the lower) or their mean (``"rmse"``).

    Shape:
        gramian: [t, t]; losses: [t], unused; returns [t]; entries may be negative.

    Raises:
        InvalidInputError: `scale` is none of the three.

    State: none. Cost: the Gramian and one t x t eigen-decomposition.
    Source: Senushkin, Patakin, Kuznetsov, Konushin, "Independent component alignment for multi-task
        learning", CVPR 2023, https://arxiv.org/abs/2305.19000, Alg. 1. Written from the paper;
        `scale` other than ``"min"`` as in the authors' code.
    Differs from the source: nothing known.

    Examples:
        >>> import torch
        >>> gramian = torch.diag(torch.tensor([1.0, 9.0]).double())
        >>> [round(w, 6) for w in AlignedMTL().weights(gramian, torch.ones(2)).tolist()]
        [0.5, 0.166667]
    """

    name = "aligned-mtl"
    non_negative = False

    def __init__(self, *, scale: str = "min") -> None:
        super().__init__()
        self.scale = check_choice(scale, "scale", ("min", "median", "rmse"))

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:  # noqa: ARG002
        """Return the weights [t] of the aligned gradients' mean."""
        g = gramian.numpy()
        t = len(g)
        top = float(np.diagonal(g).max())
        if not top > 0.0:
            return torch.full((t,), 1.0 / t, dtype=torch.float64)
        values, part = components(g / top, self.rounding)
        if self.scale == "min":
            common = values[0]
        elif self.scale == "median":
            common = values[(len(values) - 1) // 2]
        else:
            common = values.mean()
        return torch.from_numpy(part @ (part.mean(axis=0) * np.sqrt(common / values)))
