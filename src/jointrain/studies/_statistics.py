"""Statistics of comparisons: the error of a mean change over folds and seeds, and verdicts.

How verdicts are made, in order: the changes of a task over folds and seeds give a mean and its
standard error (`estimate_change`); those of all tasks together give Delta-m (`mean_estimate`); an
interval at a level that is shared out among all that is looked at (`judge_all`) gives the verdict
(`conclude`). The verdict is read off the interval, so the two can't disagree.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from jointrain.errors import InvalidInputError

Verdict = Literal["better", "worse", "equivalent", "undecided"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
Unit = Literal["percent", "difference"]

LEVEL = 0.05
"""How often, at most, something is called better or worse where nothing differs."""

FEWEST_FOLDS = 3
"""Fewer defined folds of a seed give no interval: two hardly show how much folds differ."""

MARGIN = 1.0
"""Default margin in percent: changes up to it do not matter."""

DELTA_M = "Delta-m"
"""What the mean change over tasks is called."""

OF_ALL = f"all targets ({DELTA_M})"
"""What its panel in a chart is called."""


def check_task_names(names: Iterable[str]) -> None:
    """Refuse tasks of whose figures those over all tasks would take the place.

    Raises:
        InvalidInputError: One is called ``Delta-m``, or as its panel.
    """
    for name in names:
        if name in (DELTA_M, OF_ALL):
            raise InvalidInputError(
                f"a task can't be called {name!r}, which is what the mean over all tasks is "
                "called; give it another name"
            )


def check_margin(margin: float) -> None:
    """Refuse a margin that is none.

    Raises:
        InvalidInputError: It is negative or not finite.
    """
    if not 0 <= margin < math.inf:
        raise InvalidInputError(f"`margin` must be a percentage of at least 0, got {margin}")


def mean_of_defined(values: np.ndarray) -> float:
    """Return the mean of the values that are finite; NaN where there are none."""
    defined = values[np.isfinite(values)]
    return float(defined.mean()) if len(defined) else math.nan


def mean_and_deviation(values: np.ndarray) -> dict[str, float | None]:
    """Return ``mean`` and standard ``deviation`` of the finite values, None where undefined."""
    defined = values[np.isfinite(values)]
    return {
        "mean": float(defined.mean()) if len(defined) else None,
        "deviation": float(defined.std(ddof=1)) if len(defined) > 1 else None,
    }


@dataclass(frozen=True)
class Comparison:
    """How a recipe compares with another one on one task, or over all tasks.

    Args:
        change: Mean change of the primary metric, positive is better, in `unit`; NaN: undefined.
        low, high: The interval that decides, simultaneous over all that is looked at together; NaN
            where there is none.
        p_value: Two-sided, corrected for all that is looked at together: below 0.05 exactly where
            the interval leaves out 0.
        verdict: ``equivalent`` where the whole interval lies within the margin, else ``better`` or
            ``worse`` where it leaves out 0, else ``undecided``; so, too, where there is none.
        unit: ``percent`` of the reference, or ``difference`` of the metric itself.
        defined, total: In how many of how many folds x seeds the change could be computed; of
            Delta-m, for the task where it could least often.
        margin: Changes up to this do not matter, in `unit`.
        left_out: Tasks that Delta-m does not cover, for it could not be told how sure their change
            is, or because their change is no percentage.
    """

    change: float
    low: float
    high: float
    p_value: float
    verdict: Verdict
    unit: Unit = "percent"
    defined: int = 0
    total: int = 0
    margin: float = MARGIN
    left_out: tuple[str, ...] = ()

    @property
    def smallest_visible(self) -> float:
        """Half of the interval's width: smaller changes could not have been seen; NaN: none."""
        return (self.high - self.low) / 2


