"""Tasks' gradients of a table of which only the rows that were looked up have one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from jointrain.balancing._float_range import Cast
from jointrain.balancing.engine._ghost import gram
from jointrain.balancing.engine._graph import Leaf


class SparseRows:
    """The tasks' gradients of an ``nn.Embedding(..., sparse=True)``, never made dense."""

    def __init__(self, leaf: Leaf) -> None:
        self.leaf = leaf
        self.tensor = leaf.tensor
        self.kept: list[Tensor] = []

    def add(self, gradient: Tensor | None) -> None:
        """Take in the next task's gradient."""
        self.kept.append(as_sparse(self.tensor, gradient))

    def gramian(self, cast: Cast) -> Tensor:
        """Return the inner products [t, t] of the values after a cast, in float64."""
        return gram(cast(_aligned(self.kept)[1]).flatten(1))

    def cross(self, other: SparseRows, cast: Cast) -> Tensor:
        """Return the inner products [t, t'] with the gradients of another batch after a cast."""
        t = len(self.kept)
        return gram(cast(_aligned([*self.kept, *other.kept])[1]).flatten(1))[:t, t:]

    def combine(self, weights: Tensor) -> Tensor:
        """Return the weighted sum for weights [t], sparse as autograd's own gradient."""
        rows, values = _aligned(self.kept)
        mixed = torch.tensordot(weights.to(values), values, 1)
        return torch.sparse_coo_tensor(
            rows[None], mixed, self.tensor.shape, is_coalesced=True, check_invariants=False
        )

    def dense(self) -> Tensor:
        """Return the gradients as one dense tensor, [t, *shape]."""
        return torch.stack([gradient.to_dense() for gradient in self.kept])

    def finite(self) -> Tensor:
        """Return for each task whether its gradient is finite, [t], on the CPU."""
        return torch.stack([g.values().isfinite().all() for g in self.kept]).cpu()


def as_sparse(table: Tensor, gradient: Tensor | None) -> Tensor:
    """Return a table's gradient as a coalesced sparse one, without a row if there is none."""
    if gradient is None:
        nowhere = torch.empty(1, 0, dtype=torch.long, device=table.device)
        values = table.new_empty(0, *table.shape[1:])
        gradient = torch.sparse_coo_tensor(nowhere, values, table.shape, check_invariants=False)
    elif not gradient.is_sparse:  # the table is also used as a whole
        gradient = gradient.to_sparse(1)
    return gradient.coalesce()


def _aligned(gradients: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the rows [n] that any of the gradients has, and all values there, [t, n, d]."""
    places = [g.indices()[0] for g in gradients]
    rows = torch.unique(torch.cat(places))
    model = gradients[0].values()
    values = model.new_zeros(len(gradients), len(rows), *model.shape[1:])
    for row, gradient, place in zip(values, gradients, places, strict=True):
        row[torch.searchsorted(rows, place)] = gradient.values()
    return rows, values
