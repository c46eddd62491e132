"""Learning rates by torch's own schedulers: one for each optimiser of a session."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from jointrain.errors import InvalidInputError

SchedulerFactory = Callable[[Optimizer], LRScheduler]


class LearningRates:
    """Moves the learning rates after each step or each epoch.

    Args:
        factory: Makes a scheduler of an optimiser.
        optimizers: All of a session.
        every: ``step`` or ``epoch``.
        validates: Whether there are scores, which ReduceLROnPlateau looks at.

    Raises:
        InvalidInputError: The factory gives no scheduler, or ReduceLROnPlateau has nothing to look
            at.
    """

    def __init__(
        self,
        factory: SchedulerFactory,
        optimizers: Sequence[Optimizer],
        every: str,
        *,
        validates: bool,
    ) -> None:
        self.every = every
        self._all = [factory(optimizer) for optimizer in optimizers]
        for scheduler, optimizer in zip(self._all, optimizers, strict=True):
            # with an optimiser per task, one may not have had its turn when the rates first move,
            # of which torch would warn
            optimizer._opt_called = True  # type: ignore[attr-defined]
            if not isinstance(scheduler, LRScheduler):
                raise InvalidInputError(
                    f"`lr_scheduler` must make a scheduler of torch.optim.lr_scheduler from an "
                    f"optimiser, got {type(scheduler).__name__}"
                )
            if isinstance(scheduler, ReduceLROnPlateau) and (every == "step" or not validates):
                raise InvalidInputError(
                    "ReduceLROnPlateau looks at validation scores; give fit() validation data, and "
                    "lr_scheduler_every='epoch'"
                )

    def after_step(self) -> None:
        """Move the rates if they move with steps."""
        if self.every == "step":
            for scheduler in self._all:
                scheduler.step()

    def after_epoch(self, score: float | None) -> None:
        """Move the rates if they move with epochs."""
        if self.every == "epoch":
            for scheduler in self._all:
                if not isinstance(scheduler, ReduceLROnPlateau):
                    scheduler.step()
                elif score is not None:
                    scheduler.step(score)

    def scale(self, factor: float) -> None:
        """Multiply the rates that the schedulers start from."""
        left: list[Any] = list(self._all)
        while left:
            scheduler = left.pop()
            left.extend(getattr(scheduler, "_schedulers", ()))
            if hasattr(scheduler, "base_lrs"):
                scheduler.base_lrs = [rate * factor for rate in scheduler.base_lrs]

    def state_dict(self) -> list[dict[str, Any]]:
        """Return the state of each scheduler."""
        return [scheduler.state_dict() for scheduler in self._all]

    def load_state_dict(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Set each scheduler to what `state_dict` gave."""
        for scheduler, state in zip(self._all, states, strict=True):
            scheduler.load_state_dict(dict(state))
