"""What a call to `backward` has done."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from jointrain.errors import InvalidInputError


@dataclass(frozen=True)
class BalancedStep:
    """What a step did.

    Attributes:
        tasks: The tasks that took part, in order; positions as names if they had none.
        weights: [t], float64 on the CPU: what each task's gradient was multiplied by, or None if
            the method's update is no weighted sum.
        losses: [t], float64 on the CPU: the losses.
        gramian: [t, t], float64 on the CPU: the inner products of the tasks' gradients, if they
            were computed at this step.
        gradient_method: How the gradients were got: ``"one pass"``, ``"per_task"``, ``"batched"``,
            ``"layerwise"``, ``"features"``, ``"reused"``, ...
        ghost_layers: For how many layers output gradients stood for weight gradients.
        skipped: The tasks that were left out since their loss or gradient wasn't finite.
        overflow: Whether scaled gradients overflowed; the scaler then skips the step, and the
            balancer has learned nothing from it. Where one pass with weights known beforehand does
            (loss weightings, reused weights), it tells of losses alone.
    """

    tasks: tuple[str, ...]
    weights: Tensor | None
    losses: Tensor
    gramian: Tensor | None = None
    gradient_method: str = "one pass"
    ghost_layers: int = 0
    skipped: tuple[str, ...] = ()
    overflow: bool = False

    @property
    def conflicts(self) -> list[tuple[str, str]] | None:
        """The pairs of tasks whose gradients point away from each other; None if not known."""
        if self.gramian is None:
            return None
        t = len(self.tasks)
        negative = (self.gramian < 0).tolist()
        return [
            (self.tasks[i], self.tasks[j])
            for i in range(t)
            for j in range(i + 1, t)
            if negative[i][j]
        ]

    def weight_of(self, task: str) -> float:
        """Return the weight of the named task, 0 if it was skipped.

        Raises:
            InvalidInputError: There is no such task, or the method has no weights.
        """
        if self.weights is None:
            raise InvalidInputError("The method's update is no weighted sum, it has no weights.")
        if task in self.skipped:
            return 0.0
        if task not in self.tasks:
            raise InvalidInputError(f"Task {task!r} took no part; those that did: {self.tasks}.")
        return float(self.weights[self.tasks.index(task)])
