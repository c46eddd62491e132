"""How far predictions can be believed: coverage of intervals, calibration error of probabilities.

    python benchmarks/calibration.py FOLDER [--tables a b] [--coverage 0.9]

FOLDER holds CSV files and an ``index.json``, as `tables.py` reads it. For each table of numbers:
which share of the values of the test rows the intervals of `JointRegressor()` hold, all five folds
of `KFold(5, shuffle=True, random_state=0)` and all targets together. For tables of classes (the
penguins; those with a column ``split``): the expected calibration error of `JointClassifier()` (15
bins of equal width of the highest probability, as in Guo et al., ICML 2017), mean over targets,
with the temperatures and without.
"""

from __future__ import annotations

import argparse
import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from sklearn.model_selection import KFold
from torchmetrics.functional.classification import multiclass_calibration_error

from jointrain import JointRegressor, Recipe, SupervisedTable, fit_table, load_penguins, read_table
from jointrain.tables._calibration import Calibration
from jointrain.training.population import fit_together
from tables import load


def coverage_of(features: object, targets: np.ndarray, coverage: float) -> tuple[float, float]:
    """Return the share of values inside, and the mean width over the targets' deviation."""
    inside, widths = [], []
    for train, test in KFold(5, shuffle=True, random_state=0).split(targets):
        model = JointRegressor(random_state=0).fit(features.iloc[train], targets[train])
        low, high = np.moveaxis(model.predict_interval(features.iloc[test], coverage), -1, 0)
        low, high = low.reshape(len(test), -1), high.reshape(len(test), -1)
        inside.append(((targets[test] >= low) & (targets[test] <= high)).ravel())
        widths.append(((high - low) / targets[train].std(0)).mean())
    return float(np.concatenate(inside).mean()), float(np.mean(widths))


def calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the expected calibration error of the labelled rows.

    Shape:
        probabilities: [n] or [n, c]. labels: [n].
    """
    known = np.isfinite(labels)
    if probabilities.ndim == 1:
        probabilities = np.stack([1 - probabilities, probabilities], axis=1)
    return float(
        multiclass_calibration_error(
            torch.from_numpy(probabilities[known]),
            torch.from_numpy(labels[known].astype(np.int64)),
            probabilities.shape[1],
        )
    )


def errors_of(
    table: SupervisedTable, splits: list[tuple[np.ndarray, np.ndarray]]
) -> dict[str, float]:
    """Return the calibration error with the temperatures and without, test rows of all splits."""
    found: dict[str, list[dict[str, np.ndarray]]] = {"calibrated": [], "as trained": []}
    for train, test in splits:
        part = SupervisedTable(table.frame[train], table.tasks, table.columns)
        model = fit_table(part, Recipe(ensemble=None), device="cpu", fit_runs=fit_together)
        rows = table.frame[test]
        found["calibrated"].append(model.predict(rows))
        found["as trained"].append(replace(model, calibration=Calibration()).predict(rows))
    labels = table.labels()[np.concatenate([test for _, test in splits])]
    return {
        name: float(
            np.mean(
                [
                    calibration_error(np.concatenate([p[task.name] for p in parts]), labels[:, i])
                    for i, task in enumerate(table.tasks)
                ]
            )
        )
        for name, parts in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tables", nargs="*")
    parser.add_argument("--coverage", type=float, default=0.9)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    index = json.loads((arguments.folder / "index.json").read_text())
    names = [n for n in index if index[n]["file"].endswith(".csv")]
    for name in names if arguments.tables is None else arguments.tables:
        features, targets = load(arguments.folder, index[name])
        share, width = coverage_of(features, targets, arguments.coverage)
        print(
            f"{name}: {100 * share:.1f} % of {len(targets)} rows inside, asked for "
            f"{100 * arguments.coverage:g} %; width {width:.2f} deviations",
            flush=True,
        )
    penguins = SupervisedTable.prepare(load_penguins(), ["species", "sex", "island"])
    rows = np.arange(len(penguins.frame))
    folds = [(train, test) for train, test in KFold(5, shuffle=True, random_state=0).split(rows)]
    print("penguins:", {k: round(v, 4) for k, v in errors_of(penguins, folds).items()}, flush=True)
    for name in [n for n in index if not index[n]["file"].endswith(".csv")]:
        frame = read_table(arguments.folder / index[name]["file"])
        if "split" not in frame.columns:
            continue
        targets = index[name]["targets"]
        table = SupervisedTable.prepare(frame, targets, ignore=["split"])
        split = table.frame["split"].to_numpy() if "split" in table.frame.columns else None
        split = frame["split"].to_numpy() if split is None else split
        fold = [(np.flatnonzero(split == "train"), np.flatnonzero(split == "test"))]
        print(f"{name}:", {k: round(v, 4) for k, v in errors_of(table, fold).items()}, flush=True)


if __name__ == "__main__":
    main()