@dataclass(frozen=True)
class Changes:
    """The changes of one task over folds and seeds, positive is better.

    Args:
        values: [J], in `unit`; NaN where the metric of one of the two is undefined.
        test_over_train: Labels of a fold's test part over those of its training part.
        seeds: [J], to which repetition each value belongs; None: all to one.
        overlap: [J, J], how much the test rows of two folds are the same, 1 on the diagonal (see
            `fold_overlaps`); None: not known.
        unit: As in `Comparison`.
        margin: As in `Comparison`.
        resolution: What one test row can change, in `unit`; 0 for metrics that do not count rows.
        one_sided: Whether the metric of one of the two is undefined where the other's is defined.
            What is left is then chosen by how they did, and shows nothing.
        fixed_test: Whether all values are of one test set, each of another seed.
    """

    values: np.ndarray
    test_over_train: float
    seeds: np.ndarray | None = None
    overlap: np.ndarray | None = None
    unit: Unit = "percent"
    margin: float = MARGIN
    resolution: float = 0.0
    one_sided: bool = False
    fixed_test: bool = False


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean change, and how sure it is.

    Args:
        change: The mean; NaN: undefined.
        error: Its standard error; NaN (default) where it can't be told.
        freedom: Degrees of freedom of the error; NaN (default) where there is none.
        residuals: [J], what each fold and seed has to do with the error: the sum of their squares
            is its square, but for what a floor adds.
        unit, defined, total, margin, left_out: As in `Comparison`.
        one_sided: As in `Changes`.
        alike: Whether there is no error since all changes are equal, and not 0.
    """

    change: float
    error: float = math.nan
    freedom: float = math.nan
    residuals: np.ndarray
    unit: Unit
    defined: int
    total: int
    margin: float
    one_sided: bool = False
    left_out: tuple[str, ...] = ()
    alike: bool = False

    @property
    def judged(self) -> bool:
        """Whether there is an interval."""
        return math.isfinite(self.error)


def estimate_change(changes: Changes) -> Estimate:
    r"""Return the mean change of a task with its standard error, from its own defined folds.

    Let a task be defined in J of the folds x seeds, :math:`m_s` of them with seed s, and
    :math:`e_j` be what is left of a change when the mean of its seed is taken off. Then

    .. math:: s^2 = \frac{\sum_j e_j^2}{\sum_s (m_s - 1)}, \qquad
        \mathrm{SE}^2 = s^2 \left(\frac{1}{J} + r\right), \qquad
        r = \max\left(\frac{n_{test}}{n_{train}}, \frac{1}{\bar m - 1}\right)

    which is the corrected resampled variance: the training sets of the folds overlap, so that the
    changes of one study are more alike than those of independent ones, by a correlation of about
    :math:`n_{test} / (n_{test} + n_{train})`. Folds in which the metric is undefined hold no rows
    that decide, so a task with :math:`\bar m` defined folds a seed is taken as one with so many
    folds. Spread is looked at within seeds: the mean over the folds of a seed is nearly the same
    for all of them, since they see the same rows, and would make it look smaller than it is.

    A further seed cuts the same rows anew. Where these are many, that gives new sums of squares;
    where they are few groups, the folds come again. The degrees of freedom count both rightly: with
    O the overlap of test rows and C the centring within seeds they are those of the quadratic form
    :math:`e^T e` by Satterthwaite's rule,
    :math:`\nu = (\sum_s (m_s - 1))^2 / \lVert C O C \rVert_F^2`. That is K - 1 for K folds that are
    the same in every seed, and near S (K - 1) for S seeds on many rows. Where the overlap is not
    known and folds are undefined, seeds do not count: :math:`\nu = \max_s m_s - 1`.

    On one test set that all seeds share (`Changes.fixed_test`), the changes of the seeds are
    independent given the data, and :math:`\mathrm{SE}^2 = s^2 / J` with J - 1 degrees of freedom.
    It tells how another seed would do on the same test rows, and nothing of other rows.

    Fewer than three defined folds in every seed give no error. Changes that are all equal have no
    spread: where the metric counts rows, it is taken as what one row can change; else there is no
    error, unless all are 0.

    Source: Nadeau & Bengio, "Inference for the Generalization Error", Machine Learning 52, 2003,
        section 3; Bouckaert & Frank, PAKDD 2004, for repeated folds; Satterthwaite, "An approximate
        distribution of estimates of variance components", Biometrics Bulletin 2, 1946; Bouthillier
        et al., "Accounting for Variance in Machine Learning Benchmarks", MLSys 2021.
    """
    values = np.asarray(changes.values, dtype=np.float64)
    total = len(values)
    defined = np.isfinite(values)
    found = values[defined]
    change = mean_of_defined(found)
    unsure = Estimate(
        change=change,
        residuals=np.zeros(total),
        unit=changes.unit,
        defined=len(found),
        total=total,
        margin=changes.margin,
        one_sided=changes.one_sided,
    )
    if not len(found):
        return unsure
    together = changes.seeds is None or changes.fixed_test
    seeds = np.zeros(total) if together else np.asarray(changes.seeds)
    _, owner, counts = np.unique(seeds[defined], return_inverse=True, return_counts=True)
    if counts.max() < FEWEST_FOLDS or changes.one_sided:
        return unsure
    means = np.bincount(owner, found) / counts
    left = found - means[owner]
    freedom = float((counts - 1).sum())
    ratio = max(changes.test_over_train, 1 / (counts.mean() - 1))
    factor = 1 / len(found) + (0.0 if changes.fixed_test else ratio)
    spread = math.sqrt(float(left @ left) / freedom)
    same = spread <= 1e-12 * max(1e-12, float(np.abs(found).max()))
    if same and change != 0 and changes.resolution == 0:
        # equal changes have no spread to tell by how much others would differ
        return replace(unsure, alike=True)
    residuals = np.zeros(total)
    if not same:
        residuals[defined] = left * math.sqrt(factor / freedom)
    if (found == 0).all():
        error = 0.0
    else:
        error = math.sqrt(factor) * (changes.resolution if same else spread)
    if changes.overlap is not None and not changes.fixed_test:
        centred = np.eye(len(found)) - (owner[:, None] == owner) / counts[owner]
        shared = centred @ changes.overlap[np.ix_(defined, defined)] @ centred
        freedom = min(freedom, freedom**2 / float((shared**2).sum()))
    elif len(found) < total and not changes.fixed_test:
        freedom = float(counts.max() - 1)
    return replace(unsure, error=error, freedom=freedom, residuals=residuals)


def mean_estimate(
    estimates: Mapping[str, Estimate], importance: Mapping[str, float] | None = None
) -> Estimate:
    r"""Return Delta-m: the mean change over tasks, with its standard error.

    With weights :math:`w_t` of sum 1 and the scaled residuals :math:`e_{tj}` of `estimate_change`
    (0 where task t is undefined in fold j),

    .. math:: \mathrm{SE}^2 = \sum_j \Big(\sum_t w_t e_{tj}\Big)^2, \qquad
        \frac{1}{\nu} = \frac{\sum_t w_t^2 \mathrm{SE}_t^2 / \nu_t}{\sum_t w_t^2 \mathrm{SE}_t^2}

    Each task's part of the variance so comes from its own defined folds, and how tasks go together
    from the folds that they share. It is the variance that is robust to clusters, with folds as
    clusters; where all tasks are defined everywhere, it is that of the mean over tasks, fold by
    fold. The degrees of freedom are a mean of those of the tasks by their part in the variance:
    fewer than Satterthwaite's, which takes the tasks' errors for independent. So a task that is
    noisy and seldom defined makes Delta-m as unsure as it is itself.

    A task whose error can't be told (`Estimate.judged`), or whose change is no percentage, is left
    out, and named. That depends on the labels and the reference alone, never on how well a recipe
    does: where it might (`Changes.one_sided`), there is no error. If no error can be told, the mean
    of all percentages is given without one; if no change is a percentage, the mean difference is.

    Args:
        estimates: Of each task.
        importance: How much each task counts; default 1 each.

    Source: Maninis et al., "Attentive Single-Tasking of Multiple Tasks", CVPR 2019, eq. 4
        (Delta-m); Liang & Zeger, "Longitudinal data analysis using generalized linear models",
        Biometrika 73, 1986 (variance by clusters).
    """
    given = {task: (importance or {}).get(task, 1.0) for task in estimates}
    kept = {t: e for t, e in estimates.items() if given[t] > 0 and math.isfinite(e.change)}
    if any(e.unit == "percent" for e in kept.values()):
        kept = {task: one for task, one in kept.items() if one.unit == "percent"}
    one_sided = any(one.one_sided for one in kept.values())
    if any(one.judged for one in kept.values()) and not one_sided:
        kept = {task: one for task, one in kept.items() if one.judged}
    left_out = tuple(task for task in estimates if given[task] > 0 and task not in kept)
    total = max((one.total for one in estimates.values()), default=0)
    if not kept:
        return Estimate(
            change=math.nan,
            residuals=np.zeros(total),
            unit="percent",
            defined=0,
            total=total,
            margin=math.nan,
            left_out=left_out,
        )
    weights = np.array([given[task] for task in kept], dtype=np.float64)
    weights /= weights.sum()
    each = list(kept.values())
    residuals = sum(w * one.residuals for w, one in zip(weights, each, strict=True))
    assert isinstance(residuals, np.ndarray)
    errors = weights * np.array([one.error for one in each])
    # what a floor adds to the residuals of a task is taken as independent of the others
    floors = np.array([one.error**2 - float(one.residuals @ one.residuals) for one in each])
    floors[floors < 1e-9 * np.array([one.error for one in each]) ** 2] = 0.0
    error = math.sqrt(float(residuals @ residuals + weights**2 @ floors))
    change = float(weights @ np.array([one.change for one in each]))
    alike = change != 0 and error <= 1e-12 * abs(change)
    if error <= 1e-12 * abs(change):
        error = math.nan if alike else 0.0
    parts = errors**2
    freedoms = np.array([one.freedom for one in each])
    shares = parts / parts.sum() if parts.sum() > 0 else np.full(len(each), 1 / len(each))
    return Estimate(
        change=change,
        error=error,
        freedom=float(1 / (shares / freedoms).sum()),
        residuals=residuals,
        unit=each[0].unit,
        defined=min(one.defined for one in each),
        total=total,
        margin=float(weights @ np.array([one.margin for one in each])),
        one_sided=one_sided,
        left_out=left_out,
        alike=alike,
    )


def conclude(estimate: Estimate, tests: float = 1.0) -> Comparison:
    """Return the interval of an estimate, and the verdict that follows from it.

    Args:
        estimate: What to judge.
        tests: By how many the level of 0.05 is shared out (Bonferroni).
    """
    from scipy.special import stdtr, stdtrit

    low = high = math.nan
    p_value = 1.0
    if estimate.judged:
        level = LEVEL / tests
        half = float(stdtrit(estimate.freedom, 1 - level / 2)) * estimate.error
        low, high = estimate.change - half, estimate.change + half
        if abs(estimate.change) <= 1e-12 * half:  # what rounding leaves of changes of sum 0
            estimate = replace(estimate, change=0.0)
        if estimate.error > 0:
            size = abs(estimate.change) / estimate.error
            p_value = min(1.0, tests * 2 * float(stdtr(estimate.freedom, -size)))
    return Comparison(
        change=estimate.change,
        low=low,
        high=high,
        p_value=p_value,
        verdict=_verdict(low, high, estimate.margin),
        unit=estimate.unit,
        defined=estimate.defined,
        total=estimate.total,
        margin=estimate.margin,
        left_out=estimate.left_out,
    )


def _verdict(low: float, high: float, margin: float) -> Verdict:
    # comparisons with NaN are false
    if -margin <= low and high <= margin:
        return "equivalent"
    if low > 0:
        return "better"
    return "worse" if high < 0 else "undecided"


def judge_all(
    changes: Mapping[str, Mapping[str, Changes]], importance: Mapping[str, float] | None = None
) -> tuple[dict[str, dict[str, Comparison]], dict[str, Comparison]]:
    """Return the comparisons of recipes by task, and their Delta-m, all judged together.

    Half of the level of 0.05 is shared out among the Delta-m of the recipes, the other half among
    all tasks of all recipes (Bonferroni, which needs to know nothing of how they go together): if
    nothing differs, a verdict of any kind is given in at most 5 % of the studies. With one task
    Delta-m is its change, and there is nothing to halve.

    Args:
        changes: By recipe and task.
        importance: How much each task counts in Delta-m; default 1 each.
    """
    each = {
        recipe: {task: estimate_change(one) for task, one in by_task.items()}
        for recipe, by_task in changes.items()
    }
    return judge_estimates(each, importance)


def judge_estimates(
    each: Mapping[str, Mapping[str, Estimate]], importance: Mapping[str, float] | None = None
) -> tuple[dict[str, dict[str, Comparison]], dict[str, Comparison]]:
    """Return the comparisons of estimates and their Delta-m, judged together as by `judge_all`.

    Args:
        each: By recipe and task.
        importance: As in `judge_all`.
    """
    most = max((len(by_task) for by_task in each.values()), default=0)
    tasks, overall = {}, {}
    for recipe, by_task in each.items():
        of_tasks, of_mean = tests_in_all(len(each), len(by_task), halved=most > 1)
        tasks[recipe] = {task: conclude(one, of_tasks) for task, one in by_task.items()}
        overall[recipe] = conclude(mean_estimate(by_task, importance), of_mean)
    return tasks, overall


def tests_in_all(recipes: int, tasks: int, *, halved: bool) -> tuple[int, int]:
    """Return by how many the level is shared out for a task of a recipe, and for its Delta-m.

    Args:
        recipes: How many are judged together.
        tasks: How many the recipe has.
        halved: Whether half of the level is for Delta-m: where there are several tasks.
    """
    halves = 2 if halved else 1
    return halves * recipes * tasks, halves * recipes


def delta_m(
    changes: Mapping[str, np.ndarray],
    test_over_train: float,
    seeds: np.ndarray | None = None,
    margin: float = MARGIN,
) -> Comparison:
    """Return Delta-m by itself: the mean over tasks of the relative change, with its interval.

    Args:
        changes: Relative changes in percent by task, [J] each, in the same order of folds and
            seeds; NaN where undefined.
        test_over_train: Test rows over training rows of a fold; 1 / (k - 1) for k folds.
        seeds: [J], to which repetition of the folds each belongs; None: all to one.
        margin: Changes up to this many percent do not matter.
    """
    each = {
        task: estimate_change(Changes(values, test_over_train, seeds, margin=margin))
        for task, values in changes.items()
    }
    return conclude(mean_estimate(each))


def corrected_resampled_t_test(
    differences: np.ndarray, test_over_train: float, seeds: np.ndarray | None = None
) -> tuple[float, float, float]:
    """Test whether paired differences over repeated folds have mean 0, as `estimate_change` says.

    Args:
        differences: [J], one for each fold and seed, all defined.
        test_over_train: Test rows over training rows of a fold; 1 / (k - 1) for k folds.
        seeds: [J], to which repetition of the folds each belongs; None: all to one.

    Returns:
        The two-sided p-value and the bounds of the 95 % confidence interval of the mean; p = 1 and
        NaN bounds for fewer than three folds, and where all differences are equal but not 0.
    """
    found = conclude(estimate_change(Changes(differences, test_over_train, seeds)))
    return found.p_value, found.low, found.high
