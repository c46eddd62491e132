"""What all processes of a step agree on: tasks, losses, parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from jointrain.balancing.engine._graph import Leaf
from jointrain.balancing.engine._ranks import Ranks
from jointrain.balancing.engine._replicas import Replicas
from jointrain.errors import InvalidInputError


class Place(NamedTuple):
    """A parameter as this process or all of them see it.

    Attributes:
        tensor: The parameter.
        mask: The tasks that reach it, as bits; the next bit is that of the penalty.
        picked: Whether the caller named it as shared, by itself or by `features`.
        sparse: Whether it is a table whose gradient has only the rows that were looked up.
    """

    tensor: Tensor
    mask: int
    picked: bool = False
    sparse: bool = False


@dataclass(frozen=True)
class Local:
    """What one process brings to a step.

    Attributes:
        names: Its tasks; those with a loss.
        losses: Their losses, [t].
        rows: In how many rows each of them has a label here; None if the caller didn't say.
        places: The parameters that its losses reach.
        settings: The other arguments of the call, which must be the same everywhere.
        state: A digest of the balancer's state.
    """

    names: tuple[str, ...]
    losses: list[float]
    rows: list[float] | None
    places: list[Place]
    settings: str
    state: bytes


@dataclass(frozen=True)
class Agreement:
    """What all processes of a step know.

    Attributes:
        ranks: The processes.
        replicas: How the parameters lie over them.
        names: The tasks that have a label on some process, [t], in one order for all.
        shares: What part of each task's rows is on this process, [t].
        losses: The mean loss of each task over all rows, [t], float64.
        present: Whether this process is to differentiate the task's loss, [t].
        places: The parameters that some process reaches, in one order for all.
        alike: Whether every process has all tasks, with rows, and the same graph.
        same_state: Whether the balancers' states were equal.
    """

    ranks: Ranks
    replicas: Replicas
    names: tuple[str, ...]
    shares: tuple[float, ...]
    losses: Tensor
    present: tuple[bool, ...]
    places: tuple[Place, ...]
    alike: bool
    same_state: bool

    def without(self, bad: Sequence[int]) -> Agreement:
        """Return it without the tasks at these positions."""
        keep = [k for k in range(len(self.names)) if k not in bad]
        return replace(
            self,
            names=tuple(self.names[k] for k in keep),
            shares=tuple(self.shares[k] for k in keep),
            losses=self.losses[keep],
            present=tuple(self.present[k] for k in keep),
            places=tuple(
                p._replace(mask=_moved(p.mask, [*keep, len(self.names)])) for p in self.places
            ),
        )

    def mean(self, losses: Tensor) -> Tensor:
        """Return the losses [t] over the rows of all processes, of those of this one."""
        shares = torch.tensor(self.shares, dtype=torch.float64)
        present = torch.tensor(self.present)
        mine = torch.where(present, losses.detach().to(shares) * shares, 0.0)
        return self.ranks.add_up(mine).to(losses)

    def sort(
        self, leaf_of: Callable[[Place], Leaf], own: Collection[int] | None, *, named: bool
    ) -> tuple[list[Leaf], list[list[Leaf]], list[Leaf]]:
        """Return the shared parameters, those of each task [t], and all.

        Args:
            leaf_of: Returns what this process knows of a parameter.
            own: The ids of the parameters that are to get a gradient beside the shared ones; None
                for all.
            named: Whether the caller said which parameters are shared.
        """
        shared, parameters = [], []
        by_task: list[list[Leaf]] = [[] for _ in self.names]
        for place in self.places:
            leaf = leaf_of(place)
            parameters.append(leaf)
            if self.is_shared(place, named=named):
                shared.append(leaf)
            elif own is None or id(place.tensor) in own:
                for k, mine in enumerate(by_task):
                    if place.mask >> k & 1:
                        mine.append(leaf)
        return shared, by_task, parameters

    def is_shared(self, place: Place, *, named: bool) -> bool:
        """Return whether the parameter's gradients are balanced.

        Args:
            place: The parameter.
            named: Whether the caller said which parameters are shared.
        """
        tasks = place.mask & ((1 << len(self.names)) - 1)
        return place.picked if named else bool(tasks & (tasks - 1))


def weighed(
    ranks: Ranks,
    replicas: Replicas,
    names: tuple[str, ...],
    losses: Sequence[Sequence[float]],
    rows: Sequence[Sequence[float]],
    places: Sequence[Place],
    alike: bool,
    same_state: bool,
) -> Agreement:
    """Return the agreement: each task's loss is the mean over the rows of all processes."""
    # in plain numbers: so few of them take tensors ten times as long
    if replicas.sharded is not None:
        here = zip(rows, losses, strict=True)
        numbers = [pair for some in here for pair in zip(*some, strict=True)]
        if not all(math.isfinite(loss) for n, loss in numbers if n == 0):
            raise InvalidInputError(
                "Over shards of `fully_shard` the loss of a task without rows on a process must be "
                "finite, since its pass is made all the same. Take a sum in place of a mean there."
            )
    total = [sum(some[k] for some in rows) for k in range(len(names))]
    mean = [
        sum(v[k] * (n[k] / total[k]) for n, v in zip(rows, losses, strict=True) if n[k] > 0)
        for k in range(len(names))
    ]
    mine = rows[ranks.rank]
    alike = alike and all(some[k] > 0 for k, n in enumerate(total) if n > 0 for some in rows)
    found = Agreement(
        ranks,
        replicas,
        names,
        tuple(n / every if every else 0.0 for n, every in zip(mine, total, strict=True)),
        torch.tensor(mean, dtype=torch.float64),
        tuple(n > 0 for n in mine),
        tuple(places),
        alike,
        same_state,
    )
    empty = [k for k, n in enumerate(total) if n == 0]
    return found.without(empty) if empty else found


def _moved(mask: int, keep: Sequence[int]) -> int:
    """Return the bits at the positions `keep`, moved together."""
    return sum((mask >> k & 1) << i for i, k in enumerate(keep))
