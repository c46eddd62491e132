from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from jointrain.balancing._balancer import GramianWeighting
from jointrain.balancing._checks import check_count, check_number
from jointrain.balancing.solvers import bargaining_weights


class NashMTL(GramianWeighting):
    r"""Let the tasks bargain: all gain in the same proportion, whatever their losses' scales.

    .. math:: G w = 1 / w \ \text{(entry by entry)}

    Args:
        tasks: Number or names of the tasks; only `update_weights_every` > 1 makes use of them.
        update_weights_every: Steps, >= 1, for which the solution is kept. Paper default 1.
        max_norm: Longest update, in the gradients' unit, >= 0; a longer one is cut to that
            length, 0 means no limit. Default of the authors' code: 1.

    Shape:
        gramian: [t, t]; losses: [t], unused; returns [t], non-negative.

    Raises:
        InvalidInputError: `update_weights_every` is below 1 or `max_norm` below 0.

    State: buffers `kept`, [T], the solution in use (NaN where there is none yet) and `steps`, a
        scalar. Cost: the Gramian and a few t x t solves.
    Source: Navon, Shamsian, Achituve, Maron, Kawaguchi, Chechik, Fetaya, "Multi-task learning as a
        bargaining game", ICML 2022, https://arxiv.org/abs/2202.01017, Claim 3.1, Alg. 1. Written
        from the paper; the division of G by its Frobenius norm and `max_norm` as in the authors'
        code.
    Differs from the source: solved to rounding by Newton's method on a convex form, where the paper
        takes up to 20 steps of a convex-concave procedure, and so without the last step's solution
        as start. Where gradients cancel out there is no solution; weights are then large and
        finite. A task whose gradient is zero has weight 0.

    Examples:
        >>> import torch
        >>> gramian = torch.diag(torch.tensor([1.0, 16.0]).double())
        >>> weights = NashMTL(max_norm=0.0).weights(gramian, torch.ones(2))
        >>> round(float(weights[0] / weights[1]), 6)
        4.0
    """

    name = "nash-mtl"
    task_state = True
    non_conflicting = True
    plain_for_one_task = False
    scale_free = False
    kept: Tensor
    steps: Tensor

    def __init__(
        self,
        tasks: int | Sequence[str] | None = None,
        *,
        update_weights_every: int = 1,
        max_norm: float = 1.0,
    ) -> None:
        super().__init__()
        self.update_weights_every = check_count(update_weights_every, "update_weights_every")
        self.max_norm = check_number(max_norm, "max_norm", low=0.0)
        self.bind(tasks)

    def allocate(self, n_tasks: int) -> None:
        """Forget the solution and start counting anew."""
        self.register_buffer("kept", torch.full((n_tasks,), math.nan, dtype=torch.float64))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:
        """Return the bargaining weights [t], new or kept, cut to `max_norm`."""
        present = self.present(len(losses))
        top = float(gramian.abs().max())
        relative = gramian / top if top > 0.0 else gramian
        kept = self.kept[present]
        if int(self.steps) % self.update_weights_every == 0 or bool(kept.isnan().any()):
            kept = bargaining_weights(relative, rounding=self.rounding) * relative.norm().sqrt()
            self.kept[present] = kept
        self.steps += 1
        length = math.sqrt(max(float(kept @ relative @ kept), 0.0)) * math.sqrt(top)
        return kept * (self.max_norm / length) if length > self.max_norm > 0.0 else kept
