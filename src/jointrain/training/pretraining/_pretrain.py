"""Pre-training of a trunk: the loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from jointrain.errors import InvalidInputError
from jointrain.training._device import seeded
from jointrain.training._early_stopping import BestWeights
from jointrain.training._optimizer import (
    OptimizerFactory,
    OptimizerSettings,
    learning_rate_factor,
)
from jointrain.training.callbacks import EpochRecord
from jointrain.training.pretraining._objective import Loss, Objective
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
    decay: Literal["cosine", "none"] = "none",
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

    Example:
        >>> trunk = nn.Sequential(nn.Linear(4, 8), nn.ReLU())
        >>> history = pretrain(trunk, torch.randn(64, 4), MaskedFeatures(), epochs=3)
        >>> [record.epoch for record in history]
        [1, 2, 3]
    """
    if patience is not None and validation is None:
        raise InvalidInputError("`patience` needs validation rows; give some, or leave it out")
    features = _feature_width(trunk, rows)
    trained = [parameter for parameter in trunk.parameters() if parameter.requires_grad]
    if not trained:
        raise InvalidInputError("the trunk has no parameter to pretrain: all are frozen")
    history: list[EpochRecord] = []
    epoch_steps = math.ceil(len(rows) / batch_size)
    total = epochs * epoch_steps if steps is None else steps
    with seeded(seed, rows.device):
        loss_of = objective.build(rows, features).to(rows.device, rows.dtype)
        parameters = trained + list(loss_of.parameters())
        one = (optimizer or OptimizerSettings())(parameters)
        peak = [group["lr"] for group in one.param_groups]
        generator = torch.Generator().manual_seed(seed)
        sampler = RowSampler(torch.arange(len(rows)), batch_size, generator)
        best = BestWeights(trunk, validation is not None)
        seen: list[Tensor] = []
        trunk.train()
        for step in range(total):
            factor = learning_rate_factor(step, total, warm_up, decay)
            for group, rate in zip(one.param_groups, peak, strict=True):
                group["lr"] = rate * factor
            loss = loss_of(trunk, rows.index_select(0, sampler.draw().to(rows.device)), generator)
            one.zero_grad()
            loss.backward()
            if gradient_clip is not None:
                nn.utils.clip_grad_norm_(parameters, gradient_clip)
            one.step()
            seen.append(loss.detach())
            on_step_end(step + 1, {objective.kind: seen[-1]})
            if (step + 1) % epoch_steps and step + 1 < total:
                continue
            training = {objective.kind: _finite_mean(seen, objective.kind, step + 1)}
            seen = []
            losses = {}
            if validation is not None:
                measured = _measure(loss_of, trunk, validation, batch_size, seed)
                losses[objective.kind] = measured
            score = losses.get(objective.kind)
            number, improved = len(history) + 1, best.offer(score)
            history.append(EpochRecord(number, step + 1, training, losses, score, improved))
            on_epoch_end(history[-1])
            if patience is not None and best.epochs_since >= patience:
                break
        best.restore()
    trunk.eval()
    return history


def _finite_mean(losses: list[Tensor], kind: str, step: int) -> float:
    mean = float(torch.stack(losses).double().mean())
    if not math.isfinite(mean):
        raise InvalidInputError(
            f"the {kind} loss is not finite by step {step}; lower the learning rate or clip the "
            f"gradient"
        )
    return mean


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
