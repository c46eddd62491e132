"""Learning rates by torch's own schedulers: one for each optimiser of a session."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from jointrain.errors import InvalidInputError, closest

SchedulerFactory = Callable[[Optimizer], LRScheduler]


def scheduler_from_name(name: str, **options: Any) -> SchedulerFactory:
    """Return what makes a scheduler of torch.optim.lr_scheduler, by its name.

    Args:
        name: Of the class, such as ``StepLR``.
        **options: What it takes beside the optimiser.

    Raises:
        InvalidInputError: There is no such scheduler, or it can't take the options.

    Examples:
        >>> make = scheduler_from_name("StepLR", step_size=2, gamma=0.5)
    """
    kinds: dict[str, Any] = {
        known: kind
        for known, kind in vars(lr_scheduler).items()
        if isinstance(kind, type)
        and issubclass(kind, LRScheduler)
        and kind not in (LRScheduler, *_OF_OTHERS)
        and not known.startswith("_")
    }
    if name not in kinds:
        raise InvalidInputError(
            f"`lr_scheduler` must be one of {', '.join(sorted(kinds))}, got {name!r}"
            f"{closest(name, kinds)}"
        )
    factory = partial(kinds[name], **options)
    try:
        factory(SGD([nn.Parameter(torch.zeros(1))], lr=0.1))
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"lr_scheduler {name!r} can't be made with {options or 'no options'}: {error}"
        ) from None
    return factory


_OF_OTHERS = (lr_scheduler.LambdaLR, lr_scheduler.MultiplicativeLR, lr_scheduler.SequentialLR,
              lr_scheduler.ChainedScheduler)  # fmt: skip
"""Schedulers that take functions or other schedulers, which no name and number can say."""


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
