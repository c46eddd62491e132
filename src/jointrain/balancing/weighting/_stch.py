from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from jointrain.balancing._balancer import LossWeighting, Weighing
from jointrain.balancing._checks import check_count, check_positive
from jointrain.balancing._per_task_numbers import (
    PerTask,
    check_per_task,
    check_preference,
    per_task_vector,
    preference_vector,
)
from jointrain.balancing.weighting._per_task import (
    add_to_average,
    known_or_first,
    require_at_least,
)

_EPSILON = 1e-20


class STCH(LossWeighting):
    r"""Minimise a smooth maximum of the losses above their ideal (smooth Tchebycheff).

    Unlike a weighted sum it can reach every Pareto-optimal trade-off, and it is smooth where the
    Tchebycheff maximum has kinks.

    .. math:: t\, \mu \log \sum_i \exp(y_i / \mu), \qquad
        y_i = \lambda_i \log \frac{L_i - z_i}{\bar L_i - z_i}
        \quad\text{or}\quad y_i = \lambda_i (L_i - z_i)

    The first form is the one for multi-task learning, whose losses have unlike units: the nadir
    :math:`\bar L` is a mean over an epoch, until which :math:`\sum_i \log(L_i - z_i)` is minimised.
    The second is the plain scalarisation, chosen with ``warmup_epochs=None``.

    Args:
        tasks: Number or names of the tasks; by default fixed at `bind` or at the first step.
        mu: :math:`\mu`, > 0: towards 0 the maximum, towards infinity the sum. Default of LibMTL, 1.
        warmup_epochs: Epochs before the one whose mean losses become the nadir, >= 0, or None for
            the second form. Default of LibMTL, 4.
        preference: :math:`\lambda`, >= 0, by name or in the order of the tasks, used as it is.
            None means 1 for every task.
        ideal: :math:`z`, what each loss can at best be, likewise. None means zero.

    Shape:
        losses: [t], none below its ideal in the first form; returns a scalar.

    Raises:
        InvalidInputError: A hyper-parameter is out of range or doesn't fit the tasks, or a loss is
            below its ideal in the first form.

    State: buffers `epochs` (those that are over), `total` and `count` of the nadir's epoch, and
        `nadir`, [T], not a number until known. Needs `end_epoch`. Cost: one backward pass.
    Source: Lin, Zhang, Yang, Liu, Wang, Zhang, "Smooth Tchebycheff scalarization for
        multi-objective optimization", ICML 2024, https://arxiv.org/abs/2402.19078, the definition
        of STCH; warm-up, nadir and the factor t as in the authors' code for multi-task learning.
        Written anew.
    Differs from the source: preference and ideal hold in the first form as well. A task absent
        from the nadir's epoch has the first loss seen later as its nadir.

    Examples:
        >>> import torch
        >>> stch = STCH(2, warmup_epochs=None, mu=0.5)
        >>> losses = torch.tensor([1.0, 2.0], requires_grad=True)
        >>> stch.objective(losses).backward()
        >>> [round(w, 4) for w in losses.grad.tolist()]
        [0.2384, 1.7616]
    """

    name = "stch"
    task_state = True
    per_task = ("preference", "ideal")
    wants_end_epoch = True
    plain_for_one_task = False
    epochs: Tensor
    total: Tensor
    count: Tensor
    nadir: Tensor
    task_preference: Tensor
    task_ideal: Tensor

    def __init__(
        self,
        tasks: int | Sequence[str] | None = None,
        *,
        mu: float = 1.0,
        warmup_epochs: int | None = 4,
        preference: PerTask = None,
        ideal: PerTask = None,
    ) -> None:
        super().__init__()
        self.mu = check_positive(mu, "mu")
        self.warmup_epochs = warmup_epochs
        if warmup_epochs is not None:
            check_count(warmup_epochs, "warmup_epochs", low=0)
        self.preference = check_preference(preference)
        self.ideal = check_per_task(ideal, "ideal", low=-torch.inf)
        self.bind(tasks)

    def allocate(self, n_tasks: int) -> None:
        """Go back to the first epoch of the warm-up."""
        names = self.task_names or ()
        self.register_buffer("task_preference", preference_vector(self.preference, names))
        self.register_buffer("task_ideal", per_task_vector(self.ideal, "ideal", names, 0.0))
        self.register_buffer("epochs", torch.tensor(0))
        self.register_buffer("total", torch.zeros(n_tasks, dtype=torch.float64))
        self.register_buffer("count", torch.zeros(n_tasks, dtype=torch.float64))
        unknown = torch.full((n_tasks,), torch.nan, dtype=torch.float64)
        self.register_buffer("nadir", unknown)

    def weigh(self, losses: Sequence[float]) -> Weighing:
        """Return the gradient by the losses [t] of the smooth maximum, and that maximum.

        In the warm-up, those of the sum of logarithms.
        """
        t = len(losses)
        ideal = self.entries("task_ideal", t).tolist()
        above = [x - low for x, low in zip(losses, ideal, strict=True)]
        if self.warmup_epochs is None:
            return self._smooth_maximum(above, [1.0] * t)
        require_at_least(losses, 0.0 if self.ideal is None else ideal, self)
        epoch = int(self.epochs)
        if epoch <= self.warmup_epochs:
            if epoch == self.warmup_epochs:
                add_to_average(self.total, self.count, self.present(t), above)
            shifted = [x + _EPSILON for x in above]
            return Weighing([1.0 / x for x in shifted], sum(map(math.log, shifted)))
        nadir = known_or_first(self, "nadir", above, _EPSILON)
        ratios = [x / n + _EPSILON for x, n in zip(above, nadir, strict=True)]
        slopes = [1.0 / (n * ratio) for ratio, n in zip(ratios, nadir, strict=True)]
        return self._smooth_maximum([math.log(ratio) for ratio in ratios], slopes)

    def end_epoch(self) -> None:
        """Count the epoch; after the last one of the warm-up, fix the nadir."""
        if self.task_names is None:
            return
        if int(self.epochs) == self.warmup_epochs:
            mean = self.total / self.count  # 0 / 0: a task that was absent stays unknown
            self.nadir = mean.clamp_min(_EPSILON)
        self.epochs += 1

    def _smooth_maximum(self, values: Sequence[float], slopes: Sequence[float]) -> Weighing:
        """Return the weights and the maximum for y before the preference, and dy / dL, [t]."""
        t = len(values)
        preference = self.entries("task_preference", t).tolist()
        values = [r * y for r, y in zip(preference, values, strict=True)]
        largest = max(values)
        parts = [math.exp((y - largest) / self.mu) for y in values]
        total = sum(parts)
        weights = [
            t * r * slope * part / total
            for r, slope, part in zip(preference, slopes, parts, strict=True)
        ]
        return Weighing(weights, t * (self.mu * math.log(total) + largest))
