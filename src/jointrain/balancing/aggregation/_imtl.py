from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from jointrain.balancing._balancer import GramianWeighting
from jointrain.balancing.aggregation._imtl_g import impartial_weights


class IMTL(GramianWeighting):
    r"""Balance losses by learned scales and gradients by equal projections (hybrid IMTL).

    Every loss is replaced by :math:`e^{s_i} L_i - s_i`, whose minimum over the learned
    :math:`s_i` makes all scaled losses 1 (IMTL-L). The task-specific parameters follow these;
    the shared ones get IMTL-G's update of their gradients. ``balancer.parameters()`` has to join
    the optimiser.

    Args:
        tasks: Number or names of the tasks; needed here, or by `bind`, before the optimiser is
            built, as the parameters exist only from then on.

    Shape:
        gramian: [t, t]; losses: [t], scaled; returns [t], summing to 1; entries may be negative.

    State: parameter `log_scale`, [T], moved by the optimiser. Cost: the Gramian, one t x t solve.
    Source: Liu, Li, Kuang, Xue, Chen, Yang, Liao, Zhang, "Towards impartial multi-task learning",
        ICLR 2021, https://openreview.net/forum?id=IMPnRXEWpvr, Alg. 1, Eq. (6)-(8). Written from
        the paper.
    Differs from the source: as for IMTL-G.

    Examples:
        >>> import torch
        >>> IMTL(2).transform(torch.tensor([2.0, 5.0])).tolist()
        [2.0, 5.0]
    """

    name = "imtl"
    task_state = True
    non_negative = False
    log_scale: nn.Parameter

    def __init__(self, tasks: int | Sequence[str] | None = None) -> None:
        super().__init__()
        self.bind(tasks)

    def allocate(self, n_tasks: int) -> None:
        """Create the logarithms of the scales, or set them back to zero."""
        self.set_parameter("log_scale", torch.zeros(n_tasks, dtype=torch.float64))

    def transform(self, losses: Tensor) -> Tensor:
        """Return the scaled losses [t], from which the scales are learned, too."""
        log_scale = self.entries("log_scale", len(losses)).to(losses)
        return torch.exp(log_scale) * losses - log_scale

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:  # noqa: ARG002
        """Return the impartial weights [t] of the scaled losses."""
        return impartial_weights(gramian, self.rounding)
