from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from jointrain.balancing._balancer import LossWeighting, Weighing
from jointrain.balancing._checks import check_number
from jointrain.balancing.weighting._per_task import require_at_least

_VARIANCE = 1e-8
_SMALLEST = 1e-12


class CoV(LossWeighting):
    r"""Weigh up the tasks whose loss ratio varies most (coefficient of variation).

    A loss that no longer moves against its own mean is taken to be satisfied. Only ratios count,
    so the units of the losses do not change the shares.

    .. math:: t \sum_i \frac{c_i}{\sum_j c_j} L_i, \qquad c_i = \frac{\sigma(\ell_i)}{\mu(\ell_i)},
        \qquad \ell_i = \frac{L_i}{\mu(L_i)}

    with :math:`\mu` and :math:`\sigma` mean and standard deviation over the steps before this one.

    Args:
        tasks: Number or names of the tasks; by default fixed at `bind` or at the first step.
        decay: Share that the past keeps in the means, in (0, 1), or None for the mean over all
            steps, the paper's default.

    Shape:
        losses: [t], non-negative; returns a scalar.

    Raises:
        InvalidInputError: `decay` is out of range, or a loss is negative.

    State: buffers `steps`, `mean_loss`, `mean_ratio` and `squares` (squared deviations of the
        ratio, added up), [T]. Cost: one backward pass.
    Source: Groenendijk, Karaoglu, Gevers, Mensink, "Multi-loss weighting with coefficient of
        variations", WACV 2021, https://arxiv.org/abs/2009.01717, section 3; equal weights in the
        first two steps, Welford's algorithm and 1e-8 in the variance as in the authors' code.
        Written anew.
    Differs from the source: the weights sum to t, not 1, so that the learning rate of the plain
        sum carries over. Steps are counted by task; weights are equal while a present task has
        been seen less than twice. The ratio to a mean of zero counts as 1.

    Examples:
        >>> import torch
        >>> cov = CoV(2)
        >>> for losses in ([1.0, 1.0], [0.5, 1.0], [0.5, 1.0]):
        ...     weights = cov.weigh(losses).weights
        >>> [round(w, 3) for w in weights]
        [1.999, 0.001]
    """

    name = "cov"
    task_state = True
    steps: Tensor
    mean_loss: Tensor
    mean_ratio: Tensor
    squares: Tensor

    def __init__(
        self, tasks: int | Sequence[str] | None = None, *, decay: float | None = None
    ) -> None:
        super().__init__()
        self.decay = decay
        if decay is not None:
            check_number(decay, "decay", low=0.0, high=1.0, strict_low=True, strict_high=True)
        self.bind(tasks)

    def allocate(self, n_tasks: int) -> None:
        """Forget all losses."""
        for name in ("steps", "mean_loss", "mean_ratio", "squares"):
            self.register_buffer(name, torch.zeros(n_tasks, dtype=torch.float64))

    def weigh(self, losses: Sequence[float]) -> Weighing:
        """Return the weights of the losses [t], which then join the means."""
        require_at_least(losses, 0.0, self)
        t = len(losses)
        weights = self._weights(t)
        steps, before, mean, squares = (
            self.entries(name, t).tolist()
            for name in ("steps", "mean_loss", "mean_ratio", "squares")
        )
        for i, loss in enumerate(losses):
            ratio = loss / before[i] if steps[i] and before[i] else 1.0
            keep = steps[i] / (steps[i] + 1) if self.decay is None or not steps[i] else self.decay
            moved = keep * mean[i] + (1 - keep) * ratio
            squares[i] += (ratio - mean[i]) * (ratio - moved)
            mean[i], before[i] = moved, keep * before[i] + (1 - keep) * loss
            steps[i] += 1
        for name, values in (
            ("steps", steps), ("mean_loss", before), ("mean_ratio", mean), ("squares", squares)
        ):  # fmt: skip
            self.set_entries(name, torch.tensor(values, dtype=torch.float64))
        return Weighing(weights)

    def _weights(self, t: int) -> list[float]:
        """Return the weights that the steps so far make, [t]."""
        steps = self.entries("steps", t).tolist()
        if min(steps) < 2:
            return [1.0] * t
        parts = [
            math.sqrt(max(total, 0.0) / count + _VARIANCE) / max(mean, _SMALLEST)
            for total, count, mean in zip(
                self.entries("squares", t).tolist(),
                steps,
                self.entries("mean_ratio", t).tolist(),
                strict=True,
            )
        ]
        whole = math.fsum(parts)
        return [t * part / whole for part in parts]
