from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from jointrain.balancing._balancer import Direction, JacobianAggregation
from jointrain.balancing._checks import check_count, check_positive
from jointrain.balancing.aggregation._blocks import combine, cut, flat, kept_rows

_EPSILON = 1e-7


class ExcessMTL(JacobianAggregation):
    r"""Weigh up the tasks that are far from convergence, not those whose loss is large by noise.

    The excess risk is estimated from a task's gradient and a diagonal Hessian made of its squared
    gradients so far, and compared with what it was at the start.

    .. math:: E_i = \sum_p \frac{g_{ip}^2}{\sqrt{\sum_s (g_{ip}^{(s)})^2 + \epsilon}}, \qquad
        w_i \leftarrow t\, \frac{w_i \exp(\eta E_i / E_i^0)}{\sum_j w_j \exp(\eta E_j / E_j^0)}

    Args:
        tasks: Number or names of the tasks; by default fixed at `bind` or at the first step.
        step_size: :math:`\eta`, > 0. Default of LibMTL, on which the authors built, 0.01.
        warmup_steps: Steps of a task, >= 1, over which :math:`E_i^0` is the mean and the weights
            stay equal. The authors' code has 1, the paper advises three epochs.

    Shape:
        blocks: [t, *shape] each; losses: [t]. The weights are positive and sum to t.

    Raises:
        InvalidInputError: `step_size` is not above zero, or `warmup_steps` is below 1.

    State: buffers `log_weights`, `start` and `steps`, [T], and for each block its squared gradients
        added up, [T, *shape]: as much memory as T gradients. Cost: the Jacobian and one pass over
        it.
    Source: He, Zhou, Zhang, Yun, Xu, Zeng, Chilimbi, Zhao, "Robust multi-task learning with excess
        risks", ICML 2024, https://arxiv.org/abs/2402.02009, Eq. (6), (7) and (9). Written from the
        paper.
    Differs from the source: the weights sum to t, as in the authors' code, where the paper has 1.
        A task whose gradient is zero throughout its warm-up takes its first excess risk above zero
        as its start. The Hessian is made of the shared parameters alone, as in that code.

    Examples:
        >>> import torch
        >>> excess = ExcessMTL(2, step_size=1.0)
        >>> for row in ([[1.0], [1.0]], [[0.0], [1.0]]):
        ...     direction = excess.aggregate([torch.tensor(row)], torch.ones(2))
        >>> [round(w, 3) for w in direction.weights.tolist()]
        [0.66, 1.34]
    """

    name = "excess-mtl"
    task_state = True
    weighs_task_parameters = True
    log_weights: Tensor
    start: Tensor
    steps: Tensor

    def __init__(
        self,
        tasks: int | Sequence[str] | None = None,
        *,
        step_size: float = 0.01,
        warmup_steps: int = 1,
    ) -> None:
        super().__init__()
        self.step_size = check_positive(step_size, "step_size")
        self.warmup_steps = check_count(warmup_steps, "warmup_steps")
        self.bind(tasks)

    def allocate(self, n_tasks: int) -> None:
        """Set the weights equal and forget the starts."""
        self.register_buffer("log_weights", torch.zeros(n_tasks, dtype=torch.float64))
        self.register_buffer("start", torch.zeros(n_tasks, dtype=torch.float64))
        self.register_buffer("steps", torch.zeros(n_tasks, dtype=torch.float64))

    def aggregate(self, blocks: Sequence[Tensor], losses: Tensor) -> Direction:
        """Return the sum of the gradients, weighted, for blocks [t, *shape] and losses [t]."""
        t = len(losses)
        relative = self._relative_excess(self._excess(blocks))
        log_weights = self.entries("log_weights", t) + self.step_size * relative
        self.set_entries("log_weights", log_weights - log_weights.mean())
        weights = t * torch.softmax(log_weights, dim=0)
        return Direction(combine(blocks, weights), weights)

    def _excess(self, blocks: Sequence[Tensor]) -> Tensor:
        """Add the squared gradients to the state and return the excess risks, [t]."""
        excess = torch.zeros(len(blocks[0]), dtype=torch.float64)
        for i, block in enumerate(blocks):
            name = f"kept_squares_{i}"
            rows = block.to(torch.promote_types(block.dtype, torch.float32))
            total = kept_rows(self, name, rows).addcmul_(rows, rows)
            self.set_entries(name, total)
            parts = [
                flat((below + _EPSILON).rsqrt_().mul_(row).mul_(row)).sum(dim=1)
                for row, below in zip(cut(rows), cut(total), strict=True)
            ]
            excess += torch.cat(parts).to(excess)
        return excess.to(self.log_weights)

    def _relative_excess(self, excess: Tensor) -> Tensor:
        """Return the excess risks over those at the start, [t]; 0 for tasks in the warm-up."""
        start, steps = self.entries("start", len(excess)), self.entries("steps", len(excess))
        learning = steps < self.warmup_steps
        start = torch.where(learning, start + (excess - start) / (steps + 1), start)
        start = torch.where(~learning & (start <= 0), excess, start)
        self.set_entries("start", start)
        self.set_entries("steps", steps + 1)
        relative = excess / start.where(start > 0, 1.0)
        return relative.where(~learning, 0.0)
