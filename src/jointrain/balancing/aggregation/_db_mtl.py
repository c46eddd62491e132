from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from jointrain.balancing._balancer import Direction, JacobianAggregation
from jointrain.balancing._checks import check_number
from jointrain.balancing.aggregation._blocks import average_rows, combine, flat
from jointrain.errors import InvalidInputError

_EPSILON = 1e-8


class DBMTL(JacobianAggregation):
    r"""Balance losses by their logarithm and gradients by one length, that of the longest.

    .. math:: \hat g_i \leftarrow \beta_k\, \hat g_i + (1 - \beta_k)\, \nabla \log (L_i + 10^{-8}),
        \qquad d = \max_j \lVert \hat g_j \rVert
        \sum_i \frac{\hat g_i}{\lVert \hat g_i \rVert + 10^{-8}}

    with :math:`\beta_k = \beta / k^{\sigma}` at step k.

    Args:
        tasks: Number or names of the tasks; by default fixed at `bind` or at the first step.
        beta: Share of the past in the gradients' averages at the first step, in [0, 1). Default of
            the authors' code, 0.9.
        decay: :math:`\sigma`, >= 0. The same, 0; the paper has 0.5.

    Shape:
        blocks: [t, *shape] each, of the logarithms; losses: [t]. The weights are at least 1; they
        are of the averaged gradients.

    Raises:
        InvalidInputError: `beta` or `decay` is outside its range, or a loss is negative.

    State: buffer `steps`, a scalar, and for each block the averages, [T, *shape]: as much memory as
        T gradients. Cost: the Jacobian and two passes over it.
    Source: Lin, Jiang, Ye, Zhang, Chen, Chen, Liu, Kwok, "Dual-balancing for multi-task learning",
        2023, https://arxiv.org/abs/2308.12029, Eq. (1)-(3) and Alg. 1. Written from the paper.
    Differs from the source: a task whose averaged gradient is zero has weight 1 and takes no part.

    Examples:
        >>> import torch
        >>> block = torch.tensor([[3.0, 0.0], [0.0, 1.0]])
        >>> direction = DBMTL(2, beta=0.0).aggregate([block], torch.ones(2))
        >>> direction.blocks[0].round(decimals=4).tolist()
        [3.0, 3.0]
    """

    name = "db-mtl"
    task_state = True
    plain_for_one_task = False
    steps: Tensor

    def __init__(
        self,
        tasks: int | Sequence[str] | None = None,
        *,
        beta: float = 0.9,
        decay: float = 0.0,
    ) -> None:
        super().__init__()
        self.beta = check_number(beta, "beta", low=0.0, high=1.0, strict_high=True)
        self.decay = check_number(decay, "decay", low=0.0)
        self.bind(tasks)

    def allocate(self, n_tasks: int) -> None:  # noqa: ARG002
        """Start counting anew."""
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def transform(self, losses: Tensor) -> Tensor:
        """Return the logarithms of the losses [t]."""
        if bool((losses < 0).any()):
            message = f"`losses` must not be negative for DB-MTL, got {losses.tolist()}."
            raise InvalidInputError(f"{message} It takes their logarithm: add a constant to them.")
        return torch.log(losses + _EPSILON)

    def aggregate(self, blocks: Sequence[Tensor], losses: Tensor) -> Direction:
        """Return the sum of the averaged gradients at one length, and the weights [t]."""
        self.present(len(losses))  # creates the state where no one has named the tasks
        self.steps += 1
        past = self.beta / int(self.steps) ** self.decay
        rows = average_rows(self, blocks, 1.0 - past)
        parts = [torch.linalg.vector_norm(flat(row), dim=1).double().cpu() for row in rows]
        lengths = torch.linalg.vector_norm(torch.stack(parts), dim=0)
        longest = lengths.max()
        weights = torch.where(lengths > 0, longest / (lengths + _EPSILON * longest), 1.0)
        return Direction(combine(rows, weights), weights)
