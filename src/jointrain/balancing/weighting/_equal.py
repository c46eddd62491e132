from __future__ import annotations

from collections.abc import Sequence

from jointrain.balancing._balancer import LossWeighting, Weighing


class Equal(LossWeighting):
    r"""Add the losses up, each with weight 1: the plain joint step.

    The baseline of every comparison. What it gives depends on the units of the losses.

    .. math:: \sum_i L_i

    Shape:
        losses: [t]; returns a scalar.

    State: none. Cost: one backward pass.
    Source: folklore; "equal weighting" (EW) in the literature, where some divide by t.
    Differs from the source: the sum, not the mean, so that one task more leaves the others' alone.

    Examples:
        >>> import torch
        >>> float(Equal().objective(torch.tensor([1.0, 2.0])))
        3.0
    """

    name = "equal"
    fixed = True

    def weigh(self, losses: Sequence[float]) -> Weighing:
        """Return a one for each of the losses [t]."""
        return Weighing([1.0] * len(losses))
