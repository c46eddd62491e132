from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from jointrain.balancing._balancer import GramianWeighting
from jointrain.balancing._checks import check_count, check_number, check_positive
from jointrain.balancing.aggregation._simplex_state import (
    give_share,
    register_equal_shares,
    take_share,
)
from jointrain.balancing.solvers import project_onto_simplex


class SDMGrad(GramianWeighting):
    r"""Follow MGDA's direction, drawn towards the mean gradient, with unbiased weights.

    .. math:: \min_{w \in \Delta} \tfrac12 \lVert J^\top (w + \lambda \bar w) \rVert^2, \qquad
        d = \frac{J^\top (w + \lambda \bar w)}{1 + \lambda}, \qquad \bar w = \tfrac1t 1

    by some projected gradient steps with momentum, from the last step's weights on, on the product
    :math:`J_1 J_2^\top` of two independent batches' gradients.

    Args:
        tasks: Number or names of the tasks; by default fixed at `bind` or at the first step.
        lam: :math:`\lambda`, >= 0. Paper default 0.3.
        step_size: Step of the weights, > 0, for gradients of length about 1. Default of the
            authors' code, 10 (5 on some data sets).
        momentum: In [0, 1). The same, 0.5.
        steps: Projected gradient steps, >= 1. The same, 20.

    Shape:
        gramian: [t, t], ``J1 @ J2.T``; losses: [t], unused; returns [t], on the simplex.

    Raises:
        InvalidInputError: A hyper-parameter is outside its range.

    State: buffer `simplex`, [T], the weights. Cost: the gradients of three batches and `steps` t x
        t products.
    Source: Xiao, Ban, Ji, "Direction-oriented multi-objective learning: simple and provable
        stochastic algorithms", NeurIPS 2023, https://arxiv.org/abs/2305.18409, Alg. 1, Eq. (6).
        Written from the paper; the division by the gradients' mean length as in the authors' code.
    Differs from the source: nothing is added to that length, so that short gradients are weighed
        like long ones.

    Examples:
        >>> import torch
        >>> gramian = torch.diag(torch.tensor([1.0, 3.0]).double())
        >>> sdm = SDMGrad(2, lam=0.0, step_size=0.1, steps=200)
        >>> [round(w, 4) for w in sdm.weights(gramian, torch.ones(2)).tolist()]
        [0.75, 0.25]
    """

    name = "sdmgrad"
    task_state = True
    extra_batches = 2
    simplex: Tensor

    def __init__(
        self,
        tasks: int | Sequence[str] | None = None,
        *,
        lam: float = 0.3,
        step_size: float = 10.0,
        momentum: float = 0.5,
        steps: int = 20,
    ) -> None:
        super().__init__()
        self.lam = check_number(lam, "lam", low=0.0)
        self.step_size = check_positive(step_size, "step_size")
        self.momentum = check_number(momentum, "momentum", low=0.0, high=1.0, strict_high=True)
        self.steps = check_count(steps, "steps")
        self.bind(tasks)

    def allocate(self, n_tasks: int) -> None:
        """Set the weights equal."""
        register_equal_shares(self, n_tasks)

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:
        """Move the weights and return them, drawn towards the mean, [t]."""
        share, total = take_share(self, len(losses))
        g = gramian.numpy()
        t = len(g)
        top = np.abs(g).max()
        g = g / top if top > 0.0 else g
        # of two batches the diagonal may be nearly zero or below it
        length = max(float(np.sqrt(np.maximum(np.diagonal(g), 0.0)).mean()), 1e-6)
        g = g / length**2
        pull = g.mean(axis=1) * self.lam
        speed = np.zeros(t)
        for _ in range(self.steps):
            speed = self.momentum * speed + g @ share + pull
            share = project_onto_simplex(share - self.step_size * speed)
        weights = give_share(self, share, total)
        return (weights + self.lam / t) / (1.0 + self.lam)
