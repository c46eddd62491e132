"""Sluice networks: cross-stitch between subspaces, and a mixture of all layers at the end."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from jointrain.errors import InvalidInputError
from jointrain.networks._heads import described
from jointrain.networks._network import Network, Part
from jointrain.networks._stages import Trunk, copies, cut, refuse_tied
from jointrain.networks._table_settings import Count, MLPSettings
from jointrain.task import Task


class Sluice(Network):
    r"""Each task has a trunk; subspaces of the trunks' stages are mixed, and layers skipped.

    Each stage's output of width w is g subspaces of w / g units. With :math:`x_{ik}` subspace k of
    task i, all t g of them are mixed, and a task's head takes a mixture of all stages' outputs:

    .. math::
        \tilde x_{ik} = \sum_{jm} \alpha_{ik,jm}\, x_{jm}
        \qquad
        \hat x_i = \sum_l \beta_{il}\, \tilde x_i^l .

    `penalty` keeps the subspaces apart: :math:`\lambda \sum_{l,i} \sum_{k<m} \lVert G_{lik}
    G_{lim}^\top \rVert_F^2`, where the rows of :math:`G_{lik}` are the weights of the last linear
    or convolutional layer of stage l of task i that give subspace k.

    Args:
        trunk: A trunk, of which each task gets a copy, or its stages as a list; all stages give
            the same shape.
        heads: Each task's head.
        split_at: The layers with which new stages begin; see `cut`.
        subspaces: g, which divides the width; default 2.
        self_weight: Initial weight of a subspace in its own output; default 0.9.
        strength: :math:`\lambda`, >= 0; default 0.01.
        reinitialize: Draw new weights for the copies; default True.

    Shape:
        forward: inputs as the trunk takes them -> [b, o] for each task; stages give [b, w, ...].

    Raises:
        InvalidInputError: A value lies outside its range, or stages differ in shape.

    Cost: a trunk a task, also for a step of one task.

    Source: Ruder et al., "Latent Multi-task Architecture Learning", AAAI 2019, arXiv:1705.08142,
        eqs. 1 to 3. Written from the paper.
    Differs from the source: any stages (theirs: layers of a BiLSTM); the last stage has most of the
        initial beta, the others share 0.1; the strength has no published default.

    Examples:
        >>> stages = [nn.Linear(8, 4), nn.Sequential(nn.ReLU(), nn.Linear(4, 4))]
        >>> network = Sluice(stages, {"a": nn.Linear(4, 1), "b": nn.Linear(4, 3)})
        >>> {name: tuple(y.shape) for name, y in network(torch.zeros(5, 8)).items()}
        {'a': (5, 1), 'b': (5, 3)}
    """

    name = "sluice"
    summary = "cross-stitch between halves of layers, and skipped layers"

    def __init__(
        self,
        trunk: Trunk,
        heads: Mapping[str, nn.Module],
        *,
        split_at: str | Sequence[str] | None = None,
        subspaces: int = 2,
        self_weight: float = 0.9,
        strength: float = 0.01,
        reinitialize: bool = True,
    ) -> None:
        super().__init__(heads)
        if subspaces < 1:
            raise InvalidInputError(f"`subspaces` must be at least 1, got {subspaces}")
        if not 0 <= self_weight <= 1:
            raise InvalidInputError(f"`self_weight` must lie in [0, 1], got {self_weight}")
        if not 0 <= strength < math.inf:
            raise InvalidInputError(f"`strength` must be at least 0, got {strength}")
        stages = cut(trunk, split_at)
        self.subspaces = subspaces
        self.strength = strength
        count = len(heads)
        if count > 1:
            refuse_tied(stages, heads.values())
        self.columns = nn.ModuleList(
            nn.ModuleList(copies(stage, count, reinitialize=reinitialize)) for stage in stages
        )
        size = count * subspaces
        rest = (1 - self_weight) / max(size - 1, 1)
        mixing = torch.full((size, size), rest).fill_diagonal_(self_weight if size > 1 else 1.0)
        self.mixing = nn.ParameterList(nn.Parameter(mixing.clone()) for _ in stages)
        depth = len(stages)
        share = torch.full((depth,), 0.1 / max(depth - 1, 1))
        share[-1] = 0.9 if depth > 1 else 1.0
        self.skips = nn.ParameterList(nn.Parameter(share.clone()) for _ in heads)

    @classmethod
    def for_table(
        cls,
        in_features: int,
        tasks: Sequence[Task],
        mlp: MLPSettings,
        *,
        subspaces: Count = 2,
        self_weight: float = 0.9,
        strength: float = 0.01,
    ) -> Sluice:
        """Return one of MLPs."""
        trunk, heads = mlp.stages(in_features), mlp.heads(tasks)
        return cls(trunk, heads, subspaces=subspaces, self_weight=self_weight, strength=strength)

    def features(self, inputs: Any, tasks: Sequence[str]) -> dict[str, Any]:
        """Return each task's mixture of its mixed activations."""
        count = len(self.task_names)
        activations: list[Any] = [inputs] * count
        levels: list[list[Tensor]] = []
        for row, mixing in zip(self.columns, self.mixing, strict=True):
            assert isinstance(row, nn.ModuleList)
            outputs = [stage(x) for stage, x in zip(row, activations, strict=True)]
            self._check_shapes(outputs[0], levels)
            pieces = torch.stack([torch.unflatten(y, 1, (self.subspaces, -1)) for y in outputs], 1)
            pieces = pieces.flatten(1, 2)  # [b, t g, w / g, ...]
            mixed = torch.einsum("ij,bj...->bi...", mixing, pieces)
            activations = list(torch.unflatten(mixed, 1, (count, -1)).flatten(2, 3).unbind(1))
            levels.append(activations)
        result = {}
        for name in tasks:
            index = self.index_of(name)
            stacked = torch.stack([level[index] for level in levels])  # [l, b, w, ...]
            result[name] = torch.einsum("l,l...->...", self.skips[index], stacked)
        return result

    def _check_shapes(self, output: Tensor, levels: list[list[Tensor]]) -> None:
        if output.shape[1] % self.subspaces:
            raise InvalidInputError(
                f"`subspaces` must divide the width of each stage, got {self.subspaces} for a "
                f"stage that gives {described(output)}"
            )
        if levels and levels[0][0].shape != output.shape:
            raise InvalidInputError(
                f"all stages must give one shape, as the head takes a mixture of them; got "
                f"{described(levels[0][0])} and {described(output)}"
            )

    def penalty(self, tasks: Sequence[str] | None = None) -> Tensor | None:
        """Return what keeps the subspaces of each stage orthogonal, None without subspaces."""
        del tasks  # every column is reached by every task
        if not self.strength or self.subspaces == 1:
            return None
        total = next(self.parameters()).new_zeros(())
        for row in self.columns:
            assert isinstance(row, nn.ModuleList)
            for stage in row:
                weight = _last_weight(stage)
                if weight is None or len(weight) % self.subspaces:
                    continue
                groups = torch.unflatten(
                    weight.flatten(1), 0, (self.subspaces, -1)
                )  # [g, w / g, d]
                products = torch.einsum("kad,mbd->kmab", groups, groups).square().sum((2, 3))
                total = total + products.triu(1).sum()
        return self.strength * total

    def parts(self) -> list[Part]:
        """Return stages and mixtures, reached by all, and each task's mixture of layers."""
        parts = []
        for level, row in enumerate(self.columns):
            assert isinstance(row, nn.ModuleList)
            for name, stage in zip(self.task_names, row, strict=True):
                parts.append(Part((f"stage {level}", f"column of {name}"), self.task_names, stage))
            mixing = (self.mixing[level],)
            parts.append(Part((f"stage {level}", "mixing"), self.task_names, parameters=mixing))
        parts.extend(
            Part(("skips", name), (name,), parameters=(skip,), own=True)
            for name, skip in zip(self.task_names, self.skips, strict=True)
        )
        return parts


def _last_weight(stage: nn.Module) -> Tensor | None:
    weights: list[Tensor] = [
        layer.weight
        for layer in stage.modules()
        if isinstance(layer, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d))
    ]
    return weights[-1] if weights else None
