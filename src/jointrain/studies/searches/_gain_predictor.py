"""Prediction of what tasks gain in groups that were not trained, from affinities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jointrain.studies.searches._affinity import Affinity
from jointrain.studies.searches._partition import Group

if TYPE_CHECKING:
    from sklearn.linear_model import RidgeCV

ENOUGH = 10
"""From how many measured gains on the relation to affinity is learned as a curve."""

_STRENGTHS = tuple(10.0**power for power in range(-3, 4))


class GainPredictor:
    """Predicts the gain of a task in a group.

    A task's affinity in a group is the mean affinity of the other members onto it. A curve (cubic
    B-splines with a ridge penalty) maps it to the gain; for each task, a ridge regression on who
    else is in the group corrects what the curve leaves. Penalties are chosen by leave-one-out
    errors. With less than ten measured gains, affinities are only put on their scale: same mean and
    same spread.

    Args:
        affinity: Who helps whom.
        measured: Group, task and gain in percent of groups that were trained, two or more tasks
            each.

    Source: Ayman et al., "Ensemble Prediction of Task Affinity for Efficient Multi-Task Learning",
        ICLR 2026 (affinity score, B-splines with ridge, ridge on the residuals).
    Differs from the source: each task's correction sees only groups that hold the task, so that
        unmeasured gains are not taken for zero.
    """

    def __init__(self, affinity: Affinity, measured: Sequence[tuple[Group, int, float]]) -> None:
        from sklearn.linear_model import RidgeCV
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import SplineTransformer

        self._affinity = affinity
        count = len(affinity.tasks)
        self._curve = None
        self._corrections: dict[int, RidgeCV] = {}
        self._cache: dict[tuple[Group, int], float] = {}
        x = np.array([self.affinity_in(group, task) for group, task, _ in measured])
        y = np.array([gain for _, _, gain in measured])
        self._center = (float(x.mean()), float(y.mean())) if len(y) else (0.0, 0.0)
        self._slope = float(y.std() / x.std()) if len(y) > 1 and x.std() > 0 else 1.0
        if len(y) >= ENOUGH and x.std() > 0:
            self._curve = make_pipeline(SplineTransformer(4, knots="quantile"), RidgeCV(_STRENGTHS))
            self._curve.fit(x[:, None], y)
        left = y - self._from_affinity(x)
        for task in range(count):
            rows = [i for i, (_, other, _) in enumerate(measured) if other == task]
            if len(rows) > 2:
                members = np.array([self._members(measured[i][0], task) for i in rows])
                self._corrections[task] = RidgeCV(_STRENGTHS).fit(members, left[rows])
        predicted = np.array([self.gain(group, task) for group, task, _ in measured])
        # few gains are fitted almost exactly, which says nothing of those that were not measured
        fitted = float(np.sqrt(np.mean((predicted - y) ** 2))) if len(y) else 1.0
        self.error = max(fitted, float(y.std()) / 2) if len(y) else 1.0

    def affinity_in(self, group: Group, task: int) -> float:
        """Return the mean affinity of a group's other members onto a task."""
        return self._affinity.onto(task, sorted(group - {task}))

    def gain(self, group: Group, task: int) -> float:
        """Return the predicted gain in percent of a task in a group; 0 for a task alone."""
        if len(group) == 1:
            return 0.0
        if (group, task) not in self._cache:
            gain = float(self._from_affinity(np.array([self.affinity_in(group, task)]))[0])
            if task in self._corrections:
                gain += float(self._corrections[task].predict([self._members(group, task)])[0])
            self._cache[group, task] = gain
        return self._cache[group, task]

    def _from_affinity(self, x: np.ndarray) -> np.ndarray:
        if self._curve is not None:
            return np.asarray(self._curve.predict(x[:, None]))
        return self._center[1] + self._slope * (x - self._center[0])

    def _members(self, group: Group, task: int) -> list[float]:
        return [float(i in group and i != task) for i in range(len(self._affinity.tasks))]
