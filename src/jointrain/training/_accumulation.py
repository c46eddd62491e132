"""Parts of a step's batches, whose losses add up to those of the whole."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from jointrain.balancing import TaskLosses
from jointrain.networks import JoinedRows
from jointrain.task import Task
from jointrain.training._losses import label_counts
from jointrain.training._ranks import TrainingRanks
from jointrain.training.sampling import Batch, local_rows

Part = tuple[Sequence[Batch], Mapping[str, float]]
"""Batches, and the share that they have of each task's labelled rows."""


def parts_of(
    tasks: Mapping[str, Task],
    batches: Sequence[Batch],
    rows: int,
    ranks: TrainingRanks | None = None,
) -> list[Part]:
    """Return a step's batches in parts of nearly equal size.

    The losses of a part times its shares, summed over the parts, are the losses of the batches.

    Args:
        tasks: The tasks by name.
        batches: One or several, no task in two of them.
        rows: Rows of a batch in a part at most.
        ranks: The processes that share each part, if there are several.
    """
    cut = [_cut(batch, rows) for batch in batches]
    count = max(map(len, cut))
    if count == 1:
        return [(batches, {})]
    parts = [[pieces[k] for pieces in cut if k < len(pieces)] for k in range(count)]
    found: Sequence[Mapping[str, float]]
    if ranks is None:
        found = [label_counts(tasks, part) for part in parts]
    else:
        found = ranks.rows_of_parts(tasks, parts)
    whole = {name: sum(counts.get(name, 0) for counts in found) for name in found[0]}
    if ranks is not None:
        parts = [[_told(batch, whole) for batch in part] for part in parts]
    return [
        (part, {name: n / max(whole[name], 1) for name, n in counts.items()})
        for part, counts in zip(parts, found, strict=True)
    ]


def share_of(losses: Mapping[str, Tensor], shares: Mapping[str, float]) -> Mapping[str, Tensor]:
    """Return the losses of a part, each times its share."""
    if isinstance(losses, TaskLosses):
        return losses.weighted(shares)
    return {name: loss * shares[name] for name, loss in losses.items()}


def added(found: Sequence[Mapping[str, Tensor]]) -> Mapping[str, Tensor]:
    """Return the detached sums of the losses of parts, of which the first has all tasks."""
    vectors = [losses for losses in found if isinstance(losses, TaskLosses)]
    if len(vectors) == len(found) and len({losses.names for losses in vectors}) == 1:
        total = sum(losses.together.detach() for losses in vectors)
        assert isinstance(total, Tensor)
        return TaskLosses(vectors[0].names, total)
    sums: dict[str, Tensor] = {}
    for losses in found:
        for name, loss in losses.items():
            sums[name] = sums[name] + loss.detach() if name in sums else loss.detach()
    return sums


def _told(batch: Batch, rows: Mapping[str, float]) -> Batch:
    """Return a batch that says which tasks have a label, by the rows of the whole step."""
    if batch.present is not None:
        return batch
    return replace(batch, present=torch.tensor([rows[name] > 0 for name in batch.tasks]))


def _cut(batch: Batch, rows: int) -> list[Batch]:
    if batch.joined is not None:
        return _cut_joined(batch, batch.joined)
    n = len(batch.data)
    count = math.ceil(n / rows)
    if count <= 1:
        return [batch]
    bounds = [round(n * i / count) for i in range(count + 1)]
    return [
        # which tasks have a label is that of the whole: their share of a part may be 0
        replace(batch, data=batch.data.part(start, end))
        for start, end in pairwise(bounds)
    ]


def _cut_joined(batch: Batch, joined: JoinedRows) -> list[Batch]:
    """Return the pieces of a batch of which each process has its share."""
    if len(joined.pieces) == 1:
        return [batch]
    ends = accumulate((piece.end - piece.start for piece in joined.pieces), initial=0)
    return [
        local_rows(replace(batch, data=batch.data.part(start, end)), JoinedRows((piece,)))
        for (start, end), piece in zip(pairwise(ends), joined.pieces, strict=True)
    ]
