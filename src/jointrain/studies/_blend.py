"""Blends: which components predict a task, with which weights, by rows that they have not seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from jointrain.task import Task

LEVEL = 0.05
"""Below which one-sided p-value a blend counts as shown to be better than the reference."""

SMALLEST_WEIGHT = 0.05
"""A component with less weight is left out: it changes little and costs its whole time."""

PARTS = 5
"""Parts of the rows for the cross-fitted loss of a blend."""

_SMALLEST_PROBABILITY = 1e-6


@dataclass(frozen=True)
class Blend:
    """How one task is predicted.

    Args:
        weights: Weight of each component that takes part, by name; they sum to 1.
        change: Change of the mean loss against the reference on rows that had no part in the
            weights, in percent, positive is better; 0 for the reference itself.
        p_value: One-sided, that the blend is no better than the reference.
    """

    weights: Mapping[str, float]
    change: float
    p_value: float


def choose_blend(
    task: Task, predictions: Mapping[str, np.ndarray], labels: np.ndarray, reference: str
) -> Blend:
    """Return the weighted mean of components that predicts best, or the reference alone.

    The weights are chosen by the rows' squared error or log-loss. What they gain is measured on
    parts of the rows in turn, with weights from the other parts. If the mean loss is no lower, or
    the signed-rank test over rows does not show that losses are, the reference is kept.

    Args:
        task: The task.
        predictions: Of rows that the components have not seen, by component; regression [n],
            binary [n], multiclass [n, c].
        labels: [n], NaN where one is missing.
        reference: The component that is kept unless another way is shown to be better.

    Source: Wolpert, "Stacked Generalization", Neural Networks 5, 1992; Breiman, "Stacked
        Regressions", Machine Learning 24, 1996 (weights that are not negative); Wilcoxon,
        "Individual Comparisons by Ranking Methods", Biometrics Bulletin 1, 1945 (the test).
    """
    from scipy import stats

    alone = Blend({reference: 1.0}, 0.0, 1.0)
    names = [reference, *(name for name in predictions if name != reference)]
    known = np.isfinite(labels)
    count = int(known.sum())
    if len(names) == 1 or count < 2 * PARTS:
        return alone
    target = labels[known].astype(np.float64)
    stacked = np.stack([predictions[name][known].astype(np.float64) for name in names], axis=1)
    parts = np.random.default_rng(0).permutation(np.arange(count) % PARTS)
    losses = np.empty(count)
    for part in range(PARTS):
        rows = parts == part
        weights = blend_weights(task, stacked[~rows], target[~rows])
        losses[rows] = row_losses(task, blended(stacked[rows], weights), target[rows])
    before = row_losses(task, stacked[:, 0], target)
    gains = before - losses
    # signed ranks, as the squared errors of some targets have such tails that a t-test sees nothing
    p_value = float(stats.wilcoxon(gains, alternative="greater").pvalue) if gains.any() else 1.0
    if p_value >= LEVEL or gains.mean() <= 0:
        return alone
    weights = blend_weights(task, stacked, target)
    kept = weights >= SMALLEST_WEIGHT
    weights = blend_weights(task, stacked[:, kept], target)
    chosen = [name for name, keep in zip(names, kept, strict=True) if keep]
    pairs = zip(chosen, weights.tolist(), strict=True)
    change = 100 * float(gains.mean() / before.mean())
    return Blend({name: weight for name, weight in pairs if weight > 0}, change, p_value)


def blend_predictions(
    predictions: Mapping[str, np.ndarray], weights: Mapping[str, float]
) -> np.ndarray:
    """Return the weighted mean of the predictions that have a weight.

    Shape:
        predictions: [n] or [n, c] each. returns: the same.
    """
    stacked = np.stack([predictions[name] for name in weights], axis=1)
    return blended(stacked.astype(np.float64), np.array(list(weights.values())))


def blended(stacked: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the weighted mean over components.

    Shape:
        stacked: [n, k] or [n, k, c]. weights: [k]. returns: [n] or [n, c].
    """
    return np.asarray(np.tensordot(stacked, weights, axes=(1, 0)))


def blend_weights(task: Task, stacked: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return weights >= 0 of sum 1 with the lowest squared error or log-loss.

    Shape:
        stacked: [n, k] or [n, k, c]. target: [n]. returns: [k].
    """
    count = stacked.shape[1]
    if count == 1:
        return np.ones(1)
    if task.kind == "regression":
        return _least_squares(stacked, target)
    given = _probability_of(task, stacked, target)
    # the log-loss is convex in the weights, and these steps never raise it
    weights = np.full(count, 1 / count)
    for _ in range(_MOST_STEPS):
        shares = given * weights
        updated = (shares / shares.sum(1, keepdims=True)).mean(0)
        done = np.abs(updated - weights).max() < 1e-4
        weights = updated
        if done:
            break
    return weights


_MOST_STEPS = 200


def _least_squares(stacked: np.ndarray, target: np.ndarray) -> np.ndarray:
    from scipy.optimize import nnls

    # errors, not values: with weights of sum 1 they have no offset, and less is lost in rounding
    errors = stacked - target[:, None]
    scale = np.sqrt((errors**2).sum(0).mean()) or 1.0
    # one more row, heavy, holds the sum at 1: min |E w|^2 + 1e6 scale^2 (sum w - 1)^2
    system = np.vstack([errors, np.full(errors.shape[1], 1e3 * scale)])
    weights, _ = nnls(system, np.append(np.zeros(len(errors)), 1e3 * scale))
    return np.asarray(weights / weights.sum())


def row_losses(task: Task, prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return each row's squared error, or its negative log-probability.

    Shape:
        prediction: [n] or [n, c]. target: [n]. returns: [n].
    """
    if task.kind == "regression":
        return np.asarray((prediction - target) ** 2)
    return np.asarray(-np.log(_probability_of(task, prediction[:, None], target)[:, 0]))


def _probability_of(task: Task, stacked: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the probability that each component gave to the class that it was, [n, k]."""
    if task.kind == "binary":
        given = np.where(target[:, None] > 0.5, stacked, 1 - stacked)
    else:
        given = np.take_along_axis(stacked, target.astype(np.int64)[:, None, None], axis=2)[:, :, 0]
    return np.clip(given, _SMALLEST_PROBABILITY, 1.0)
