from __future__ import annotations

import torch
from torch import Tensor

from jointrain.balancing._balancer import GramianWeighting
from jointrain.balancing._checks import check_count


class Krum(GramianWeighting):
    r"""Average the gradients that lie closest to their neighbours (Multi-Krum).

    Each task scores the sum of its squared distances to its t - f - 2 nearest neighbours; the
    tasks with the lowest scores are averaged. Robust against f arbitrary gradients.

    Args:
        byzantine: Tasks f whose gradients may be arbitrary, >= 0.
        selected: How many tasks are averaged, >= 1. Paper default 1 (Krum).

    Shape:
        gramian: [t, t]; losses: [t], unused; returns [t], non-negative, summing to 1.

    Raises:
        InvalidInputError: `byzantine` is below 0 or `selected` below 1.

    State: none. Cost: the Gramian and a sort of t x t distances.
    Source: Blanchard, El Mhamdi, Guerraoui, Stainer, "Machine learning with adversaries: Byzantine
        tolerant gradient descent", NeurIPS 2017, https://arxiv.org/abs/1703.02757, section 3.
        Written from the paper.
    Differs from the source: with f + 2 tasks or fewer in a step, one neighbour counts; with fewer
        than `selected` tasks, all are averaged. Of equal scores the one nearer to all tasks counts,
        not the first. (torchjd sums distances that are not squared.)

    Examples:
        >>> import torch
        >>> rows = torch.tensor([[1.0], [1.1], [1.3], [1.6], [9.0]]).double()
        >>> Krum(byzantine=1).weights(rows @ rows.T, torch.ones(5)).tolist()
        [0.0, 1.0, 0.0, 0.0, 0.0]
    """

    name = "krum"

    def __init__(self, *, byzantine: int = 1, selected: int = 1) -> None:
        super().__init__()
        self.byzantine = check_count(byzantine, "byzantine", low=0)
        self.selected = check_count(selected, "selected")

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:  # noqa: ARG002
        """Return the equal weights of the selected tasks, 0 for the others, [t]."""
        t = len(gramian)
        top = gramian.diagonal().max()
        g = gramian / top if top > 0 else gramian
        squares = g.diagonal()
        distances = (squares[:, None] + squares - 2.0 * g).clamp_min(0.0)
        from_all = distances.sum(dim=1)
        distances.fill_diagonal_(torch.inf)
        neighbours = min(max(t - self.byzantine - 2, 1), t - 1)
        scores = distances.topk(neighbours, largest=False).values.sum(dim=1)
        # two that are each other's nearest have one score where one neighbour counts
        order = from_all.argsort(stable=True)
        order = order[scores[order].argsort(stable=True)]
        chosen = order[: self.selected]
        weights = torch.zeros(t, dtype=torch.float64)
        weights[chosen] = 1.0 / len(chosen)
        return weights
