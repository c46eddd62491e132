from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from jointrain.balancing._balancer import GramianWeighting


class RotoGradScale(GramianWeighting):
    r"""Give all gradients one length, nearest to those that have shrunk least (RotoGrad's scaling).

    .. math:: w_i = \frac{C}{\lVert g_i \rVert}, \qquad
        C = \frac{\sum_j r_j \lVert g_j \rVert}{\sum_j r_j}, \qquad
        r_j = \frac{\lVert g_j \rVert}{\lVert g_j^0 \rVert}

    Args:
        tasks: Number or names of the tasks; by default fixed at `bind` or at the first step.

    Shape:
        gramian: [t, t]; losses: [t], unused; returns [t], non-negative.

    State: buffer `start`, [T], the gradients' lengths at each task's first step (NaN before).
        Cost: the Gramian, of which only the diagonal is used.
    Source: Javaloy, Valera, "RotoGrad: gradient homogenization in multitask learning", ICLR 2022,
        https://arxiv.org/abs/2103.02631, the part on gradient magnitudes. Written from the paper.
    Differs from the source: without the rotations, which are layers of the network; lengths are
        those of the shared parameters' gradients unless the Gramian is taken at the features, as in
        the paper. A task whose gradient is zero has weight 0.

    Examples:
        >>> import torch
        >>> gramian = torch.diag(torch.tensor([1.0, 9.0]).double())
        >>> [round(w, 6) for w in RotoGradScale(2).weights(gramian, torch.ones(2)).tolist()]
        [2.0, 0.666667]
    """

    name = "rotograd-scale"
    task_state = True
    start: Tensor

    def __init__(self, tasks: int | Sequence[str] | None = None) -> None:
        super().__init__()
        self.bind(tasks)

    def allocate(self, n_tasks: int) -> None:
        """Forget the lengths at the start."""
        self.register_buffer("start", torch.full((n_tasks,), math.nan, dtype=torch.float64))

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:
        """Return the weights [t] that make all gradients equally long."""
        present = self.present(len(losses))
        lengths = gramian.diagonal().clamp_min(0.0).sqrt()
        start = self.start[present]
        start = torch.where(start.isnan() & (lengths > 0), lengths, start)
        self.start[present] = start
        shrunk = torch.where(lengths > 0, lengths / start, 0.0)
        total = shrunk.sum()
        if not total > 0:
            return torch.zeros_like(lengths)
        common = (shrunk / total) @ lengths
        return torch.where(lengths > 0, common / lengths.where(lengths > 0, 1.0), 0.0)
