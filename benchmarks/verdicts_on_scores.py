"""How often are verdicts false, and how often are effects found? Made-up scores, many studies.

Nothing is trained: tables are made, cut by the library's own folds, and the scores of three recipes
(separate, joint, alternating) on these folds are drawn from one distribution, so that any "better"
or "worse" is false: an exact null. The verdicts are the library's (`task_changes`, `judge_all`).

A score on a fold is, in equal parts, the mean of what the units tested there do to it (a unit is a
row, or a group of rows; of a binary target the rows of the rarer class), and noise of its training.
To it comes what all folds of a study have in common, for their training sets overlap: as much as
the corrected variance allows for five whole folds, so that a test with all folds defined is at its
nominal level. Targets share a part of all that. Where a test part lacks a class, the score is NaN.

The designs:

- plain: regression and balanced classes, rows at random.
- rare under groups: binary targets whose positives sit in a few of twenty groups.
- late under time: binary targets whose positives come in the last part of the time.
- missing labels: each row has the label of one target only.
- noisy rare: as rare under groups, with ten times the noise on the rare target (what makes an
  interval that takes undefined folds for sure ones fail most).

Printed are the share of the studies with a false verdict of any kind, the same of Delta-m and of
the targets alone; in how many of the folds x seeds the rarest target is defined; and the power: the
share of studies that find joint training better, by Delta-m and on any target, where it is better
on all targets by two standard deviations of a fold's change; and how often "equivalent" is said of
Delta-m where the truth lies exactly at the margin (5 % at most, with noise of a tenth of it).

    python benchmarks/verdicts_on_scores.py [--studies 10000] [--designs plain-4 ...]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from scipy import stats

from jointrain.data import outer_folds
from jointrain.experiments import Fold, fold_overlaps
from jointrain.studies._changes import task_changes
from jointrain.studies._statistics import Comparison, judge_all
from jointrain.task import Task

ROWS, GROUPS, FOLDS = 200, 20, 5
SHARED = 0.4
"""Part of the variance that targets have in common."""
SPREAD = 0.05
"""Standard deviation of a fold's change, of scores of 1 and 0.8."""
EFFECT = 2.0
"""Effect where there is one, in standard deviations of a fold's change."""
TABLES = 100
"""Tables for the studies of a design; each is used for many draws of scores."""


@dataclass(frozen=True)
class Design:
    """What tables and scores are like.

    Args:
        targets: Number of targets.
        rare: How many of them are binary with few positives.
        split: How folds are cut.
        hot: How many groups hold the positives of a rare target, or the share of the time.
        seeds: Repetitions of the folds.
        missing: Whether each row has the label of one target only.
        noise: Factor of the noise of rare targets.
    """

    targets: int
    rare: int = 0
    split: Literal["rows", "group", "time"] = "rows"
    hot: int = 3
    seeds: int = 3
    missing: bool = False
    noise: float = 1.0


DESIGNS = {
    "plain-1": Design(1),
    "plain-4": Design(4),
    "plain-4, one seed": Design(4, seeds=1),
    "plain-30": Design(30),
    "missing labels-4": Design(4, missing=True),
    "rare under groups-2": Design(2, 1, "group"),
    "noisy rare-2": Design(2, 1, "group", noise=10.0),
    "noisy rare-2, one seed": Design(2, 1, "group", seeds=1, noise=10.0),
    "rarer under groups-4": Design(4, 3, "group", hot=5, noise=3.0),
    "rare under groups-30": Design(30, 15, "group", hot=4),
    "missing and rare under groups-4": Design(4, 2, "group", hot=6, missing=True),
    "late under time-2": Design(2, 1, "time"),
    "late under time-10": Design(10, 5, "time", noise=3.0),
}


class MadeTable(NamedTuple):
    """A table's folds, and what decides on scores there.

    Args:
        tasks: The tasks.
        seeds: [J].
        defined: [J, t].
        units: [t, J, u], weight of each unit in a fold's score; one of standard deviation 1 each.
        test_rows, train_rows: [J, t], labels.
        overlaps: As `fold_overlaps`.
    """

    tasks: list[Task]
    seeds: np.ndarray
    defined: np.ndarray
    units: np.ndarray
    test_rows: np.ndarray
    train_rows: np.ndarray
    overlaps: dict[str, np.ndarray]


