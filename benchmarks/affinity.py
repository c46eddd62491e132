"""Do affinities from a joint run tell what pairs of tasks gain? Against training all pairs.

For each table, every pair of targets is trained together and every target alone, on the same folds
and seeds; the change of a target's metric is what its partner gives it. The affinities come from
joint runs on the training rows of the folds. Printed are Spearman's rank correlations over all
ordered pairs, and the mean of those within each target (which partner is best for it?).

    python benchmarks/affinity.py DIR --tables slump:SLUMP_cm,FLOW_cm andro wq:25400,29600

DIR holds NAME.csv and index.json with the targets of each table by name.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from jointrain import Recipe, SupervisedTable, read_table
from jointrain.studies import AffinityTrainer, measure_affinity, search_groups  # noqa: F401
from jointrain.studies._candidates import Evaluator
from jointrain.studies._group import _measured_gains, groups_text, pair_partitions


def pair_gains(table: SupervisedTable, recipe: Recipe, folds: int, seeds: int) -> np.ndarray:
    """Return the change of each task (column) by each partner (row) in percent, [t, t]."""
    from dataclasses import replace

    names = [task.name for task in table.tasks]
    evaluator = Evaluator(table, folds=folds, seeds=seeds)
    recipes = {"separate": replace(recipe, name="separate", partition=tuple((n,) for n in names))}
    for partition in pair_partitions(len(names)):
        groups = tuple(tuple(names[task] for task in group) for group in partition)
        recipes[groups_text(groups)] = replace(recipe, name=groups_text(groups), partition=groups)
    evaluator.run(list(recipes.values()))
    gains = np.full((len(names), len(names)), np.nan)
    for group, task, gain in _measured_gains(evaluator.candidates("separate", "separate"), recipes):
        (other,) = group - {task}
        gains[other, task] = gain
    return gains


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
        start = time.perf_counter()
        gains = pair_gains(table, recipe, arguments.folds, arguments.seeds)
        spent = time.perf_counter() - start
        half = pair_gains_noise = None  # noqa: F841
        print(
            f"\n{name}: {len(table.frame)} rows, {len(wanted)} targets, "
            f"{len(wanted) * (len(wanted) - 1)} ordered pairs; all pairs took {spent:.0f} s; "
            f"gains from {np.nanmin(gains):+.1f} % to {np.nanmax(gains):+.1f} %"
        )
        for measure in ("lookahead", "gradient"):
            for rows in ("training", "held-out"):
                start = time.perf_counter()
                affinity = measure_affinity(
                    table, recipe, measure=measure, rows=rows, folds=arguments.folds
                )
                spent = time.perf_counter() - start
                overall, within = rank_correlations(affinity.mean, gains)
                print(
                    f"  {measure:9} on {rows:8} rows: rank correlation {overall:+.2f} over all "
                    f"pairs, {within:+.2f} within targets ({spent:.1f} s)"
                )


if __name__ == "__main__":
    main()
