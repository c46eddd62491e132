from __future__ import annotations

from collections.abc import Sequence

from jointrain.balancing._balancer import LossWeighting, Weighing
from jointrain.balancing._checks import check_positive
from jointrain.balancing.weighting._per_task import require_at_least, softmax

_SMALLEST = 1e-8


class UWSO(LossWeighting):
    r"""Weigh by the softmax of the inverse losses: uncertainty weights in closed form, softened.

    For a Laplace likelihood the uncertainty that fits best is the loss itself, so the optimal
    weight is its inverse; the softmax tames it. Nothing is learned, so there is no inertia.

    .. math:: t \sum_i w_i L_i, \qquad
        w_i = \frac{\exp(1 / (\tau L_i))}{\sum_j \exp(1 / (\tau L_j))}

    with no gradient through the weights.

    Args:
        temperature: :math:`\tau`, > 0, in the inverse of the losses' unit; the larger, the more
            equal the weights. The paper tunes it for each data set and names no default.

    Shape:
        losses: [t], non-negative; returns a scalar.

    Raises:
        InvalidInputError: `temperature` is not above zero, or a loss is negative.

    State: none. Cost: one backward pass.
    Source: Kirchdorfer, Elich, Kutsche, Stuckenschmidt, Schott, Köhler, "Analytical
        uncertainty-based loss weighting in multi-task learning", GCPR 2024,
        https://arxiv.org/abs/2408.07985, section 3. Written from the paper.
    Differs from the source: the weights sum to t, not 1, so that the learning rate of the plain
        sum carries over. A loss below 1e-8 counts as 1e-8 in its weight.

    Examples:
        >>> import torch
        >>> losses = torch.tensor([1.0, 0.5], requires_grad=True)
        >>> UWSO().objective(losses).backward()
        >>> [round(w, 4) for w in losses.grad.tolist()]
        [0.5379, 1.4621]
    """

    name = "uw-so"

    def __init__(self, *, temperature: float = 1.0) -> None:
        super().__init__()
        self.temperature = check_positive(temperature, "temperature")

    def weigh(self, losses: Sequence[float]) -> Weighing:
        """Return the softened inverse of the losses [t]."""
        require_at_least(losses, 0.0, self)
        shares = softmax([1.0 / max(x, _SMALLEST) / self.temperature for x in losses])
        return Weighing([len(losses) * share for share in shares])
