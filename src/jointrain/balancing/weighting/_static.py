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


class Static(LossWeighting):
    r"""Weigh each loss by a fixed number chosen beforehand.

    The baseline of tuned scalarisation: a weight search over these numbers is hard to beat.

    .. math:: \sum_i w_i L_i

    Args:
        weights: One number >= 0 per task, by name or in the order of the tasks; used as they are,
            without normalisation. None weighs every task by 1.
        tasks: Number or names of the tasks; by default fixed at `bind` or at the first step.

    Shape:
        losses: [t]; returns a scalar.

    Raises:
        InvalidInputError: `weights` has a negative entry, only zeros, or doesn't fit the tasks.

    State: buffer `task_weights`, [T], constant. Cost: one backward pass.
    Source: folklore; Kurin et al., "In defense of the unitary scalarization for deep multi-task
        learning", NeurIPS 2022, https://arxiv.org/abs/2201.04122, shows how far it goes.
    Differs from the source: nothing known.

    Examples:
        >>> import torch
        >>> float(Static([1.0, 3.0]).objective(torch.tensor([1.0, 2.0])))
        7.0
    """

    name = "static"
    fixed = True
    task_state = True
    per_task = ("weights",)
    plain_for_one_task = False
    task_weights: Tensor

    def __init__(
        self, weights: PerTask = None, *, tasks: int | Sequence[str] | None = None
    ) -> None:
        super().__init__()
        self.weights = check_some_positive(check_per_task(weights, "weights", low=0.0), "weights")
        self.bind(tasks)

    def allocate(self, n_tasks: int) -> None:  # noqa: ARG002
        """Put the weights in the order of the tasks."""
        vector = per_task_vector(self.weights, "weights", self.task_names or (), 1.0)
        self.register_buffer("task_weights", vector)

    def weigh(self, losses: Sequence[float]) -> Weighing:
        """Return the fixed weights of the losses [t]."""
        return Weighing(self.entries("task_weights", len(losses)).tolist())
