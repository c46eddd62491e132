from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from jointrain.balancing._balancer import LossWeighting, Weighing
from jointrain.balancing._checks import check_number, check_positive
from jointrain.balancing._per_task_numbers import (
    PerTask,
    check_preference,
    known_tasks,
    preference_vector,
)
from jointrain.balancing.weighting._per_task import dot


class COSMOS(LossWeighting):
    r"""Add up the losses by a preference and reward losses that lie along that preference.

    With :meth:`draw` a new preference is drawn for each step; a network that gets it as a further
    input then learns the whole Pareto front in one training. With a fixed preference, one point.

    .. math:: \sum_i r_i L_i - \lambda \frac{\sum_i r_i L_i}{\lVert r \rVert \lVert L \rVert}

    Args:
        tasks: Number or names of the tasks; by default fixed at `bind` or at the first step.
        preference: :math:`r`, >= 0, until the first `draw`, by name or in the order of the tasks,
            used as it is. None means 1 for every task.
        penalty: :math:`\lambda`, >= 0, in the unit of the losses. The paper's value for
            Multi-MNIST, 2; it ranges from 0.01 to 8 over its data sets.
        concentration: Parameter of the symmetric Dirichlet distribution of `draw`, > 0: below 1
            the corners are likelier. The paper's value for Multi-MNIST, 1.2.
        seed: Seed of the balancer's own generator.

    Shape:
        losses: [t]; returns a scalar. The weights of losses that are too small against the
            preference's direction can be negative: that loss is let go for the others.

    Raises:
        InvalidInputError: A hyper-parameter is out of range or doesn't fit the tasks, or `draw` is
            called before the tasks are bound.

    State: buffer `task_preference`, [T], set by `draw`, and the generator; `reset` sets both back.
        Cost: one backward pass.
    Source: Ruchte, Grabocka, "Scalable Pareto front approximation for deep multi-objective
        learning", ICDM 2021, https://arxiv.org/abs/2103.13392, Eq. (5). Written from the paper.
    Differs from the source: the loss only; feeding the preference to the network is the caller's
        part. A fixed preference unless `draw` is called. With tasks absent, the sums and lengths
        are over the present ones; if all their losses are 0, the cosine counts as 0.

    Examples:
        >>> import torch
        >>> cosmos = COSMOS(2, penalty=1.0)
        >>> round(float(cosmos.objective(torch.tensor([3.0, 4.0]))), 4)
        6.0101
        >>> round(float(cosmos.draw().sum()), 4)
        1.0
    """

    name = "cosmos"
    task_state = True
    per_task = ("preference",)
    random = True
    non_negative = False
    task_preference: Tensor

    def __init__(
        self,
        tasks: int | Sequence[str] | None = None,
        *,
        preference: PerTask = None,
        penalty: float = 2.0,
        concentration: float = 1.2,
        seed: int = 0,
    ) -> None:
        super().__init__(seed=seed)
        self.preference = check_preference(preference)
        self.penalty = check_number(penalty, "penalty", low=0.0)
        self.concentration = check_positive(concentration, "concentration")
        self.bind(tasks)

    def allocate(self, n_tasks: int) -> None:  # noqa: ARG002
        """Set the preference back to the one given."""
        preference = preference_vector(self.preference, self.task_names or ())
        self.register_buffer("task_preference", preference)

    def draw(self) -> Tensor:
        """Draw a preference on the simplex, [T], which holds until the next call; return it.

        Raises:
            InvalidInputError: The tasks aren't known yet.
        """
        t = len(known_tasks(self, "draw"))
        seed = int(torch.randint(2**62, (1,), generator=self.generator))
        share = np.random.default_rng(seed).dirichlet([self.concentration] * t)
        self.task_preference = torch.from_numpy(share).to(self.task_preference)
        return self.task_preference.clone()

    def weigh(self, losses: Sequence[float]) -> Weighing:
        """Return the gradient of the scalarisation of the losses [t], and its value."""
        preference = self.entries("task_preference", len(losses)).tolist()
        total = dot(preference, losses)
        preferred = math.sqrt(dot(preference, preference))
        unit = max(map(abs, losses))
        if not unit or not preferred:
            return Weighing(preference, total)
        # the cosine doesn't change with the unit of the losses; with this one it can't overflow
        scaled = [x / unit for x in losses]
        square = dot(scaled, scaled)
        length = math.sqrt(square) * preferred
        cosine = dot(preference, scaled) / length
        push = self.penalty / unit
        weights = [
            r - push * (r / length - cosine / square * x)
            for r, x in zip(preference, scaled, strict=True)
        ]
        return Weighing(weights, total - self.penalty * cosine)
