from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from jointrain.balancing._balancer import LossWeighting, Weighing
from jointrain.balancing._checks import check_number
from jointrain.balancing.weighting._per_task import LARGEST, require_at_least


class IMTLL(LossWeighting):
    r"""Learn a scale for each loss that brings all scaled losses to the same value (IMTL-L).

    .. math:: \sum_i \left( e^{s_i} L_i - s_i \right)

    At the optimum :math:`e^{s_i} = 1 / L_i`: every scaled loss is 1. The scales are parameters:
    ``balancer.parameters()`` has to join the optimiser.

    Args:
        tasks: Number or names of the tasks; needed here, or by `bind`, before the optimiser is
            built, as the parameters exist only from then on.
        initial_log_scale: Where all :math:`s_i` start. Paper default 0.

    Shape:
        losses: [t], non-negative; returns a scalar.

    Raises:
        InvalidInputError: `initial_log_scale` is not a finite number, or a loss is negative: its
            scale would grow for ever.

    State: parameter `log_scale`, [T], moved by the optimiser. Cost: one backward pass.
    Source: Liu, Li, Kuang, Xue, Chen, Yang, Liao, Zhang, "Towards impartial multi-task learning",
        ICLR 2021, https://openreview.net/forum?id=IMPnRXEWpvr, its loss balance, base e.
        Written from the paper.
    Differs from the source: nothing known. The other half of the paper is IMTL-G.

    Examples:
        >>> import torch
        >>> float(IMTLL(2).objective(torch.tensor([1.0, 3.0])).detach())
        4.0
    """

    name = "imtl-l"
    task_state = True
    plain_for_one_task = False
    log_scale: nn.Parameter

    def __init__(
        self, tasks: int | Sequence[str] | None = None, *, initial_log_scale: float = 0.0
    ) -> None:
        super().__init__()
        self.initial_log_scale = check_number(initial_log_scale, "initial_log_scale")
        self.bind(tasks)

    def allocate(self, n_tasks: int) -> None:
        """Create the log-scales, or set them back to their start."""
        self.set_parameter("log_scale", torch.full((n_tasks,), self.initial_log_scale))

    def weigh(self, losses: Sequence[float]) -> Weighing:
        """Return the scales as weights of the losses [t], and the log-scales' gradient."""
        require_at_least(losses, 0.0, self)
        log_scale = self.entries("log_scale", len(losses)).tolist()
        scales = [math.exp(min(s, LARGEST)) for s in log_scale]
        gradient = [scale * x - 1.0 for scale, x in zip(scales, losses, strict=True)]
        return Weighing(scales, learned=[(self.log_scale, self.spread(gradient))])

    def objective(self, losses: Tensor) -> Tensor:
        """Return the scaled losses minus the log-scales, a scalar, for losses [t]."""
        require_at_least(losses.tolist(), 0.0, self)
        log_scale = self.entries("log_scale", len(losses)).to(losses)
        return (torch.exp(log_scale) * losses - log_scale).sum()