def make_labels(design: Design, random: np.random.Generator) -> tuple[list[Task], np.ndarray]:
    """Return tasks and labels [n, t], NaN where one is missing."""
    group = np.arange(ROWS) * GROUPS // ROWS
    tasks, columns = [], []
    for target in range(design.targets):
        name = f"y{target}"
        if target >= design.targets - design.rare:
            if design.split == "time":
                start = random.uniform(0.3, 0.6)
                chance = np.where(np.arange(ROWS) >= start * ROWS, 0.2, 0.0)
            else:
                hot = random.choice(GROUPS, design.hot, replace=False)
                chance = np.where(np.isin(group, hot), 0.6, 0.0)
            values = (random.random(ROWS) < chance).astype(float)
            values[[0, -1]] = 0.0, 1.0
            tasks.append(Task.binary(name, ("no", "yes")))
        elif target % 2:
            values = (random.random(ROWS) < 0.5).astype(float)
            tasks.append(Task.binary(name, ("no", "yes")))
        else:
            values = random.normal(size=ROWS)
            tasks.append(Task.regression(name))
        columns.append(values)
    labels = np.stack(columns, axis=1)
    if design.missing:
        owner = random.integers(design.targets, size=ROWS)
        labels[owner[:, None] != np.arange(design.targets)] = np.nan
    return tasks, labels


def make_table(design: Design, seed: int) -> MadeTable:
    """Return the folds of a made-up table."""
    random = np.random.default_rng(seed)
    tasks, labels = make_labels(design, random)
    groups = np.arange(ROWS) * GROUPS // ROWS if design.split == "group" else None
    moment = np.arange(ROWS, dtype=float) if design.split == "time" else None
    folds = [
        Fold(number, repetition, train, test)
        for repetition in range(design.seeds)
        for number, (train, test) in enumerate(
            outer_folds(labels, tasks, FOLDS, repetition, groups=groups, time=moment)
        )
    ]
    known = np.isfinite(labels)
    unit = np.arange(ROWS) if groups is None else groups
    units = np.zeros((len(tasks), len(folds), unit.max() + 1))
    defined = np.zeros((len(folds), len(tasks)), dtype=bool)
    for index, task in enumerate(tasks):
        deciding = known[:, index]
        if task.kind == "binary":
            rarer = np.nanmean(labels[:, index]) <= 0.5
            deciding = labels[:, index] == (1.0 if rarer else 0.0)
        for position, fold in enumerate(folds):
            found = labels[fold.test[known[fold.test, index]], index]
            need = 2 if task.kind == "binary" else 1
            defined[position, index] = len(np.unique(found)) >= need
            rows = fold.test[deciding[fold.test]]
            units[index, position] = np.bincount(unit[rows], minlength=units.shape[2])
        units[index] /= np.maximum(units[index].sum(1, keepdims=True), 1)
        sizes = (units[index] ** 2).sum(1)
        units[index] /= np.sqrt(sizes[sizes > 0].mean())
    return MadeTable(
        tasks,
        np.array([fold.seed for fold in folds]),
        defined,
        units,
        np.stack([known[fold.test].sum(0) for fold in folds]),
        np.stack([known[fold.train].sum(0) for fold in folds]),
        fold_overlaps(tasks, labels, folds, groups),
    )


def draw_scores(
    design: Design, table: MadeTable, random: np.random.Generator, studies: int
) -> np.ndarray:
    """Return what three recipes do on the folds, of mean 0: [studies, 3, J, t], NaN: undefined.

    The change of one recipe against another has a standard deviation of 1 within a study.
    """
    folds, targets = len(table.seeds), len(table.tasks)

    def noise(*size: int) -> np.ndarray:
        common = random.normal(size=(studies, 3, *size, 1))
        own = random.normal(size=(studies, 3, *size, targets))
        return np.asarray(np.sqrt(SHARED) * common + np.sqrt(1 - SHARED) * own)

    by_row = np.einsum("srut,tju->srjt", noise(table.units.shape[2]), table.units)
    # what is left of the corrected variance 1 / J + 1 / (K - 1) after rows and training
    allowed = 1 / folds + 1 / (FOLDS - 1) - 0.5 / FOLDS - 0.5 / folds
    found = np.sqrt(0.5) * (by_row + noise(folds)) + np.sqrt(allowed) * noise(1)
    found /= np.sqrt(2)
    found[..., targets - design.rare :] *= design.noise
    found[:, :, ~table.defined] = np.nan
    return found


