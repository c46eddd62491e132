from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from jointrain.balancing._balancer import GramianWeighting
from jointrain.balancing._checks import check_number
from jointrain.balancing._per_task_numbers import PerTask, check_preference, preference_vector
from jointrain.balancing.solvers import cutoff, linear_program
from jointrain.errors import InvalidInputError

_SMALLEST = 1e-12


class EPO(GramianWeighting):
    r"""Go to the Pareto-optimal point where the losses over a preference are equal (EPO search).

    With :math:`\hat l = r \odot L / r^\top L`, the step either balances or descends. As long as the
    losses are not balanced, :math:`\mu = \sum_i \hat l_i \log(t\, \hat l_i) > \epsilon`,

    .. math:: \max_{w \in \Delta} w^\top G a, \qquad a_i = r_i (\log(t\, \hat l_i) - \mu), \qquad
        (G w)_j \ge \begin{cases} 0 & j \in \arg\max_i r_i L_i \\
        (G a)_j & (G a)_j \le 0 \end{cases}

    (where all :math:`(G a)_j \le 0`, :math:`G w \ge 0` in place of these), and else

    .. math:: \max_{w \in \Delta} 1^\top G w, \qquad G w \ge 0, \qquad
        w^\top G a \ge \min(0, \max_j (G a)_j).

    Args:
        preference: :math:`r`, > 0, by name or in the order of the tasks: at the end
            :math:`r_i L_i` are equal, so a larger entry means a smaller loss. None: 1 for each.
        tasks: Number or names of the tasks; by default fixed at `bind` or at the first step.
        tolerance: :math:`\epsilon`, >= 0. Default of the authors' code, 0.0001.

    Shape:
        gramian: [t, t]; losses: [t], non-negative; returns [t], non-negative, of sum t.

    Raises:
        InvalidInputError: `preference` has an entry that is not above zero or doesn't fit the
            tasks, `tolerance` is below zero, or a loss is negative.

    State: buffer `task_preference`, [T], constant. Cost: the Gramian and a linear programme with t
        unknowns.
    Source: Mahapatra, Rajan, "Multi-task learning with user preferences: gradient descent with
        controlled ascent in Pareto optimization", ICML 2020,
        https://proceedings.mlr.press/v119/mahapatra20a.html, as in the authors' code for deep
        networks, the weights of sum t, too. Written anew.
    Differs from the source: the preference counts over its largest entry, so that only its
        direction matters; there its length scales what the falling losses' slopes are held against.
        Where a programme has no solution, the weights are the preference, of sum t, as there.

    Examples:
        >>> import torch
        >>> epo = EPO([1.0, 1.0])
        >>> gramian = torch.eye(2).double()
        >>> epo.weights(gramian, torch.tensor([4.0, 1.0])).tolist()
        [2.0, 0.0]
    """

    name = "epo"
    task_state = True
    per_task = ("preference",)
    task_preference: Tensor

    def __init__(
        self,
        preference: PerTask = None,
        tasks: int | Sequence[str] | None = None,
        *,
        tolerance: float = 1e-4,
    ) -> None:
        super().__init__()
        self.preference = check_preference(preference, all_positive=True)
        self.tolerance = check_number(tolerance, "tolerance", low=0.0)
        self.bind(tasks)

    def allocate(self, n_tasks: int) -> None:  # noqa: ARG002
        """Put the preference in the order of the tasks."""
        self.register_buffer(
            "task_preference", preference_vector(self.preference, self.task_names or ())
        )

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:
        """Return the weights [t] that balance the losses, or descend once they are balanced."""
        values = losses.detach().numpy()
        if (values < 0).any():
            raise InvalidInputError(
                f"`losses` must not be negative for EPO, got {values.tolist()}. Shift them."
            )
        t = len(values)
        r = self.entries("task_preference", t).numpy()
        r = r / r.max()
        g = gramian.numpy()
        top = float(np.diagonal(g).max())
        relative = r * values
        if t == 1 or not top > 0.0 or not relative.sum() > 0.0:
            return torch.from_numpy(t * r / r.sum())
        g = g / top
        shares = np.maximum(relative / relative.sum(), _SMALLEST)
        level = np.log(t * shares)
        excess = float(shares @ level)
        slope = g @ (r * (level - excess))  # of the imbalance
        slack = -cutoff(t, self.rounding)  # gradients that cancel out leave rounding
        if excess > self.tolerance:
            low = np.full(t, slack)
            falling = slope <= 0.0
            if not falling.all():
                worst = relative >= relative.max() * (1.0 - 1e-12)
                low = np.where(worst, slack, np.where(falling, slope, -np.inf))
            found = linear_program(-slope, g, low)
        else:
            rows = np.vstack([g, slope])
            found = linear_program(
                -g.sum(0), rows, np.append(np.full(t, slack), slack + min(slope.max(), 0.0))
            )
        return torch.from_numpy(t * (r / r.sum() if found is None else found))
