"""Pre-training of a trunk: the loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from jointrain.errors import InvalidInputError, NonFiniteError
from jointrain.networks import CategoryEmbeddings
from jointrain.options import Decay
from jointrain.task import CodeColumns
from jointrain.training._device import seeded
from jointrain.training._early_stopping import BestWeights
from jointrain.training._loss_scale import LossScale
from jointrain.training._optimizer import OptimizerFactory, OptimizerList, OptimizerSettings
from jointrain.training._session import Session, State
from jointrain.training._settings import TrainingSettings
from jointrain.training.callbacks import EpochRecord
from jointrain.training.pretraining._objective import Loss, Objective, Reconstruction
from jointrain.training.sampling import RowSampler


def _nothing(*_: object) -> None:
    pass


def pretrain(
    trunk: nn.Module,
    rows: Tensor,
    objective: Objective,
    *,
    validation: Tensor | None = None,
    optimizer: OptimizerFactory | None = None,
    warm_up: float = 0.0,
    decay: Decay = "none",
    gradient_clip: float | None = None,
    batch_size: int = 256,
    epochs: int = 100,
    steps: int | None = None,
    patience: int | None = None,
    seed: int = 0,
    on_step_end: Callable[[int, Mapping[str, Tensor]], None] = _nothing,
    on_epoch_end: Callable[[EpochRecord], None] = _nothing,
) -> list[EpochRecord]:
    """Train a trunk on rows without labels.

    Args:
        trunk: Maps [b, d] to [b, f]; its parameters that require a gradient are trained in place.
        rows: The rows, on the trunk's device.
        objective: `MaskedFeatures`, `Denoising` or `Contrastive`.
        validation: Rows to measure the loss on after each epoch, always with the same noise; the
            best weights are then restored.
        optimizer: `OptimizerSettings`, or a function from a list of parameters to an optimiser.
            Default AdamW with rate 1e-3.
        warm_up: Share of the steps over which the learning rate rises linearly; default 0.
        decay: ``cosine`` or ``none`` (default).
        gradient_clip: Largest norm of the gradient; None (default) clips nothing.
        batch_size: Rows in a batch; default 256.
        epochs: How often each row is seen; default 100.
        steps: Number of steps instead of `epochs`.
        patience: Stop after so many epochs without a better validation loss; None (default) never
            stops early.
        seed: Seed of the layers that only the loss needs, of batches, noise and dropout.
        on_step_end: Called with the number of the step (from 1) and the loss by the objective's
            kind.
        on_epoch_end: Called with the record of each epoch.

    Returns:
        A record for each epoch; the losses have the objective's kind as their name.

    Shape:
        rows: [n, d]. validation: [m, d].

    Raises:
        InvalidInputError: The rows are no table of finite floating-point numbers, the trunk does
            not give [b, f] or has nothing to train, the loss is not finite, or there is `patience`
            without validation rows.

    Examples:
        >>> trunk = nn.Sequential(nn.Linear(4, 8), nn.ReLU())
        >>> history = pretrain(trunk, torch.randn(64, 4), MaskedFeatures(), epochs=3)
        >>> [record.epoch for record in history]
        [1, 2, 3]
    """
    if patience is not None and validation is None:
        raise InvalidInputError("`patience` needs validation rows; give some, or leave it out")
    settings = TrainingSettings(
        optimizer=optimizer or OptimizerSettings(), warm_up=warm_up, decay=decay,
        gradient_clip=gradient_clip, batch_size=batch_size, epochs=epochs, steps=steps,
        patience=patience,
    )  # fmt: skip
    history: list[EpochRecord] = []
    run_pretraining(
        trunk, rows, objective, settings, validation=validation, seed=seed, history=history,
        run=lambda session: session.run(on_step_end, on_epoch_end),
    )  # fmt: skip
    return history


def run_pretraining(
    trunk: nn.Module,
    rows: Tensor,
    objective: Objective,
    settings: TrainingSettings,
    *,
    validation: Tensor | None,
    seed: int,
    history: list[EpochRecord],
    run: Callable[[PretrainingSession], None],
    phase: str | None = None,
    scale: LossScale | None = None,
) -> None:
    """Train a trunk as `pretrain` does, adding to a history that other sessions have begun."""
    if settings.parameter_groups is not None:
        raise InvalidInputError(
            "`parameter_groups` names parameters of the network, which pre-training a part of it "
            "does not know; pretrain before, by jointrain.pretrain, or leave the groups out"
        )
    if settings.accumulate > 1:
        raise InvalidInputError(
            "`accumulate` is not exact in phases that pretrain, where rows of a batch are "
            "compared; pretrain before, by jointrain.pretrain, or leave it out"
        )
    features = _feature_width(trunk, rows)
    if not any(parameter.requires_grad for parameter in trunk.parameters()):
        raise InvalidInputError("the trunk has no parameter to pretrain: all are frozen")
    with seeded(seed, rows.device):
        loss_of = objective.build(rows, features)
        codes = [place for one in _codes_of(trunk) for place in one.places]
        if codes and isinstance(loss_of, Reconstruction):
            loss_of.leave_out(codes)
        loss_of = loss_of.to(rows.device, rows.dtype)
        session = PretrainingSession(
            trunk, loss_of, rows, objective.kind, settings, validation, seed, history, phase
        )
        session.scale = scale
        run(session)


class PretrainingSession(Session[Tensor]):
    """Trains a trunk on rows without labels.

    Args:
        trunk: Maps [b, d] to [b, f].
        loss_of: The objective's loss, whose own layers are trained with the trunk.
        rows: The rows, [n, d].
        kind: What records call the loss.
        settings: See `TrainingSettings`.
        validation: Rows to measure on, [m, d].
        seed: Of rows and noise.
        history: To be added to.
        phase: What records call the session.
    """

    def __init__(
        self,
        trunk: nn.Module,
        loss_of: Loss,
        rows: Tensor,
        kind: str,
        settings: TrainingSettings,
        validation: Tensor | None,
        seed: int,
        history: list[EpochRecord],
        phase: str | None,
    ) -> None:
        parameters = [parameter for parameter in trunk.parameters() if parameter.requires_grad]
        parameters += loss_of.parameters()
        optimizers = OptimizerList(settings.optimizer, [parameters], trunk)
        generator = torch.Generator().manual_seed(seed)
        super().__init__(trunk, settings, optimizers, parameters, generator, history)
        self.loss_of = loss_of
        self.rows = rows
        self.kind = kind
        self.validation = validation
        self.seed = seed
        self.phase = phase
        self.sampler = RowSampler(torch.arange(len(rows)), settings.batch_size, generator)
        self.seen: list[Tensor] = []
        self.epoch_steps = math.ceil(len(rows) / settings.batch_size)
        count = settings.steps
        self.steps = settings.epochs * self.epoch_steps if count is None else count

    def start(self, state: State | None) -> None:
        """Keep the weights, if there are rows to measure on."""
        self.best = BestWeights(self.module, self.validation is not None)
        self.open_options(validates=self.validation is not None)
        if state is not None:
            self.load_state_dict(state)

    def state_dict(self) -> dict[str, Any]:
        """Return all that the steps to come depend on, but the trunk and random numbers."""
        return {
            **super().state_dict(),
            "loss_of": self.loss_of.state_dict(),
            "sampler": self.sampler.state_dict(),
            "seen": torch.stack(self.seen) if self.seen else None,
        }

    def load_state_dict(self, state: State) -> None:
        """Set the state of a session that has been started to what `state_dict` gave."""
        super().load_state_dict(state)
        self.loss_of.load_state_dict(state["loss_of"])
        self.sampler.load_state_dict(state["sampler"])
        seen = state["seen"]
        self.seen = [] if seen is None else list(seen.to(self.rows.device).unbind())

    def draw(self) -> Tensor:
        """Draw the rows of the next step."""
        return self.rows.index_select(0, self.sampler.draw().to(self.rows.device))

    def make_step(self, drawn: Tensor) -> Mapping[str, Tensor]:
        """Make a step on the rows."""
        with self.autocast():
            loss = self.loss_of(self.module, drawn, self.generator)
        self.check_losses({self.kind: loss})
        self.optimizers.zero_grad()
        self.scaled(loss).backward()  # type: ignore[no-untyped-call]
        self.drop_unmoved()
        if self.unscale():
            self.check_gradients()
            self.clip_gradient()
            self.optimizers.step(())
        return {self.kind: loss.detach()}

    def see(self, losses: Mapping[str, Tensor], drawn: Tensor) -> None:  # noqa: ARG002
        """Keep the loss of a step."""
        self.seen.append(losses[self.kind])

    def end_epoch(self) -> EpochRecord:
        """Measure, and return the record of the epoch."""
        step = self.first_step + self.step
        training = {self.kind: _finite_mean(self.seen, self.kind, step)}
        self.seen = []
        losses = {}
        if self.validation is not None:
            losses[self.kind] = _measure(
                self.loss_of, self.module, self.validation, self.settings.batch_size, self.seed
            )
        score = losses.get(self.kind)
        if score is not None and not math.isfinite(score):
            raise NonFiniteError(
                f"the {self.kind} loss of the validation rows is {score} by step {step}; lower the "
                "learning rate, or look for inputs that are not finite or very large"
            )
        return EpochRecord(
            len(self.history) + 1, step, training, losses, score, self.best.offer(score), self.phase
        )


def _finite_mean(losses: list[Tensor], kind: str, step: int) -> float:
    mean = float(torch.stack(losses).double().mean())
    if not math.isfinite(mean):
        raise InvalidInputError(
            f"the {kind} loss is not finite by step {step}; lower the learning rate or clip the "
            f"gradient"
        )
    return mean


def _codes_of(trunk: nn.Module) -> tuple[CodeColumns, ...]:
    """Return which inputs of a trunk are codes, as its first embeddings know."""
    layers = (layer for layer in trunk.modules() if isinstance(layer, CategoryEmbeddings))
    first = next(layers, None)
    return () if first is None else first.codes


@torch.no_grad()
def _feature_width(trunk: nn.Module, rows: Tensor) -> int:
    if rows.ndim != 2 or not rows.is_floating_point():
        raise InvalidInputError(
            f"pre-training takes rows of numbers, [n, d] floating-point, got "
            f"{str(rows.dtype).removeprefix('torch.')} of shape {tuple(rows.shape)}"
        )
    if not bool(rows.isfinite().all()):
        raise InvalidInputError("the rows for pre-training hold a value that is not finite")
    trunk.eval()
    features = trunk(rows[:2])
    if not isinstance(features, Tensor) or features.ndim != 2:
        shape = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise InvalidInputError(
            f"pre-training needs a trunk that maps [b, d] to [b, f]; for {len(rows[:2])} rows it "
            f"gave {shape}"
        )
    return features.shape[1]


@torch.no_grad()
def _measure(loss_of: Loss, trunk: nn.Module, rows: Tensor, batch_size: int, seed: int) -> float:
    """Return the mean loss over the rows, in batches like those of training."""
    generator = torch.Generator().manual_seed(seed)
    trunk.eval()
    total = 0.0
    for part in rows.tensor_split(math.ceil(len(rows) / batch_size)):
        total += float(loss_of(trunk, part, generator)) * len(part)
    trunk.train()
    return total / len(rows)