def judge(
    table: MadeTable, scores: np.ndarray, spread: float = SPREAD
) -> tuple[dict[str, dict[str, Comparison]], dict[str, Comparison]]:
    """Return the verdicts of a study on its scores, [3, J, t], higher is better."""
    changes: dict[str, dict] = {"joint": {}, "alternating": {}}
    for index, task in enumerate(table.tasks):
        metric = task.primary_metric
        level, sign = (0.8, 1) if metric.higher_is_better else (1.0, -1)
        values = level * (1 + sign * spread * scores[:, :, index])
        for row, recipe in enumerate(changes, start=1):
            changes[recipe][task.name] = task_changes(
                values[row],
                values[0],
                metric,
                test_rows=table.test_rows[:, index],
                train_rows=table.train_rows[:, index],
                seeds=table.seeds,
                overlap=table.overlaps[task.name],
            )
    return judge_all(changes)


class Counts(NamedTuple):
    """How many studies say what, and how often the rarest target is defined."""

    any_verdict: int
    delta_m: int
    a_target: int
    defined: float
    found_by_delta_m: int
    found_on_a_target: int
    equivalent_at_the_margin: int
    studies: int


def studies_of(design: Design, count: int) -> Iterator[tuple[MadeTable, np.ndarray]]:
    """Return the tables and scores of so many studies."""
    for number in range(min(TABLES, count)):
        table = make_table(design, number)
        draws = len(range(number, count, TABLES))
        random = np.random.default_rng([number, 1])
        for scores in draw_scores(design, table, random, draws):
            yield table, scores


def measure(design: Design, count: int, powers: int) -> Counts:
    """Count the verdicts of studies; the first `powers` of them also with an effect."""
    false = np.zeros(3, dtype=int)
    found = np.zeros(3, dtype=int)
    defined = []
    for number, (table, scores) in enumerate(studies_of(design, count)):
        tasks, overall = judge(table, scores)
        of_targets = any(
            one.verdict in ("better", "worse") for by in tasks.values() for one in by.values()
        )
        of_delta_m = any(one.verdict in ("better", "worse") for one in overall.values())
        false += [of_targets or of_delta_m, of_delta_m, of_targets]
        defined.append(table.defined.mean(0).min())
        if number < powers:
            better = scores.copy()
            better[1] += EFFECT
            tasks, overall = judge(table, better)
            on_target = any(one.verdict == "better" for one in tasks["joint"].values())
            # the truth lies at the margin of Delta-m, and the noise is a tenth of it
            at_margin = scores.copy()
            margin = overall["joint"].margin / 100
            if np.isfinite(margin):
                at_margin[1] += 10.0
                _, close = judge(table, at_margin, spread=margin / 10)
                found[2] += close["joint"].verdict == "equivalent"
            found[:2] += [overall["joint"].verdict == "better", on_target]
    return Counts(*false.tolist(), float(np.mean(defined)), *found.tolist(), min(powers, count))


def share_text(count: int, of: int) -> str:
    """Return a share in percent with its 95 % interval (Wilson)."""
    low, high = stats.binomtest(count, of).proportion_ci(method="wilson")
    return f"{100 * count / of:.1f} ({100 * low:.1f}-{100 * high:.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=10_000, help="null studies of each design")
    parser.add_argument("--powers", type=int, default=1000, help="studies with an effect")
    parser.add_argument("--designs", nargs="+", choices=DESIGNS, default=list(DESIGNS))
    arguments = parser.parse_args()
    print("shares of studies in %; the number in a design's name is that of its targets")
    print(
        "| design | false: any | Delta-m | a target | rarest defined in | found: Delta-m | "
        "a target | equivalent at the margin | seconds |"
    )
    print("| --- |" + " ---: |" * 8, flush=True)
    for name in arguments.designs:
        start = time.perf_counter()
        found = measure(DESIGNS[name], arguments.studies, arguments.powers)
        cells = [
            name,
            share_text(found.any_verdict, arguments.studies),
            *(f"{100 * n / arguments.studies:.1f}" for n in (found.delta_m, found.a_target)),
            f"{100 * found.defined:.0f} % of folds",
            *(
                f"{100 * n / found.studies:.0f}"
                for n in (found.found_by_delta_m, found.found_on_a_target)
            ),
            f"{100 * found.equivalent_at_the_margin / found.studies:.1f}",
            f"{time.perf_counter() - start:.0f}",
        ]
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
