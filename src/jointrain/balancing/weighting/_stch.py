from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from jointrain.balancing._balancer import LossWeighting
from jointrain.balancing._checks import check_count, check_positive
from jointrain.balancing.weighting._per_task import (
    PerTask,
    check_per_task,
    check_some_positive,
    per_task_vector,
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

    Example:
        >>> import torch
        >>> stch = STCH(2, warmup_epochs=None, mu=0.5)
        >>> losses = torch.tensor([1.0, 2.0], requires_grad=True)
        >>> stch.objective(losses).backward()
        >>> [round(w, 4) for w in losses.grad.tolist()]
        [0.2384, 1.7616]
    """

    name = "stch"
    task_state = True
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
        checked = check_per_task(preference, "preference", low=0.0)
        self.preference = check_some_positive(checked, "preference")
        self.ideal = check_per_task(ideal, "ideal", low=-torch.inf)
        self.bind(tasks)

    def allocate(self, n_tasks: int) -> None:
        """Go back to the first epoch of the warm-up."""
        names = self.task_names or ()
        preference = per_task_vector(self.preference, "preference", names, 1.0)
        self.register_buffer("task_preference", preference)
        self.register_buffer("task_ideal", per_task_vector(self.ideal, "ideal", names, 0.0))
        self.register_buffer("epochs", torch.tensor(0))
        self.register_buffer("total", torch.zeros(n_tasks, dtype=torch.float64))
        self.register_buffer("count", torch.zeros(n_tasks, dtype=torch.float64))
        unknown = torch.full((n_tasks,), torch.nan, dtype=torch.float64)
        self.register_buffer("nadir", unknown)

    def objective(self, losses: Tensor) -> Tensor:
        """Return the smooth maximum of the losses [t], or the sum of logarithms in the warm-up."""
        self.present(len(losses))  # binds the tasks if they aren't yet
        ideal: Tensor | float = 0.0
        above = losses
        if self.ideal is not None:
            ideal = self.entries("task_ideal", len(losses)).to(losses)
            above = losses - ideal
        if self.warmup_epochs is None:
            return self._smooth_maximum(above)
        require_at_least(losses, ideal, self)
        epoch = int(self.epochs)
        if epoch <= self.warmup_epochs:
            if epoch == self.warmup_epochs:
                present = self.present(len(losses))
                self.total[present] += above.detach().to(self.total)
                self.count[present] += 1
            return torch.log(above + _EPSILON).sum()
        nadir = self._nadir_of(above.detach()).to(losses)
        return self._smooth_maximum(torch.log(above / nadir + _EPSILON))

    def end_epoch(self) -> None:
        """Count the epoch; after the last one of the warm-up, fix the nadir."""
        if self.task_names is None:
            return
        if int(self.epochs) == self.warmup_epochs:
            mean = self.total / self.count  # 0 / 0: a task that was absent stays unknown
            self.nadir = mean.clamp_min(_EPSILON)
        self.epochs += 1

    def _nadir_of(self, above: Tensor) -> Tensor:
        nadir = self.entries("nadir", len(above))
        unknown = nadir.isnan()
        if bool(unknown.any()):
            nadir = torch.where(unknown, above.to(nadir).clamp_min(_EPSILON), nadir)
            self.set_entries("nadir", nadir)
        return nadir

    def _smooth_maximum(self, values: Tensor) -> Tensor:
        if self.preference is not None:
            values = self.entries("task_preference", len(values)).to(values) * values
        largest = values.detach().max()
        smooth = self.mu * torch.logsumexp((values - largest) / self.mu, dim=0) + largest
        return len(values) * smooth
