from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from jointrain.balancing._balancer import GramianWeighting
from jointrain.balancing._checks import check_number

_LEAST = 1e-4


class GradNorm(GramianWeighting):
    r"""Learn weights that bring the gradients' lengths together, longer for tasks that lag behind.

    The weights are parameters of the balancer, trained on

    .. math:: \sum_i \Bigl| w_i \lVert g_i \rVert - \bar\ell\, r_i^{\alpha} \Bigr|, \qquad
        \bar\ell = \tfrac1t \sum_j w_j \lVert g_j \rVert, \qquad
        r_i = \frac{L_i / L_i^0}{\tfrac1t \sum_j L_j / L_j^0}

    with the target held fixed: ``balancer.parameters()`` has to join the optimiser (or one of its
    own). After each step the weights are rescaled to sum to their number.

    Args:
        tasks: Number or names of the tasks; needed here, or by `bind`, before the optimiser is
            built, as the parameters exist only from then on.
        alpha: How strongly lagging tasks are pulled along, >= 0. Paper: 1.5 on NYUv2, 0.12 where
            tasks are alike.

    Shape:
        gramian: [t, t]; losses: [t]; returns [t], positive; summing to t with all tasks present.

    Raises:
        InvalidInputError: `alpha` is below zero.

    State: parameter `weight`, [T], moved by the optimiser and kept at 1e-4 or more; buffer `start`,
        [T], the losses at each task's first step (NaN before). Cost: the Gramian, of which only
        the diagonal is used.
    Source: Chen, Badrinarayanan, Lee, Rabinovich, "GradNorm: gradient normalization for adaptive
        loss balancing in deep multitask networks", ICML 2018, https://arxiv.org/abs/1711.02257,
        Eq. (1), (2) and Alg. 1. Written from the paper.
    Differs from the source: lengths are those of the gradients of all shared parameters unless the
        Gramian is taken at the last shared layer, as in the paper.

    Examples:
        >>> import torch
        >>> norm = GradNorm(2)
        >>> gramian, losses = torch.diag(torch.tensor([1.0, 9.0]).double()), torch.ones(2).double()
        >>> norm.weights(gramian, losses).tolist()
        [1.0, 1.0]
        >>> float(norm.parameter_loss(gramian, losses).detach())
        2.0
    """

    name = "gradnorm"
    task_state = True
    weighs_task_parameters = True
    weight: nn.Parameter
    start: Tensor

    def __init__(self, tasks: int | Sequence[str] | None = None, *, alpha: float = 1.5) -> None:
        super().__init__()
        self.alpha = check_number(alpha, "alpha", low=0.0)
        self.bind(tasks)

    def allocate(self, n_tasks: int) -> None:
        """Create the weights, or set them back to 1, and forget the losses at the start."""
        self.set_parameter("weight", torch.ones(n_tasks, dtype=torch.float64))
        self.register_buffer("start", torch.full((n_tasks,), math.nan, dtype=torch.float64))

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:  # noqa: ARG002
        """Return the learned weights [t], rescaled."""
        present = self.present(len(losses))
        with torch.no_grad():
            self.weight.clamp_(min=_LEAST)
            self.weight.mul_(len(self.weight) / self.weight.sum())
            start = self.start[present]
            self.start[present] = torch.where(start.isnan(), losses, start)
        return self.weight.detach()[present]

    def parameter_loss(self, gramian: Tensor, losses: Tensor) -> Tensor:
        """Return what the weights are trained on, a scalar."""
        present = self.present(len(losses))
        lengths = self.weight[present] * gramian.diagonal().clamp_min(0.0).sqrt()
        start = self.start[present]
        ratio = torch.where(start != 0, losses / start.where(start != 0, 1.0), 1.0)
        ratio = ratio.clamp_min(0.0)
        mean = ratio.mean()
        rate = ratio / mean if mean > 0 else torch.ones_like(ratio)
        target = lengths.detach().mean() * rate**self.alpha
        return (lengths - target).abs().sum()
