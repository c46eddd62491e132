from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from jointrain.balancing._balancer import Direction, JacobianAggregation
from jointrain.balancing._checks import check_number
from jointrain.balancing.aggregation._blocks import average_rows, combine, products
from jointrain.balancing.aggregation._simplex_state import (
    give_share,
    register_equal_shares,
    take_share,
)
from jointrain.balancing.solvers import project_onto_simplex


class MoCo(JacobianAggregation):
    r"""Follow MGDA's direction on moving averages of the gradients, which takes off its bias.

    .. math:: y_i \leftarrow y_i - \beta_k (y_i - g_i), \qquad
        w \leftarrow \Pi_\Delta \bigl( w - \gamma_k (Y Y^\top + \rho I) w \bigr), \qquad
        d = Y^\top w,

    with :math:`\Pi_\Delta` the projection onto the simplex,
    :math:`\beta_k = \beta / k^{\sigma_\beta}` and :math:`\gamma_k = \gamma / k^{\sigma_\gamma}` at
    step k.

    Args:
        tasks: Number or names of the tasks; by default fixed at `bind` or at the first step.
        beta: First step of the averages, in (0, 1]. Default of the authors' code, 0.5.
        gamma: First step of the weights, >= 0, over squared gradient lengths. The same, 0.1.
        beta_decay: :math:`\sigma_\beta`, >= 0. The same, 0.5.
        gamma_decay: :math:`\sigma_\gamma`, >= 0. The same, 0.5.
        rho: Pull towards equal weights, >= 0. The same, 0.

    Shape:
        blocks: [t, *shape] each; losses: [t], unused. The weights are on the simplex; they are of
        the averaged gradients.

    Raises:
        InvalidInputError: A hyper-parameter is outside its range.

    State: buffers `simplex`, [T], the weights; `steps`, a scalar; for each block the averages,
        [T, *shape]: as much memory as T gradients. Cost: the Jacobian and four passes over it.
    Source: Fernando, Shen, Liu, Chaudhury, Murugesan, Chen, "Mitigating gradient bias in
        multi-objective learning: a provably convergent approach", ICLR 2023,
        https://openreview.net/forum?id=dLAYGdKTi2, Alg. 1, Eq. (10)-(12). Written from the paper.
    Differs from the source: the averages aren't projected onto a ball. The authors' code divides
        each gradient by its length, multiplies it by its loss and takes the softmax in place of
        the projection; this is the paper's method.

    Examples:
        >>> import torch
        >>> moco = MoCo(2, beta=1.0, gamma=1.0)
        >>> moco.aggregate([torch.tensor([[1.0], [0.0]])], torch.ones(2)).weights.tolist()
        [0.25, 0.75]
    """

    name = "moco"
    task_state = True
    plain_for_one_task = False
    scale_free = False
    simplex: Tensor
    steps: Tensor

    def __init__(
        self,
        tasks: int | Sequence[str] | None = None,
        *,
        beta: float = 0.5,
        gamma: float = 0.1,
        beta_decay: float = 0.5,
        gamma_decay: float = 0.5,
        rho: float = 0.0,
    ) -> None:
        super().__init__()
        self.beta = check_number(beta, "beta", low=0.0, high=1.0, strict_low=True)
        self.gamma = check_number(gamma, "gamma", low=0.0)
        self.beta_decay = check_number(beta_decay, "beta_decay", low=0.0)
        self.gamma_decay = check_number(gamma_decay, "gamma_decay", low=0.0)
        self.rho = check_number(rho, "rho", low=0.0)
        self.bind(tasks)

    def allocate(self, n_tasks: int) -> None:
        """Set the weights equal and start counting anew."""
        register_equal_shares(self, n_tasks)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def aggregate(self, blocks: Sequence[Tensor], losses: Tensor) -> Direction:
        """Return the weighted averages of the gradients and the weights [t]."""
        self.present(len(losses))  # creates the state where no one has named the tasks
        self.steps += 1
        step = int(self.steps)
        rows = average_rows(self, blocks, self.beta / step**self.beta_decay)
        share, total = take_share(self, len(losses))
        # (Y Y^T) w as Y (Y^T w): two passes over the averages in place of their Gramian
        slope = products(rows, combine(rows, torch.from_numpy(share))).numpy() + self.rho * share
        share = project_onto_simplex(share - self.gamma / step**self.gamma_decay * slope)
        weights = give_share(self, share, total)
        return Direction(combine(rows, weights), weights)
