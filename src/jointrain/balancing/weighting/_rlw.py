from __future__ import annotations

from collections.abc import Sequence

import torch

from jointrain.balancing._balancer import LossWeighting, Weighing
from jointrain.balancing._checks import check_choice
from jointrain.balancing.weighting._per_task import softmax


class RLW(LossWeighting):
    r"""Draw new random weights at every step: a litmus test that other methods should pass.

    In expectation the plain joint step; the noise alone can help to leave poor minima.

    .. math:: t \sum_i w_i L_i, \qquad w = \mathrm{softmax}(z),\ z \sim \mathcal N(0, I)
        \quad\text{or}\quad w \sim \mathrm{Dirichlet}(1, \dots, 1)

    Args:
        distribution: ``"normal"`` for the softmax of standard normal numbers, ``"dirichlet"`` for
            the uniform distribution on the simplex.
        seed: Seed of the balancer's own generator.

    Shape:
        losses: [t]; returns a scalar.

    Raises:
        InvalidInputError: `distribution` is none of the two.

    State: the generator, set back to `seed` by `reset`. Cost: one backward pass.
    Source: Lin, Ye, Zhang, Tsang, "Reasonable effectiveness of random weighting: a litmus test for
        multi-task learning", TMLR 2022, https://arxiv.org/abs/2111.10603, Alg. 2. Written from the
        paper.
    Differs from the source: the weights sum to t, not 1, so that the learning rate of the plain
        sum of the losses carries over; two of the distributions that the paper tries.

    Examples:
        >>> import torch
        >>> losses = torch.ones(3, requires_grad=True)
        >>> RLW(seed=1).objective(losses).backward()
        >>> round(float(losses.grad.sum()), 4)
        3.0
    """

    name = "rlw"
    random = True

    def __init__(self, *, distribution: str = "normal", seed: int = 0) -> None:
        super().__init__(seed=seed)
        self.distribution = check_choice(distribution, "distribution", ("normal", "dirichlet"))

    def weigh(self, losses: Sequence[float]) -> Weighing:
        """Return fresh random weights of the losses [t]."""
        drawn = torch.empty(len(losses), dtype=torch.float64)
        if self.distribution == "normal":
            shares = softmax(drawn.normal_(generator=self.generator).tolist())
        else:
            drawn.exponential_(generator=self.generator)
            shares = (drawn / drawn.sum()).tolist()
        return Weighing([len(losses) * share for share in shares])
