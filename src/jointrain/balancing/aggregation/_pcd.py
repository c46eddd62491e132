from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from jointrain.balancing._balancer import GramianWeighting
from jointrain.balancing._checks import check_number
from jointrain.balancing.solvers import Array, cutoff, equilibrate, nonnegative_quadratic


class PCD(GramianWeighting):
    r"""Follow the first task's gradient as closely as the others' guaranteed progress allows.

    With each gradient divided by the root of a moving average of its squared length,
    :math:`\tilde g_i = g_i / \sqrt{\hat v_i + \epsilon}`,

    .. math:: \min_d \lVert d - \tilde g_1 \rVert^2 \quad \text{with}\quad
        \tilde g_j^\top d \ge \tau \lVert \tilde g_j \rVert^2, \quad j = 2, \dots, t;

    the update is d at the first gradient's length. If the demands can't be met together, they are
    dropped.

    Args:
        tasks: Number or names of the tasks, the one with priority first; by default fixed at
            `bind` or at the first step.
        tau: Guaranteed share of the progress that a step along its own gradient would bring to a
            task, in [0, 1]. Paper default 0.02.
        beta: Decay of the moving averages, in [0, 1). Paper default 0.999.
        epsilon: Added to the averages, >= 0. Paper default 1e-8.

    Shape:
        gramian: [t, t]; losses: [t], unused; returns [t], non-negative.

    Raises:
        InvalidInputError: A hyper-parameter is outside its range.

    State: buffers `squares` and `steps`, [T]: the averages and each task's steps. Cost: the Gramian
        and one small non-negative problem.
    Source: "Not all objectives are born equal: priority-constrained descent for hierarchical
        multi-objective optimization", TMLR 2026, https://openreview.net/forum?id=HT01yGHLEt.
        Written from the definitions above.
    Differs from the source: the problem is solved by pivoting instead of by trying all sets of
        demands. In a step without the first task, the first one present has priority.

    Examples:
        >>> import torch
        >>> gramian = torch.tensor([[1.0, 0.0], [0.0, 4.0]]).double()
        >>> weights = PCD(2, tau=0.0).weights(gramian, torch.ones(2))
        >>> [round(w, 6) for w in weights.tolist()]
        [1.0, 0.0]
    """

    name = "pcd"
    task_state = True
    equivariant = False
    scale_free = False
    squares: Tensor
    steps: Tensor

    def __init__(
        self,
        tasks: int | Sequence[str] | None = None,
        *,
        tau: float = 0.02,
        beta: float = 0.999,
        epsilon: float = 1e-8,
    ) -> None:
        super().__init__()
        self.tau = check_number(tau, "tau", low=0.0, high=1.0)
        self.beta = check_number(beta, "beta", low=0.0, high=1.0, strict_high=True)
        self.epsilon = check_number(epsilon, "epsilon", low=0.0)
        self.bind(tasks)

    def allocate(self, n_tasks: int) -> None:
        """Set the moving averages to zero."""
        self.register_buffer("squares", torch.zeros(n_tasks, dtype=torch.float64))
        self.register_buffer("steps", torch.zeros(n_tasks, dtype=torch.float64))

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:  # noqa: ARG002
        """Return the weights [t] of the constrained update, at the first gradient's length."""
        g = gramian.numpy()
        scale = self._scale(np.maximum(np.diagonal(g), 0.0))
        g = g * scale[:, None] * scale
        lengths = np.sqrt(np.maximum(np.diagonal(g), 0.0))
        weights = np.zeros(len(g))
        if not lengths[0] > 0.0:
            return torch.from_numpy(weights)
        weights[0] = 1.0
        weights[1:] = self._multipliers(g)
        square = float(weights @ g @ weights)
        # nothing is left of the direction but rounding
        least = max(1e-15, cutoff(len(g), self.rounding))
        if not square > least * float(weights @ lengths) ** 2:
            return torch.zeros(len(g), dtype=torch.float64)
        return torch.from_numpy(weights * (scale / scale[0]) * (lengths[0] / np.sqrt(square)))

    def _multipliers(self, g: Array) -> Array:
        """Return how much of each further gradient has to be added to the first, [t - 1]."""
        need = self.tau * np.diagonal(g)[1:] - g[1:, 0]
        if (need <= 0.0).all():  # the first gradient alone meets all demands
            return np.zeros(len(need))
        others, scale = equilibrate(g[1:, 1:], self.rounding)
        need = need * scale
        found = nonnegative_quadratic(others, need[None])[0]
        size = np.abs(need).max()
        kept = float((others @ found - need).min()) >= -1e-6 * size
        # demands that contradict each other drive the multipliers up to the ridge's limit
        limit = min(1e6, 1e-2 / (float(others[0, 0]) - 1.0))
        kept = kept and float(found.max()) <= limit * max(size, float(np.sqrt(g[0, 0])))
        return found * scale if kept else np.zeros(len(found))

    def _scale(self, squares: Array) -> Array:
        """Move the averages and return what the gradients are multiplied by, [t]."""
        t = len(squares)
        steps = self.entries("steps", t).numpy() + 1.0
        average = self.beta * self.entries("squares", t).numpy() + (1.0 - self.beta) * squares
        self.set_entries("steps", torch.from_numpy(steps))
        self.set_entries("squares", torch.from_numpy(average))
        root = np.sqrt(average / (1.0 - self.beta**steps) + self.epsilon)
        return np.divide(1.0, root, out=np.zeros(t), where=root > 0.0)
