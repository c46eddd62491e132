from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from jointrain.balancing._balancer import LossWeighting, Weighing
from jointrain.balancing._checks import check_number
from jointrain.balancing._per_task_numbers import (
    PerTask,
    check_per_task,
    check_some_positive,
    per_task_vector,
)
from jointrain.balancing.weighting._per_task import dot

_ROUNDING = 2.0**-23  # relative, of losses in single precision, as they mostly are


class PBI(LossWeighting):
    r"""Go down a ray from the ideal point, and pay for leaving it (boundary intersection).

    .. math:: d_1 + \theta d_2, \qquad d_1 = (L - z)^\top \hat r, \qquad
        d_2 = \lVert L - z - d_1 \hat r \rVert, \qquad \hat r = r / \lVert r \rVert

    Args:
        tasks: Number or names of the tasks; by default fixed at `bind` or at the first step.
        preference: :math:`r`, >= 0, the direction of the ray, by name or in the order of the tasks.
            None means 1 for every task: losses that are equal.
        penalty: :math:`\theta`, >= 0. Paper default 5.
        ideal: :math:`z`, where the ray begins, likewise. None means zero.

    Shape:
        losses: [t]; returns a scalar. The weight of a loss below the ray can be negative: it is
            let go until the others have caught up.

    Raises:
        InvalidInputError: A hyper-parameter is out of range or doesn't fit the tasks.

    State: buffers `task_preference` and `task_ideal`, [T], constant. Cost: one backward pass.
    Source: Zhang, Li, "MOEA/D: a multiobjective evolutionary algorithm based on decomposition",
        IEEE Transactions on Evolutionary Computation 2007,
        https://doi.org/10.1109/TEVC.2007.892759, section II, boundary intersection. Written from
        the paper.
    Differs from the source: minimised by gradients, not by evolution; on the ray, where the
        distance to it has no gradient, it counts as constant. With tasks absent, the ray is that
        of the present ones.

    Examples:
        >>> import torch
        >>> round(float(PBI(2, penalty=1.0).objective(torch.tensor([1.0, 3.0]))), 4)
        4.2426
    """

    name = "pbi"
    task_state = True
    per_task = ("preference",)
    non_negative = False
    task_preference: Tensor
    task_ideal: Tensor

    def __init__(
        self,
        tasks: int | Sequence[str] | None = None,
        *,
        preference: PerTask = None,
        penalty: float = 5.0,
        ideal: PerTask = None,
    ) -> None:
        super().__init__()
        checked = check_per_task(preference, "preference", low=0.0)
        self.preference = check_some_positive(checked, "preference")
        self.penalty = check_number(penalty, "penalty", low=0.0)
        self.ideal = check_per_task(ideal, "ideal", low=-torch.inf)
        self.bind(tasks)

    def allocate(self, n_tasks: int) -> None:  # noqa: ARG002
        """Put preference and ideal in the order of the tasks."""
        names = self.task_names or ()
        preference = per_task_vector(self.preference, "preference", names, 1.0)
        self.register_buffer("task_preference", preference)
        self.register_buffer("task_ideal", per_task_vector(self.ideal, "ideal", names, 0.0))

    def weigh(self, losses: Sequence[float]) -> Weighing:
        """Return the gradient by the losses [t] of the two distances' sum, and that sum."""
        t = len(losses)
        preference = self.entries("task_preference", t).tolist()
        length = math.sqrt(dot(preference, preference)) or 1.0
        ray = [r / length for r in preference]
        ideal = self.entries("task_ideal", t).tolist()
        above = [x - low for x, low in zip(losses, ideal, strict=True)]
        along = dot(above, ray)
        off = [x - along * r for x, r in zip(above, ray, strict=True)]
        distance = math.sqrt(dot(off, off))
        # distances below rounding are zero: their direction would be noise of full length
        if distance <= 4 * t * _ROUNDING * max(map(abs, above)):
            return Weighing(ray, along)
        weights = [r + self.penalty * x / distance for r, x in zip(ray, off, strict=True)]
        return Weighing(weights, along + self.penalty * distance)
