from __future__ import annotations

import copy
from collections.abc import Iterator

from jointrain.balancing._balancer import Balancer, GramianWeighting, JacobianAggregation
from jointrain.balancing._checks import check_positive
from jointrain.balancing._sharpness_aware import Landscape, Move, Row, SharpnessAware


class FMTL(SharpnessAware):
    r"""Aggregate the tasks' gradients, and apart from them how these change uphill (F-MTL).

    Sharpness-aware minimisation (SAM) of each task: its gradient :math:`\nabla L_i(\theta +
    \epsilon_i)` is the sum of two, one that lowers the loss and one that makes it flat, and each
    of the two is aggregated over the tasks by itself.

    .. math:: A(g_1, \dots, g_t) + A(h_1, \dots, h_t), \qquad g_i = \nabla L_i(\theta), \qquad
        h_i = \nabla L_i(\theta + \epsilon_i) - g_i, \qquad
        \epsilon_i = \rho \frac{g_i}{\lVert g_i \rVert}

    with A the aggregating method. :math:`\epsilon_i` has the length :math:`\rho` for the shared
    parameters, and for the task's own ones, which get the gradient :math:`g_i + h_i`.

    Args:
        balancer: A, a method by gradients or its name; one and a copy of it. The authors' scripts
            have CAGrad.
        radius: :math:`\rho`, > 0. Default of the authors' code for Multi-MNIST, 0.05.

    Shape:
        moves: one for each task, a tensor per parameter.

    Raises:
        InvalidInputError: `radius` is not above zero, or `balancer` can't aggregate.

    State: that of `balancer` and of the copy. Cost: with t tasks 2 t backward passes, t + 1
        further forward passes, 2 t gradients in memory.
    Source: Phan, Tran, Tran, Tran, Truong, Lei, Ho, Phung, Le, "Beyond losses reweighting:
        empowering multi-task learning via the generalization perspective", ICCV 2025 (first
        "Improving multi-task learning via seeking task-based flat regions"),
        https://arxiv.org/abs/2211.13723, as in the authors' code
        (https://github.com/VietHoang1512/FS-MTL). Written anew.
    Differs from the source: a method that remembers does so of the :math:`g_i` and of the
        :math:`h_i` apart. No ASAM scale, which the authors' scripts turn on for Multi-MNIST.

    Examples:
        >>> import torch
        >>> from jointrain.balancing import backward
        >>> x = torch.tensor([3.0, 4.0], requires_grad=True)
        >>> _ = backward(lambda: [x.square().sum()], FMTL("upgrad", radius=1.0), shared=[x])
        >>> [round(g, 3) for g in x.grad.tolist()]
        [7.2, 9.6]
    """

    name = "f-mtl"
    aggregates = (GramianWeighting, JacobianAggregation)

    def __init__(self, balancer: Balancer | str = "cagrad", *, radius: float = 0.05) -> None:
        super().__init__(balancer)
        self.flattening = copy.deepcopy(self.balancer)
        self.radius = check_positive(radius, "radius")

    def moves(self, landscape: Landscape) -> Iterator[Move]:
        """Yield each task's move uphill of its loss, and its gradient here."""
        last = len(landscape.losses) - 1
        for k, loss in enumerate(landscape.losses):
            here = landscape.trained.gradient(loss, retain_graph=k < last)
            yield Move(landscape.uphill(here, k, self.radius), here)

    def aggregations(self, here: list[Row], there: list[Row]) -> list[tuple[Balancer, list[Row]]]:
        """Return the gradients here, and what is added to them uphill."""
        change = [
            [b - a for a, b in zip(*pair, strict=True)] for pair in zip(here, there, strict=True)
        ]
        return [(self.balancer, here), (self.flattening, change)]
