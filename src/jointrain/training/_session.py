"""Session: what one stretch of training has, how far it has got, and the loop over its steps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from jointrain.balancing import Balancer
from jointrain.errors import InvalidInputError
from jointrain.training._early_stopping import BestWeights
from jointrain.training._learning_rates import LearningRates
from jointrain.training._loss_scale import AUTOCAST, LossScale
from jointrain.training._non_finite_steps import (
    NonFiniteSteps,
    refuse_non_finite_gradients,
    refuse_non_finite_losses,
)
from jointrain.training._optimizer import OptimizerList, learning_rate_factor
from jointrain.training._placement import placed_like
from jointrain.training._settings import TrainingSettings
from jointrain.training._weight_average import WeightAverage
from jointrain.training.callbacks import EpochRecord

Drawn = TypeVar("Drawn")
"""What a step is made on."""

OnStepEnd = Callable[[int, Mapping[str, Tensor]], Any]
OnEpochEnd = Callable[[EpochRecord], Any]
Between = Callable[[], Any]
State = Mapping[str, Any]


def _nothing() -> None:
    """Tell nobody of anything."""


class Session(ABC, Generic[Drawn]):
    """One stretch of training: all that it has, in plain attributes, and its loop.

    The random state of dropout is torch's own; who opens the session seeds it.

    Args:
        module: What is trained.
        settings: How, and for how long.
        optimizers: Move the parameters.
        parameters: What the gradient's norm is taken of.
        generator: Source of the order of rows and of turns.
        history: Gets a record for each epoch; what it holds already was before this session.

    Attributes:
        steps: Number of all steps; known when it runs.
        epoch_steps: Number of steps of an epoch.
        step: Number of steps made.
        open: Whether the epoch has steps that no record tells of yet.
        stopped: Whether it is to end with the step at hand; set by `Trainer.stop`.
        best: The best weights so far, their score and the epochs since; there once it runs.
    """

    best: BestWeights

    def __init__(
        self,
        module: nn.Module,
        settings: TrainingSettings,
        optimizers: OptimizerList,
        parameters: list[nn.Parameter],
        generator: torch.Generator,
        history: list[EpochRecord],
    ) -> None:
        self.module = module
        self.settings = settings
        self.optimizers = optimizers
        self.parameters = parameters
        self.generator = generator
        self.history = history
        self.first_step = history[-1].step if history else 0
        self.steps = 0
        self.epoch_steps = 1
        self.step = 0
        self.stopped = False
        self.open = False
        self.average: WeightAverage | None = None
        self.rates: LearningRates | None = None
        self.non_finite: NonFiniteSteps | None = None
        self.scale: LossScale | None = None
        self.balancer: Balancer | None = None
        self.balancer_optimizer: torch.optim.Optimizer | None = None
        self._unmoved: list[nn.Parameter] = []

    def notice_unmoved(self, *, refuse: bool = True) -> None:
        """Take in which parameters require a gradient that no optimiser uses.

        Args:
            refuse: Whether to refuse those that were frozen when the optimisers were made.

        Raises:
            InvalidInputError: There are some.
        """
        held, offered = self.optimizers.held, self.optimizers.offered
        self._unmoved = [
            parameter
            for parameter in dict.fromkeys((*self.module.parameters(), *self.parameters))
            if parameter.requires_grad and id(parameter) not in held
        ]
        names = {id(parameter): name for name, parameter in self.module.named_parameters()}
        new = [names[id(p)] for p in self._unmoved if id(p) not in offered and id(p) in names]
        if refuse and new:
            raise InvalidInputError(
                f"parameter {new[0]!r} requires a gradient, and did not when the optimisers were "
                "made, so it would not be trained; make the trainer after that, or let a Phase "
                "`unfreeze` it"
            )

    def drop_unmoved(self) -> None:
        """Drop gradients that no optimiser uses, so that they count in no norm and no sum."""
        for parameter in self._unmoved:
            parameter.grad = None

    def open_options(self, *, validates: bool) -> None:
        """Make what the settings ask for beside the optimisers; called when the session starts.

        Raises:
            InvalidInputError: A learning-rate scheduler can't be used here.
        """
        settings = self.settings
        if settings.ema is not None:
            self.average = WeightAverage(self.parameters, settings.ema)
        if settings.lr_scheduler is not None:
            # an earlier run with the same optimisers may have moved them
            self.optimizers.scale_learning_rate(1.0)
            self.rates = LearningRates(
                settings.lr_scheduler,
                self.optimizers.all,
                settings.lr_scheduler_every,
                validates=validates,
            )
        if settings.non_finite != "raise":
            self.non_finite = NonFiniteSteps(
                settings.non_finite_limit,
                settings.non_finite == "rollback",
                self.module,
                self.optimizers,
                self.balancer,
                self.balancer_optimizer,
                self.average,
                self.rates,
            )

    def check_losses(self, losses: Mapping[str, Tensor]) -> None:
        """Refuse a step whose losses are not finite, if it is to be left out then."""
        if self.settings.non_finite != "raise":
            refuse_non_finite_losses(losses)

    def check_gradients(self) -> None:
        """Likewise of its gradients."""
        if self.settings.non_finite != "raise":
            refuse_non_finite_gradients(self._all_moved())

    def _all_moved(self) -> list[nn.Parameter]:
        """Return all parameters that a step may move."""
        learned = [] if self.balancer is None else list(self.balancer.parameters())
        return [*self.parameters, *learned]

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context in which training losses are computed."""
        dtype = AUTOCAST.get(self.settings.precision)
        if dtype is None:
            return nullcontext()
        return torch.autocast(self.parameters[0].device.type, dtype=dtype)

    def scaled(self, loss: Tensor) -> Tensor:
        """Return a loss as it is to be differentiated."""
        return loss if self.scale is None else self.scale.of(loss)

    def unscale(self) -> bool:
        """Make the gradients those of the losses; return whether the step can be made.

        Raises:
            NonFiniteError: It can't, and no scale would help.
        """
        return self.scale is None or self.scale.unscale(self._all_moved())

    @abstractmethod
    def start(self, state: State | None) -> None:
        """Make ready for the first step: lengths, order of tasks, weights to keep.

        Args:
            state: What `state_dict` gave, to go on after that step; None to begin.
        """

    @abstractmethod
    def draw(self) -> Drawn | None:
        """Draw what the next step is made on; None for a step that is passed over.

        Raises:
            StopIteration: There are no more steps.
        """

    @abstractmethod
    def make_step(self, drawn: Drawn) -> Mapping[str, Tensor]:
        """Make a step and return the detached losses."""

    @abstractmethod
    def see(self, losses: Mapping[str, Tensor], drawn: Drawn) -> None:
        """Take in the losses of a step, for the record of the epoch."""

    @abstractmethod
    def end_epoch(self) -> EpochRecord:
        """Measure, keep the weights if they are the best, and return the record of the epoch."""

    def begin_epoch(self) -> None:
        """Put the module into training mode."""
        self.notice_unmoved()
        self.module.train()

    @property
    def stops(self) -> bool:
        """Whether training is over before its steps are."""
        patience = self.settings.patience
        return patience is not None and self.best.epochs_since >= patience

    def run(
        self,
        on_step_end: OnStepEnd,
        on_epoch_end: OnEpochEnd,
        *,
        agree: Between = _nothing,
        between: Between | None = None,
        state: State | None = None,
    ) -> None:
        """Make all steps, and restore the best weights.

        Args:
            on_step_end: Called with the number of the step, from 1 and over earlier sessions, and
                its losses.
            on_epoch_end: Called with the record of each epoch.
            agree: Called after each step and each epoch; where there are several processes, it lets
                all of them know what one of them was told, such as to stop.
            between: Called before each step, where `state_dict` tells all that there is.
            state: What `state_dict` gave, to go on after that step.
        """
        self.start(state)
        self.begin_epoch()
        while True:
            agree()
            if self.open and self.epoch_is_over:
                self._close_epoch(on_epoch_end)
                agree()
                if self.stopped:
                    break
            # also where a resumed run had just recorded its last epoch
            if self.step >= self.steps or (not self.open and self.stops):
                break
            if between is not None:
                between()
            try:
                drawn = self.draw()
            except StopIteration:
                break
            losses = None if drawn is None else self._train_on(drawn)
            self.step += 1
            self.open = True
            if losses is not None:
                on_step_end(self.first_step + self.step, losses)
        if self.average is not None:
            self.average.put(self.average.values)
        self.best.restore()
        self.module.eval()
        self.check_weights()

    def _train_on(self, drawn: Drawn) -> Mapping[str, Tensor] | None:
        """Make a step, with all that goes with one, and return the detached losses.

        None if it was left out because it was not finite.
        """
        warm_up, decay = self.settings.warm_up, self.settings.decay
        if warm_up or decay != "none":
            factor = learning_rate_factor(self.step, self.steps, warm_up, decay)
            self.optimizers.scale_learning_rate(factor)
        if self.non_finite is None:
            losses: Mapping[str, Tensor] | None = self.make_step(drawn)
        else:
            step = self.first_step + self.step + 1
            losses = self.non_finite.take(lambda: self.make_step(drawn), step)
        if losses is not None:
            self.see(losses, drawn)
            if self.average is not None and not (self.scale is not None and self.scale.left_out):
                self.average.see()
        if self.rates is not None:
            self.rates.after_step()
        return losses

    def _close_epoch(self, on_epoch_end: OnEpochEnd) -> None:
        """Measure the epoch, record it, and begin the next one."""
        self.open = False
        with nullcontext() if self.average is None else self.average.in_place():
            record = self.end_epoch()
        if self.rates is not None:
            self.rates.after_epoch(record.score)
        if self.non_finite is not None:
            record = replace(record, skipped=self.non_finite.in_epoch)
            self.non_finite.in_epoch = 0
            self.non_finite.keep()
        if self.scale is not None:
            record = replace(record, skipped=record.skipped + self.scale.in_epoch)
            self.scale.in_epoch = 0
        self.history.append(record)
        on_epoch_end(record)
        self.begin_epoch()

    @property
    def epoch_is_over(self) -> bool:
        """Whether the step that was made is the last one of an epoch."""
        over = self.step % self.epoch_steps == 0 or self.step == self.steps
        return over or self.stopped

    def state_dict(self) -> dict[str, Any]:
        """Return all that the steps to come depend on, but weights, history and random numbers.

        Tensors in it are those of the session, not copies.
        """
        return {
            "step": self.step,
            "open": self.open,
            "first_step": self.first_step,
            "best": self.best.state_dict(),
            "optimizers": self.optimizers.state_dict(),
            "generator": self.generator.get_state(),
            "average": None if self.average is None else self.average.values,
            "rates": None if self.rates is None else self.rates.state_dict(),
            "non_finite": None if self.non_finite is None else self.non_finite.state_dict(),
        }

    def load_state_dict(self, state: State) -> None:
        """Set the state of a session that has been started to what `state_dict` gave."""
        self.step, self.open = state["step"], state["open"]
        # history has records of this session by now
        self.first_step = state["first_step"]
        self.best.load_state_dict(state["best"])
        self.optimizers.load_state_dict(state["optimizers"])
        self.generator.set_state(state["generator"])
        if self.average is not None:
            pairs = zip(self.average.values, state["average"], strict=True)
            self.average.values = [
                value.copy_(placed_like(stored, value)) for value, stored in pairs
            ]
        if self.rates is not None:
            self.rates.load_state_dict(state["rates"])
        if self.non_finite is not None:
            self.non_finite.load_state_dict(state["non_finite"])

    def check_weights(self) -> None:
        """Refuse to end with weights that a last bad step has spoilt.

        Raises:
            InvalidInputError: They are not finite.
        """
        if not all(bool(parameter.isfinite().all()) for parameter in self.parameters):
            raise InvalidInputError(
                "the weights are not finite after the last step; lower the learning rate or clip "
                "the gradient"
            )

    def clip_gradient(self) -> None:
        """Shorten the gradient to the settings' largest norm."""
        if self.settings.gradient_clip is not None:
            clipped = [_dense(parameter) for parameter in self.parameters]
            nn.utils.clip_grad_norm_(clipped, self.settings.gradient_clip)


def _dense(parameter: Tensor) -> Tensor:
    """Return a parameter, or where its gradient is sparse, what has the rows of that as its own."""
    gradient = parameter.grad
    if gradient is None or not gradient.is_sparse:
        return parameter
    parameter.grad = gradient.coalesce()
    values = parameter.grad._values()
    of_rows = torch.empty_like(values)
    of_rows.grad = values
    return of_rows
