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
from jointrain.balancing.solvers import Array, cutoff


class FERERO(GramianWeighting):
    r"""Descend in all losses as far as a pull onto the preference's ray allows (FERERO).

    .. math:: \min_{d, v}\ v + \tfrac12 \lVert d \rVert^2, \qquad J d \le v 1, \qquad
        B J d = -c B L

    with :math:`B = I - r r^\top`, r of unit length, so that B L = 0 on the ray; the update is -d.
    The equations keep the step from leaving the ray and bring it back by a share of the distance.

    Args:
        preference: :math:`r`, >= 0, not all zero, by name or in the order of the tasks: at the end
            the losses are in proportion to it. None means 1 for each.
        tasks: Number or names of the tasks; by default fixed at `bind` or at the first step.
        pull: :math:`c`, >= 0, over squared gradient lengths: with a learning rate of 1 / c a step
            would be back on the ray, to first order. Default of the authors' code, 0.5.

    Shape:
        gramian: [t, t]; losses: [t]; returns [t]; entries may be negative.

    Raises:
        InvalidInputError: `preference` has a negative entry, only zeros, or doesn't fit the tasks,
            or `pull` is below zero.

    State: buffer `task_preference`, [T], constant. Cost: the Gramian and one t x t
        eigen-decomposition.
    Source: Chen, Saif, Shen, Chen, "FERERO: a flexible framework for preference-guided
        multi-objective learning", NeurIPS 2024, https://openreview.net/forum?id=BmG3NgH5xu, with
        the order of all losses (A = I) and the ray as equality, as in the authors' code. Written
        anew.
    Differs from the source: solved exactly, where the authors' code makes some projected gradient
        steps on the multipliers, which it keeps; any number of tasks, where it has two. The weights
        are not divided by the sum of their sizes, as its code for MultiMNIST does. Parts of the
        distance that no step can mend are left alone. Other orders and inequalities are left out.

    Examples:
        >>> import torch
        >>> ferero = FERERO([1.0, 1.0])
        >>> [round(w, 4) for w in ferero.weights(torch.eye(2).double(), torch.ones(2)).tolist()]
        [0.5, 0.5]
    """

    name = "ferero"
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
        pull: float = 0.5,
    ) -> None:
        super().__init__()
        self.preference = check_preference(preference)
        self.pull = check_number(pull, "pull", low=0.0)
        self.bind(tasks)

    def allocate(self, n_tasks: int) -> None:  # noqa: ARG002
        """Put the preference in the order of the tasks."""
        self.register_buffer(
            "task_preference", preference_vector(self.preference, self.task_names or ())
        )

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:
        """Return the weights [t] of the step along the ray and back to it."""
        lengths = np.sqrt(np.maximum(np.diagonal(gramian.numpy()), 0.0))
        weights = np.zeros(len(lengths))
        alive = lengths > 0.0
        if alive.any():
            r = self.entries("task_preference", len(losses)).numpy()[alive]
            own = lengths[alive]
            cosines = gramian.numpy()[np.ix_(alive, alive)] / own[:, None] / own
            weights[alive] = self._of_unit(cosines, own, r, losses.detach().numpy()[alive]) / own
        return torch.from_numpy(weights)

    def _of_unit(self, cosines: Array, lengths: Array, r: Array, losses: Array) -> Array:
        """Return the weights of the gradients at unit length, [t].

        With each equation over its gradient's length the system is as sound as their cosines are.
        """
        ray = r / lengths
        ray = ray / (float(np.linalg.norm(ray)) or 1.0)
        across = np.eye(len(ray)) - np.outer(ray, ray)
        inverse = _pseudo_inverse(across @ cosines @ across, self.rounding)
        # the least step that mends the distance, and what it does to each loss
        off = off_ray(losses, r)
        # over short gradients what rounding leaves on the ray would be a long step
        off[np.abs(off) <= 1e-12 * np.abs(losses).max()] = 0.0
        back = self.pull * inverse @ (off / lengths)
        rise = -lengths * (cosines @ back)
        # the direction that leaves the distance as it is: its slopes are in proportion to r
        along = ray - inverse @ (cosines @ ray)
        steep = max(float(along @ cosines @ along), 0.0)
        return np.asarray(back + _best_share(rise, lengths * ray, steep) * along)


def _pseudo_inverse(matrix: Array, rounding: float) -> Array:
    """Return the inverse of a Gramian where it is more than rounding, [t, t]."""
    return np.asarray(
        np.linalg.pinv(matrix, rcond=cutoff(len(matrix), rounding), hermitian=True)
        if np.diagonal(matrix).max() > rounding
        else np.zeros_like(matrix)
    )


def _best_share(rise: Array, r: Array, steep: float) -> float:
    """Return the y that minimises the largest of `rise - r * steep * y`, plus steep y^2 / 2.

    The largest of some lines plus a parabola: its minimum is that of one of them or where two meet.
    """
    candidates = [r]
    if steep > 0.0:
        apart = (r[:, None] - r) * steep
        meet = np.divide(
            rise[:, None] - rise, apart, out=np.zeros_like(apart), where=np.abs(apart) > 1e-300
        )
        candidates.append(meet[(meet >= r.min()) & (meet <= r.max())])
    y = np.concatenate(candidates)
    value = (rise[:, None] - steep * np.outer(r, y)).max(0) + steep * y**2 / 2
    return float(y[value.argmin()])
