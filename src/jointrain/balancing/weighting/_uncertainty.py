from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from jointrain.balancing._balancer import LossWeighting, Weighing
from jointrain.balancing._checks import check_number
from jointrain.balancing.weighting._per_task import LARGEST


class Uncertainty(LossWeighting):
    r"""Weigh each loss by a learned precision, its homoscedastic uncertainty (UW).

    A noisy task learns a large variance and so a small weight. The log-variances are parameters:
    ``balancer.parameters()`` has to join the optimiser.

    .. math:: \sum_i \tfrac12 \left( e^{-s_i} L_i + s_i \right)

    Args:
        tasks: Number or names of the tasks; needed here, or by `bind`, before the optimiser is
            built, as the parameters exist only from then on.
        initial_log_variance: Where all :math:`s_i` start, in the log of the losses' unit.

    Shape:
        losses: [t]; returns a scalar.

    Raises:
        InvalidInputError: `initial_log_variance` is not a finite number.

    State: parameter `log_variance`, [T], moved by the optimiser. Cost: one backward pass.
    Source: Kendall, Gal, Cipolla, "Multi-task learning using uncertainty to weigh losses for scene
        geometry and semantics", CVPR 2018, https://arxiv.org/abs/1705.07115, Eq. (7), in the
        log-variance form its section 3.2 advises. Written from the paper.
    Differs from the source: one form for regression and classification, where the paper has
        :math:`e^{-s_i} L_i` without the half for classification.

    Examples:
        >>> import torch
        >>> float(Uncertainty(2).objective(torch.tensor([1.0, 3.0])).detach())
        2.0
    """

    name = "uncertainty"
    task_state = True
    plain_for_one_task = False
    log_variance: nn.Parameter

    def __init__(
        self, tasks: int | Sequence[str] | None = None, *, initial_log_variance: float = 0.0
    ) -> None:
        super().__init__()
        self.initial_log_variance = check_number(initial_log_variance, "initial_log_variance")
        self.bind(tasks)

    def allocate(self, n_tasks: int) -> None:
        """Create the log-variances, or set them back to their start."""
        self.set_parameter("log_variance", torch.full((n_tasks,), self.initial_log_variance))

    def weigh(self, losses: Sequence[float]) -> Weighing:
        """Return half the precisions as weights of the losses [t], and the variances' gradient."""
        log_variance = self.entries("log_variance", len(losses)).tolist()
        weights = [0.5 * math.exp(min(-s, LARGEST)) for s in log_variance]
        gradient = [0.5 - w * x for w, x in zip(weights, losses, strict=True)]
        return Weighing(weights, learned=[(self.log_variance, self.spread(gradient))])

    def objective(self, losses: Tensor) -> Tensor:
        """Return the weighted losses plus half the log-variances, a scalar, for losses [t]."""
        log_variance = self.entries("log_variance", len(losses)).to(losses)
        return 0.5 * (torch.exp(-log_variance) * losses + log_variance).sum()
