from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from jointrain.balancing._balancer import LossWeighting, Weighing
from jointrain.balancing._checks import check_count, check_positive
from jointrain.balancing.weighting._per_task import require_at_least
from jointrain.errors import InvalidInputError

_SMALLEST = 1e-8


class GO4Align(LossWeighting):
    r"""Bring the losses to one size and give tasks of like risk one weight, that of their group.

    .. math:: \gamma_i = \frac{\sum_j L_j}{L_i}\, p_i, \qquad
        p_i \leftarrow \frac{p_i\, e^{-\eta L_i}}{\sum_j p_j\, e^{-\eta L_j}}, \qquad
        \sum_i w_{k(i)} L_i,

    where k-means puts the risk indicators :math:`\gamma` in groups, k(i) is the group of task i and
    :math:`w_k` the mean of the indicators in it.

    Args:
        tasks: Number or names of the tasks; by default fixed at `bind` or at the first step.
        groups: How many groups, >= 1; with as many as tasks each has its own weight. The authors
            choose it for each data set; default 2.
        step_size: :math:`\eta`, > 0, over the losses' unit. Default of the authors' code, 0.0001.

    Shape:
        losses: [t], non-negative; returns a scalar.

    Raises:
        InvalidInputError: `groups` is below 1, `step_size` is not above zero, or a loss is
            negative or all are infinite.

    State: buffer `log_shares`, [T], the logarithm of p but for a common number. Cost: one backward
        pass.
    Source: Shen, Wang, Xiao, van Noord, Worring, "GO4Align: group optimization for multi-task
        alignment", NeurIPS 2024, https://openreview.net/forum?id=8vCs5U9Hbt, as in the authors'
        code. Written anew.
    Differs from the source: the groups are the best ones, found exactly, as the indicators are
        numbers on a line, where k-means of the authors' code starts at random. Of absent tasks p
        stays; it sums to 1 over the present ones. A loss below 1e-8 of the sum counts as that.

    Examples:
        >>> [round(w, 3) for w in GO4Align(3).weigh([1.0, 1.0, 4.0]).weights]
        [2.0, 2.0, 0.5]
    """

    name = "go4align"
    task_state = True
    log_shares: Tensor

    def __init__(
        self,
        tasks: int | Sequence[str] | None = None,
        *,
        groups: int = 2,
        step_size: float = 1e-4,
    ) -> None:
        super().__init__()
        self.groups = check_count(groups, "groups")
        self.step_size = check_positive(step_size, "step_size")
        self.bind(tasks)

    def allocate(self, n_tasks: int) -> None:
        """Set p equal."""
        self.register_buffer("log_shares", torch.zeros(n_tasks, dtype=torch.float64))

    def weigh(self, losses: Sequence[float]) -> Weighing:
        """Return the weights of the losses [t]: the means of their groups' risk indicators."""
        require_at_least(losses, 0.0, self)
        t = len(losses)
        total = math.fsum(losses)
        if not math.isfinite(total):
            raise InvalidInputError(f"`losses` must be finite for GO4Align, got {list(losses)}.")
        logs = [
            log - self.step_size * loss
            for log, loss in zip(self.entries("log_shares", t).tolist(), losses, strict=True)
        ]
        highest = max(logs)
        logs = [log - highest for log in logs]
        self.set_entries("log_shares", torch.tensor(logs, dtype=torch.float64))
        parts = [math.exp(log) for log in logs]
        whole = math.fsum(parts)
        if not total:
            return Weighing([part / whole * t for part in parts])
        risks = [
            total / max(loss, _SMALLEST * total) * part / whole
            for loss, part in zip(losses, parts, strict=True)
        ]
        return Weighing(group_means(risks, self.groups))


def group_means(values: Sequence[float], groups: int) -> list[float]:
    """Return the mean of each value's group, for groups of least squared distance to their means.

    Groups of numbers on a line are runs of the sorted ones, so dynamic programming over where they
    end finds the best ones.

    Shape:
        values: [t]; returns [t].

    Source: Wang, Song, "Ckmeans.1d.dp: optimal k-means clustering in one dimension by dynamic
        programming", The R Journal 2011. Written from the paper.
    """
    t = len(values)
    order = np.argsort(values, kind="stable")
    line = np.asarray(values, dtype=np.float64)[order]
    unit = line[-1] if line[-1] > 0.0 else 1.0
    sums = np.concatenate([[0.0], np.cumsum(line / unit)])
    squares = np.concatenate([[0.0], np.cumsum((line / unit) ** 2)])
    ends = np.arange(1, t + 1)
    count = ends[None, :] - np.arange(t)[:, None]  # of the run from row to column
    spread = (sums[None, 1:] - sums[:-1, None]) ** 2 / np.maximum(count, 1)
    cost = np.where(count > 0, squares[None, 1:] - squares[:-1, None] - spread, np.inf)
    best, starts = cost[0], [np.zeros(t, dtype=np.int64)]
    for _ in range(1, min(groups, t)):
        before = np.concatenate([[0.0], best[:-1]])[:, None] + cost
        starts.append(before.argmin(axis=0))
        best = before.min(axis=0)
    means = np.empty(t)
    end = t
    for start_of in reversed(starts):
        if end == 0:
            break
        start = int(start_of[end - 1])
        means[order[start:end]] = math.fsum(line[start:end]) / (end - start)
        end = start
    return means.tolist()
