"""Learning progress: how fast each task's loss falls, as chances of being trained next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

EXPLORATION = 0.1
"""Share of the draws that fall on any task alike, so that one which rests is looked at again."""

_RECENT, _LONG = 0.2, 0.04  # rates of the two running means: about the last 5 and 25 visits


class LearningProgress:
    r"""Chances of tasks in proportion to the recent relative decrease of their training losses.

    .. math:: g_i = \max(0, 1 - r_i / l_i), \qquad
        p_i = (1 - \epsilon) \frac{g_i}{\sum_j g_j} + \frac{\epsilon}{K}

    with exponential means r (rate 0.2) and l (rate 0.04) of task i's losses over the steps that
    trained it, both from its first loss on, and :math:`\epsilon = 0.1`. All are alike while no loss
    falls.

    Args:
        tasks: Names of the K tasks.

    Source: Graves et al., "Automated Curriculum Learning for Neural Networks", ICML 2017, section
        3.1 (loss-driven progress as the reward of choosing a task).
    Differs from the source: the reward is the decrease over past steps, not over the step on the
        same batch, which would cost a second forward pass; chances follow it in proportion, not
        by the Exp3.S bandit.
    """

    def __init__(self, tasks: Iterable[str]) -> None:
        self._means: dict[str, tuple[float, float] | None] = dict.fromkeys(tasks)

    def see(self, task: str, loss: float) -> None:
        """Take in the loss of a step that trained `task`."""
        means = self._means[task]
        if means is None:
            self._means[task] = loss, loss
        else:
            recent, long = means
            self._means[task] = recent + _RECENT * (loss - recent), long + _LONG * (loss - long)

    def chances(self) -> list[float]:
        """Return the probability of each task, in their order."""
        gains = [
            0.0 if means is None or not means[1] > 0 else max(0.0, 1 - means[0] / means[1])
            for means in self._means.values()
        ]
        total, count = sum(gains), len(gains)
        if not total > 0:
            return [1 / count] * count
        return [(1 - EXPLORATION) * gain / total + EXPLORATION / count for gain in gains]

    def state_dict(self) -> dict[str, Any]:
        """Return the running means."""
        return {name: None if means is None else list(means) for name, means in self._means.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set the running means to what `state_dict` gave."""
        self._means = {
            name: None if two is None else (two[0], two[1]) for name, two in state.items()
        }
