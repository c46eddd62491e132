from __future__ import annotations

import torch
from torch import Tensor

from jointrain.balancing._balancer import GramianWeighting


class RGW(GramianWeighting):
    r"""Weigh the gradients at random, anew at each step (random gradient weighting).

    .. math:: w = \operatorname{softmax}(z), \qquad z_i \sim \mathcal N(0, 1)

    A litmus test: a method that isn't better than this has shown nothing.

    Args:
        seed: Seed of the draws.

    Shape:
        gramian: [t, t], unused; losses: [t], unused; returns [t], positive, summing to 1.

    State: the generator of the draws. Cost: the Gramian, of which no use is made; with random
        weights of the losses (RLW) one backward pass is enough, but these weigh the task-specific
        parameters, too.
    Source: Lin, Ye, Zhang, Tsang, "Reasonable effectiveness of random weighting: a litmus test for
        multi-task learning", TMLR 2022, https://arxiv.org/abs/2111.10603, Alg. 2. Written from the
        paper.
    Differs from the source: normally distributed weights only.

    Examples:
        >>> import torch
        >>> round(float(RGW(seed=1).weights(torch.eye(3).double(), torch.ones(3)).sum()), 6)
        1.0
    """

    name = "rgw"
    random = True

    def __init__(self, *, seed: int = 0) -> None:
        super().__init__(seed=seed)

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:  # noqa: ARG002
        """Return random weights [t]."""
        draws = torch.randn(len(gramian), generator=self.generator, dtype=torch.float64)
        return torch.softmax(draws, dim=0)
