from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from jointrain.balancing._balancer import LossWeighting
from jointrain.balancing._checks import check_number
from jointrain.balancing.weighting._per_task import require_at_least

_SMALLEST = 1e-8


class LDCMTL(LossWeighting):
    r"""Learn weights for which the weighted losses stay close to each other (LDC-MTL).

    The weights are a softmax of learned logits: ``balancer.parameters()`` has to join the
    optimiser. The network lowers the weighted losses, the logits how far neighbours differ, both
    by one gradient.

    .. math:: t \Big( \sum_i \sigma_i \ell_i
        + \lambda \sum_{i<t} \lvert \sigma_i \ell_i - \sigma_{i+1} \ell_{i+1} \rvert \Big), \qquad
        \ell_i = L_i \frac{\min_j L^0_j}{L^0_i}, \qquad \sigma = \mathrm{softmax}(s)

    with :math:`L^0` the losses of the first step.

    Args:
        tasks: Number or names of the tasks; needed here, or by `bind`, before the optimiser is
            built, as the parameters exist only from then on.
        penalty: :math:`\lambda`, >= 0. Default of the authors' code, 0.05 (NYUv2, QM9; 0.1 for
            Cityscapes, 0.01 for CelebA).

    Shape:
        losses: [t], non-negative; returns a scalar. Below a penalty of 0.5 no weight is negative.

    Raises:
        InvalidInputError: `penalty` is below zero, or a loss is negative.

    State: parameter `logits`, [T], moved by the optimiser; buffer `first`, [T], each task's loss
        when it was first seen, not a number until then. Cost: one backward pass.
    Source: Xiao, Dong, Zou, Ji, "LDC-MTL: balancing multi-task learning through scalable loss
        discrepancy control", 2025, https://arxiv.org/abs/2502.08585, in the single-loop form of
        the authors' code. Written anew.
    Differs from the source: the router is a bias for each task, where the authors' takes the
        network's features; the logits are not cut off (there, weights to [0.2, 0.8]). The factor t
        lets the learning rate of the plain sum carry over. A first loss below 1e-8 counts as that.

    Examples:
        >>> import torch
        >>> float(LDCMTL(2, penalty=0.5).objective(torch.tensor([1.0, 4.0])).detach())
        2.0
    """

    name = "ldc-mtl"
    task_state = True
    equivariant = False
    non_negative = False
    logits: nn.Parameter
    first: Tensor

    def __init__(self, tasks: int | Sequence[str] | None = None, *, penalty: float = 0.05) -> None:
        super().__init__()
        self.penalty = check_number(penalty, "penalty", low=0.0)
        self.bind(tasks)

    def allocate(self, n_tasks: int) -> None:
        """Set the weights equal and forget the first losses."""
        self.set_parameter("logits", torch.zeros(n_tasks))
        self.register_buffer("first", torch.full((n_tasks,), torch.nan, dtype=torch.float64))

    def objective(self, losses: Tensor) -> Tensor:
        """Return the weighted losses and what they differ by, a scalar, for losses [t]."""
        values = losses.detach().double().cpu()
        require_at_least(values.tolist(), 0.0, self)
        t = len(losses)
        first = self.entries("first", t)
        first = torch.where(first.isnan(), values, first)
        self.set_entries("first", first)
        first = first.clamp_min(_SMALLEST)
        first = first.to(losses.device)
        # in this order and in double precision the first losses are equal, as on paper, and none
        # pulls at another; weights sum to 1, so what all have in common needs none
        scaled = losses.double() / first * first.min()
        common = scaled.detach().min()
        weights = torch.softmax(self.entries("logits", t).to(scaled), dim=0)
        mean = common + (weights * (scaled - common)).sum()
        return (t * (mean + self.penalty * (weights * scaled).diff().abs().sum())).to(losses.dtype)
