"""Custom: what the task's own loss function and size say."""

from __future__ import annotations

from torch import Tensor

from jointrain.task._kind import TaskKind


class Custom(TaskKind):
    """The task has a loss function of its own; its predictions are the outputs."""

    name = "custom"
    summary = "what a loss function of one's own says"

    def losses(self, output: Tensor, target: Tensor) -> Tensor:
        """Never called: the task's own loss function is."""
        raise NotImplementedError
