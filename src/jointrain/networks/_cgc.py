"""Customized gate control: shared experts, and experts of each task's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from jointrain.errors import InvalidInputError
from jointrain.networks._mmoe import gate_weights, mix, stack
from jointrain.networks._network import Network, Part
from jointrain.networks._soft_sharing import check_names
from jointrain.networks._table_settings import Count, MLPSettings
from jointrain.task import Task


class Extraction(nn.Module):
    """One level of shared experts, own experts and gates; tasks go by position.

    Args:
        shared: The shared experts.
        own: Each task's experts.
        gate_features: Width of what the gates take.
        shared_gate: Whether a gate for all tasks goes on to another level.
    """

    def __init__(
        self,
        shared: Sequence[nn.Module],
        own: Sequence[Sequence[nn.Module]],
        gate_features: int,
        *,
        shared_gate: bool,
    ) -> None:
        super().__init__()
        self.shared = nn.ModuleList(shared)
        self.own = nn.ModuleList(nn.ModuleList(experts) for experts in own)
        self.gates = nn.ModuleList(
            nn.Linear(gate_features, len(shared) + len(experts)) for experts in own
        )
        total = len(shared) + sum(len(experts) for experts in own)
        self.shared_gate = nn.Linear(gate_features, total) if shared_gate else None
        self.flatten = nn.Flatten()

    def forward(
        self,
        inputs: Mapping[int, Any],
        shared_input: Any,
        routed: nn.Module | None = None,
        wanted: Sequence[int] | None = None,
    ) -> tuple[dict[int, Any], Any]:
        """Return the mixture of each task in `wanted`, and that for all tasks.

        Args:
            inputs: What each task's experts and gate take, by position.
            shared_input: What the shared experts and the shared gate take.
            routed: Maps either to what gates take; default flattens.
            wanted: Whose mixtures; default those of all tasks in `inputs`.
        """
        route = self.flatten if routed is None else routed
        shared = [expert(shared_input) for expert in self.shared]
        everything = list(shared)
        mixed: dict[int, Any] = {}
        for index, x in inputs.items():
            experts = self.own[index]
            assert isinstance(experts, nn.ModuleList)
            own = [expert(x) for expert in experts]
            everything.extend(own)
            if wanted is not None and index not in wanted:
                continue
            weights = gate_weights(self.gates[index], route(x))
            mixed[index] = mix(weights, stack([*own, *shared]))
        if self.shared_gate is None:
            return mixed, None
        weights = gate_weights(self.shared_gate, route(shared_input))
        return mixed, mix(weights, stack(everything))

    def parts(
        self, tasks: tuple[str, ...], level: tuple[str, ...], *, own_gates: bool = True
    ) -> list[Part]:
        """Return the level's pieces; experts are own only where no shared gate mixes them.

        Args:
            tasks: The tasks, in order.
            level: Where the level hangs in the tree.
            own_gates: Whether what a task's gate gives stays with that task further up.
        """
        last = self.shared_gate is None
        parts = [
            Part((*level, "shared experts", str(i)), tasks, expert)
            for i, expert in enumerate(self.shared)
        ]
        for name, experts, gate in zip(tasks, self.own, self.gates, strict=True):
            assert isinstance(experts, nn.ModuleList)
            users = (name,) if last else tasks
            parts.extend(
                Part((*level, f"experts of {name}", str(i)), users, expert, own=last)
                for i, expert in enumerate(experts)
            )
            users = (name,) if own_gates else tasks
            parts.append(Part((*level, f"gate of {name}"), users, gate, own=own_gates))
        if self.shared_gate is not None:
            parts.append(Part((*level, "shared gate"), tasks, self.shared_gate))
        return parts


class CGC(Network):
    r"""Shared experts and each task's own, weighed by each task's gate for each row.

    .. math:: f_i(x) = \mathrm{softmax}(W_i x)^\top\,[E_{i1}(x), \dots, E_{s1}(x), \dots]

    with task i's own experts :math:`E_{i\cdot}` and the shared ones :math:`E_{s\cdot}`. Against
    `MMoE`, a task's own experts can't be disturbed by the others.

    Args:
        shared_experts: Modules that take the inputs and give the same shape.
        task_experts: Each task's own, at least one expert in all.
        heads: Each task's head.
        gate_features: Width of what the gates take: of the flattened inputs, or of what
            `gate_input` gives.
        gate_input: Maps the inputs to [b, gate_features]; default ``nn.Flatten()``.

    Shape:
        forward: inputs as the experts take them -> [b, o] for each task; experts give [b, ...].

    Raises:
        InvalidInputError: A task has no experts, or the gates do not fit their input.

    Cost: each shared expert once, and the experts of the tasks in the step.

    Source: Tang et al., "Progressive Layered Extraction (PLE): A Novel Multi-Task Learning Model
        for Personalized Recommendations", RecSys 2020, eqs. 1 to 3. Written from the paper.
    Differs from the source: gates have a bias; any module can be an expert.

    Examples:
        >>> import torch
        >>> heads = {"a": nn.Linear(4, 1), "b": nn.Linear(4, 3)}
        >>> own = {name: [nn.Linear(8, 4)] for name in heads}
        >>> network = CGC([nn.Linear(8, 4)], own, heads, gate_features=8)
        >>> {name: tuple(y.shape) for name, y in network(torch.zeros(5, 8)).items()}
        {'a': (5, 1), 'b': (5, 3)}
    """

    name = "cgc"
    summary = "shared experts, and experts of each task's own"

    def __init__(
        self,
        shared_experts: Sequence[nn.Module],
        task_experts: Mapping[str, Sequence[nn.Module]],
        heads: Mapping[str, nn.Module],
        *,
        gate_features: int,
        gate_input: nn.Module | None = None,
    ) -> None:
        super().__init__(heads)
        own = checked_experts(shared_experts, task_experts, self.task_names)
        self.level = Extraction(shared_experts, own, gate_features, shared_gate=False)
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
    ) -> CGC:
        """Return one whose experts are MLPs."""
        shared, own = mlp_experts(in_features, tasks, mlp, shared_experts, task_experts)
        return cls(shared, own, mlp.heads(tasks), gate_features=in_features)

    def features(self, inputs: Any, tasks: Sequence[str]) -> dict[str, Any]:
        """Return each task's mixture of its own and the shared experts."""
        positions = {self.index_of(name): inputs for name in tasks}
        mixed, _ = self.level(positions, inputs, self.gate_input)
        return {name: mixed[self.index_of(name)] for name in tasks}

    def parts(self) -> list[Part]:
        """Return the shared experts, and each task's experts and gate."""
        parts = self.level.parts(self.task_names, ())
        if any(True for _ in self.gate_input.parameters()):
            parts.append(Part(("gate input",), self.task_names, self.gate_input))
        return parts


def checked_experts(
    shared: Sequence[nn.Module], own: Mapping[str, Sequence[nn.Module]], tasks: Sequence[str]
) -> list[Sequence[nn.Module]]:
    """Return each task's experts in the order of the tasks.

    Raises:
        InvalidInputError: A task is missing or unknown, or has no expert at all to choose from.
    """
    check_names("task_experts", own, tasks)
    for name in tasks:
        if not len(own[name]) and not len(shared):
            raise InvalidInputError(
                f"task {name!r} has no expert to choose from; give it one or a shared one"
            )
    return [own[name] for name in tasks]


def mlp_experts(
    features: int, tasks: Sequence[Task], mlp: MLPSettings, shared: int, own: int
) -> tuple[list[nn.Module], dict[str, list[nn.Module]]]:
    """Return so many shared experts, and so many of each task's own."""
    return mlp.trunks(features, shared), {task.name: mlp.trunks(features, own) for task in tasks}
