from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from jointrain.balancing._balancer import GramianWeighting
from jointrain.balancing._checks import check_number
from jointrain.balancing.aggregation._simplex_state import (
    give_share,
    register_equal_shares,
    take_share,
)
from jointrain.balancing.solvers import project_onto_simplex


class MoDo(GramianWeighting):
    r"""Learn MGDA's weights with gradients of two independent batches, which makes them unbiased.

    .. math:: w \leftarrow \Pi_\Delta \bigl( w - \gamma (J_1 J_2^\top + \rho I) w \bigr), \qquad
        d = J^\top w

    with :math:`\Pi_\Delta` the projection onto the simplex and three batches' gradients.

    Args:
        tasks: Number or names of the tasks; by default fixed at `bind` or at the first step.
        gamma: Step of the weights, >= 0, over squared gradient lengths. Default of the authors'
            code, 0.001.
        rho: Pull towards equal weights, >= 0. The same, 0.1.

    Shape:
        gramian: [t, t], ``J1 @ J2.T``; losses: [t], unused; returns [t], on the simplex.

    Raises:
        InvalidInputError: `gamma` or `rho` is below zero.

    State: buffer `simplex`, [T], the weights. Cost: the gradients of three batches.
    Source: Chen, Fernando, Ying, Chen, "Three-way trade-off in multi-objective learning:
        optimization, generalization and conflict-avoidance", NeurIPS 2023,
        https://arxiv.org/abs/2305.20057, Alg. 2, Eq. (6). Written from the paper.
    Differs from the source: a third batch for the update, as in the authors' code.

    Examples:
        >>> import torch
        >>> modo = MoDo(2, gamma=1.0, rho=0.0)
        >>> modo.weights(torch.diag(torch.tensor([1.0, 0.0]).double()), torch.ones(2)).tolist()
        [0.25, 0.75]
    """

    name = "modo"
    task_state = True
    extra_batches = 2
    scale_free = False
    simplex: Tensor

    def __init__(
        self,
        tasks: int | Sequence[str] | None = None,
        *,
        gamma: float = 0.001,
        rho: float = 0.1,
    ) -> None:
        super().__init__()
        self.gamma = check_number(gamma, "gamma", low=0.0)
        self.rho = check_number(rho, "rho", low=0.0)
        self.bind(tasks)

    def allocate(self, n_tasks: int) -> None:
        """Set the weights equal."""
        register_equal_shares(self, n_tasks)

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:
        """Move the weights and return them, [t]."""
        share, total = take_share(self, len(losses))
        slope = gramian.numpy() @ share + self.rho * share
        share = project_onto_simplex(share - self.gamma * slope)
        return give_share(self, share, total)
