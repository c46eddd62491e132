"""Work of a training: what it costs, counted and not timed, so the same on any machine."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from jointrain.balancing import Needs
from jointrain.training._trainer import Trainer
from jointrain.training.merging import Merge
from jointrain.training.sampling import Alternating

_BY_TASK = (Needs.GRAMIAN, Needs.JACOBIAN, Needs.HELD_OUT, Needs.NEARBY, Needs.HEADS)
"""What takes a backward pass for each task of a step."""


def training_work(trainer: Trainer, rows: int) -> float:
    """Return the work of a finished `Trainer.fit`: steps x rows of a step x parameters x passes.

    A step counts the parameters that the losses of its tasks reach. A forward pass counts as one
    and a backward pass as two; a balancer that looks at gradients has a backward pass for each task
    of a step, as often as it refreshes its weights, and one that takes them at moved weights has
    a forward pass for each task, too. It is a measure to compare trainings on the
    same data by, not a number of operations.

    Args:
        trainer: It has been fitted.
        rows: The number of training rows.
    """
    settings, network = trainer.settings, trainer.network
    of_step = rows / math.ceil(rows / (settings.batch_size * settings.accumulate))
    own = [_size(parameters) for parameters in network.parameters_by_task().values()]
    reached, tasks = _size(list(network.parameters())), len(trainer.tasks)
    if isinstance(trainer.schedule, (Alternating, Merge)):
        reached, tasks = reached - sum(own) + sum(own) / len(own), 1
    backward = 1.0
    needs = None if trainer.balancer is None else trainer.balancer.needs
    if needs in _BY_TASK:
        backward += (tasks - 1) / settings.refresh_every
    forward = 1 + (tasks if needs is Needs.NEARBY else 0)
    return trainer.history[-1].step * of_step * reached * (forward + 2 * backward)


def _size(parameters: Sequence[nn.Parameter]) -> float:
    return float(sum(parameter.numel() for parameter in parameters))
