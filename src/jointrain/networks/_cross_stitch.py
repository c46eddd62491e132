"""Cross-stitch networks: a network per task, whose layers exchange what they found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from jointrain.errors import InvalidInputError
from jointrain.networks._network import Network, Part
from jointrain.networks._stages import Trunk, copies, cut, refuse_tied
from jointrain.networks._table_settings import MLPSettings
from jointrain.task import Task


class CrossStitchUnit(nn.Module):
    r"""Mixes the activations of all tasks: :math:`\tilde x_i = \sum_j \alpha_{ij} x_j`.

    Args:
        tasks: Number of tasks, t.
        self_weight: Initial :math:`\alpha_{ii}`; the rest is shared evenly by the other tasks.
        channels: With a number, each channel has an :math:`\alpha` of its own.

    Shape:
        forward: t tensors [b, c, ...] -> t tensors of the same shape.
    """

    def __init__(self, tasks: int, *, self_weight: float, channels: int | None = None) -> None:
        super().__init__()
        other = (1 - self_weight) / max(tasks - 1, 1)
        mixing = torch.full((tasks, tasks), other).fill_diagonal_(self_weight if tasks > 1 else 1.0)
        if channels is not None:
            mixing = mixing[:, :, None].repeat(1, 1, channels)
        self.mixing = nn.Parameter(mixing)

    def forward(self, activations: Sequence[Tensor]) -> list[Tensor]:
        """Return the mixed activations, in the order of the tasks."""
        stacked = torch.stack(list(activations))  # [t, b, c, ...]
        if self.mixing.ndim == 2:
            return list(torch.einsum("ij,j...->i...", self.mixing, stacked).unbind())
        return list(torch.einsum("ijc,jbc...->ibc...", self.mixing, stacked).unbind())


class CrossStitch(Network):
    r"""Each task has a trunk of its own; after each stage the tasks' activations are mixed.

    The network learns at which depth to share: with :math:`\alpha` the unit matrix nothing is
    shared, with equal entries all is. After each stage

    .. math:: \tilde x_i = \sum_j \alpha_{ij} x_j .

    Args:
        trunk: A trunk, of which each task gets a copy, or its stages as a list.
        heads: Each task's head.
        split_at: The layers with which new stages begin; see `cut`.
        self_weight: Initial :math:`\alpha_{ii}` in [0, 1]; default 0.9, the paper's best.
        channels: Number of channels of each stage's output: one :math:`\alpha` a channel, as in
            the paper. Default: one for the whole activation.
        reinitialize: Draw new weights for the copies; default True. False for trained layers.

    Shape:
        forward: inputs as the trunk takes them -> [b, o] for each task.

    Raises:
        InvalidInputError: `self_weight` lies outside [0, 1], `channels` does not fit the stages,
            or a layer is unknown.

    Cost: a trunk a task, also for a step of one task: all trunks feed its head.

    Source: Misra et al., "Cross-stitch Networks for Multi-task Learning", CVPR 2016, eq. 1 for two
        tasks; written from the paper for t.
    Differs from the source: the paper starts from networks trained for each task and gives the
        mixing weights 100 to 1000 times the learning rate; both are up to the caller.

    Examples:
        >>> stages = [nn.Linear(8, 6), nn.Sequential(nn.ReLU(), nn.Linear(6, 4))]
        >>> network = CrossStitch(stages, {"a": nn.Linear(4, 1), "b": nn.Linear(4, 3)})
        >>> {name: tuple(y.shape) for name, y in network(torch.zeros(5, 8)).items()}
        {'a': (5, 1), 'b': (5, 3)}
    """

    name = "cross-stitch"
    summary = "a trunk for each task, mixed after every layer"

    def __init__(
        self,
        trunk: Trunk,
        heads: Mapping[str, nn.Module],
        *,
        split_at: str | Sequence[str] | None = None,
        self_weight: float = 0.9,
        channels: Sequence[int] | None = None,
        reinitialize: bool = True,
    ) -> None:
        super().__init__(heads)
        if not 0 <= self_weight <= 1:
            raise InvalidInputError(f"`self_weight` must lie in [0, 1], got {self_weight}")
        stages = cut(trunk, split_at)
        if channels is not None and len(channels) != len(stages):
            raise InvalidInputError(
                f"`channels` must have an entry for each of the {len(stages)} stages, got "
                f"{len(channels)}"
            )
        count = len(heads)
        if count > 1:
            refuse_tied(stages, heads.values())
        # columns[l][i] is stage l of task i
        self.columns = nn.ModuleList(
            nn.ModuleList(copies(stage, count, reinitialize=reinitialize)) for stage in stages
        )
        self.units = nn.ModuleList(
            CrossStitchUnit(
                count, self_weight=self_weight, channels=None if channels is None else channels[i]
            )
            for i in range(len(stages))
        )

    @classmethod
    def for_table(
        cls, in_features: int, tasks: Sequence[Task], mlp: MLPSettings, *, self_weight: float = 0.9
    ) -> CrossStitch:
        """Return one of MLPs."""
        return cls(mlp.stages(in_features), mlp.heads(tasks), self_weight=self_weight)

    def features(self, inputs: Any, tasks: Sequence[str]) -> dict[str, Any]:
        """Return the mixed activations after the last stage."""
        activations: list[Any] = [inputs] * len(self.task_names)
        for row, unit in zip(self.columns, self.units, strict=True):
            assert isinstance(row, nn.ModuleList)
            activations = unit([stage(x) for stage, x in zip(row, activations, strict=True)])
        return {name: activations[self.index_of(name)] for name in tasks}

    def parts(self) -> list[Part]:
        """Return the stages of all tasks, each reached by all through the units."""
        parts = []
        for level, row in enumerate(self.columns):
            assert isinstance(row, nn.ModuleList)
            for name, stage in zip(self.task_names, row, strict=True):
                parts.append(Part((f"stage {level}", f"column of {name}"), self.task_names, stage))
            parts.append(Part((f"stage {level}", "unit"), self.task_names, self.units[level]))
        return parts
