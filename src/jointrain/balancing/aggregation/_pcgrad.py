from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from jointrain.balancing._balancer import GramianWeighting
from jointrain.balancing.solvers import Array

_BLOCK = 16


class PCGrad(GramianWeighting):
    r"""Take out of each gradient what conflicts with the others, one after the other, then sum.

    For each task i and all others j in random order:

    .. math:: g_i \leftarrow g_i - \frac{g_i^\top g_j}{\lVert g_j \rVert^2}\, g_j
        \quad \text{if}\ g_i^\top g_j < 0

    Args:
        seed: Seed of the random orders.

    Shape:
        gramian: [t, t]; losses: [t], unused; returns [t], each weight at least 1.

    State: the generator of the orders. Cost: the Gramian and t small vector operations, O(t^2)
        memory.
    Source: Yu, Kumar, Gupta, Levine, Hausman, Finn, "Gradient surgery for multi-task learning",
        NeurIPS 2020, https://arxiv.org/abs/2001.06782, Alg. 1. Written from the paper.
    Differs from the source: one random order a step for all tasks, as in the authors' code, where
        Alg. 1 can be read as one for each task; the expected update is the same.

    Examples:
        >>> import torch
        >>> gramian = torch.tensor([[1.0, -1.0], [-1.0, 2.0]]).double()
        >>> PCGrad().weights(gramian, torch.ones(2)).tolist()
        [2.0, 1.5]
    """

    name = "pcgrad"
    random = True

    def __init__(self, *, seed: int = 0) -> None:
        super().__init__(seed=seed)

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:  # noqa: ARG002
        """Return the weights [t] of the sum of the mended gradients."""
        order = torch.randperm(len(gramian), generator=self.generator).numpy()
        g = gramian.numpy()
        weights = np.empty(len(g))
        weights[order] = 1.0 + _removed(g[order[:, None], order])
        return torch.from_numpy(weights)


def _removed(g: Array) -> Array:
    """Return how much of each gradient, taken in the given order, was added to all others, [t].

    All gradients i are mended at once, so the inner products with gradient j, a row [t] each, are
    those of a forward substitution: within a block one by one, behind it by one matrix product.
    """
    t = len(g)
    products = g.copy()
    added = np.zeros((t, t))
    lengths = np.maximum(np.diagonal(g), 0.0)
    scale = np.divide(-1.0, lengths, out=np.zeros(t), where=lengths > 0.0)
    for start in range(0, t, _BLOCK):
        end = min(start + _BLOCK, t)
        for j in range(start, end):
            row = np.minimum(products[j], 0.0)
            row *= scale[j]
            row[j] = 0.0
            added[j] = row
            if j + 1 < end:
                products[j + 1 : end] += g[j + 1 : end, j, None] * row
        if end < t:
            products[end:] += g[end:, start:end] @ added[start:end]
    return np.asarray(added.sum(axis=1))
