"""Medical tables: several measurements of the same patients, labels missing, trained together.

Diabetes: each pair of targets, together and apart, shows who helps whom. Breast cancer: a diagnosis
alone and beside two measurements, and whether its probabilities can be trusted. Run it with

    python examples/patients.py --picture patients.png
"""

import argparse
from dataclasses import replace
from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import polars as pl
from sklearn.calibration import calibration_curve
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

from jointrain import Recipe, Study, SupervisedTable, default_recipes, fit_table
from jointrain.studies import Comparison
from jointrain.training import OptimizerSettings

DIABETES = ["progression", "bmi", "bp", "s6"]  # after a year; body mass, blood pressure, glucose
CANCER = ["malignant", "worst area", "worst concave points"]
FEATURES = ["mean texture", "mean smoothness", "mean compactness", "mean symmetry"]

BASE = Recipe(  # small batches and steps, for few rows
    width=32,
    batch_size=32,
    optimizer=OptimizerSettings(learning_rate=2e-3, weight_decay=1e-2),
)


def without(frame: pl.DataFrame, targets: list[str], share: float, seed: int) -> pl.DataFrame:
    """Return the table without a random share of the labels of each target."""
    kept = np.random.default_rng(seed).random((len(targets), len(frame))) >= share
    masks = dict(zip(targets, map(pl.Series, kept), strict=True))
    return frame.with_columns(pl.when(mask).then(name).alias(name) for name, mask in masks.items())


def affinities(seed: int, seeds: int, epochs: int) -> dict[tuple[str, str], Comparison]:
    """Return by (target, partner) how training with the partner changes the target's error."""
    frame = pl.DataFrame(load_diabetes(as_frame=True, scaled=False).frame)
    frame = without(frame.rename({"target": "progression"}), DIABETES, 0.5, seed)
    separate, joint, _ = default_recipes(replace(BASE, epochs=epochs, depth=1))
    found = {}
    for a, b in combinations(DIABETES, 2):
        others = [name for name in DIABETES if name not in (a, b)]
        table = SupervisedTable.prepare(frame, [a, b], ignore=others)
        study = Study(table, [separate, joint], baselines=(), folds=3, seeds=seeds, seed=seed)
        changes = study.run(workers=1).compare("joint")
        found[a, b], found[b, a] = changes[a], changes[b]
    return found


def diagnoses(seed: int, epochs: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the test patients' diagnosis, [n], and by each way its probability, [n]."""
    bunch = load_breast_cancer(as_frame=True)
    frame = pl.DataFrame(bunch.data[FEATURES + CANCER[1:]])
    frame = frame.with_columns(malignant=pl.Series(1 - bunch.target.to_numpy()))
    frame = frame.sample(fraction=1.0, shuffle=True, seed=seed)
    train = without(frame[:200], ["malignant"], 0.7, seed)
    held_out, test = frame[200:300], frame[300:]
    found = {}
    for way, targets in (("alone", CANCER[:1]), ("joint", CANCER)):
        table = SupervisedTable.prepare(train, targets, ignore=set(CANCER) - set(targets))
        recipe = replace(BASE, epochs=epochs, dropout=0.1, input_dropout=0.0)  # either way
        model = fit_table(table, recipe, seed=seed)
        p = [model.predict(rows)["malignant"].clip(1e-6, 1 - 1e-6) for rows in (held_out, test)]
        logits = [np.log(q / (1 - q))[:, None] for q in p]
        platt = LogisticRegression().fit(logits[0], held_out["malignant"])
        found[way], found[f"{way}, calibrated"] = p[1], platt.predict_proba(logits[1])[:, 1]
    return test["malignant"].to_numpy(), found


def ece(true: np.ndarray, p: np.ndarray) -> float:
    """Return the expected calibration error, over ten bins."""
    index = np.minimum((p * 10).astype(int), 9)
    return sum(abs((p - true)[index == i].sum()) for i in range(10)) / len(p)


def draw(changes: dict[tuple[str, str], Comparison], runs: list, path: str) -> None:
    """Draw who helps whom, and how often tumours are malignant at each predicted probability."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    grid = np.full((4, 4), np.nan)
    for (target, partner), found in changes.items():
        grid[DIABETES.index(target), DIABETES.index(partner)] = found.change
    left.imshow(grid, cmap="RdYlGn", vmin=-5, vmax=5)
    left.set_title("change by training together, % (positive is better)", fontsize=10)
    left.set(xticks=range(4), xticklabels=DIABETES, yticks=range(4), yticklabels=DIABETES)
    left.set(xlabel="trained with", ylabel="target")
    for (i, j), change in np.ndenumerate(grid):
        left.text(j, i, "" if i == j else f"{change:+.1f}", ha="center", va="center")
    for way in runs[0][1]:
        true, p = np.concatenate([t for t, _ in runs]), np.concatenate([f[way] for _, f in runs])
        right.plot(*calibration_curve(true, p, n_bins=10)[::-1], "o-", label=way)
    right.plot([0, 1], [0, 1], color="grey", linestyle=":")
    right.set(xlabel="predicted probability", ylabel="share of malignant tumours")
    right.legend(frameon=False)
    figure.savefig(path, dpi=110)


def main(arguments: list[str] | None = None) -> tuple[dict, dict]:
    """Print who helps whom and how good the diagnoses are over seeds; return both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="fewer seeds and epochs")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--picture", help="file to draw affinities and reliability into")
    options = parser.parse_args(arguments)
    repeats, count, epochs = (1, 3, 5) if options.small else (4, 10, 60)
    changes = affinities(options.seed, repeats, epochs)
    for (target, partner), found in changes.items():
        print(f"{target:12s} with {partner:12s} {found.change:+5.1f} %: {found.verdict}")
    runs = [diagnoses(options.seed + i, 60) for i in range(count)]
    figures = {}
    for way in runs[0][1]:
        for name, measure in (("AUC", roc_auc_score), ("log-loss", log_loss), ("ECE", ece)):
            figures[way, name] = np.array([measure(true, found[way]) for true, found in runs])
            print(f"{way:18s} {name:8s} {figures[way, name].mean():.3f}")
    if options.picture:
        draw(changes, runs, options.picture)
    return changes, figures


if __name__ == "__main__":
    main()
