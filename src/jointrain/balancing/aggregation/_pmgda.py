from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from jointrain.balancing._balancer import GramianWeighting
from jointrain.balancing._checks import check_number
from jointrain.balancing._per_task_numbers import (
    PerTask,
    check_preference,
    off_ray,
    preference_vector,
)
from jointrain.balancing.solvers import linear_program, min_norm_weights


class PMGDA(GramianWeighting):
    r"""Bring the losses onto a ray, then follow MGDA along it (preference-based MGDA).

    :math:`h = \lVert L - (L^\top r) r \rVert` is how far the losses are from the ray of the
    preference, r of unit length. As long as h is above a tolerance,

    .. math:: \max_{d} \min_i g_i^\top d, \qquad
        \nabla h^\top d \ge \sigma \lVert \nabla h \rVert

    over the convex hull of the unit gradients :math:`g_i / \lVert g_i \rVert` and
    :math:`\nabla h / \lVert \nabla h \rVert`; else the shortest vector in that of the gradients.

    Args:
        preference: :math:`r`, >= 0, not all zero, by name or in the order of the tasks: at the end
            the losses are in proportion to it. None means 1 for each.
        tasks: Number or names of the tasks; by default fixed at `bind` or at the first step.
        tolerance: Largest h that is not mended, >= 0, in the losses' unit. Default of the authors'
            library, 0.01.
        sigma: :math:`\sigma`, in [0, 1]: how much of the steepest descent of h a step has to have.
            The same, 0.95.

    Shape:
        gramian: [t, t]; losses: [t]; returns [t]; entries may be negative.

    Raises:
        InvalidInputError: `preference` has a negative entry, only zeros, or doesn't fit the tasks,
            or another hyper-parameter is out of range.

    State: buffer `task_preference`, [T], constant. Cost: the Gramian and a linear programme with
        t + 2 unknowns.
    Source: Zhang, Lin, Zhang, "PMGDA: a preference-based multiple gradient descent algorithm",
        2024, https://arxiv.org/abs/2402.09492, its exact preference with h the distance to the
        ray, Eq. (18) and (20), as in the authors' library LibMOON. Written anew.
    Differs from the source: nothing is added to the gradients' lengths; a zero gradient takes no
        part. The region-of-interest preference is left out.

    Examples:
        >>> import torch
        >>> pmgda = PMGDA([1.0, 1.0])
        >>> gramian = torch.eye(2).double()
        >>> pmgda.weights(gramian, torch.tensor([1.0, 1.0])).tolist()
        [0.5, 0.5]
    """

    name = "pmgda"
    task_state = True
    per_task = ("preference",)
    non_negative = False
    scale_free = False
    task_preference: Tensor

    def __init__(
        self,
        preference: PerTask = None,
        tasks: int | Sequence[str] | None = None,
        *,
        tolerance: float = 0.01,
        sigma: float = 0.95,
    ) -> None:
        super().__init__()
        self.preference = check_preference(preference)
        self.tolerance = check_number(tolerance, "tolerance", low=0.0)
        self.sigma = check_number(sigma, "sigma", low=0.0, high=1.0)
        self.bind(tasks)

    def allocate(self, n_tasks: int) -> None:  # noqa: ARG002
        """Put the preference in the order of the tasks."""
        self.register_buffer(
            "task_preference", preference_vector(self.preference, self.task_names or ())
        )

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:
        """Return the weights [t] towards the ray, or MGDA's on it."""
        r = self.entries("task_preference", len(losses)).numpy()
        values = losses.detach().numpy()
        off = off_ray(values, r)
        distance = float(np.linalg.norm(off))
        g = gramian.numpy()
        top = float(np.diagonal(g).max())
        if distance <= self.tolerance or not top > 0.0:
            return min_norm_weights(gramian, self.rounding)
        off = off / distance
        both = np.vstack([np.eye(len(off)), off])  # the gradients, and that of the distance
        products = both @ (g / top) @ both.T
        lengths = np.sqrt(np.maximum(np.diagonal(products), 0.0))
        used = lengths > 1e-12
        if not used[-1]:  # no step changes the distance
            return min_norm_weights(gramian, self.rounding)
        unit = products[:, used] / lengths[used]
        # unknowns: shares of the unit gradients, and minus the least progress
        task_rows = unit[:-1][used[:-1]]
        rows = np.vstack([task_rows, unit[-1]])
        rows = np.column_stack([rows, np.append(np.ones(len(task_rows)), 0.0)])
        low = np.append(np.zeros(len(task_rows)), self.sigma * lengths[-1])
        found = linear_program(np.append(np.zeros(used.sum()), 1.0), rows, low, free=1)
        if found is None:
            return min_norm_weights(gramian, self.rounding)
        part = found[:-1] / lengths[used]
        return torch.from_numpy(both[used].T @ part / np.sqrt(top))
