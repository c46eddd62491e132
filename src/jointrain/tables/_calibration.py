"""Calibration on held-out rows: temperatures of class probabilities, widths of intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real

import numpy as np

from jointrain.data import effective_rows
from jointrain.errors import InvalidInputError
from jointrain.tables._conformal import Residuals
from jointrain.tables._promised_losses import Promise, promise_of
from jointrain.task import Task, labels_of, of_mean_one

FEWEST_ROWS = 30
"""With fewer held-out rows a task keeps its probabilities as they are."""

_RANGE = (0.05, 20.0)
"""Smallest and largest factor of the log-probabilities."""

_PARTS = 5
"""Parts of the held-out rows that check whether a temperature helps on rows it has not seen."""


@dataclass(frozen=True)
class Calibration:
    """What held-out rows tell of the predictions.

    Args:
        temperatures: By class task; its log-probabilities are divided by it. 1 for tasks left out.
        residuals: By regression task.
        promises: By task, what its losses were; not kept when a model is saved, see `Promise`.
    """

    temperatures: Mapping[str, float] = field(default_factory=dict)
    residuals: Mapping[str, Residuals] = field(default_factory=dict)
    promises: Mapping[str, Promise] = field(default_factory=dict, compare=False)

    @classmethod
    def fit(
        cls,
        tasks: Sequence[Task],
        predictions: Mapping[str, np.ndarray],
        labels: np.ndarray,
        weights: np.ndarray | None = None,
        class_weights: np.ndarray | None = None,
    ) -> Calibration:
        """Return the calibration by predictions of rows that were not trained on.

        Args:
            tasks: The tasks.
            predictions: By task, NaN in rows that no network left out.
            labels: NaN where a label is missing.
            weights: How much each label counts, for intervals; default all the same.
            class_weights: Likewise for probabilities, which networks were fitted with; default
                `weights`.

        Shape:
            predictions: as `TableModel.predict`, n rows. labels: [n, w]. weights, class_weights:
            [n, t].
        """
        class_weights = weights if class_weights is None else class_weights
        temperatures, residuals, promises = {}, {}, {}
        for index, (task, own) in enumerate(zip(tasks, labels_of(labels, tasks), strict=True)):
            predicted, target = predictions[task.name], own.astype(np.float64)
            calibrated = predicted
            if task.in_table.calibrated_by == "temperature":
                of_rows = None if class_weights is None else class_weights[:, index]
                if target.ndim == 2:  # several labels, of two classes each
                    of_rows = None if of_rows is None else np.repeat(of_rows, target.shape[1])
                    predicted, target = predicted.ravel(), target.ravel()
                temperatures[task.name] = fit_temperature(predicted, target, of_rows)
                calibrated = scale_probabilities(calibrated, temperatures[task.name], task)
            elif task.in_table.calibrated_by == "errors":
                of_rows = None if weights is None else weights[:, index]
                found = Residuals.of(predicted, target, of_rows)
                if found.rows:
                    residuals[task.name] = found
            promise = promise_of(task, calibrated, own)
            if promise is not None:
                promises[task.name] = promise
        return cls(temperatures, residuals, promises)

    def interval(self, task: Task, predicted: np.ndarray, coverage: float) -> np.ndarray:
        """Return intervals of a task of numbers around predictions; those of counts are whole.

        Shape:
            predicted: [n]. returns: [n, 2].

        Raises:
            InvalidInputError: The coverage lies outside (0, 1), or no row was held out.
        """
        if not isinstance(coverage, Real) or not 0 < coverage < 1:
            raise InvalidInputError(f"the coverage must lie between 0 and 1, got {coverage!r}")
        if task.name not in self.residuals:
            raise InvalidInputError(
                f"there is no interval for task {task.name!r}: no row with its label was left out "
                "of training; fit it to more rows, groups or times"
            )
        ends = self.residuals[task.name].interval(predicted, coverage)
        return task.in_table.possible_interval(ends)


def scale_probabilities(
    probabilities: np.ndarray, temperature: float, task: Task | None = None
) -> np.ndarray:
    """Return probabilities whose logarithms are divided by a temperature.

    Args:
        probabilities: The probabilities.
        temperature: The temperature.
        task: What they are of; of several labels, each is scaled by itself. Default: of classes.

    Shape:
        probabilities: [n] of the second of two classes, or [n, c]. returns: the same.
    """
    if temperature == 1:
        return probabilities
    if task is not None and task.in_table.label_shape():
        flat = scale_probabilities(probabilities.ravel(), temperature)
        return flat.reshape(probabilities.shape)
    logarithms = _logarithms(probabilities) / temperature
    powers = np.exp(logarithms - logarithms.max(1, keepdims=True))
    scaled = powers / powers.sum(1, keepdims=True)
    return np.asarray(scaled[:, 1] if probabilities.ndim == 1 else scaled)


def fit_temperature(
    probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None
) -> float:
    """Return the temperature with the lowest log-loss on held-out rows.

    Args:
        probabilities: Of rows that the model was not trained on; NaN for rows that it was.
        labels: Class indices; NaN where missing.
        weights: How much each row counts; default all the same.

    Shape:
        probabilities: [n] or [n, c]. labels, weights: [n].

    Returns:
        1 where there are fewer than `FEWEST_ROWS` rows or one class only, and where temperatures
        fitted to parts of the rows do not lower the log-loss of the other parts.

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 4.2
        (temperature scaling; the log-loss is convex in 1 / temperature).
    """
    known = np.isfinite(labels) & np.isfinite(probabilities.reshape(len(labels), -1)).all(1)
    chosen = labels[known].astype(np.int64)
    if len(chosen) < FEWEST_ROWS or len(np.unique(chosen)) < 2:
        return 1.0
    logarithms = _logarithms(probabilities[known])
    counted = of_mean_one(weights, known)[known]
    if effective_rows(counted) < FEWEST_ROWS:
        return 1.0
    part = np.arange(len(chosen)) % _PARTS
    crossed = 0.0
    for index in range(_PARTS):
        rest, own = part != index, part == index
        factor = _best_factor(logarithms[rest], chosen[rest], counted[rest])
        crossed += own.sum() * _log_loss(factor, logarithms[own], chosen[own], counted[own])
    if crossed / len(chosen) >= _log_loss(1.0, logarithms, chosen, counted):
        return 1.0
    return 1 / _best_factor(logarithms, chosen, counted)


def _best_factor(logarithms: np.ndarray, chosen: np.ndarray, weights: np.ndarray) -> float:
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        _log_loss, bounds=_RANGE, args=(logarithms, chosen, weights), method="bounded",
        options={"xatol": 1e-6},
    )  # fmt: skip
    return float(found.x)


def _log_loss(
    factor: float, logarithms: np.ndarray, chosen: np.ndarray, weights: np.ndarray
) -> float:
    """Return the sum of the weighted losses over the number of rows; the weights' mean is 1."""
    from scipy.special import logsumexp

    scaled = factor * logarithms
    losses = logsumexp(scaled, axis=1) - scaled[np.arange(len(chosen)), chosen]
    return float((weights * losses).mean())


def _logarithms(probabilities: np.ndarray) -> np.ndarray:
    if probabilities.ndim == 1:
        probabilities = np.stack([1 - probabilities, probabilities], axis=1)
    return np.asarray(np.log(np.clip(probabilities, 1e-12, None)))
