"""Statistics of comparisons: paired tests over folds and seeds, and Delta-m."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Verdict = Literal["better", "worse", "equivalent", "undecided"]
Unit = Literal["percent", "difference"]

LEVEL = 0.05
"""Below which corrected p-value a difference counts as shown."""


@dataclass(frozen=True)
class Comparison:
    """How a recipe compares with single-task training on one task, or over all tasks.

    Args:
        change: Mean change of the primary metric, positive is better, in `unit`.
        low, high: 95 % confidence interval of the change, NaN where there is none.
        p_value: Of the corrected resampled t-test, two-sided; corrected over tasks by `holm`.
        verdict: What the interval shows; ``undecided`` where there is none.
        unit: ``percent`` of the reference, or ``difference`` of the metric itself.
        defined, total: In how many of how many folds x seeds the change could be computed.
    """

    change: float
    low: float
    high: float
    p_value: float
    verdict: Verdict
    unit: Unit = "percent"
    defined: int = 0
    total: int = 0

    @property
    def smallest_visible(self) -> float:
        """Half of the interval's width: smaller changes could not have been seen; NaN: none."""
        return (self.high - self.low) / 2


def corrected_resampled_t_test(
    differences: np.ndarray, test_over_train: float
) -> tuple[float, float, float]:
    r"""Test whether paired differences over repeated folds have mean 0.

    The folds' training sets overlap, so the usual variance of the mean is too small. The corrected
    one is :math:`(1/J + n_{test}/n_{train}) s^2` with J differences of variance :math:`s^2`.

    Args:
        differences: [J], one for each fold and seed.
        test_over_train: Test rows over training rows of a fold; 1 / (k - 1) for k folds.

    Returns:
        The two-sided p-value (of the sign test where all differences are equal) and the bounds of
        the 95 % confidence interval of the mean; NaN bounds and p = 1 for fewer than two
        differences.

    Source: Nadeau & Bengio, "Inference for the Generalization Error", Machine Learning 52, 2003,
        section 3 (corrected resampled t-test); Bouckaert & Frank, PAKDD 2004, for repeated folds.
    """
    count = len(differences)
    if count < 2:
        return 1.0, math.nan, math.nan
    mean = float(differences.mean())
    error = math.sqrt((1 / count + test_over_train) * float(differences.var(ddof=1)))
    if error <= 1e-15 * max(1.0, abs(mean)):
        # equal differences have no spread to test by; the sign test still counts them
        return (1.0 if abs(mean) < 1e-12 else 2.0 * 0.5**count), mean, mean
    from scipy.special import stdtr, stdtrit

    half = float(stdtrit(count - 1, 1 - LEVEL / 2)) * error
    return float(2 * stdtr(count - 1, -abs(mean / error))), mean - half, mean + half


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number by Holm's step-down rule.

    Source: S. Holm, "A simple sequentially rejective multiple test procedure", 1979.
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected = [1.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def relative_changes(
    values: np.ndarray, baseline: np.ndarray, *, higher_is_better: bool
) -> np.ndarray:
    """Return each pair's difference over the baseline's mean, in percent, positive is better.

    The mean, not each pair's own baseline, is the denominator: a fold in which the baseline happens
    to be near zero would otherwise outweigh all others. A pair with an undefined value is NaN and
    keeps its place, so that the changes of several tasks stay in step.

    Shape:
        values, baseline: [J]. returns: [J].
    """
    defined = np.isfinite(values) & np.isfinite(baseline)
    changes = np.full(len(values), np.nan)
    if not defined.any():
        return changes
    values, baseline = values[defined], baseline[defined]
    scale = abs(float(baseline.mean()))
    sign = 1.0 if higher_is_better else -1.0
    if scale < 1e-12:
        changes[defined] = np.where(values == baseline, 0.0, np.nan)
    else:
        changes[defined] = 100 * sign * (values - baseline) / scale
    return changes


def compare_changes(
    changes: Mapping[str, np.ndarray], test_over_train: float
) -> dict[str, Comparison]:
    """Return the comparison of each task, p-values corrected for the number of tasks.

    Args:
        changes: Relative changes in percent by task, [J] each; NaN where undefined.
        test_over_train: Test rows over training rows of a fold.
    """
    tests = {
        task: corrected_resampled_t_test(values[np.isfinite(values)], test_over_train)
        for task, values in changes.items()
    }
    corrected = holm([p_value for p_value, _, _ in tests.values()])
    comparisons = {}
    for (task, (_, low, high)), p_value in zip(tests.items(), corrected, strict=True):
        finite = changes[task][np.isfinite(changes[task])]
        change = float(finite.mean()) if len(finite) else math.nan
        verdict: Verdict = "undecided"
        if p_value < LEVEL:
            verdict = "better" if change > 0 else "worse"
        comparisons[task] = Comparison(
            change, low, high, p_value, verdict, "percent", len(finite), len(changes[task])
        )
    return comparisons


def delta_m(changes: Mapping[str, np.ndarray], test_over_train: float) -> Comparison:
    """Return Delta-m: the mean over tasks of the relative change, with its interval and test.

    Args:
        changes: Relative changes in percent by task, [J] each, in the same order of folds and
            seeds; where a task's change is undefined (NaN), its mean stands in, and where that of
            all tasks is, the pair is left out.
        test_over_train: Test rows over training rows of a fold.

    Source: Maninis et al., "Attentive Single-Tasking of Multiple Tasks", CVPR 2019, eq. 4.
    """
    defined = [values for values in changes.values() if np.isfinite(values).any()]
    if not defined:
        return Comparison(math.nan, math.nan, math.nan, 1.0, "undecided")
    rows = [
        np.where(np.isfinite(values), values, values[np.isfinite(values)].mean())
        for values in defined
    ]
    mean = np.stack(rows).mean(axis=0)
    mean[~np.isfinite(defined).any(axis=0)] = np.nan
    return compare_changes({"all": mean}, test_over_train)["all"]
