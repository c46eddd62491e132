from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from jointrain.balancing._balancer import LossWeighting, Weighing
from jointrain.balancing._checks import check_positive
from jointrain.balancing.weighting._per_task import add_to_average, require_at_least, softmax


class DWA(LossWeighting):
    r"""Favour the tasks whose loss fell least from epoch to epoch (dynamic weight average).

    .. math:: \sum_i w_i L_i, \qquad w = t \cdot \mathrm{softmax}(r / \tau), \qquad
        r_i = \frac{\bar L_i(e - 1)}{\bar L_i(e - 2)}

    with :math:`\bar L_i(e)` the mean loss over epoch e. Until two epochs are over, r = 1.

    Args:
        tasks: Number or names of the tasks; by default fixed at `bind` or at the first step.
        temperature: :math:`\tau`, > 0; the larger, the more equal the weights. Paper default 2.

    Shape:
        losses: [t], non-negative; returns a scalar.

    Raises:
        InvalidInputError: `temperature` is not above zero, or a loss is negative.

    State: buffers `total` and `count` of the running epoch and `averages`, [2, T], of the last two
        (older first; not a number where unknown), rolled by `end_epoch`, and `rates`, r, made of
        these. Cost: one backward pass.
    Source: Liu, Johns, Davison, "End-to-end multi-task learning with attention", CVPR 2019,
        https://arxiv.org/abs/1803.10704, Eq. (7). Written from the paper.
    Differs from the source: a task that was absent for a whole epoch keeps its last two averages,
        one that has fewer than two, or an older average of zero, has r = 1; the softmax is over
        the present tasks.

    Examples:
        >>> import torch
        >>> dwa = DWA(2)
        >>> for losses in ([1.0, 1.0], [0.5, 1.0]):
        ...     _ = dwa.objective(torch.tensor(losses))
        ...     dwa.end_epoch()
        >>> losses = torch.ones(2, requires_grad=True)
        >>> dwa.objective(losses).backward()
        >>> [round(w, 4) for w in losses.grad.tolist()]
        [0.8756, 1.1244]
    """

    name = "dwa"
    task_state = True
    wants_end_epoch = True
    total: Tensor
    count: Tensor
    averages: Tensor
    rates: Tensor

    def __init__(
        self, tasks: int | Sequence[str] | None = None, *, temperature: float = 2.0
    ) -> None:
        super().__init__()
        self.temperature = check_positive(temperature, "temperature")
        self.bind(tasks)

    def allocate(self, n_tasks: int) -> None:
        """Forget all epochs."""
        self.register_buffer("total", torch.zeros(n_tasks, dtype=torch.float64))
        self.register_buffer("count", torch.zeros(n_tasks, dtype=torch.float64))
        unknown = torch.full((2, n_tasks), torch.nan, dtype=torch.float64)
        self.register_buffer("averages", unknown)
        self.register_buffer("rates", torch.ones(n_tasks, dtype=torch.float64))

    def weigh(self, losses: Sequence[float]) -> Weighing:
        """Return the weights of the losses [t], which join the running epoch's average."""
        require_at_least(losses, 0.0, self)
        t = len(losses)
        present = self.present(t)
        add_to_average(self.total, self.count, present, losses)
        shares = softmax([rate / self.temperature for rate in self.entries("rates", t).tolist()])
        return Weighing([t * share for share in shares])

    def end_epoch(self) -> None:
        """Turn the running sums into averages of the epoch that is over."""
        if self.task_names is None:
            return
        seen = self.count > 0
        rolled = torch.stack([self.averages[1], self.total / self.count.clamp_min(1)])
        self.averages = torch.where(seen, rolled, self.averages)
        rates = self.averages[1] / self.averages[0]
        self.rates = rates.where(rates.isfinite(), 1.0)
        self.total.zero_()
        self.count.zero_()
