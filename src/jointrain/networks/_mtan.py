"""Multi-task attention network: one trunk, and each task's attention to its stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from jointrain.errors import InvalidInputError
from jointrain.networks._network import Network, Part
from jointrain.networks._stages import Trunk, cut
from jointrain.networks._table_settings import MLPSettings
from jointrain.task import Task


class Attention(nn.Module):
    r"""One task's attention to one stage: :math:`\hat a = h(g([u; f(\hat a')])) \odot p`.

    Args:
        lower: Shape of u without the batch, what goes into the attention.
        upper: Shape of p without the batch, what it masks.
        below: Shape of the task's features of the stage below; None in the first stage.
    """

    def __init__(
        self, lower: Sequence[int], upper: Sequence[int], below: Sequence[int] | None
    ) -> None:
        super().__init__()
        self.carry: nn.Module | None = None
        width = lower[-1] if _is_dense(lower) else lower[0]
        entering = width
        if below is not None:
            self.carry = _layer(_channels(below), width, below, kernel=3, last=nn.ReLU())
            entering += width
        out = _channels(upper)
        self.first = _layer(entering, out, lower, kernel=1, last=nn.ReLU())
        self.second = _layer(out, out, lower, kernel=1, last=nn.Sigmoid())
        self.axis = -1 if _is_dense(lower) else 1

    def forward(self, lower: Tensor, upper: Tensor, below: Tensor | None) -> Tensor:
        """Return the task's features: the stage's output, masked."""
        x = lower
        if self.carry is not None and below is not None:
            x = torch.cat([lower, _fit(self.carry(below), lower)], self.axis)
        return _fit(self.second(self.first(x)), upper) * upper


class MTAN(Network):
    r"""All tasks share a trunk; each attends to the features of every stage in its own way.

    With :math:`p^j` what stage j of the trunk gives and :math:`u^j` what its inner layers give,
    task i's features are

    .. math::
        \hat a_i^j = a_i^j \odot p^j, \qquad
        a_i^j = h_i^j(g_i^j([u^j; f_i^j(\hat a_i^{j-1})]))

    where f (3 x 3), g and h (1 x 1) are convolution and batch normalisation, followed by ReLU,
    ReLU and sigmoid. The head takes the features of the last stage. For trunks without channels
    ([b, d] or [b, s, d]) the three are linear layers with layer normalisation: the general form.

    Args:
        trunk: The shared trunk, or its stages as a list. A stage may be a pair (inner, outer) of
            modules in a list: u is what the inner gives; else u = p.
        heads: Each task's head.
        example: Inputs, one row is enough, that show the shapes the stages give.
        split_at: The layers with which new stages begin; see `cut`.

    Shape:
        forward: inputs as the trunk takes them -> [b, o]; stages give [b, c, h, w], [b, d] or
        [b, s, d].

    Raises:
        InvalidInputError: A layer is unknown, or a stage gives no tensor of such a shape.

    Cost: one pass through the trunk for all tasks, and each task's attention.

    Source: Liu, Johns & Davison, "End-to-End Multi-Task Learning with Attention", CVPR 2019,
        arXiv:1803.10704, eqs. 1 and 2. Written from the paper.
    Differs from the source: where sizes change, features are max-pooled to the size needed (theirs:
        by 2); dense trunks (theirs: convolutional) with layer normalisation.

    Examples:
        >>> stages = [nn.Linear(8, 6), nn.Sequential(nn.ReLU(), nn.Linear(6, 4))]
        >>> heads = {"a": nn.Linear(4, 1), "b": nn.Linear(4, 3)}
        >>> network = MTAN(stages, heads, example=torch.zeros(1, 8))
        >>> {name: tuple(y.shape) for name, y in network(torch.zeros(5, 8)).items()}
        {'a': (5, 1), 'b': (5, 3)}
    """

    name = "mtan"
    summary = "one trunk, to whose layers each task attends"

    def __init__(
        self,
        trunk: Trunk | Sequence[tuple[nn.Module, nn.Module] | nn.Module],
        heads: Mapping[str, nn.Module],
        *,
        example: Any,
        split_at: str | Sequence[str] | None = None,
    ) -> None:
        super().__init__(heads)
        if isinstance(trunk, nn.Module):
            pairs: list[tuple[nn.Module, nn.Module]] = [
                (stage, nn.Identity()) for stage in cut(trunk, split_at)
            ]
        else:
            pairs = [p if isinstance(p, tuple) else (p, nn.Identity()) for p in trunk]
            cut([module for pair in pairs for module in pair], split_at)  # refuses what is no stage
        self.inner = nn.ModuleList(inner for inner, _ in pairs)
        self.outer = nn.ModuleList(outer for _, outer in pairs)
        shapes = self._shapes(example)
        self.attention = nn.ModuleList(
            nn.ModuleList(
                Attention(lower, upper, shapes[level - 1][1] if level else None)
                for level, (lower, upper) in enumerate(shapes)
            )
            for _ in heads
        )

    @classmethod
    def for_table(cls, in_features: int, tasks: Sequence[Task], mlp: MLPSettings) -> MTAN:
        """Return one whose trunk is an MLP."""
        stages = mlp.stages(in_features)
        example = next(stages[0].parameters()).new_zeros(1, in_features)
        return cls(stages, mlp.heads(tasks), example=example)

    @torch.no_grad()
    def _shapes(self, example: Any) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        modes = [(module, module.training) for module in self.modules()]
        self.eval()
        shapes = []
        for level, (lower, upper) in enumerate(self._run(example)):
            for output in (lower, upper):
                if not isinstance(output, Tensor) or output.ndim not in (2, 3, 4):
                    given = (
                        list(output.shape) if isinstance(output, Tensor) else type(output).__name__
                    )
                    raise InvalidInputError(
                        f"stage {level} must give [b, c, h, w], [b, s, d] or [b, d], got {given}"
                    )
            shapes.append((tuple(lower.shape[1:]), tuple(upper.shape[1:])))
        for module, mode in modes:
            module.training = mode
        return shapes

    def _run(self, inputs: Any) -> list[tuple[Any, Any]]:
        x, stages = inputs, []
        for inner, outer in zip(self.inner, self.outer, strict=True):
            lower = inner(x)
            x = outer(lower)
            stages.append((lower, x))
        return stages

    def features(self, inputs: Any, tasks: Sequence[str]) -> dict[str, Any]:
        """Return each task's attended features of the last stage."""
        stages = self._run(inputs)
        result = {}
        for name in tasks:
            attended: Any = None
            modules = self.attention[self.index_of(name)]
            assert isinstance(modules, nn.ModuleList)
            for attention, (lower, upper) in zip(modules, stages, strict=True):
                attended = attention(lower, upper, attended)
            result[name] = attended
        return result

    def parts(self) -> list[Part]:
        """Return the trunk's stages, and each task's attention."""
        everyone = self.task_names
        parts = []
        for level, (inner, outer) in enumerate(zip(self.inner, self.outer, strict=True)):
            parts.append(Part(("trunk", f"stage {level}"), everyone, inner))
            if not isinstance(outer, nn.Identity):
                parts.append(Part(("trunk", f"stage {level}, outer"), everyone, outer))
        for name, attention in zip(everyone, self.attention, strict=True):
            parts.append(Part(("attention", name), (name,), attention, own=True))
        return parts


def _is_dense(shape: Sequence[int]) -> bool:
    return len(shape) < 3


def _channels(shape: Sequence[int]) -> int:
    return shape[-1] if _is_dense(shape) else shape[0]


def _layer(
    entering: int, leaving: int, shape: Sequence[int], *, kernel: int, last: nn.Module
) -> nn.Sequential:
    if _is_dense(shape):
        return nn.Sequential(nn.Linear(entering, leaving), nn.LayerNorm(leaving), last)
    convolution = nn.Conv2d(entering, leaving, kernel, padding=kernel // 2)
    return nn.Sequential(convolution, nn.BatchNorm2d(leaving), last)


def _fit(x: Tensor, like: Tensor) -> Tensor:
    """Bring features to the size of others: pooled in height and width, or over both."""
    if x.ndim == 4 and like.ndim == 4:
        size = (like.shape[2], like.shape[3])
        if x.shape[2:] == like.shape[2:]:
            return x
        return functional.adaptive_max_pool2d(x, size)
    if x.ndim > like.ndim:
        return x.amax((2, 3)) if x.ndim == 4 else x.amax(1)
    return x
