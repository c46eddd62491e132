"""Multi-gate mixture of experts: each task weighs the same experts in its own way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from jointrain.errors import InvalidInputError
from jointrain.networks._heads import described
from jointrain.networks._network import Network, Part
from jointrain.networks._table_settings import Count, MLPSettings
from jointrain.task import Task


class MMoE(Network):
    r"""Experts that all tasks share, and for each task a gate that weighs them for each row.

    .. math:: f_i(x) = \sum_e g_{ie}(x)\, f_e(x), \qquad g_i(x) = \mathrm{softmax}(W_i x).

    Tasks that conflict can come to rely on different experts. With one expert it is hard sharing.

    Args:
        experts: The experts: modules that take the inputs and give the same shape; draw their
            initial weights independently, as equal experts stay equal.
        heads: Each task's head.
        gate_features: Width of what the gates take: of the flattened inputs, or of what
            `gate_input` gives.
        gate_input: Maps the inputs to [b, gate_features], such as a pooled embedding of a text;
            default ``nn.Flatten()``.

    Shape:
        forward: inputs as the experts take them -> [b, o] for each task; experts give [b, ...].

    Raises:
        InvalidInputError: There is no expert, or the gates do not fit their input.

    Cost: each expert once for all tasks.

    Source: Ma et al., "Modeling Task Relationships in Multi-task Learning with Multi-gate
        Mixture-of-Experts", KDD 2018, eqs. 6 and 7. Written from the paper.
    Differs from the source: gates have a bias; any module can be an expert.

    Examples:
        >>> experts = [nn.Linear(8, 4) for _ in range(3)]
        >>> heads = {"a": nn.Linear(4, 1), "b": nn.Linear(4, 3)}
        >>> network = MMoE(experts, heads, gate_features=8)
        >>> {name: tuple(y.shape) for name, y in network(torch.zeros(5, 8)).items()}
        {'a': (5, 1), 'b': (5, 3)}
    """

    name = "mmoe"
    summary = "shared experts, weighed by each task for each row"

    def __init__(
        self,
        experts: Sequence[nn.Module],
        heads: Mapping[str, nn.Module],
        *,
        gate_features: int,
        gate_input: nn.Module | None = None,
    ) -> None:
        super().__init__(heads)
        if not len(experts):
            raise InvalidInputError("`experts` must hold at least one module")
        self.experts = nn.ModuleList(experts)
        self.gate_input = nn.Flatten() if gate_input is None else gate_input
        self.gates = nn.ModuleList(nn.Linear(gate_features, len(experts)) for _ in heads)

    @classmethod
    def for_table(
        cls, in_features: int, tasks: Sequence[Task], mlp: MLPSettings, *, experts: Count = 4
    ) -> MMoE:
        """Return one whose experts are MLPs."""
        chosen = mlp.trunks(in_features, experts)
        return cls(chosen, mlp.heads(tasks), gate_features=in_features)

    def features(self, inputs: Any, tasks: Sequence[str]) -> dict[str, Any]:
        """Return each task's mixture of the experts."""
        outputs = stack([expert(inputs) for expert in self.experts])  # [e, b, ...]
        routed = self.gate_input(inputs)
        return {
            name: mix(gate_weights(self.gates[self.index_of(name)], routed), outputs)
            for name in tasks
        }

    def parts(self) -> list[Part]:
        """Return the experts, and each task's gate."""
        everyone = self.task_names
        parts = [
            Part(("experts", str(i)), everyone, expert) for i, expert in enumerate(self.experts)
        ]
        if any(True for _ in self.gate_input.parameters()):
            parts.append(Part(("gate input",), everyone, self.gate_input))
        for name, gate in zip(everyone, self.gates, strict=True):
            parts.append(Part(("gates", name), (name,), gate, own=True))
        return parts


def gate_weights(gate: nn.Module, routed: Tensor) -> Tensor:
    """Return the weights of a softmax gate.

    Shape:
        routed: [b, d]. returns: [b, e], rows sum to 1.
    """
    if type(gate) is nn.Linear and routed.shape[-1] != gate.in_features:
        raise InvalidInputError(
            f"the gates take [b, {gate.in_features}], but their input is {described(routed)}; "
            f"set `gate_features` to its width"
        )
    weights: Tensor = gate(routed)
    return weights.softmax(-1)


def stack(outputs: Sequence[Tensor]) -> Tensor:
    """Return the experts' outputs as one tensor.

    Shape:
        outputs: [b, ...] each. returns: [e, b, ...].

    Raises:
        InvalidInputError: The experts give different shapes.
    """
    for number, output in enumerate(outputs):
        if output.shape != outputs[0].shape:
            raise InvalidInputError(
                f"experts that are mixed must give one shape, but expert 0 gives "
                f"{described(outputs[0])} and expert {number} {described(output)}"
            )
    return torch.stack(list(outputs))


def mix(weights: Tensor, outputs: Tensor) -> Tensor:
    """Return the weighted sums of the experts' outputs.

    Shape:
        weights: [b, e]. outputs: [e, b, ...]. returns: [b, ...].
    """
    return torch.einsum("be,eb...->b...", weights, outputs)
