from __future__ import annotations

import torch
from torch import Tensor

from jointrain.balancing._balancer import HeadGuiding
from jointrain.balancing._checks import check_number, check_positive
from jointrain.balancing.aggregation._fairgrad import FairGrad


class ConsMTL(HeadGuiding, FairGrad):
    r"""Weigh as FairGrad, and let each task's own parameters turn its gradient to the joint one.

    Shared parameters get the update of FairGrad, with weights w. What a task's head sends into
    the shared part, :math:`\partial L_i / \partial z` at the tensors z that the heads start from,
    is to come closer to the weighted sum of all of them, so the task's own parameters minimise

    .. math:: L_i(\theta_i) - \lambda \Big\langle \frac{\partial L_i}{\partial z}, \delta
        \Big\rangle, \qquad \delta = \sum_j w_j \frac{\partial L_j}{\partial z}
        \ \text{(held fixed)}

    where the second gradient is cut to a part c of the first one's length.

    Args:
        strength: :math:`\lambda`, > 0. The authors have 1 for NYUv2, 50 for Cityscapes and
            CelebA, 0.001 for QM9.
        limit: c, from 0 (FairGrad) to 1. The authors have 0.1.
        alpha: FairGrad's kind of fairness, >= 0.05. The authors have 2.

    Shape:
        gramian: [t, t]; losses: [t], unused; returns [t], non-negative.

    Raises:
        InvalidInputError: A hyper-parameter is out of range.

    State: none. Cost: as FairGrad, and two further passes for each task through its own part, the
        second also through the graph of the first. All operations there must be such that torch
        differentiates them twice.
    Source: Qin, Wang, Yan, "Towards consistent multi-task learning: unlocking the potential of
        task-specific parameters", CVPR 2025, as in the authors' code
        (https://github.com/jianke0604/MTLlib, class ConsMTL). Written anew.
    Differs from the source: written from the paper's abstract and the code, as its text could not
        be read. z are the tensors at which the tasks' own parts begin, with batches of their own
        the shared parameters; for NYUv2 and Cityscapes the code has the tasks' features behind
        attention, which it counts as shared. The update is neither multiplied by t nor cut to
        length 1. A task alone in a step is not guided.

    Examples:
        >>> import torch
        >>> from jointrain.balancing import backward
        >>> z, a, b = (torch.nn.Parameter(torch.tensor([x])) for x in (1.0, 2.0, 1.0))
        >>> for limit in (0.0, 1.0):
        ...     a.grad = b.grad = z.grad = None
        ...     _ = backward([(a * z).sum(), (b * z).sum()], ConsMTL(strength=0.1, limit=limit))
        ...     print([round(float(x.grad), 3) for x in (a, b)])
        [1.0, 1.0]
        [0.886, 0.886]
    """

    name = "consmtl"

    def __init__(self, *, strength: float = 1.0, limit: float = 0.1, alpha: float = 2.0) -> None:
        super().__init__(alpha=alpha)
        self.strength = check_positive(strength, "strength")
        self.limit = check_number(limit, "limit", low=0.0, high=1.0)

    def guide(self, own: Tensor, agreement: Tensor) -> Tensor:
        """Return minus lambda, or what cuts the second gradient to its part of the first."""
        cut = self.limit * own / agreement.clamp_min(torch.finfo(agreement.dtype).tiny)
        return -cut.clamp_max(self.strength)
