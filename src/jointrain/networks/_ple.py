"""Progressive layered extraction: several levels of customized gate control."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from jointrain.errors import InvalidInputError
from jointrain.networks._cgc import Extraction, checked_experts, mlp_experts
from jointrain.networks._network import Network, Part
from jointrain.networks._table_settings import Count, MLPSettings
from jointrain.task import Task

Level = tuple[Sequence[nn.Module], Mapping[str, Sequence[nn.Module]]]
"""The shared experts of a level, and each task's own."""


class PLE(Network):
    r"""Levels of shared and own experts; each level separates the tasks further.

    Level j of task i takes what level j - 1 gave it, and the shared experts take what the shared
    gate of level j - 1 made of all experts:

    .. math:: g_i^j = w_i^j(g_i^{j-1})\, S_i^j(g_i^{j-1}, g_s^{j-1}), \qquad g_i^0 = g_s^0 = x

    with w a softmax gate and S the outputs of the task's own and the shared experts.

    Args:
        levels: For each level the shared experts, and each task's own by name. Experts of the
            first level take the inputs, others what the level below gives.
        heads: Each task's head.
        gate_features: For each level the width of what its gates take: its input, flattened.
        gate_input: Maps the inputs to what the first level's gates take; default
            ``nn.Flatten()``.

    Shape:
        forward: inputs as the first experts take them -> [b, o] for each task.

    Raises:
        InvalidInputError: There is no level, a task has no experts, or `gate_features` has not
            an entry for each level.

    Cost: all experts below the last level, also for a step of one task: the shared gate mixes them.

    Source: Tang et al., "Progressive Layered Extraction (PLE): A Novel Multi-Task Learning Model
        for Personalized Recommendations", RecSys 2020, eqs. 4 and 5. Written from the paper.
    Differs from the source: gates have a bias; any module can be an expert.

    Examples:
        >>> import torch
        >>> heads = {"a": nn.Linear(4, 1), "b": nn.Linear(4, 3)}
        >>> def level(d):
        ...     return [nn.Linear(d, 4)], {name: [nn.Linear(d, 4)] for name in heads}
        >>> network = PLE([level(8), level(4)], heads, gate_features=[8, 4])
        >>> {name: tuple(y.shape) for name, y in network(torch.zeros(5, 8)).items()}
        {'a': (5, 1), 'b': (5, 3)}
    """

    name = "ple"
    summary = "levels of shared and own experts"

    def __init__(
        self,
        levels: Sequence[Level],
        heads: Mapping[str, nn.Module],
        *,
        gate_features: Sequence[int],
        gate_input: nn.Module | None = None,
    ) -> None:
        super().__init__(heads)
        if not levels or len(gate_features) != len(levels):
            raise InvalidInputError(
                f"`levels` and `gate_features` must have an entry for each level, got "
                f"{len(levels)} and {len(gate_features)}"
            )
        self.levels = nn.ModuleList(
            Extraction(
                shared,
                checked_experts(shared, own, self.task_names),
                width,
                shared_gate=number + 1 < len(levels),
            )
            for number, ((shared, own), width) in enumerate(zip(levels, gate_features, strict=True))
        )
        self.gate_input = nn.Flatten() if gate_input is None else gate_input

    @classmethod
    def for_table(
        cls,
        in_features: int,
        tasks: Sequence[Task],
        mlp: MLPSettings,
        *,
        shared_experts: Count = 2,
        task_experts: Count = 1,
    ) -> PLE:
        """Return one with a level for each layer of an MLP."""
        first, later = mlp.levels()
        counts = shared_experts, task_experts
        widths = [in_features, *[mlp.width] * (mlp.depth - 1)]
        levels = [
            mlp_experts(widths[level], tasks, later if level else first, *counts)
            for level in range(mlp.depth)
        ]
        return cls(levels, mlp.heads(tasks), gate_features=widths)

    def features(self, inputs: Any, tasks: Sequence[str]) -> dict[str, Any]:
        """Return what the last level gives each task."""
        wanted = [self.index_of(name) for name in tasks]
        own: dict[int, Any] = dict.fromkeys(range(len(self.task_names)), inputs)
        shared: Any = inputs
        for number, level in enumerate(self.levels):
            above = len(self.levels) - number - 1
            if not above:
                own = {index: own[index] for index in wanted}
            # the level below the last one feeds own experts that no other task looks at
            own, shared = level(
                own,
                shared,
                self.gate_input if number == 0 else None,
                wanted if above <= 1 else None,
            )
        return {name: own[self.index_of(name)] for name in tasks}

    def parts(self) -> list[Part]:
        """Return the levels' experts and gates; own are the last experts and last two gates."""
        parts = []
        for number, level in enumerate(self.levels):
            assert isinstance(level, Extraction)
            close = number + 2 >= len(self.levels)
            parts.extend(level.parts(self.task_names, (f"level {number}",), own_gates=close))
        if any(True for _ in self.gate_input.parameters()):
            parts.append(Part(("gate input",), self.task_names, self.gate_input))
        return parts
