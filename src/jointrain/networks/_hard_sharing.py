"""Hard parameter sharing: one trunk for all tasks, a head for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from jointrain.networks._network import Network


class HardSharing(Network):
    r"""All tasks share one trunk; each has a head of its own.

    The output of task i is :math:`h_i(f(x))` with the trunk f and the heads h. With
    ``nn.Identity()`` as the trunk nothing is shared: the tasks are separate models side by side.

    Args:
        trunk: The shared layers; any module that takes the inputs.
        heads: Each task's own layers by task name; they take what the trunk gives.

    Shape:
        forward: inputs as the trunk takes them -> [b, o] for each task.

    Raises:
        InvalidInputError: `heads` is empty.

    Source: R. Caruana, "Multitask Learning", Machine Learning 28, 1997, section 2.
    Differs from the source: nothing known.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> trunk, heads = nn.Linear(8, 4), {"price": nn.Linear(4, 1), "kind": nn.Linear(4, 3)}
        >>> network = HardSharing(trunk, heads)
        >>> {name: tuple(y.shape) for name, y in network(torch.zeros(5, 8)).items()}
        {'price': (5, 1), 'kind': (5, 3)}
    """

    def __init__(self, trunk: nn.Module, heads: Mapping[str, nn.Module]) -> None:
        super().__init__(heads)
        self.trunk = trunk
        # a list, not a ModuleDict: task names are column names, which may hold dots or clash
        self.heads = nn.ModuleList(heads.values())

    def forward(self, inputs: Any, tasks: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Return the outputs of `tasks` (default: of all), computing no other head."""
        features = self.trunk(inputs)
        names = self.task_names if tasks is None else tasks
        return {name: self.heads[self.index_of(name)](features) for name in names}

    def task_parameters(self, task: str) -> list[nn.Parameter]:
        """Return the parameters of the task's head that no other part of the network holds."""
        index = self.index_of(task)
        others = {id(p) for p in self.trunk.parameters()}
        for other, head in enumerate(self.heads):
            if other != index:
                others.update(id(p) for p in head.parameters())
        return [p for p in self.heads[index].parameters() if id(p) not in others]
