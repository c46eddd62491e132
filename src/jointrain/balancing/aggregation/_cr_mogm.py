from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from jointrain.balancing._balancer import GramianWeighting
from jointrain.balancing._checks import check_number
from jointrain.balancing.aggregation._mgda import MGDA
from jointrain.errors import InvalidInputError


class CRMOGM(GramianWeighting):
    r"""Smooth the weights of another method over the steps, which makes stochastic ones converge.

    .. math:: w_k = \alpha\, w_{k-1} + (1 - \alpha)\, \hat w_k,

    :math:`\hat w_k` the weights of the other method at step k, :math:`w_0 = \hat w_1`.

    Args:
        method: The method whose weights are smoothed, without extra batches or hooks; by default
            ``MGDA()``.
        tasks: Number or names of the tasks; by default fixed at `bind` or at the first step.
        alpha: Share of the past, in [0, 1]. The paper lets it grow towards 1 as the learning rate
            falls: set the attribute between steps. Default 0.9.

    Shape:
        gramian: [t, t]; losses: [t], those that `method` asks for; returns [t].

    Raises:
        InvalidInputError: `alpha` is outside [0, 1], or `method` is no method that makes weights
            of the Gramian of one batch.

    State: buffer `smoothed`, [T] (NaN before a task's first step), and the other method's. Cost:
        that of the other method.
    Source: Zhou, Zhang, Jiang, Zhong, Gu, Zhu, "On the convergence of stochastic multi-objective
        gradient manipulation and beyond", NeurIPS 2022, Alg. 1, Eq. (8). Written from the paper.
    Differs from the source: the first weights are those of the first step.

    Examples:
        >>> import torch
        >>> smooth = CRMOGM(alpha=0.5)
        >>> for first in (1.0, 3.0):
        ...     gramian = torch.diag(torch.tensor([first, 1.0]).double())
        ...     weights = smooth.weights(gramian, torch.ones(2))
        >>> weights.tolist()
        [0.375, 0.625]
    """

    name = "cr-mogm"
    task_state = True
    smoothed: Tensor

    def __init__(
        self,
        method: GramianWeighting | None = None,
        tasks: int | Sequence[str] | None = None,
        *,
        alpha: float = 0.9,
    ) -> None:
        super().__init__()
        self.alpha = check_number(alpha, "alpha", low=0.0, high=1.0)
        method = MGDA() if method is None else method
        if (
            not isinstance(method, GramianWeighting)
            or method.extra_batches
            or method.wants_after_step
            or method.weighs_task_parameters
        ):
            message = "`method` must make weights of the Gramian of one batch and take no hooks"
            raise InvalidInputError(f"{message}, got {method!r}. Pass `MGDA()`, `UPGrad()`, ...")
        self.method = method
        self.bind(tasks)

    def allocate(self, n_tasks: int) -> None:
        """Forget the smoothed weights, and let the other method know the tasks."""
        self.register_buffer("smoothed", torch.full((n_tasks,), math.nan, dtype=torch.float64))
        if self.method.task_state:
            self.method.bind(self.task_names)

    def reset(self) -> None:
        """Set back both methods."""
        super().reset()
        self.method.reset()

    def transform(self, losses: Tensor) -> Tensor:
        """Return what the other method makes of the losses, [t]."""
        with self.method.taking_part(self.present(len(losses))):
            return self.method.transform(losses)

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:
        """Return the smoothed weights [t]."""
        present = self.present(len(losses))
        with self.method.taking_part(present, self.rounding):
            new = self.method.weights(gramian, losses)
        before = self.smoothed[present]
        smoothed = torch.where(before.isnan(), new, torch.lerp(new, before, self.alpha))
        self.smoothed[present] = smoothed
        return smoothed

    def parameter_loss(self, gramian: Tensor, losses: Tensor) -> Tensor | None:
        """Return what the other method's parameters are trained on."""
        with self.method.taking_part(self.present(len(losses))):
            return self.method.parameter_loss(gramian, losses)
