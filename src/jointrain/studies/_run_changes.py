"""Changes of given runs: pairs of folds or seeds, or two sides without pairs, with their errors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import polars as pl

from jointrain.errors import InvalidInputError
from jointrain.metrics import Metric
from jointrain.studies._changes import exact_differences, margin_of, task_changes, unit_of
from jointrain.studies._seeds_needed import Repetition
from jointrain.studies._statistics import (
    DELTA_M,
    FEWEST_FOLDS,
    Estimate,
    Unit,
    estimate_change,
    mean_estimate,
)

Test = Literal["corrected resampled t", "paired t", "Welch t", "none"]
Key = tuple[str, str]
"""Seed and fold of a run."""


@dataclass(frozen=True)
class GivenRuns:
    """The values of runs by seed and fold, and how they go together.

    Args:
        values: By recipe and task; only those with a value at all. NaN: a run without one.
        sizes: Test and training rows by task, seed and fold, the same for all recipes, where they
            are known.
        folds: How many folds there are in a seed; 0: one test set.
        one_each: Whether each seed has one fold only: a cut of its own.
        ratio: Test rows over training rows, if the caller said it.
        margin: In percent.
    """

    values: Mapping[tuple[str, str], Mapping[Key, float]]
    folds: int
    one_each: bool
    margin: float
    ratio: float | None = None
    sizes: Mapping[tuple[str, Key], tuple[float, float]] = field(default_factory=dict)

    @classmethod
    def read(cls, rows: pl.DataFrame, margin: float, ratio: float | None) -> GivenRuns:
        """Return runs of a table with a row for each value.

        Args:
            rows: Columns recipe, task, seed, fold, value, test_rows and train_rows.
            margin: Changes up to this many percent do not matter.
            ratio: Test rows over training rows, where they are given for no fold.

        Raises:
            InvalidInputError: The rows of a fold are none, or differ between recipes.
        """
        values: dict[tuple[str, str], dict[Key, float]] = {}
        sizes: dict[tuple[str, Key], tuple[float, float]] = {}
        sized_by: dict[tuple[str, Key], str] = {}
        for row in rows.iter_rows(named=True):
            key = (row["seed"], row["fold"])
            value = row["value"]
            of = values.setdefault((row["recipe"], row["task"]), {})
            of[key] = math.nan if value is None else value
            if row["test_rows"] is not None and row["train_rows"] is not None:
                if not (row["test_rows"] > 0 and row["train_rows"] > 0):
                    raise InvalidInputError(
                        f"fold {key[1]} of task {row['task']!r} has {row['test_rows']:g} test rows "
                        f"and {row['train_rows']:g} training rows; both must be above 0"
                    )
                found, place = (row["test_rows"], row["train_rows"]), (row["task"], key)
                known = sizes.setdefault(place, found)
                first = sized_by.setdefault(place, row["recipe"])
                if found != known:
                    raise InvalidInputError(
                        f"task {row['task']!r} has {known[0]:g} test rows and {known[1]:g} "
                        f"training rows in {_place(key)} by {first!r} but {found[0]:g} and "
                        f"{found[1]:g} by {row['recipe']!r}; give all recipes the same folds, or "
                        "folds that differ names that differ"
                    )
        values = {key: of for key, of in values.items() if any(map(math.isfinite, of.values()))}
        keys = {key for of in values.values() for key in of}
        folds = len({fold for _, fold in keys})
        per_seed: dict[str, set[str]] = {}
        for seed, fold in keys:
            per_seed.setdefault(seed, set()).add(fold)
        most = max((len(found) for found in per_seed.values()), default=0)
        one_each = folds > 1 and most == 1
        return cls(
            values, 0 if folds < 2 else folds if one_each else most, one_each, margin, ratio, sizes
        )

    def of(self, recipe: str, task: str) -> np.ndarray:
        """Return the values of a recipe on a task, in the order of seed and fold."""
        found = self.values[recipe, task]
        return np.array([found[key] for key in sorted(found)])

    def keys(self, recipe: str) -> set[Key]:
        """Return all runs of a recipe."""
        return {key for (name, _), of in self.values.items() if name == recipe for key in of}

    def judge(
        self, recipe: str, baseline: str, metrics: Mapping[str, Metric]
    ) -> tuple[dict[str, Estimate], Test, Repetition]:
        """Return the changes of a recipe by task, by which test, and how seeds lessen the error."""
        ours, theirs = self.keys(recipe), self.keys(baseline)
        shared = len(ours & theirs)
        tasks = [t for t in metrics if (recipe, t) in self.values and (baseline, t) in self.values]
        if not tasks:
            return {}, "none", Repetition(1)
        few, fewer = FEWEST_FOLDS, min(len(ours), len(theirs))
        if self.folds:
            estimates = {t: self._by_folds(recipe, baseline, t, metrics[t]) for t in tasks}
            test: Test = "corrected resampled t"
            repetition = self._repetition_of_folds(ours & theirs, tasks)
        elif shared and (fewer < few or shared >= max(few, fewer / 2)):
            estimates = {t: self._paired(recipe, baseline, t, metrics[t]) for t in tasks}
            test, repetition = "paired t", Repetition(max(shared, 2))
        else:
            estimates = {t: self._welch(recipe, baseline, t, metrics[t]) for t in tasks}
            test, repetition = "Welch t", Repetition(2 / (1 / len(ours) + 1 / len(theirs)))
        if not any(one.judged for one in estimates.values()):
            test = "none"
        return estimates, test, repetition

    def _aligned(
        self, recipe: str, baseline: str, task: str
    ) -> tuple[list[Key], np.ndarray, np.ndarray, bool]:
        """Return the runs of either, both values, [J], and whether one alone is undefined."""
        keys = sorted(self.keys(recipe) | self.keys(baseline))
        ours, theirs = self.values[recipe, task], self.values[baseline, task]
        one_sided = any(
            math.isfinite(ours[key]) != math.isfinite(theirs[key]) for key in ours.keys() & theirs
        )
        values, reference = (
            np.array([of.get(key, math.nan) for key in keys]) for of in (ours, theirs)
        )
        return keys, values, reference, one_sided

    def _by_folds(self, recipe: str, baseline: str, task: str, metric: Metric) -> Estimate:
        keys, values, reference, one_sided = self._aligned(recipe, baseline, task)
        folds = np.array([fold for _, fold in keys])
        seeds = np.unique([seed for seed, _ in keys], return_inverse=True)[1]
        known = np.array([self.sizes.get((task, key), (math.nan, math.nan)) for key in keys])
        both = np.isfinite(values) & np.isfinite(reference)
        measured = bool(np.isfinite(known[both]).all()) and bool(both.any())
        if self.sizes and not measured and both.any():
            key = keys[int(np.flatnonzero(both & ~np.isfinite(known).all(1))[0])]
            raise InvalidInputError(f"task {task!r} has no test and training rows in {_place(key)}")
        ratio = 1 / (self.folds - 1) if self.ratio is None else self.ratio
        if measured:
            ratio = float((known[both, 0] / known[both, 1]).mean())
        # shares of the rows count none of them
        counts = measured and bool((known[both] >= 1).all())
        sizes = known if counts else np.zeros_like(known)
        changes = task_changes(
            values,
            reference,
            metric,
            test_rows=sizes[:, 0],
            train_rows=sizes[:, 1],
            seeds=np.zeros(len(keys)) if self.one_each else seeds,
            ratio=ratio,
            # a fold of the same name is the same rows
            overlap=(folds[:, None] == folds).astype(float),
            margin=self.margin,
        )
        return estimate_change(replace(changes, one_sided=one_sided))

    def _repetition_of_folds(self, shared: set[Key], tasks: Sequence[str]) -> Repetition:
        if self.sizes:
            ratios = [
                test / train for (task, _), (test, train) in self.sizes.items() if task in tasks
            ]
            ratio = float(np.mean(ratios)) if ratios else 0.0
        else:
            ratio = self.ratio or 0.0
        ratio = max(ratio, 1 / (self.folds - 1))
        seeds = len({seed for seed, _ in shared})
        if self.one_each:
            return Repetition(max(seeds, 2), ratio)
        again = len({fold for _, fold in shared}) == self.folds
        return Repetition(max(seeds, 1), ratio * self.folds, "fixed" if again else "seeds")

    def _scale(self, reference: np.ndarray, metric: Metric) -> tuple[Unit, float, float]:
        """Return unit, factor to it, and margin in it, of differences from a reference."""
        level = float(reference.mean())
        unit = unit_of(reference, metric, 0.0)
        scale = 100 / level if unit == "percent" else 1.0
        scale = scale if metric.higher_is_better else -scale
        return unit, scale, abs(scale) * margin_of(level, metric, self.margin)

    def _paired(self, recipe: str, baseline: str, task: str, metric: Metric) -> Estimate:
        keys, values, reference, one_sided = self._aligned(recipe, baseline, task)
        both = np.isfinite(values) & np.isfinite(reference)
        count, total = int(both.sum()), len(keys)
        if not count:
            return _undefined(total, total, one_sided=one_sided)
        unit, scale, margin = self._scale(reference[both], metric)
        changes = scale * exact_differences(values[both], reference[both])
        change = float(changes.mean())
        left = changes - change
        same = math.sqrt(float(left @ left)) <= 1e-12 * float(np.abs(changes).max())
        alike = same and change != 0
        unsure = Estimate(
            change=change,
            residuals=np.zeros(total),
            unit=unit,
            defined=count,
            total=total,
            margin=margin,
            one_sided=one_sided,
        )
        if count < FEWEST_FOLDS or one_sided or alike:
            return replace(unsure, alike=alike and count >= FEWEST_FOLDS)
        residuals = np.zeros(total)
        residuals[both] = 0.0 if same else left / math.sqrt(count * (count - 1))
        error = math.sqrt(float(residuals @ residuals))
        return replace(unsure, error=error, freedom=count - 1.0, residuals=residuals)

    def _welch(self, recipe: str, baseline: str, task: str, metric: Metric) -> Estimate:
        keys, values, reference, _ = self._aligned(recipe, baseline, task)
        sides = [np.isfinite(side) for side in (reference, values)]
        counts = [int(side.sum()) for side in sides]
        # what is left of runs of which some are undefined was chosen by how they did
        made = [len(self.values[name, task]) for name in (baseline, recipe)]
        total = max(len(self.keys(name)) for name in (baseline, recipe))
        chosen = counts != made
        if not min(counts):
            return _undefined(2 * len(keys), total, one_sided=chosen)
        unit, scale, margin = self._scale(reference[sides[0]], metric)
        found = [
            scale * side[known] for side, known in zip((reference, values), sides, strict=True)
        ]
        change = float(found[1].mean() - found[0].mean())
        unsure = Estimate(
            change=change,
            residuals=np.zeros(2 * len(keys)),
            unit=unit,
            defined=min(counts),
            total=total,
            margin=margin,
            one_sided=chosen,
        )
        if min(counts) < FEWEST_FOLDS or chosen:
            return unsure
        residuals = np.zeros((2, len(keys)))
        parts = []
        for row, known, side, count in zip(residuals, sides, found, counts, strict=True):
            row[known] = (side - side.mean()) / math.sqrt(count * (count - 1))
            parts.append(float(row @ row))
        error = math.sqrt(sum(parts))
        if error <= 1e-12 * max(float(np.abs(side).max()) for side in found):
            if change != 0:
                return replace(unsure, alike=True)
            freedom, error = float(sum(counts) - 2), 0.0
        else:
            freedom = error**4 / sum(
                part**2 / (count - 1) for part, count in zip(parts, counts, strict=True)
            )
        return replace(unsure, error=error, freedom=freedom, residuals=residuals.ravel())

    def notes(
        self,
        baseline: str,
        estimates: Mapping[str, Mapping[str, Estimate]],
        tests: Mapping[str, Test],
        metrics: Mapping[str, Metric],
    ) -> list[str]:
        """Return what the reader should know of the runs, in words."""
        notes = [
            f"{baseline} has no value of {task}: no verdict for it"
            for task in metrics
            if (baseline, task) not in self.values
        ]
        for recipe, by_task in estimates.items():
            absent = [t for t in metrics if t not in by_task and (baseline, t) in self.values]
            if absent:
                notes.append(f"{recipe} has no value of {', '.join(absent)}")
            found = (_gaps(one, tests[recipe]) for one in by_task.values())
            notes += [
                f"{task} by {recipe} against {baseline} {gaps}"
                for task, gaps in zip(by_task, found, strict=True)
                if gaps
            ]
            notes += [
                f"the change of {name} by {recipe} against {baseline} is the same in all runs, so "
                "nothing tells how sure it is"
                for name, one in {**by_task, DELTA_M: mean_estimate(by_task)}.items()
                if one.alike
            ]
        for recipe, task in self.values:
            if self._all_equal(recipe, task, metrics[task]):
                notes.append(
                    f"all runs of {recipe} have the same {metrics[task].name} of {task}: "
                    "see whether the seed was used"
                )
        if self.folds and not self.sizes and self.ratio is None:
            notes.append(
                f"test parts are taken as 1/{self.folds} of the rows, as in a cross-validation of "
                f"{self.folds} folds; --test-fraction or --test-rows and --train-rows say others"
            )
        return notes

    def _all_equal(self, recipe: str, task: str, metric: Metric) -> bool:
        """Say whether runs are all equal though they are at no bound of the metric."""
        values = self.of(recipe, task)
        values = values[np.isfinite(values)]
        bounds = (metric.lowest, metric.highest)
        return len(values) > 1 and bool((values == values[0]).all()) and values[0] not in bounds


def _place(key: Key) -> str:
    seed, fold = key
    return f"seed {seed}, fold {fold}" if seed else f"fold {fold}"


def _gaps(estimate: Estimate, test: Test) -> str:
    """Say in how many runs a change is defined, if not in all."""
    if estimate.one_sided:
        return (
            "is undefined in runs of one of the two: what is left was chosen by how they did, so "
            "there is no interval"
        )
    if estimate.defined == estimate.total:
        return ""
    pairs = "runs" if test == "Welch t" else "pairs of runs"
    return f"is defined in {estimate.defined} of {estimate.total} {pairs}"


def _undefined(length: int, total: int, *, one_sided: bool) -> Estimate:
    """Return a change that is defined nowhere; its residuals are [length]."""
    return Estimate(
        change=math.nan,
        residuals=np.zeros(length),
        unit="percent",
        defined=0,
        total=total,
        margin=math.nan,
        one_sided=one_sided,
    )
