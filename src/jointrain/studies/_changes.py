"""Changes: how a metric differs from the reference's, in which unit, and what would not matter."""

from __future__ import annotations

import math

import numpy as np

from jointrain.metrics import Metric
from jointrain.studies._statistics import FEWEST_FOLDS, MARGIN, Changes, Unit


def relative_changes(
    values: np.ndarray, baseline: np.ndarray, *, higher_is_better: bool
) -> np.ndarray:
    """Return each pair's difference over the baseline's mean, in percent, positive is better.

    The mean, not each pair's own baseline, is the denominator: a fold in which the baseline happens
    to be near zero would otherwise outweigh all others. A pair with an undefined value is NaN and
    keeps its place, so that the changes of several tasks stay in step. All are NaN where the
    baseline's mean is 0 or undefined.

    Shape:
        values, baseline: [J]. returns: [J].
    """
    differences = _differences(values, baseline, higher_is_better)
    defined = np.isfinite(differences)
    scale = abs(float(baseline[defined].mean())) if defined.any() else 0.0
    if scale == 0:
        return np.full(len(values), np.nan)
    return 100 * differences / scale


def _differences(values: np.ndarray, baseline: np.ndarray, higher_is_better: bool) -> np.ndarray:
    both = np.isfinite(values) & np.isfinite(baseline)
    sign = 1.0 if higher_is_better else -1.0
    found = np.full(len(values), np.nan)
    found[both] = sign * exact_differences(values[both], baseline[both])
    return found


def exact_differences(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return differences of numbers without what comes of their rounding.

    Numbers of some decimals have equal differences as decimals, and nearly equal ones in binary:
    such differences are all their mean, and 0 where two numbers are equal up to rounding.

    Shape:
        values, reference: [J], finite. returns: [J].
    """
    differences = values - reference
    sizes = np.maximum(np.abs(values), np.abs(reference))
    rounding = 4 * np.finfo(np.float64).eps * sizes  # half a unit of each, of their difference
    differences = np.where(np.abs(differences) <= rounding, 0.0, differences)
    if len(differences) and np.ptp(differences) <= rounding.max():
        return np.full(len(differences), differences.mean())
    return differences


def unit_of(reference: np.ndarray, metric: Metric, test_over_train: float) -> Unit:
    """Return whether changes against a reference are given in percent of it, or as differences.

    In percent where the reference's mean over folds is above 0 and at least `Metric.percent_above`,
    and, if the metric may be negative, more than twice its standard error (corrected, as that of
    changes). Percentages of what is negative, or may as well be 0, say nothing.

    Args:
        reference: [J], NaN where undefined.
        metric: What was measured.
        test_over_train: Test rows over training rows of a fold.
    """
    found = reference[np.isfinite(reference)]
    if not len(found):
        return "percent"
    mean = float(found.mean())
    if mean <= 0 or mean < metric.percent_above:
        return "difference"
    if metric.lowest >= 0 or len(found) < FEWEST_FOLDS:
        return "percent"
    error = math.sqrt((1 / len(found) + test_over_train) * float(found.var(ddof=1)))
    return "percent" if mean > 2 * error else "difference"


def margin_of(value: float, metric: Metric, margin: float) -> float:
    """Return which difference of a metric does not matter, in the metric's unit.

    It is `margin` percent of the value itself for metrics without an upper bound (errors, losses),
    but of no less than `Metric.percent_above`; of what is missing to the upper bound for metrics
    that have but that (R2); and of the smaller of both for metrics between two bounds: at an
    accuracy of 0.99 one percent of 0.01, for there a change of 0.01 is everything.

    Args:
        value: Mean of the reference.
        metric: What was measured.
        margin: In percent.
    """
    missing = metric.highest - value
    if not math.isfinite(missing):
        base = max(abs(value), metric.percent_above)
    elif math.isfinite(metric.lowest):
        base = min(value - metric.lowest, missing)
    else:
        base = missing
    return margin / 100 * max(base, 0.0)


def task_changes(
    values: np.ndarray,
    reference: np.ndarray,
    metric: Metric,
    *,
    test_rows: np.ndarray,
    train_rows: np.ndarray,
    seeds: np.ndarray,
    ratio: float | None = None,
    overlap: np.ndarray | None = None,
    margin: float = MARGIN,
    fixed_test: bool = False,
) -> Changes:
    """Return the changes of a task's metric against a reference, with what is needed to judge them.

    Args:
        values: Of a recipe.
        reference: Of the one that it is compared with.
        metric: What was measured.
        test_rows: Labels in the test part of each fold; 0: not known.
        train_rows: Labels in its training part.
        seeds: Repetition of each fold.
        ratio: Test rows over training rows of a fold; default by `test_rows` and `train_rows`.
        overlap: As in `Changes`.
        margin: Changes up to this many percent do not matter, see `margin_of`.
        fixed_test: As in `Changes`.

    Shape:
        values, reference, test_rows, train_rows, seeds: [J].
    """
    differences = _differences(values, reference, metric.higher_is_better)
    defined = np.isfinite(differences)
    one_sided = bool((np.isfinite(values) != np.isfinite(reference)).any())
    if not defined.any():
        return Changes(
            differences,
            test_over_train=0.0,
            seeds=seeds,
            overlap=overlap,
            one_sided=one_sided,
            fixed_test=fixed_test,
        )
    if ratio is None:
        ratio = float((test_rows[defined] / np.maximum(train_rows[defined], 1)).mean())
    mean = float(reference[defined].mean())
    unit = unit_of(reference[defined], metric, ratio)
    scale = 100 / mean if unit == "percent" else 1.0
    counts_rows = math.isfinite(metric.lowest) and math.isfinite(metric.highest)
    counts_rows = counts_rows and bool(test_rows[defined].all())
    if counts_rows:
        rows = differences[defined] * test_rows[defined] / (metric.highest - metric.lowest)
        if np.ptp(rows) < 1e-3:
            # as many rows in each fold: what differs is the folds' sizes, which is no spread
            differences[defined] = differences[defined].mean()
    one_row = (metric.highest - metric.lowest) / test_rows[defined].mean() if counts_rows else 0.0
    return Changes(
        scale * differences,
        test_over_train=ratio,
        seeds=seeds,
        overlap=overlap,
        unit=unit,
        margin=scale * margin_of(mean, metric, margin),
        resolution=scale * float(one_row),
        one_sided=one_sided,
        fixed_test=fixed_test,
    )
