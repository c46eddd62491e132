from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from jointrain.balancing._adam import adam_moments, adam_step
from jointrain.balancing._balancer import LossWeighting, Weighing
from jointrain.balancing._checks import check_number, check_positive
from jointrain.balancing._per_task_numbers import PerTask, check_per_task, per_task_vector
from jointrain.balancing.weighting._per_task import require_at_least, softmax
from jointrain.errors import InvalidInputError

_EPSILON = 1e-8


class FAMO(LossWeighting):
    r"""Let all losses fall at the same relative rate, learning the weights from how they fell.

    The balance that gradient methods seek, at the price of one more forward pass: after the step
    :meth:`after_step` takes the losses of the same batch.

    .. math:: t\, c \sum_i z_i \log(L_i - b_i + \epsilon), \qquad z = \mathrm{softmax}(\xi),
        \qquad c = \Big( \sum_i \frac{z_i}{L_i - b_i + \epsilon} \Big)^{-1}

    with no gradient through z and c. After the step, Adam moves :math:`\xi` along

    .. math:: \Big( \frac{\partial z}{\partial \xi} \Big)^{\!\top} \delta + \gamma \xi, \qquad
        \delta_i = \log(L_i - b_i + \epsilon) - \log(L_i^{\mathrm{after}} - b_i + \epsilon).

    Args:
        tasks: Number or names of the tasks; by default fixed at `bind` or at the first step.
        step_size: Learning rate of the logits, > 0. Paper default 0.025.
        weight_decay: :math:`\gamma`, >= 0, which lets old evidence fade. Paper default 0.001.
        min_losses: :math:`b`, the lowest value that each loss can have, by name or in the order of
            the tasks. None means zero.

    Shape:
        losses: [t], none below its minimum; returns a scalar.

    Raises:
        InvalidInputError: A hyper-parameter is out of range, a loss is below its minimum, or
            `after_step` isn't preceded by `objective` on the same tasks.

    State: buffers `logits`, [T], and `moments`, [3, T], moved by `after_step`; `before`, [T], the
        shifted losses of the step at hand, not a number where there are none. Cost: one backward
        pass and one more forward pass.
    Source: Liu, Feng, Stone, Liu, "FAMO: fast adaptive multitask optimization", NeurIPS 2023,
        https://arxiv.org/abs/2306.03792, Alg. 1. Written from the paper.
    Differs from the source: the weights sum to t, not 1, so that the learning rate of the plain
        sum carries over. Absent tasks keep their logits and moments; the softmax is over the
        present ones. The authors' code has a weight decay of 1e-5 in some experiments.

    Examples:
        >>> import torch
        >>> famo = FAMO(2)
        >>> losses = torch.tensor([1.0, 1.0], requires_grad=True)
        >>> famo.objective(losses).backward()
        >>> losses.grad.tolist()
        [1.0, 1.0]
        >>> famo.after_step(torch.tensor([0.5, 1.0]))
        >>> [round(x, 3) for x in famo.logits.tolist()]
        [-0.025, 0.025]
    """

    name = "famo"
    task_state = True
    wants_after_step = True
    logits: Tensor
    moments: Tensor
    before: Tensor
    lowest: Tensor

    def __init__(
        self,
        tasks: int | Sequence[str] | None = None,
        *,
        step_size: float = 0.025,
        weight_decay: float = 1e-3,
        min_losses: PerTask = None,
    ) -> None:
        super().__init__()
        self.step_size = check_positive(step_size, "step_size")
        self.weight_decay = check_number(weight_decay, "weight_decay", low=0.0)
        self.min_losses = check_per_task(min_losses, "min_losses", low=-torch.inf)
        self.bind(tasks)

    def allocate(self, n_tasks: int) -> None:
        """Set the logits to zero and forget the moments."""
        lowest = per_task_vector(self.min_losses, "min_losses", self.task_names or (), 0.0)
        self.register_buffer("lowest", lowest)
        self.register_buffer("logits", torch.zeros(n_tasks, dtype=torch.float64))
        self.register_buffer("moments", adam_moments(n_tasks))
        unknown = torch.full((n_tasks,), torch.nan, dtype=torch.float64)
        self.register_buffer("before", unknown)

    def weigh(self, losses: Sequence[float]) -> Weighing:
        """Return the weights of the losses [t], which are kept, and the weighted logarithms."""
        t = len(losses)
        shifted = self._shifted(losses)
        self.set_entries("before", torch.tensor(shifted, dtype=torch.float64))
        shares = softmax(self.entries("logits", t).tolist())
        rates = [z / x for z, x in zip(shares, shifted, strict=True)]
        scale = t / sum(rates)
        value = scale * sum(z * math.log(x) for z, x in zip(shares, shifted, strict=True))
        return Weighing([scale * rate for rate in rates], value)

    def after_step(self, losses: Tensor) -> None:
        """Move the logits by what the step did to the losses [t] of the same batch."""
        losses = self.over_processes(losses)
        present = self.present(len(losses))
        before = self.before[present]
        if bool(before.isnan().any()):
            message = "`after_step` must follow `objective` with the same tasks, got"
            raise InvalidInputError(
                f"{message} a task whose loss before the step isn't known. Call it once after "
                "each optimiser's step."
            )
        after = torch.tensor(self._shifted(losses.tolist()), dtype=torch.float64)
        self.before[present] = torch.nan
        fell = before.log() - after.log()
        if not bool(fell.isfinite().all()):
            return  # a step that made a loss infinite says nothing about rates
        weights = torch.softmax(self.logits[present], dim=0)
        gradient = weights * (fell - weights @ fell)
        adam_step(
            self.logits,
            gradient,
            self.moments,
            present,
            step_size=self.step_size,
            weight_decay=self.weight_decay,
        )

    def _shifted(self, losses: Sequence[float]) -> list[float]:
        if self.min_losses is None:
            require_at_least(losses, 0.0, self)
            return [x + _EPSILON for x in losses]
        lowest = self.entries("lowest", len(losses)).tolist()
        require_at_least(losses, lowest, self)
        return [x - low + _EPSILON for x, low in zip(losses, lowest, strict=True)]
