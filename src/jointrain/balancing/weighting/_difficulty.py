from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from jointrain.balancing._balancer import LossWeighting, Weighing
from jointrain.balancing._per_task_numbers import (
    PerTask,
    check_per_task,
    check_some_positive,
    per_task_vector,
)


class ByDifficulty(LossWeighting):
    r"""Weigh each loss in proportion to what the task's single-task model is left with.

    Tasks that are hard by themselves get more of the shared capacity. Only sensible where the
    losses have a common scale, e.g. of standardised targets or relative to a constant guess.

    .. math:: \sum_i w_i L_i, \qquad w_i = \frac{T\, L^{\mathrm{single}}_i}
        {\sum_j L^{\mathrm{single}}_j}

    Args:
        single_task_losses: The loss that a model of each task alone reaches, >= 0, by name or in
            the order of the tasks. None says that all tasks are as hard: equal weights.
        tasks: Number or names of the tasks; by default fixed at `bind` or at the first step.

    Shape:
        losses: [t]; returns a scalar.

    Raises:
        InvalidInputError: `single_task_losses` has a negative entry, only zeros, or doesn't fit
            the tasks.

    State: buffer `task_weights`, [T], constant, of mean 1 over all tasks. Cost: one backward pass.
    Source: own heuristic, the static counterpart of Guo et al., "Dynamic task prioritization for
        multitask learning", ECCV 2018, which weighs by the difficulty as training goes on.
    Differs from the source: fixed weights from finished single-task models.

    Examples:
        >>> import torch
        >>> ByDifficulty([0.25, 0.75], tasks=2).task_weights.tolist()
        [0.5, 1.5]
    """

    name = "difficulty"
    task_state = True
    per_task = ("single_task_losses",)
    task_weights: Tensor

    def __init__(
        self, single_task_losses: PerTask = None, *, tasks: int | Sequence[str] | None = None
    ) -> None:
        super().__init__()
        checked = check_per_task(single_task_losses, "single_task_losses", low=0.0)
        self.single_task_losses = check_some_positive(checked, "single_task_losses")
        self.bind(tasks)

    def allocate(self, n_tasks: int) -> None:  # noqa: ARG002
        """Compute the weights in the order of the tasks."""
        names = self.task_names or ()
        hard = per_task_vector(self.single_task_losses, "single_task_losses", names, 1.0)
        self.register_buffer("task_weights", hard / hard.mean())

    def weigh(self, losses: Sequence[float]) -> Weighing:
        """Return the fixed weights of the losses [t]."""
        return Weighing(self.entries("task_weights", len(losses)).tolist())
