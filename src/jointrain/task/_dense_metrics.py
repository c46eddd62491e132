"""Metrics of pictures that have a label at each pixel, over all pixels that have one.

A picture's weight is that of each of its pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from jointrain.metrics import Metric, share_metric

Weights = Tensor | None


def pixel_weights(valid: Tensor, weights: Weights) -> Tensor:
    """Return how much each pixel with a label counts, [m].

    Shape:
        valid: [n, h, w] of bool. weights: [n].
    """
    if weights is None:
        return torch.ones(int(valid.sum()), dtype=torch.float64)
    return weights.double()[:, None, None].expand(valid.shape)[valid]


def _mean(values: Tensor, weights: Tensor) -> float:
    total = weights.sum()
    return float((values.double() * weights).sum() / total) if total > 0 else float("nan")


def _valid_numbers(prediction: Tensor, target: Tensor, weights: Weights) -> list[Tensor]:
    """Return predictions, targets and weights of the pixels with a number, [m] each."""
    valid = ~target.isnan()
    of_pixels = weights
    if weights is not None:
        of_pixels = weights.reshape(-1, *[1] * (target.ndim - 1)).expand(target.shape)[valid]
    found = prediction[valid].double()
    chosen = torch.ones_like(found) if of_pixels is None else of_pixels.double()
    return [found, target[valid].double(), chosen]


def pixel_absolute_error(prediction: Tensor, target: Tensor, weights: Weights = None) -> float:
    """Return the mean absolute error over pixels.

    Shape:
        prediction, target: [n, ...], NaN where there is no label. weights: [n].
    """
    found, wanted, of_pixels = _valid_numbers(prediction, target, weights)
    return _mean((found - wanted).abs(), of_pixels)


def pixel_relative_error(prediction: Tensor, target: Tensor, weights: Weights = None) -> float:
    """Return the mean over pixels of the absolute error over the target, known as abs-rel.

    Shape:
        prediction, target: [n, h, w], NaN where there is no label. weights: [n].
    """
    found, wanted, of_pixels = _valid_numbers(prediction, target, weights)
    return _mean((found - wanted).abs() / wanted, of_pixels)


def pixel_rmse(prediction: Tensor, target: Tensor, weights: Weights = None) -> float:
    """Return the root mean squared error over pixels.

    Shape:
        prediction, target: [n, ...], NaN where there is no label. weights: [n].
    """
    found, wanted, of_pixels = _valid_numbers(prediction, target, weights)
    return math.sqrt(_mean((found - wanted).square(), of_pixels))


def within_a_quarter(prediction: Tensor, target: Tensor, weights: Weights = None) -> float:
    """Return the share of pixels whose depth is within a factor of 1.25 of the true one.

    Shape:
        prediction, target: [n, h, w], NaN where there is no label. weights: [n].

    Source: Ladicky, Shi & Pollefeys, "Pulling Things out of Perspective", CVPR 2014.
    """
    found, wanted, of_pixels = _valid_numbers(prediction, target, weights)
    ratio = torch.maximum(found / wanted, wanted / found.clamp_min(1e-30))
    return _mean((ratio < 1.25).double(), of_pixels)


# --- classes --------------------------------------------------------------------------------------


def confusion(prediction: Tensor, target: Tensor, count: int, weights: Weights = None) -> Tensor:
    """Return how many pixels of a class, down, were taken for which one, across, [c, c].

    Shape:
        prediction, target: [n, h, w], classes; target -100 where there is none. weights: [n].
    """
    valid = target >= 0
    places = target[valid].long() * count + prediction[valid].long()
    counted = pixel_weights(valid, weights)
    return torch.bincount(places, counted, minlength=count * count).view(count, count)


@dataclass(frozen=True)
class MeanIoU:
    """The mean over classes of intersection over union.

    Args:
        count: Number of classes. Those of no pixel, true or predicted, are left out.

    Source: Everingham et al., "The PASCAL Visual Object Classes Challenge", IJCV 2010.
    """

    count: int

    def __call__(self, prediction: Tensor, target: Tensor, weights: Weights = None) -> float:
        """Return the mean; NaN where no pixel has a class."""
        table = confusion(prediction, target, self.count, weights)
        union = table.sum(0) + table.sum(1) - table.diagonal()
        there = union > 0
        return float((table.diagonal()[there] / union[there]).mean())


@dataclass(frozen=True)
class PixelAccuracy:
    """The share of pixels whose class is found.

    Args:
        count: Number of classes.
    """

    count: int

    def __call__(self, prediction: Tensor, target: Tensor, weights: Weights = None) -> float:
        """Return the share; NaN where no pixel has a class."""
        table = confusion(prediction, target, self.count, weights)
        return float(table.diagonal().sum() / table.sum())


# --- directions -----------------------------------------------------------------------------------


def angles(prediction: Tensor, target: Tensor, weights: Weights = None) -> tuple[Tensor, Tensor]:
    """Return the angle between directions in degrees, and the weight, of each pixel with one, [m].

    Shape:
        prediction, target: [n, 3, h, w], of any length; target NaN where there is none.
    """
    valid = ~target.isnan().any(1)  # [n, h, w]
    found = prediction.movedim(1, -1)[valid].double()
    wanted = target.movedim(1, -1)[valid].double()
    # exact also for small angles, where the cosine is flat
    across = torch.linalg.cross(found, wanted).norm(dim=-1)
    along = (found * wanted).sum(-1)
    return torch.rad2deg(torch.atan2(across, along)), pixel_weights(valid, weights)


def mean_angle(prediction: Tensor, target: Tensor, weights: Weights = None) -> float:
    """Return the mean angle, in degrees; shapes as for `angles`."""
    return _mean(*angles(prediction, target, weights))


def median_angle(prediction: Tensor, target: Tensor, weights: Weights = None) -> float:
    """Return the median angle, in degrees; where pixels weigh, half of the weight is below it."""
    found, of_pixels = angles(prediction, target, weights)
    if not len(found):
        return float("nan")
    if weights is None:
        middle = found.sort().values
        return float((middle[(len(found) - 1) // 2] + middle[len(found) // 2]) / 2)
    order = found.argsort()
    below = of_pixels[order].cumsum(0)
    return float(found[order[int((below >= below[-1] / 2).nonzero()[0, 0])]])


@dataclass(frozen=True)
class WithinDegrees:
    """The share of pixels whose direction is less than some degrees off.

    Args:
        degrees: How many.
    """

    degrees: float

    def __call__(self, prediction: Tensor, target: Tensor, weights: Weights = None) -> float:
        """Return the share."""
        found, of_pixels = angles(prediction, target, weights)
        return _mean((found < self.degrees).double(), of_pixels)


# --- edges ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class EdgeShare:
    """Precision, recall, or their harmonic mean, of pixels above one half.

    No pixel beside an edge counts as on it: papers that allow for a few pixels report more.

    Args:
        beta: Weight of recall in the F-score; 0 for precision, infinity for recall.
    """

    beta: float

    def __call__(self, prediction: Tensor, target: Tensor, weights: Weights = None) -> float:
        """Return the share; NaN where there is no edge, neither true nor found."""
        valid = ~target.isnan()
        found, wanted = prediction[valid] > 0.5, target[valid] > 0.5
        counted = pixel_weights(valid, weights)
        hit = float(counted[found & wanted].sum())
        taken, there = float(counted[found].sum()), float(counted[wanted].sum())
        if self.beta == float("inf"):
            return hit / there if there else float("nan")
        square = self.beta**2
        total = taken + square * there
        return (1 + square) * hit / total if total else float("nan")


def _error(name: str, compute: Callable[..., float], highest: float = float("inf")) -> Metric:
    return Metric(name, compute, higher_is_better=False, lowest=0, highest=highest)


OF_PIXEL_NUMBERS = (
    _error("MAE", pixel_absolute_error),
    _error("RMSE", pixel_rmse),
)
OF_DEPTH = (
    _error("abs-rel", pixel_relative_error),
    _error("RMSE", pixel_rmse),
    _error("MAE", pixel_absolute_error),
    share_metric("within 1.25", within_a_quarter),
)
OF_NORMALS = (
    _error("mean angle", mean_angle, 180.0),
    _error("median angle", median_angle, 180.0),
    *(share_metric(f"within {d:g}", WithinDegrees(d)) for d in (11.25, 22.5, 30)),
)
OF_EDGES = (
    share_metric("F1", EdgeShare(1.0)),
    share_metric("precision", EdgeShare(0.0)),
    share_metric("recall", EdgeShare(float("inf"))),
)
