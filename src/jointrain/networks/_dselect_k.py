"""DSelect-k: a mixture of experts whose gates choose few experts, and smoothly."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from jointrain.errors import InvalidInputError
from jointrain.networks._mmoe import mix, stack
from jointrain.networks._network import Network, Part
from jointrain.networks._table_settings import Count, MLPSettings
from jointrain.task import Task

_TINY = 1e-6
"""Keeps the logarithm of the entropy finite, as in the authors' code."""


class DSelectKGate(nn.Module):
    r"""Weighs n experts with at most k of them above 0, by k selectors with binary codes.

    With the smooth step S and m = ceil(log2 n) digits, selector j gives expert e the product over
    the digits of :math:`S(z_{jd})` where digit d of e is 1 and :math:`1 - S(z_{jd})` where it is 0.
    The selectors are weighed by a softmax. Once all :math:`|z| \ge \gamma / 2` each selects one.

    Args:
        experts: n.
        selected: k.
        gamma: Width of the smooth step.
        features: Width of the input that the choice depends on; None: it is the same for all rows.

    Shape:
        forward: [b, d] -> weights [b, n], selectors [b, k, n]; b is 1 without `features`.
    """

    codes: Tensor

    def __init__(
        self, experts: int, selected: int, *, gamma: float = 1.0, features: int | None = None
    ) -> None:
        super().__init__()
        self.gamma = gamma
        self.selected = selected
        digits = max(experts - 1, 0).bit_length()
        self.digits = digits
        codes = [[(e >> (digits - 1 - d)) & 1 for d in range(digits)] for e in range(experts)]
        self.register_buffer(
            "codes", torch.tensor(codes, dtype=torch.bool).view(experts, digits), persistent=False
        )
        self.switches = nn.Linear(features or 1, selected * digits, bias=features is not None)
        self.shares = nn.Linear(features or 1, selected, bias=features is not None)
        self.conditional = features is not None
        for layer, width in ((self.switches, gamma / 100), (self.shares, 0.05)):
            for parameter in layer.parameters():
                nn.init.uniform_(parameter, -width, width)

    def forward(self, routed: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weights of the experts, and what each selector gives them."""
        x = routed if self.conditional else self.shares.weight.new_ones(1, 1)
        steps = smooth_step(
            torch.unflatten(self.switches(x), -1, (self.selected, self.digits)), self.gamma
        )
        chosen = select(steps, self.codes)  # [b, k, n]
        shares = self.shares(x).softmax(-1)  # [b, k]
        return torch.einsum("bk,bkn->bn", shares, chosen), chosen


class DSelectK(Network):
    r"""Shared experts; each task's gate weighs at most k of them, chosen by gradient descent.

    Against `MMoE`, a trained gate leaves most experts at exactly 0, so one reads off which tasks
    share which experts; against top-k gates it is smooth. `penalty` is, summed over gates and
    selectors q (rows of weights over the experts), :math:`\lambda` times their entropy, plus
    :math:`1 / \sum_e q_e` if n is no power of 2, which keeps codes that name no expert from being
    chosen.

    Args:
        experts: The experts: modules that take the inputs and give the same shape.
        heads: Each task's head.
        selected: k; default 2.
        gate_features: Width of the flattened inputs (or of what `gate_input` gives) for a choice
            that depends on the row; None (default): one choice for all rows of a task.
        gate_input: Maps the inputs to [b, gate_features]; default ``nn.Flatten()``.
        gamma: Width of the smooth step, > 0; default 1.
        entropy: :math:`\lambda`, >= 0; default 1e-6, of the authors' code.

    Shape:
        forward: inputs as the experts take them -> [b, o] for each task; experts give [b, ...].

    Raises:
        InvalidInputError: There is no expert, k does not lie in 1 to n, or a value is out of range.

    State: with `gate_features`, the last training batch's gate inputs, which `penalty` looks at.
    Cost: each expert once for all tasks (in training, all n of them).

    Source: Hazimeh et al., "DSelect-k: Differentiable Selection in the Mixture of Experts with
        Applications to Multi-Task Learning", NeurIPS 2021, arXiv:2106.03760, eqs. 3 to 6. Written
        from the paper; initial values and the second penalty as in the authors' code.
    Differs from the source: penalties of gates that depend on the row are averaged over the batch,
        not summed.

    Examples:
        >>> experts = [nn.Linear(8, 4) for _ in range(4)]
        >>> network = DSelectK(experts, {"a": nn.Linear(4, 1), "b": nn.Linear(4, 3)})
        >>> {name: tuple(y.shape) for name, y in network(torch.zeros(5, 8)).items()}
        {'a': (5, 1), 'b': (5, 3)}
    """

    name = "dselect-k"
    summary = "shared experts, of which each task chooses few"

    def __init__(
        self,
        experts: Sequence[nn.Module],
        heads: Mapping[str, nn.Module],
        *,
        selected: int = 2,
        gate_features: int | None = None,
        gate_input: nn.Module | None = None,
        gamma: float = 1.0,
        entropy: float = 1e-6,
    ) -> None:
        super().__init__(heads)
        if not len(experts):
            raise InvalidInputError("`experts` must hold at least one module")
        if not 1 <= selected <= len(experts):
            raise InvalidInputError(
                f"`selected` must lie in 1 to the number of experts, {len(experts)}, got {selected}"
            )
        if not gamma > 0:
            raise InvalidInputError(f"`gamma` must be positive, got {gamma}")
        if not 0 <= entropy < math.inf:
            raise InvalidInputError(f"`entropy` must be at least 0, got {entropy}")
        self.experts = nn.ModuleList(experts)
        self.entropy = entropy
        self.gate_input = nn.Flatten() if gate_input is None else gate_input
        self.gates = nn.ModuleList(
            DSelectKGate(len(experts), selected, gamma=gamma, features=gate_features) for _ in heads
        )
        self._conditional = gate_features is not None
        self._routed: Tensor | None = None

    @classmethod
    def for_table(
        cls,
        in_features: int,
        tasks: Sequence[Task],
        mlp: MLPSettings,
        *,
        experts: Count = 4,
        selected: Count = 2,
        per_row: bool = False,
        entropy: float = 1e-6,
    ) -> DSelectK:
        """Return one whose experts are MLPs; `per_row` chooses by the inputs."""
        chosen, heads = mlp.trunks(in_features, experts), mlp.heads(tasks)
        gated = in_features if per_row else None
        return cls(chosen, heads, selected=selected, gate_features=gated, entropy=entropy)

    def features(self, inputs: Any, tasks: Sequence[str]) -> dict[str, Any]:
        """Return each task's mixture of its chosen experts."""
        outputs = stack([expert(inputs) for expert in self.experts])  # [e, b, ...]
        routed = self.gate_input(inputs) if self._conditional else outputs
        if self._conditional and self.training:
            self._routed = routed.detach()
        result = {}
        for name in tasks:
            weights, _ = self.gates[self.index_of(name)](routed)
            result[name] = mix(weights.expand(outputs.shape[1], -1), outputs)
        return result

    def chosen(self, task: str, inputs: Any = None) -> Tensor:
        """Return the weights of the experts for `task`.

        Shape:
            returns: [n]; [b, n] for gates that depend on the `inputs`, which are then needed.
        """
        gate = self.gates[self.index_of(task)]
        if not self._conditional:
            weights: Tensor = gate(torch.empty(0))[0]
            return weights[0]
        if inputs is None:
            raise InvalidInputError("`inputs` must be given: the gates' choice depends on them")
        conditional: Tensor = gate(self.gate_input(inputs))[0]
        return conditional

    def penalty(self, tasks: Sequence[str] | None = None) -> Tensor | None:
        """Return the entropy of the gates of `tasks`, and what keeps them from empty codes."""
        count = len(self.experts)
        empty_codes = bool(count & (count - 1))
        if count == 1 or not (self.entropy or empty_codes):
            return None
        if self._conditional and self._routed is None:
            return None
        total = next(self.parameters()).new_zeros(())
        for name in self.task_names if tasks is None else tasks:
            _, chosen = self.gates[self.index_of(name)](self._routed)  # [b, k, n]
            if self.entropy:
                entropy = -(chosen * (chosen + _TINY).log()).sum((1, 2)).mean()
                total = total + self.entropy * entropy
            if empty_codes:
                total = total + (1 / chosen.sum(-1)).sum(-1).mean()
        return total

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


def smooth_step(x: Tensor, gamma: float) -> Tensor:
    r"""Return a step from 0 to 1 that is flat outside :math:`\pm\gamma/2` and cubic within.

    .. math:: S(t) = -\tfrac{2}{\gamma^3} t^3 + \tfrac{3}{2\gamma} t + \tfrac12

    Source: Hazimeh et al. 2021, eq. 4; Hazimeh et al., "The Tree Ensemble Layer", ICML 2020.
    """
    t = x.clamp(-gamma / 2, gamma / 2)
    # at the ends rounding could leave [0, 1] by an ulp, and 0 must be exact
    return (-2 / gamma**3 * t**3 + 3 / (2 * gamma) * t + 0.5).clamp(0, 1)


def select(steps: Tensor, codes: Tensor) -> Tensor:
    """Return the weight of each expert: the product of its digits' probabilities.

    Shape:
        steps: [..., m]. codes: [n, m] of bool. returns: [..., n].
    """
    return torch.where(codes, steps[..., None, :], 1 - steps[..., None, :]).prod(-1)
