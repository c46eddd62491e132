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


class BySize(LossWeighting):
    r"""Weigh each loss in proportion to the task's number of labelled rows.

    Every labelled row then counts the same, whichever task it belongs to, where equal weights of
    mean losses let the rows of a small task count more.

    .. math:: \sum_i w_i L_i, \qquad w_i = \frac{T\, n_i}{\sum_j n_j}

    Args:
        sizes: The number of labelled rows of each task, >= 0, by name or in the order of the
            tasks. None says that all tasks are of one size: equal weights.
        tasks: Number or names of the tasks; by default fixed at `bind` or at the first step.

    Shape:
        losses: [t], mean losses over labelled rows; returns a scalar.

    Raises:
        InvalidInputError: `sizes` has a negative entry, only zeros, or doesn't fit the tasks.

    State: buffer `task_weights`, [T], constant, of mean 1 over all tasks. Cost: one backward pass.
    Source: folklore; the loss of proportional sampling of tasks, e.g. Sanh et al., "A hierarchical
        multi-task approach for learning embeddings from semantic tasks", AAAI 2019,
        https://arxiv.org/abs/1811.06031.
    Differs from the source: weights in place of sampling probabilities.

    Examples:
        >>> import torch
        >>> BySize([300, 100], tasks=2).task_weights.tolist()
        [1.5, 0.5]
    """

    name = "size"
    task_state = True
    per_task = ("sizes",)
    task_weights: Tensor

    def __init__(self, sizes: PerTask = None, *, tasks: int | Sequence[str] | None = None) -> None:
        super().__init__()
        self.sizes = check_some_positive(check_per_task(sizes, "sizes", low=0.0), "sizes")
        self.bind(tasks)

    def allocate(self, n_tasks: int) -> None:  # noqa: ARG002
        """Compute the weights in the order of the tasks."""
        sizes = per_task_vector(self.sizes, "sizes", self.task_names or (), 1.0)
        self.register_buffer("task_weights", sizes / sizes.mean())

    def weigh(self, losses: Sequence[float]) -> Weighing:
        """Return the fixed weights of the losses [t]."""
        return Weighing(self.entries("task_weights", len(losses)).tolist())
