"""AITM: each task of a sequence takes over what it needs of the one before it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from jointrain.errors import InvalidInputError, closest
from jointrain.networks._network import Network, Part
from jointrain.networks._table_settings import MLPSettings
from jointrain.task import Task


class Transfer(nn.Module):
    r"""What a task takes from the one before it: attention to two vectors.

    With q the task's own features and p what comes of the other task's,
    :math:`z = \sum_{u \in \{p, q\}} w_u h_1(u)` with w the softmax over both of
    :math:`h_2(u) \cdot h_3(u) / \sqrt{d}`; g and the h are linear.

    Args:
        width: d.

    Shape:
        forward: own [b, d], before [b, d] -> [b, d].
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.brought = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)

    def forward(self, own: Tensor, before: Tensor) -> Tensor:
        """Return the task's features."""
        both = torch.stack([self.brought(before), own], 1)  # [b, 2, d]
        fit = (self.query(both) * self.key(both)).sum(-1) / math.sqrt(own.shape[-1])
        result: Tensor = (fit.softmax(1)[..., None] * self.value(both)).sum(1)
        return result


class AITM(Network):
    """Tasks that follow each other: each has a tower, and takes from the one before it.

    Click, cart, purchase: what tells a click tells of a purchase, too, and purchases are few. The
    tower of a task gives q, the transfer makes its features z of q and of the z of the task before
    it, and the head takes z.

    Args:
        trunk: Shared layers.
        towers: Layers of each task that take what the trunk gives and give [b, d], by task name.
        heads: Each task's head, which takes [b, d].
        before: Which task each takes from, by task name; default the one before it in the order
            of the heads.
        width: d.

    Shape:
        forward: inputs as the trunk takes them -> [b, o] for each task.

    Raises:
        InvalidInputError: A tower is missing, or `before` names what is no task, or is a circle.

    Cost: a trunk for all, a tower a task, and four d x d products a transfer; a step of one task
        computes all that it takes from.

    Source: Xi et al., "Modeling the Sequential Dependence among Audience Multi-step Conversions
        with Multi-task Learning in Targeted Display Advertising", KDD 2021, arXiv:2105.08489,
        section 3. Written from the paper.
    Differs from the source: no calibrator, which penalizes p(purchase) above p(click): with
        ``Task(..., given="click")`` it can't be.

    Examples:
        >>> towers = {name: nn.Linear(4, 3) for name in ("click", "purchase")}
        >>> heads = {name: nn.Linear(3, 1) for name in towers}
        >>> network = AITM(nn.Linear(8, 4), towers, heads, width=3)
        >>> {name: tuple(y.shape) for name, y in network(torch.zeros(5, 8)).items()}
        {'click': (5, 1), 'purchase': (5, 1)}
    """

    name = "aitm"
    summary = "towers, each of which takes from the task before"

    def __init__(
        self,
        trunk: nn.Module,
        towers: Mapping[str, nn.Module],
        heads: Mapping[str, nn.Module],
        *,
        width: int,
        before: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(heads)
        names = self.task_names
        if before is None:
            before = dict(zip(names[1:], names, strict=False))
        for name in (*before, *before.values()):
            if name not in names:
                raise InvalidInputError(
                    f"`before` names {name!r}, which is no task{closest(name, names)}"
                )
        for name in names:
            if name not in towers:
                raise InvalidInputError(f"task {name!r} has no tower; give one for each task")
            self._check_no_circle(name, before)
        self.trunk = trunk
        # lists, not a ModuleDict: task names may hold dots
        self.towers = nn.ModuleList(towers[name] for name in names)
        self._before = {name: before[name] for name in names if name in before}
        self._place = {name: place for place, name in enumerate(self._before)}
        self.transfers = nn.ModuleList(Transfer(width) for _ in self._before)

    @classmethod
    def for_table(cls, in_features: int, tasks: Sequence[Task], mlp: MLPSettings) -> AITM:
        """Return one with one shared layer of an MLP, and towers of the others.

        Each task takes from what it is given; where no task is given another one, each takes from
        the one before it.
        """
        first, later = mlp.levels()
        names = [task.name for task in tasks]
        given = {task.name: task.given for task in tasks if task.given in names and task.given}
        layers = max(mlp.depth - 1, 1)
        towers = {name: nn.Sequential(*later.trunks(mlp.width, layers)) for name in names}
        trunk, heads = first.trunk(in_features), mlp.heads(tasks)
        return cls(trunk, towers, heads, width=mlp.width, before=given or None)

    @staticmethod
    def _check_no_circle(name: str, before: Mapping[str, str]) -> None:
        seen = [name]
        while seen[-1] in before:
            seen.append(before[seen[-1]])
            if seen[-1] in seen[:-1]:
                raise InvalidInputError(
                    f"tasks take from each other in a circle: {' from '.join(map(repr, seen))}; "
                    "leave one out of `before`"
                )

    def features(self, inputs: Any, tasks: Sequence[str]) -> dict[str, Any]:
        """Return what each task's tower gives, with what it takes over."""
        shared = self.trunk(inputs)
        found: dict[str, Tensor] = {}

        def of(name: str) -> Tensor:
            if name not in found:
                own = self.towers[self.index_of(name)](shared)
                before = self._before.get(name)
                if before is not None:
                    own = self.transfers[self._place[name]](own, of(before))
                found[name] = own
            return found[name]

        return {name: of(name) for name in tasks}

    def parts(self) -> list[Part]:
        """Return the trunk, and each task's tower and transfer."""
        parts = [Part(("trunk",), self.task_names, self.trunk)]
        for place, name in enumerate(self.task_names):
            users = self._takers(name)
            alone = users == (name,)
            parts.append(Part(("towers", name), users, self.towers[place], own=alone))
            if name in self._place:
                transfer = self.transfers[self._place[name]]
                parts.append(Part(("transfers", name), users, transfer, own=alone))
        return parts

    def _takers(self, name: str) -> tuple[str, ...]:
        """Return a task and all that take from it, straight or by way of others."""
        found = []
        for other in self.task_names:
            link: str | None = other
            while link is not None and link != name:
                link = self._before.get(link)
            if link == name:
                found.append(other)
        return tuple(found)
