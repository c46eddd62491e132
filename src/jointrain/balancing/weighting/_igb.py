from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from jointrain.balancing._balancer import LossWeighting, Weighing
from jointrain.balancing._checks import check_count
from jointrain.balancing.weighting._per_task import (
    add_to_average,
    known_or_first,
    require_at_least,
    softmax,
)

_EPSILON = 1e-8


class IGB(LossWeighting):
    r"""Favour the tasks with the largest gap between their loss and what it can become (IGB).

    The gap of a loss to the ideal, zero, over what it was when training began; the losses
    enter by their logarithms.

    .. math:: \sum_i w_i \log L_i, \qquad
        w = t \cdot \mathrm{softmax}\Big( \frac{L}{\bar L^{\mathrm{base}}} \Big)

    with no gradient through w, and :math:`\bar L^{\mathrm{base}}` the mean loss over one of the
    first epochs, until the end of which w = 1.

    Args:
        tasks: Number or names of the tasks; by default fixed at `bind` or at the first step.
        warmup_epochs: Epochs before the one whose mean losses become the base, >= 0. Default of the
            authors' code, 1.

    Shape:
        losses: [t], non-negative; returns a scalar.

    Raises:
        InvalidInputError: `warmup_epochs` is below 0, or a loss is negative.

    State: buffers `epochs` (those that are over), `total` and `count` of the base's epoch, and
        `base`, [T], not a number until known. Needs `end_epoch`. Cost: one backward pass.
    Source: Dai, Fei, Lu, "Improvable gap balancing for multi-task learning", UAI 2023,
        https://arxiv.org/abs/2307.15429, IGBv1, as in the authors' code. Written anew.
    Differs from the source: 1e-8 is added to a loss before its logarithm. A task absent from the
        base's epoch has the first loss seen later as its base. IGBv2, which learns the weights by
        reinforcement, is left out.

    Examples:
        >>> igb = IGB(2, warmup_epochs=0)
        >>> [round(w, 4) for w in igb.weigh([1.0, 1.0]).weights]
        [1.0, 1.0]
        >>> igb.end_epoch()
        >>> [round(w, 4) for w in igb.weigh([0.5, 1.0]).weights]
        [1.5102, 1.2449]
    """

    name = "igb"
    task_state = True
    wants_end_epoch = True
    plain_for_one_task = False
    epochs: Tensor
    total: Tensor
    count: Tensor
    base: Tensor

    def __init__(self, tasks: int | Sequence[str] | None = None, *, warmup_epochs: int = 1) -> None:
        super().__init__()
        self.warmup_epochs = check_count(warmup_epochs, "warmup_epochs", low=0)
        self.bind(tasks)

    def allocate(self, n_tasks: int) -> None:
        """Go back to the first epoch."""
        self.register_buffer("epochs", torch.tensor(0))
        self.register_buffer("total", torch.zeros(n_tasks, dtype=torch.float64))
        self.register_buffer("count", torch.zeros(n_tasks, dtype=torch.float64))
        self.register_buffer("base", torch.full((n_tasks,), torch.nan, dtype=torch.float64))

    def weigh(self, losses: Sequence[float]) -> Weighing:
        """Return the weights of the losses [t], and the weighted sum of their logarithms."""
        require_at_least(losses, 0.0, self)
        t = len(losses)
        epoch = int(self.epochs) if self.task_names is not None else 0
        shifted = [x + _EPSILON for x in losses]
        if epoch <= self.warmup_epochs:
            shares = [1.0] * t
            present = self.present(t)
            if epoch == self.warmup_epochs:
                add_to_average(self.total, self.count, present, losses)
        else:
            base = known_or_first(self, "base", losses, _EPSILON)
            gaps = [x / b for x, b in zip(losses, base, strict=True)]
            shares = [t * share for share in softmax(gaps)]
        value = sum(s * math.log(x) for s, x in zip(shares, shifted, strict=True))
        return Weighing([s / x for s, x in zip(shares, shifted, strict=True)], value)

    def end_epoch(self) -> None:
        """Count the epoch; after the base's, fix the base."""
        if self.task_names is None:
            return
        if int(self.epochs) == self.warmup_epochs:
            self.base = (self.total / self.count).clamp_min(_EPSILON)  # 0 / 0 stays unknown
        self.epochs += 1
