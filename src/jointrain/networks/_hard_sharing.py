"""Hard parameter sharing: one trunk for all tasks, a head for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from jointrain.errors import InvalidInputError
from jointrain.networks._heads import GROUP_FROM
from jointrain.networks._network import Network, Part
from jointrain.networks._stages import Trunk, copies, cut, refuse_tied
from jointrain.networks._table_settings import MLPSettings
from jointrain.task import Task


class HardSharing(Network):
    r"""All tasks share one trunk; each has a head of its own.

    The output of task i is :math:`h_i(f(x))` with the trunk f and the heads h. With
    ``nn.Identity()`` as the trunk nothing is shared: the tasks are separate models side by side.
    With `split_at` the trunk's upper layers :math:`u_i` are each task's own, copies of the given
    ones: :math:`h_i(u_i(f(x)))`.

    Args:
        trunk: The shared layers; any module that takes the inputs, or its stages as a list.
        heads: Each task's own layers by task name; they take what the trunk gives.
        split_at: The layer with which the tasks part, such as ``layer3``; see `cut`. Default: all
            of the trunk is shared. A list of two stages needs none.
        reinitialize: Draw new weights for the copies of the upper layers; default False, as
            pretrained layers want.
        group_from: From how many linear heads of one size these become one `GroupedLinear`,
            computed as one product with one masked loss; None never groups. Default 16: below,
            it spares nothing. A group copies its heads: the given modules stay as they are, and
            an optimiser sees weights [t, o, d] and biases [t, o]. Give None to train the modules
            themselves, or where a function picks parameters by their number of dimensions.

    Shape:
        forward: inputs as the trunk takes them -> [b, o] for each task.

    Raises:
        InvalidInputError: `heads` is empty, `split_at` names no layer, or the upper layers have
            weights in common with others.

    Cost: one pass through the trunk for all tasks; the upper layers once a task.

    Source: R. Caruana, "Multitask Learning", Machine Learning 28, 1997, section 2.
    Differs from the source: nothing known.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> trunk, heads = nn.Linear(8, 4), {"price": nn.Linear(4, 1), "kind": nn.Linear(4, 3)}
        >>> network = HardSharing(trunk, heads)
        >>> {name: tuple(y.shape) for name, y in network(torch.zeros(5, 8)).items()}
        {'price': (5, 1), 'kind': (5, 3)}
    """

    name = "hard"
    summary = "one trunk for all tasks, a head for each"

    def __init__(
        self,
        trunk: Trunk,
        heads: Mapping[str, nn.Module],
        *,
        split_at: str | None = None,
        reinitialize: bool = False,
        group_from: int | None = GROUP_FROM,
    ) -> None:
        stages = cut(trunk, split_at)
        split = len(stages) > 1
        super().__init__(heads, beside=stages, group_from=None if split else group_from)
        self.trunk = stages[0]
        self.branches: nn.ModuleList | None = None
        if split:
            upper = stages[1] if len(stages) == 2 else nn.Sequential(*stages[1:])
            if len(heads) > 1:
                refuse_tied([upper], [stages[0], *heads.values()])
            self.branches = nn.ModuleList(copies(upper, len(heads), reinitialize=reinitialize))

    @classmethod
    def for_table(
        cls,
        in_features: int,
        tasks: Sequence[Task],
        mlp: MLPSettings,
        *,
        shared_depth: int | None = None,
    ) -> HardSharing:
        """Return one whose first `shared_depth` blocks are shared, the others each task's own.

        Raises:
            InvalidInputError: There are not so many blocks.
        """
        trunk, heads = mlp.trunk(in_features), mlp.heads(tasks)
        depth = mlp.depth
        shared = depth if shared_depth is None else shared_depth
        if not 0 <= shared <= depth:
            raise InvalidInputError(
                f"`shared_depth` must lie between 0 and the depth, {depth}, got {shared_depth}"
            )
        if shared == depth or len(tasks) == 1:
            return cls(trunk, heads)
        embedded = mlp.embeddings is not None
        layers = [trunk[0], *trunk[1].children()] if embedded else list(trunk)
        before = embedded + bool(mlp.input_dropout)
        # an empty nn.Sequential passes its inputs on
        first = before + shared * (len(layers) - before) // depth if shared else 0
        stages = [nn.Sequential(*layers[:first]), nn.Sequential(*layers[first:])]
        return cls(stages, heads, reinitialize=True)

    def features(self, inputs: Any, tasks: Sequence[str]) -> dict[str, Any]:
        """Return what the trunk gives, passed through each task's own upper layers if any."""
        shared = self.trunk(inputs)
        if self.branches is None:
            return dict.fromkeys(tasks, shared)
        return {name: self.branches[self.index_of(name)](shared) for name in tasks}

    def parts(self) -> list[Part]:
        """Return the trunk, and each task's upper layers."""
        parts = [Part(("trunk",), self.task_names, self.trunk)]
        for name, branch in zip(self.task_names, self.branches or (), strict=False):
            parts.append(Part(("branches", name), (name,), branch, own=True))
        return parts
