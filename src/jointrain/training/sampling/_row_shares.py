"""Shares of batches: which rows of a batch each of several processes trains on."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from jointrain.data import TensorData
from jointrain.networks import JoinedRows
from jointrain.training.sampling._batch import Batch
from jointrain.training.sampling._row_weights import without_labels


@dataclass(frozen=True)
class RowShare:
    """The part of every batch that one of several processes takes: rows one behind the other.

    All processes draw the same batches in the same order, so the order of rows does not depend on
    how many there are.

    Args:
        rank: The number of the process.
        size: How many processes there are.
        part_rows: Rows that go through the network at once on all processes together, if a batch
            goes in several parts; each of them is shared. Default: all.
    """

    rank: int
    size: int
    part_rows: int | None = None

    def rows_of(self, rows: int) -> JoinedRows:
        """Return which rows of a batch of so many are here; at least one of each part."""
        parts = 1 if self.part_rows is None else math.ceil(rows / self.part_rows)
        bounds = [round(rows * i / parts) for i in range(parts + 1)]
        return JoinedRows.of(bounds, self.rank, self.size)

    def of(self, batch: Batch) -> Batch:
        """Return what is here of a batch that has been read as a whole."""
        joined = self.rows_of(len(batch.data))
        if len(joined.pieces) == 1:
            (piece,) = joined.pieces
            data = batch.data.part(piece.start, piece.end)
        else:
            data = batch.data.take(joined.index.to(batch.data.device))
        return local_rows(replace(batch, data=data), joined)


def local_rows(batch: Batch, joined: JoinedRows) -> Batch:
    """Return the batch of the rows that are here, without labels in those that stand for none."""
    if joined.empty is None:
        return replace(batch, joined=joined)
    data, empty = batch.data, joined.empty.to(batch.data.device)
    targets = {name: without_labels(target, empty) for name, target in data.targets.items()}
    bare = TensorData(data.inputs, targets, data.weights, data.codes)
    return replace(batch, data=bare, joined=joined)
