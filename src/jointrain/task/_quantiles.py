"""Quantiles: several quantiles of a number, which never cross; two of them are an interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from jointrain.errors import InvalidInputError
from jointrain.metrics import Metric, mean_over_rows
from jointrain.task._kind import (
    Classes,
    DescribedTask,
    PlainProblem,
    PredictedColumn,
    TableTaskKind,
    as_vector,
    filled_labels,
    in_few_digits,
    mean_and_deviation,
)
from jointrain.task._stacked_loss import StackedLoss


@dataclass(frozen=True)
class _StackedPinball(StackedLoss):
    levels: tuple[float, ...]
    one_target = True

    @property
    def name(self) -> str:  # type: ignore[override]
        """The levels are part of the form."""
        return f"quantiles {self.levels}"

    def __call__(
        self, output: Tensor, target: Tensor, share: Tensor, width: int
    ) -> tuple[Tensor, Tensor]:
        parts = torch.unflatten(output, -1, (-1, width))
        quantiles = _quantiles(parts)
        losses = 2 * _pinball_losses(quantiles, target, self.levels) * share
        # of each quantile: minus its level below the label, 1 minus its level above
        side = torch.sign(target.unsqueeze(-1) - quantiles)
        of_quantile = (1 - side) / 2 - output.new_tensor(self.levels)
        of_quantile = of_quantile * (2 / width) * share.unsqueeze(-1)
        total = of_quantile.sum(-1, keepdim=True)
        # a gap moves the quantiles above it, and where it lies below the middle, all down
        above = of_quantile.flip(-1).cumsum(-1).flip(-1)[..., 1:]
        below = torch.arange(1, width, device=output.device) <= width // 2
        of_gaps = (above - total * below) * parts[..., 1:].sigmoid()
        return losses, torch.cat([total, of_gaps], -1).flatten(-2)


DEFAULT_LEVELS = (0.05, 0.5, 0.95)


class Quantiles(TableTaskKind):
    r"""The prediction is a quantile for each level; the task's classes are the levels.

    The first output is the quantile in the middle, the others make the gaps, :math:`\ln(1 + e^o)`,
    so that a higher level never has a lower quantile. The loss is twice the pinball loss, the mean
    over levels: that of the median alone is the absolute error.

    Source: Koenker & Bassett, "Regression Quantiles", Econometrica 46, 1978 (pinball loss).
    """

    name = "quantiles"
    summary = "quantiles of a number, such as an interval"
    blended_by = "losses"
    objective = "problems"
    has_scale = True

    @classmethod
    def said(cls, name: str, parts: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the levels; default those of `DEFAULT_LEVELS`."""
        try:
            levels = tuple(float(part) for part in parts)
        except ValueError:
            raise InvalidInputError(
                f"quantiles target {name!r} needs levels between 0 and 1, such as "
                f"quantiles:0.05:0.5:0.95, got {':'.join((cls.name, *parts))!r}"
            ) from None
        cls.checked_classes(name, levels or DEFAULT_LEVELS, None)
        return (), tuple(parts) or tuple(map(str, DEFAULT_LEVELS))

    @classmethod
    def checked_classes(cls, name: str, classes: Classes, size: int | None) -> Classes:  # noqa: ARG003
        """Return the levels as numbers.

        Raises:
            InvalidInputError: There are none, or they do not rise within (0, 1).
        """
        levels = tuple(float(level) for level in classes)
        rising = all(low < high for low, high in zip((0.0, *levels), (*levels, 1.0), strict=True))
        if not levels or not rising:
            raise InvalidInputError(
                f"{cls.name} task {name!r} needs levels that rise from above 0 to below 1, such as "
                f"(0.05, 0.5, 0.95), got {tuple(classes)}"
            )
        return levels

    def __init__(self, task: DescribedTask) -> None:
        super().__init__(task)
        self.stacked_loss = _StackedPinball(self.levels)

    @property
    def levels(self) -> tuple[float, ...]:
        """The levels of the quantiles."""
        return tuple(float(level) for level in self.task.classes)

    def default_metrics(self) -> tuple[Metric, ...]:
        """Return the pinball loss, and how far the shares of labels below are from the levels."""
        share = _CalibrationError(self.levels)
        return (
            Metric("pinball loss", _Pinball(self.levels), higher_is_better=False, lowest=0),
            Metric("calibration error", share, higher_is_better=False, lowest=0, highest=1),
        )

    def values_per_row(self, shape: Sequence[int]) -> int:  # noqa: ARG002
        """Return 1, the number."""
        return 1

    def wrong_values(self, present: Tensor) -> tuple[Tensor, str] | None:
        """Return which are infinite."""
        return present.isinf(), "finite numbers"

    def standard_target(self, target: Tensor) -> Tensor:
        """Return the target as a vector."""
        return as_vector(target)

    def losses(self, output: Tensor, target: Tensor) -> Tensor:
        """Return twice the pinball losses, the mean over levels."""
        filled = filled_labels(as_vector(target))
        return 2 * _pinball_losses(self.predict(output), filled, self.levels)

    def predict(self, output: Tensor) -> Tensor:
        """Return the quantiles, [b, q]."""
        return _quantiles(output)

    def mean_output(self, outputs: Tensor) -> Tensor:
        """Return the outputs of the mean quantiles."""
        mean = self.predict(outputs).mean(1)
        gaps = mean.diff(dim=-1).clamp_min(torch.finfo(mean.dtype).tiny)
        middle = mean.shape[-1] // 2
        # the inverse of log(1 + exp(o))
        return torch.cat([mean[:, middle : middle + 1], gaps + (-torch.expm1(-gaps)).log()], -1)

    # --- tables -----------------------------------------------------------------------------------

    def prediction_shape(self) -> tuple[int, ...]:
        """Return a place for each quantile."""
        return (len(self.levels),)

    def predicted_columns(self, prediction: np.ndarray) -> list[PredictedColumn]:
        """Return the quantile in the middle, and each."""
        middle = len(self.levels) // 2
        return [PredictedColumn("", "", prediction[:, middle])] + [
            PredictedColumn(f"_q{level}", "quantile", prediction[:, index])
            for index, level in enumerate(in_few_digits(self.levels))
        ]

    def scaling(self, labels: np.ndarray, weights: np.ndarray | None = None) -> tuple[float, float]:
        """Return mean and standard deviation; 1 for a constant."""
        return mean_and_deviation(labels, weights)

    def constant(self, labels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """Return the quantiles, [q]: of each level the constant of the lowest pinball loss."""
        order = np.argsort(labels, kind="stable")
        counts = np.ones(len(labels)) if weights is None else weights[order] / weights.max()
        shares = np.cumsum(counts) / counts.sum()
        places = np.searchsorted(shares, np.array(self.levels) - 1e-12)
        return np.asarray(labels[order[np.minimum(places, len(labels) - 1)]], dtype=np.float64)

    def from_columns(self, values: np.ndarray) -> np.ndarray:
        """Return the quantiles as they are."""
        return values

    def check_constant(self, constant: np.ndarray) -> str | None:
        """Return what is wrong with quantiles."""
        if constant.shape != (len(self.levels),):
            return "has another length"
        return None if (np.diff(constant) >= 0).all() else "has quantiles that cross"

    def plain_problems(self, labels: np.ndarray) -> list[PlainProblem]:
        """Return a quantile regression for each level."""
        rows = np.arange(len(labels))
        return [PlainProblem(rows, labels, level=level) for level in self.levels]

    def plain_inputs(self) -> list[tuple[int, np.ndarray | None]]:
        """Return the problems."""
        return [(index, None) for index in range(len(self.levels))]

    def from_plain(self, answers: Sequence[np.ndarray]) -> np.ndarray:
        """Return the quantiles in order, as models of their own may cross."""
        return np.sort(np.stack(answers, axis=1), axis=1)

    def row_losses(self, prediction: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return twice the pinball losses, the mean over levels."""
        above = labels[:, None] - prediction
        levels = np.array(self.levels)
        return np.asarray(2 * np.maximum(levels * above, (levels - 1) * above).mean(1))


def _quantiles(output: Tensor) -> Tensor:
    """Return the quantiles of outputs, [..., q]."""
    gaps = functional.softplus(output[..., 1:])
    above = torch.cat([torch.zeros_like(output[..., :1]), gaps.cumsum(-1)], -1)
    middle = output.shape[-1] // 2
    return output[..., :1] + above - above[..., middle : middle + 1]


def _pinball_losses(quantiles: Tensor, target: Tensor, levels: tuple[float, ...]) -> Tensor:
    """Return the mean pinball loss of each row, [b], by quantiles, [b, q]."""
    wanted = quantiles.new_tensor(levels)
    above = target.to(quantiles.dtype)[..., None] - quantiles
    return torch.maximum(wanted * above, (wanted - 1) * above).mean(-1)


@dataclass(frozen=True)
class _Pinball:
    levels: tuple[float, ...]

    def __call__(self, prediction: Tensor, target: Tensor, weights: Tensor | None = None) -> float:
        losses = _pinball_losses(prediction.double(), target.double(), self.levels)
        return mean_over_rows(losses, weights)


@dataclass(frozen=True)
class _CalibrationError:
    levels: tuple[float, ...]

    def __call__(self, prediction: Tensor, target: Tensor, weights: Tensor | None = None) -> float:
        if bool(prediction.isnan().any()):
            return float("nan")
        below = (target.double()[:, None] <= prediction.double()).double()
        shares = [mean_over_rows(of_level, weights) for of_level in below.unbind(1)]
        errors = [abs(share - level) for share, level in zip(shares, self.levels, strict=True)]
        return sum(errors) / len(errors)
