from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from jointrain.balancing._balancer import LossWeighting, Weighing
from jointrain.balancing._checks import check_number
from jointrain.balancing._per_task_numbers import noted
from jointrain.balancing.weighting._per_task import require_at_least

_LEAST = 1e-6


class DTP(LossWeighting):
    r"""Put hard tasks first: the focal loss of each task's performance (task prioritization).

    .. math:: \sum_i -(1 - \bar\kappa_i)^{\gamma} \log(\bar\kappa_i)\, L_i, \qquad
        \bar\kappa_i \leftarrow \alpha\, \kappa_i + (1 - \alpha)\, \bar\kappa_i

    with :math:`\kappa_i` in (0, 1] a figure of how well task i does, higher being better: what
    :meth:`note` was told last, such as the accuracies on validation rows after an epoch, and until
    then :math:`e^{-L_i}`, which for cross-entropy is the mean probability (geometric) that the
    right answer gets.

    Args:
        tasks: Number or names of the tasks; by default fixed at `bind` or at the first step.
        gamma: :math:`\gamma`, >= 0: how strongly tasks that do well are passed over.
        alpha: :math:`\alpha`, in (0, 1]: what the newest figure counts in the average.

    Shape:
        losses: [t], non-negative; returns a scalar.

    Raises:
        InvalidInputError: A hyper-parameter is out of range, a loss is negative, or `note` is told
            of unknown tasks or of a figure outside [0, 1].

    State: buffers `performance`, [T], the averages, not a number where unknown, and `noted`, [T],
        which of them `note` was told of. Cost: one backward pass.
    Source: Guo, Haque, Huang, Yeung, Fei-Fei, "Dynamic task prioritization for multitask
        learning", ECCV 2018, its task-level prioritization. Written from the paper.
    Differs from the source: one gamma for all tasks; without figures of performance they are made
        of the losses; no focal loss of single examples, which is for a task's own loss. A figure
        below 1e-6 counts as that. The defaults are of our own: gamma 1, alpha 0.1.

    Examples:
        >>> dtp = DTP(["a", "b"], alpha=1.0)
        >>> dtp.note({"a": 0.9, "b": 0.5})
        >>> [round(w, 4) for w in dtp.weigh([1.0, 1.0]).weights]
        [0.0105, 0.3466]
    """

    name = "dtp"
    task_state = True
    plain_for_one_task = False
    performance: Tensor
    noted: Tensor

    def __init__(
        self,
        tasks: int | Sequence[str] | None = None,
        *,
        gamma: float = 1.0,
        alpha: float = 0.1,
    ) -> None:
        super().__init__()
        self.gamma = check_number(gamma, "gamma", low=0.0)
        self.alpha = check_number(alpha, "alpha", low=0.0, high=1.0, strict_low=True)
        self.bind(tasks)

    def allocate(self, n_tasks: int) -> None:
        """Forget how the tasks do."""
        unknown = torch.full((n_tasks,), torch.nan, dtype=torch.float64)
        self.register_buffer("performance", unknown)
        self.register_buffer("noted", torch.zeros(n_tasks, dtype=torch.bool))

    def note(self, performance: Mapping[str, float]) -> None:
        """Take how well tasks do, by name: in [0, 1], higher being better.

        From then on the losses of these tasks say nothing of it.
        """
        for i, figure in noted(self, performance, "performance", low=0.0, high=1.0):
            before = float(self.performance[i]) if self.noted[i] else math.nan
            self.performance[i] = self._average(before, figure)
            self.noted[i] = True

    def _average(self, before: float, figure: float) -> float:
        return figure if math.isnan(before) else before + self.alpha * (figure - before)

    def weigh(self, losses: Sequence[float]) -> Weighing:
        """Return the weights of the losses [t], which join the averages where `note` did not."""
        require_at_least(losses, 0.0, self)
        t = len(losses)
        figures = [
            before if noted else self._average(before, math.exp(-loss))
            for loss, before, noted in zip(
                losses,
                self.entries("performance", t).tolist(),
                self.entries("noted", t).tolist(),
                strict=True,
            )
        ]
        self.set_entries("performance", torch.tensor(figures, dtype=torch.float64))
        bounded = [max(figure, _LEAST) for figure in figures]
        return Weighing([-((1.0 - k) ** self.gamma) * math.log(k) + 0.0 for k in bounded])
