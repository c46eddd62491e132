"""Do affinities from a joint run tell what pairs of targets gain? Against training all pairs.

For each table, every pair of targets is trained together and every target alone, on the same folds
and seeds; the change of a target's metric is what its partner gives it. The affinities come from
joint runs on the training rows of the folds. Printed are Spearman's rank correlations over all
ordered pairs, and the mean of those within each target (which partner is best for it?):

- of the gains of the first half of the seeds with those of the second: no estimate can be expected
  to do much better than the measurement agrees with itself;
- of the affinities with the gains;
- of the gains that the predictor of `jointrain group` gives for the pairs of one round of the
  tournament, having seen the pairs of the other rounds, with the gains.

    python benchmarks/affinity.py DIR --tables slump andro wq:25400,29600,30400

DIR holds NAME.csv and index.json with the targets of each table by name.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from jointrain import Recipe, SupervisedTable, read_table
from jointrain.reports._flag_texts import groups_text
from jointrain.studies.searches import Affinity, measure_affinity
from jointrain.studies.searches._evaluator import Evaluator
from jointrain.studies.searches._gain_predictor import GainPredictor
from jointrain.studies.searches._group import measured_gains, pair_partitions

Pair = tuple[frozenset[int], int]


def pair_gains(
    table: SupervisedTable, recipe: Recipe, folds: int, seeds: range
) -> dict[Pair, float]:
    """Return the change of each task in each pair in percent."""
    names = [task.name for task in table.tasks]
    evaluator = Evaluator(table, folds=folds, seeds=len(seeds), seed=seeds.start)
    recipes = {"separate": replace(recipe, name="separate", partition=tuple((n,) for n in names))}
    for partition in pair_partitions(len(names)):
        groups = tuple(tuple(names[task] for task in group) for group in partition)
        recipes[groups_text(groups)] = replace(recipe, name=groups_text(groups), partition=groups)
    evaluator.run_first(list(recipes.values()), "separate")
    found = measured_gains(evaluator.candidates("separate", "separate"), recipes)
    return {(group, task): gain for group, task, gain in found}


def matrix(gains: dict[Pair, float], count: int) -> np.ndarray:
    """Return gains as [t, t]: the change of each task (column) by each partner (row)."""
    result = np.full((count, count), np.nan)
    for (group, task), gain in gains.items():
        (other,) = group - {task}
        result[other, task] = gain
    return result


def predicted_gains(affinity: Affinity, gains: dict[Pair, float], count: int) -> np.ndarray:
    """Return each pair's gain as predicted from the pairs of the other rounds, [t, t]."""
    predicted: dict[Pair, float] = {}
    for partition in pair_partitions(count):
        held_out = {frozenset(group) for group in partition}
        seen = [
            (group, task, gain) for (group, task), gain in gains.items() if group not in held_out
        ]
        predictor = GainPredictor(affinity, seen)
        for group, task in gains:
            if group in held_out:
                predicted[group, task] = predictor.gain(group, task)
    return matrix(predicted, count)


def rank_correlations(estimate: np.ndarray, gains: np.ndarray) -> tuple[float, float]:
    """Return the correlation over all ordered pairs, and the mean of those within targets."""
    pairs = ~np.eye(len(gains), dtype=bool)
    overall = float(spearmanr(estimate[pairs], gains[pairs])[0])
    within = [
        float(spearmanr(estimate[pairs[:, task], task], gains[pairs[:, task], task])[0])
        for task in range(len(gains))
        if len(gains) > 2
    ]
    return overall, float(np.nanmean(within))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tables", nargs="+", default=["slump", "andro", "scpf"])
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=None)
    arguments = parser.parse_args()
    index = json.loads((arguments.folder / "index.json").read_text())
    recipe = Recipe(width=arguments.width, epochs=arguments.epochs)
    for entry in arguments.tables:
        name, _, chosen = entry.partition(":")
        targets = index[name]["targets"]
        wanted = chosen.split(",") if chosen else targets
        table = SupervisedTable.prepare(
            read_table(arguments.folder / f"{name}.csv"),
            wanted,
            ignore=[t for t in targets if t not in wanted],
        )
        count, half = len(wanted), arguments.seeds // 2
        start = time.perf_counter()
        halves = [
            pair_gains(table, recipe, arguments.folds, seeds)
            for seeds in (range(half), range(half, arguments.seeds))
        ]
        spent = time.perf_counter() - start
        measured = {pair: (halves[0][pair] + halves[1][pair]) / 2 for pair in halves[0]}
        gains = matrix(measured, count)
        print(
            f"\n{name}: {len(table.frame)} rows, {count} targets, {len(measured)} ordered pairs; "
            f"gains from {np.nanmin(gains):+.1f} % to {np.nanmax(gains):+.1f} %, "
            f"mean {np.nanmean(gains):+.1f} %; all pairs took {spent:.0f} s"
        )
        line("gains, half of the seeds", rank_correlations(*(matrix(h, count) for h in halves)), "")
        for measure in ("lookahead", "gradient"):
            for rows in ("training", "held-out"):
                start = time.perf_counter()
                affinity = measure_affinity(
                    table, recipe, measure=measure, rows=rows, folds=arguments.folds
                )
                spent = time.perf_counter() - start
                line(
                    f"{measure}, {rows} rows",
                    rank_correlations(affinity.mean, gains),
                    f"{spent:.1f} s",
                )
                if measure == "gradient":
                    predicted = predicted_gains(affinity, measured, count)
                    line("  and other pairs' gains", rank_correlations(predicted, gains), "")


def line(what: str, correlations: tuple[float, float], note: str) -> None:
    """Print a row of the table."""
    overall, within = correlations
    print(
        f"  {what:28} all pairs {overall:+.2f}   within targets {within:+.2f}   {note}", flush=True
    )


if __name__ == "__main__":
    main()
