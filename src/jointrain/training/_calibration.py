"""Calibration on held-out rows: temperatures of class probabilities, widths of intervals."""

from __future__ import annotations

import math

import numpy as np

_RANGE = (0.05, 20.0)
"""Smallest and largest factor of the log-probabilities."""


def scale_probabilities(probabilities: np.ndarray, factor: float) -> np.ndarray:
    """Return probabilities whose logarithms are multiplied by a factor, 1 / temperature.

    Shape:
        probabilities: [n] of the second of two classes, or [n, c]. returns: the same.
    """
    if factor == 1:
        return probabilities
    both = _as_columns(probabilities)
    logarithms = factor * np.log(np.clip(both, 1e-12, None))
    powers = np.exp(logarithms - logarithms.max(1, keepdims=True))
    scaled = powers / powers.sum(1, keepdims=True)
    return np.asarray(scaled[:, 1] if probabilities.ndim == 1 else scaled)


def fit_scale(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the factor of the log-probabilities with the lowest log-loss on held-out rows.

    Args:
        probabilities: [n] or [n, c], of rows that the model was not trained on.
        labels: Class indices, [n]; NaN where missing.

    Returns:
        1 / temperature; 1 where no row has a label.

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 4.2
        (temperature scaling; the log-loss is convex in 1 / temperature).
    """
    from scipy.optimize import minimize_scalar

    known = np.isfinite(labels)
    if not known.any():
        return 1.0
    logarithms = np.log(np.clip(_as_columns(probabilities[known]), 1e-12, None))
    chosen = logarithms[np.arange(len(logarithms)), labels[known].astype(np.int64)]

    def log_loss(factor: float) -> float:
        from scipy.special import logsumexp

        return float((logsumexp(factor * logarithms, axis=1) - factor * chosen).mean())

    result = minimize_scalar(log_loss, bounds=_RANGE, method="bounded")
    return float(result.x) if log_loss(float(result.x)) < log_loss(1.0) else 1.0


def conformal_radius(residuals: np.ndarray, coverage: float) -> float:
    """Return the half width of intervals that hold a new value with probability `coverage`.

    Args:
        residuals: Target minus prediction on held-out rows, [n]; NaN where missing.
        coverage: In (0, 1).

    Returns:
        The ceil((n + 1) coverage)-th smallest absolute residual; infinite for too few rows.

    Source: Lei et al., "Distribution-Free Predictive Inference for Regression", JASA 2018,
        section 2.2 (split conformal), with residuals of cross-validation in place of one split.
    """
    sizes = np.sort(np.abs(residuals[np.isfinite(residuals)]))
    rank = math.ceil((len(sizes) + 1) * coverage)
    return float(sizes[rank - 1]) if rank <= len(sizes) else math.inf


def _as_columns(probabilities: np.ndarray) -> np.ndarray:
    if probabilities.ndim == 2:
        return probabilities
    return np.stack([1 - probabilities, probabilities], axis=1)
