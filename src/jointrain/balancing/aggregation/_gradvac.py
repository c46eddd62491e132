from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from jointrain.balancing._balancer import GramianWeighting
from jointrain.balancing._checks import check_number


class GradVac(GramianWeighting):
    r"""Raise the cosine of each pair of gradients to what it has been on average, then sum.

    PCGrad only acts on negative cosines and leaves them at zero; this pulls gradients together as
    soon as their cosine :math:`\phi_{ij}` falls below its moving average :math:`\hat\phi_{ij}`:

    .. math:: g_i \leftarrow g_i + \frac{\lVert g_i \rVert (\hat\phi_{ij} \sqrt{1 - \phi_{ij}^2}
        - \phi_{ij} \sqrt{1 - \hat\phi_{ij}^2})}{\lVert g_j \rVert \sqrt{1 - \hat\phi_{ij}^2}}\, g_j

    Args:
        tasks: Number or names of the tasks; by default fixed at `bind` or at the first step.
        beta: Step of the moving average, in [0, 1]. Paper default 0.01.
        seed: Seed of the random orders.

    Shape:
        gramian: [t, t]; losses: [t], unused; returns [t], each weight at least 1.

    Raises:
        InvalidInputError: `beta` is outside [0, 1].

    State: buffer `cosines`, [T, T], the moving averages, from 0 on; the generator of the orders.
        Cost: the Gramian and some t vector operations, O(t^2) memory.
    Source: Wang, Tsvetkov, Firat, Cao, "Gradient vaccine: investigating and improving multi-task
        optimization in massively multilingual models", ICLR 2021,
        https://arxiv.org/abs/2010.05874, Eq. (4), (5) and Alg. 1. Written from the paper.
    Differs from the source: one cosine per pair for all shared parameters instead of one per layer;
        one random order a step for all tasks, as in the code of PCGrad's authors.

    Examples:
        >>> import torch
        >>> gramian = torch.tensor([[1.0, -1.0], [-1.0, 2.0]]).double()
        >>> [round(w, 6) for w in GradVac().weights(gramian, torch.ones(2)).tolist()]
        [2.0, 1.5]
    """

    name = "gradvac"
    task_state = True
    random = True
    cosines: Tensor

    def __init__(
        self, tasks: int | Sequence[str] | None = None, *, beta: float = 0.01, seed: int = 0
    ) -> None:
        super().__init__(seed=seed)
        self.beta = check_number(beta, "beta", low=0.0, high=1.0)
        self.bind(tasks)

    def allocate(self, n_tasks: int) -> None:
        """Set the moving averages to zero."""
        self.register_buffer("cosines", torch.zeros(n_tasks, n_tasks, dtype=torch.float64))

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:
        """Return the weights [t] of the sum of the mended gradients."""
        present = self.present(len(losses))
        t = len(gramian)
        g = gramian.numpy()
        top = float(np.diagonal(g).max())
        products = g / top if top > 0.0 else g.copy()  # [t, t], row j: of g_j with the mended g_i
        g = products.copy()
        squares = np.maximum(np.diagonal(g), 0.0)  # [t], of the mended gradients
        lengths = np.sqrt(squares)
        inverse = np.divide(1.0, lengths, out=np.zeros(t), where=lengths > 0.0)
        goals = self.cosines[present[:, None], present].numpy()
        weights = np.ones(t)
        for j in torch.randperm(t, generator=self.generator).tolist():
            goal = goals[:, j]
            now = np.sqrt(np.maximum(squares, 0.0))
            size = np.divide(inverse[j], now, out=np.zeros(t), where=now > 0.0)
            cosine = np.clip(products[j] * size, -1.0, 1.0)
            room = np.sqrt(np.maximum(1.0 - goal * goal, 1e-16))
            added = goal * np.sqrt(1.0 - cosine * cosine) / room - cosine
            added *= now * inverse[j]
            added[~(cosine < goal)] = 0.0
            added[j] = 0.0
            squares = squares + added * (2.0 * products[j] + added * g[j, j])
            products += g[:, j, None] * added
            weights[j] += added.sum()
            new = goal + self.beta * (cosine - goal)
            new[j] = goal[j]
            goals[:, j] = new
        self.cosines[present[:, None], present] = torch.from_numpy(goals)
        return torch.from_numpy(weights)
