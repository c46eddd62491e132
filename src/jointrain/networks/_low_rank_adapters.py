"""Low-rank adapters: one trunk, whose layers each task changes a little."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from jointrain.errors import InvalidInputError
from jointrain.networks._network import Network, Part
from jointrain.networks._stages import check_layers
from jointrain.networks._table_settings import MLPSettings, Rank
from jointrain.task import Task


class _Active:
    """Which task the trunk is computed for, if it is; one object for all layers of a network."""

    def __init__(self) -> None:
        self.task: int | None = None


class AdaptedLinear(nn.Module):
    r"""A linear layer that task i changes: :math:`W x + b + \frac{\alpha}{r} B_i A_i x`.

    Args:
        layer: The layer, shared by all tasks.
        tasks: Their number.
        rank: r.
        scale: :math:`\alpha`.
        active: Says which task is computed.
    """

    def __init__(
        self, layer: nn.Linear, tasks: int, *, rank: int, scale: float, active: _Active
    ) -> None:
        super().__init__()
        self.layer = layer
        self.factor = scale / rank
        self.active = active
        new = layer.weight.new_empty
        self.down = nn.ParameterList(
            nn.Parameter(new(rank, layer.in_features)) for _ in range(tasks)
        )
        self.up = nn.ParameterList(
            nn.Parameter(layer.weight.new_zeros(layer.out_features, rank)) for _ in range(tasks)
        )
        for down in self.down:
            nn.init.kaiming_uniform_(down, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output for the task that is computed."""
        down, up = self._factors()
        change = functional.linear(functional.linear(x, down), up)
        output: Tensor = self.layer(x) + self.factor * change
        return output

    @property
    def weight(self) -> Tensor:
        """The changed weight, for modules that take it past `forward` (attention of torch.nn)."""
        down, up = self._factors()
        weight: Tensor = self.layer.weight + self.factor * up @ down
        return weight

    @property
    def bias(self) -> Tensor | None:
        """The layer's bias."""
        bias: Tensor | None = self.layer.bias
        return bias

    def _factors(self) -> tuple[Tensor, Tensor]:
        task = self.active.task
        if task is None:
            raise InvalidInputError(
                "a layer with low-rank adapters is computed outside its network, which says for "
                "which task; call the network, and leave out activation checkpointing, which "
                "computes layers again when the network is through"
            )
        return self.down[task], self.up[task]


class LowRankAdapters(Network):
    r"""All tasks share a trunk; in chosen linear layers each adds a low-rank change of its own.

    .. math:: y = W x + b + \frac{\alpha}{r} B_i A_i x, \qquad A_i \in R^{r \times d},
        B_i \in R^{o \times r}

    B starts at 0, so that at first all tasks see the trunk as it is. It suits pretrained trunks:
    frozen, each task costs few parameters; not frozen, the trunk learns what tasks have in common.

    Args:
        trunk: Any module with ``nn.Linear`` layers. The network holds its weights, not copies.
        heads: Each task's head.
        layers: Names of linear layers, or of modules all of whose linear layers are meant; None
            (default): all.
        rank: r >= 1; default 8.
        scale: :math:`\alpha` > 0; default 16.
        freeze: Keep the trunk's own parameters as they are; default False.

    Shape:
        forward: inputs as the trunk takes them -> [b, o] for each task.

    Raises:
        InvalidInputError: A layer is unknown, none is linear, or a number is out of range.

    Cost: one pass through the trunk for each task in the step.

    Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022, eq. 3; for
        several tasks on one trunk as in Agiza et al., "MTLoRA", CVPR 2024. Written from the papers.
    Differs from the source: no low-rank change that all tasks share (MTLoRA): the trunk itself can
        learn. LoRA freezes the trunk.

    Examples:
        >>> import torch
        >>> trunk = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 4))
        >>> heads = {"a": nn.Linear(4, 1), "b": nn.Linear(4, 3)}
        >>> network = LowRankAdapters(trunk, heads, layers=["0"], rank=2)
        >>> {name: tuple(y.shape) for name, y in network(torch.zeros(5, 8)).items()}
        {'a': (5, 1), 'b': (5, 3)}
    """

    name = "low-rank"
    summary = "one trunk, which each task changes by low rank"

    def __init__(
        self,
        trunk: nn.Module,
        heads: Mapping[str, nn.Module],
        *,
        layers: Sequence[str] | None = None,
        rank: int = 8,
        scale: float = 16.0,
        freeze: bool = False,
    ) -> None:
        super().__init__(heads)
        if rank < 1:
            raise InvalidInputError(f"`rank` must be at least 1, got {rank}")
        if not 0 < scale < math.inf:
            raise InvalidInputError(f"`scale` must be positive, got {scale}")
        if layers is not None:
            check_layers(trunk, layers, "layers")
        if freeze:
            trunk.requires_grad_(False)
        self.active = _Active()
        holder = nn.Module()
        # the caller's trunk keeps its layers; the weights are the same ones
        kept = {id(tensor): tensor for tensor in (*trunk.parameters(), *trunk.buffers())}
        holder.trunk = copy.deepcopy(trunk, dict[int, Any](kept))
        found = [
            name
            for name, module in holder.named_modules(remove_duplicate=False)
            if isinstance(module, nn.Linear)
            and _meant(name.removeprefix("trunk").lstrip("."), layers)
        ]
        if not found:
            raise InvalidInputError(
                f"{type(trunk).__name__} has no nn.Linear layer"
                f"{'' if layers is None else ' among ' + ', '.join(layers)}; adapters need one"
            )
        adapted: dict[int, AdaptedLinear] = {}
        for name in found:
            path, _, last = name.rpartition(".")
            layer = holder.get_submodule(name)
            assert isinstance(layer, nn.Linear)
            # a layer used in two places stays one layer
            if id(layer) not in adapted:
                adapted[id(layer)] = AdaptedLinear(
                    layer, len(heads), rank=rank, scale=scale, active=self.active
                )
            setattr(holder.get_submodule(path), last, adapted[id(layer)])
        self.trunk: nn.Module = holder.trunk

    @classmethod
    def for_table(
        cls,
        in_features: int,
        tasks: Sequence[Task],
        mlp: MLPSettings,
        *,
        rank: Rank = 8,
        scale: float = 16.0,
    ) -> LowRankAdapters:
        """Return one whose trunk is an MLP."""
        return cls(mlp.trunk(in_features), mlp.heads(tasks), rank=rank, scale=scale)

    def features(self, inputs: Any, tasks: Sequence[str]) -> dict[str, Any]:
        """Return what the trunk gives with each task's changes."""
        result = {}
        try:
            for name in tasks:
                self.active.task = self.index_of(name)
                result[name] = self.trunk(inputs)
        finally:
            self.active.task = None
        return result

    def parts(self) -> list[Part]:
        """Return the trunk without adapters, and each task's adapters."""
        layers = [m for m in self.trunk.modules() if isinstance(m, AdaptedLinear)]
        low_rank = {id(p) for layer in layers for p in (*layer.down, *layer.up)}
        shared = tuple(p for p in self.trunk.parameters() if id(p) not in low_rank)
        parts = [Part(("trunk",), self.task_names, parameters=shared)]
        for index, name in enumerate(self.task_names):
            own = tuple(p for layer in layers for p in (layer.down[index], layer.up[index]))
            parts.append(Part(("adapters", name), (name,), parameters=own, own=True))
        return parts


def _meant(name: str, layers: Sequence[str] | None) -> bool:
    return layers is None or any(name == layer or name.startswith(layer + ".") for layer in layers)
