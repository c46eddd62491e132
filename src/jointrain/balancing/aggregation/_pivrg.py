from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from jointrain.balancing._balancer import GramianWeighting
from jointrain.balancing._checks import check_number, check_positive
from jointrain.balancing._per_task_numbers import noted
from jointrain.balancing.solvers import bargaining_weights

_SMALLEST = 1e-12


class PIVRG(GramianWeighting):
    r"""Share progress among tasks, more of it with those that have lost most (PIVRG).

    .. math:: G w = \sqrt{\omega / w} \ \text{(entry by entry)}, \qquad
        \omega = t \cdot \mathrm{softmax}(\Delta / \tau), \qquad
        \tau = \max\Big( \frac{\max_i \Delta_i - \min_i \Delta_i}{\log b},\ \tau_0 \Big)

    :math:`\Delta_i` is by how many percent task i does worse than a model of its own: what
    :meth:`note` was told last, and until then the rise of its mean loss over the last epoch above
    that of the first. Before the first epoch is over, :math:`\omega = 1`, which is FairGrad's
    update for alpha = 2.

    Args:
        tasks: Number or names of the tasks; by default fixed at `bind` or at the first step.
        bound: :math:`b`, > 1: no task's :math:`\omega` is more than b times another's. Default of
            the authors' code for NYUv2 and CelebA, 2 (1.8 for Cityscapes).
        min_temperature: :math:`\tau_0`, > 0, in percent. The same, 10 (20 for Cityscapes).

    Shape:
        gramian: [t, t]; losses: [t]; returns [t], non-negative.

    Raises:
        InvalidInputError: A hyper-parameter is out of range, or `note` is told of unknown tasks.

    State: buffers `total` and `count` of the running epoch, `first`, the mean losses of the first,
        and `drops`, [T]. Needs `end_epoch` or `note`. Cost: the Gramian and a few t x t solves.
    Source: Qin, Wang, Yan, "Revisiting fairness in multitask learning: a performance-driven
        approach for variance reduction", CVPR 2025, as in the authors' code
        (https://github.com/jianke0604/MTLlib). Written anew.
    Differs from the source: without figures by `note`, losses stand in for the metrics of test
        rows that the authors' code takes. Solved to rounding; the update is neither multiplied by
        t nor cut to length 1. A task whose gradient is zero has weight 0.

    Examples:
        >>> import torch
        >>> pivrg = PIVRG(["a", "b"])
        >>> pivrg.note({"a": 30.0, "b": 0.0})
        >>> gramian = torch.eye(2).double()
        >>> [round(w**3, 4) for w in pivrg.weights(gramian, torch.ones(2)).tolist()]
        [1.3333, 0.6667]
    """

    name = "pivrg"
    task_state = True
    wants_end_epoch = True
    non_conflicting = True
    plain_for_one_task = False
    scale_free = False
    total: Tensor
    count: Tensor
    first: Tensor
    drops: Tensor
    noted: Tensor

    def __init__(
        self,
        tasks: int | Sequence[str] | None = None,
        *,
        bound: float = 2.0,
        min_temperature: float = 10.0,
    ) -> None:
        super().__init__()
        self.bound = check_number(bound, "bound", low=1.0, strict_low=True)
        self.min_temperature = check_positive(min_temperature, "min_temperature")
        self.bind(tasks)

    def allocate(self, n_tasks: int) -> None:
        """Forget how the tasks do."""
        for name in ("total", "count", "drops"):
            self.register_buffer(name, torch.zeros(n_tasks, dtype=torch.float64))
        self.register_buffer("first", torch.full((n_tasks,), torch.nan, dtype=torch.float64))
        self.register_buffer("noted", torch.zeros(n_tasks, dtype=torch.bool))

    def note(self, drops: Mapping[str, float]) -> None:
        """Take by how many percent tasks do worse than models of their own, by name.

        From then on the losses of these tasks say nothing of it.
        """
        for i, drop in noted(self, drops, "drops"):
            self.drops[i] = drop
            self.noted[i] = True

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:
        """Return the weights [t]; the losses join the running epoch's average."""
        t = len(losses)
        present = self.present(t)
        self.total.index_add_(0, present, losses.to(self.total))
        self.count.index_add_(0, present, torch.ones_like(losses, dtype=self.count.dtype))
        drops = self.entries("drops", t)
        spread = float(drops.max() - drops.min())
        temperature = max(spread / math.log(self.bound), self.min_temperature)
        share = t * torch.softmax(drops / temperature, dim=0)
        # with w = y / share the equations are those of alpha-fairness on gradients over `share`
        scaled = gramian / share[:, None] / share
        return bargaining_weights(scaled, 0.5, self.rounding) / share

    def end_epoch(self) -> None:
        """Compare the mean losses of the epoch that is over with those of the first."""
        if self.task_names is None:
            return
        seen = self.count > 0
        mean = self.total / self.count.clamp_min(1)
        new = seen & self.first.isnan()
        self.first = torch.where(new, mean, self.first)
        rise = 100 * (mean - self.first) / self.first.abs().clamp_min(_SMALLEST)
        known = seen & ~self.noted & rise.isfinite()
        self.drops = torch.where(known, rise, self.drops)
        self.total.zero_()
        self.count.zero_()
