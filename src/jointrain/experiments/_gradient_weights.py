"""Static task weights that even out the lengths of the tasks' gradients."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from jointrain.data import TensorData
from jointrain.errors import InvalidInputError
from jointrain.networks import Network
from jointrain.task import Task
from jointrain.training import Trainer
from jointrain.training.sampling import Batch

EXPLORED_SHARE = 0.25
"""Share of a run's epochs over which the gradients are measured."""


def gradient_weights(
    network: Network,
    tasks: Sequence[Task],
    train: TensorData,
    *,
    epochs: int = 100,
    **settings: Any,
) -> dict[str, float]:
    r"""Return weights under which the tasks' gradients of the shared layers are of one length.

    The network is trained with equal weights for a quarter of its epochs (at least one); the weight
    of task i is :math:`1 / \overline{\|g_i\|}`, scaled to mean 1. Where the lengths
    :math:`w_i \|g_i\|` are equal, the gradient magnitude similarity
    :math:`2 \|g_i\| \|g_j\| / (\|g_i\|^2 + \|g_j\|^2)` of every pair of tasks is 1, its largest
    value. The network is changed; train a fresh one with the weights.

    Args:
        network: A freshly initialised network.
        tasks: The tasks.
        train: The training rows.
        epochs: Epochs of the run that the weights are for; default 100.
        **settings: What else `Trainer` takes.

    Raises:
        InvalidInputError: All that tasks share is frozen.

    Source: Yang et al., "AutoScale: Linear Scalarization Guided by Multi-Task Optimization
        Metrics", 2025, https://arxiv.org/abs/2508.13979 (weights from the metrics of an exploring
        phase, then fixed); Yu et al., "Gradient Surgery for Multi-Task Learning", NeurIPS 2020,
        definition 3 (gradient magnitude similarity).
    Differs from the source: the similarity is brought to its largest value in closed form on mean
        lengths over the whole phase (the paper optimises over windows of steps and looks at further
        metrics), and training starts anew after it.
    """
    if len(tasks) == 1:
        return {tasks[0].name: 1.0}
    trainer = _ExploringTrainer(
        network,
        tasks,
        epochs=max(1, math.ceil(EXPLORED_SHARE * epochs)),
        **settings,
    )
    trainer.fit(train)
    lengths = {
        name: float(torch.stack(seen).double().mean()) for name, seen in trainer.lengths.items()
    }
    # a task that moves nothing shared (a constant target, learned at once) keeps a finite weight
    floor = 1e-3 * max(lengths.values()) or 1.0
    inverse = {task.name: 1 / max(lengths[task.name], floor) for task in tasks}
    mean = sum(inverse.values()) / len(inverse)
    return {name: value / mean for name, value in inverse.items()}


class _ExploringTrainer(Trainer):
    """Notes the length of each task's gradient of the shared parameters at every step."""

    def __init__(self, network: Network, tasks: Sequence[Task], **settings: Any) -> None:
        # it looks at gradients of all rows
        super().__init__(network, tasks, **{"strategy": "alone"} | settings)
        self.lengths: dict[str, list[Tensor]] = {task.name: [] for task in tasks}
        shared = network.shared_parameters() or self.session.parameters
        # what is frozen has no gradient
        self._shared = [parameter for parameter in shared if parameter.requires_grad]
        if not self._shared:
            raise InvalidInputError(
                "weights by gradients need shared parameters that are trained, and all are frozen; "
                "give other `weights`"
            )

    def backward(self, losses: Mapping[str, Tensor], batches: Sequence[Batch]) -> None:
        for name, loss in losses.items():
            gradients = torch.autograd.grad(
                loss, self._shared, retain_graph=True, allow_unused=True
            )
            squares = [g.square().sum() for g in gradients if g is not None]
            # a task may reach frozen parts alone of what is shared
            square = torch.stack(squares).sum() if squares else loss.new_zeros(())
            self.lengths[name].append(square.sqrt())
        super().backward(losses, batches)
