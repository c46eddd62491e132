"""How the defaults of networks on tables were chosen: each table's choice made on the other tables.

    python benchmarks/choose_defaults.py [FOLDER] [--vary dropout bins ensemble width]
        [--kinds class regression] [--folds 3] [--rows 100]

Tables with numbers to predict are those of FOLDER, as in `benchmarks/tables.py`. Tables with
classes to predict are the penguins, three that come with scikit-learn (digits, wine, breast
cancer), two generated ones with many 0/1 columns, and FOLDER's ``yeast``, if it is there. A score
is the loss on the test rows (RMSE or log-loss) over that of a constant, averaged over targets and
folds. What is not varied has its default. ``--rows`` leaves each table that many rows at most.

"chosen on the others" is, for each table, the candidate that is best on the other tables of its
kind, where every table counts by its score over the score of the first candidate. What it reaches
is what defaults chosen in this way reach on a table that had no say. "chosen on all" is the choice
of all tables.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.model_selection import KFold

from jointrain import Recipe, SupervisedTable, Task, fit_table, load_penguins, read_table
from jointrain.training.population import fit_together

DROPOUTS = {
    "regression": [(0.1, 0.0), (0.0, 0.0), (0.2, 0.0), (0.3, 0.0), (0.1, 0.1)],
    "class": [
        (0.1, 0.0), (0.3, 0.0), (0.5, 0.0),
        (0.1, 0.1), (0.3, 0.1), (0.5, 0.1),
        (0.1, 0.3), (0.3, 0.3), (0.5, 0.3),
    ],
}  # fmt: skip


def candidates(varied: str, kind: str) -> dict[str, dict[str, Any]]:
    """Return settings by title."""
    if varied == "dropout":
        return {
            f"{dropout:g}/{inputs:g}": {"dropout": dropout, "input_dropout": inputs}
            for dropout, inputs in DROPOUTS[kind]
        }
    values = {"bins": (0, 4, 8, 16), "ensemble": (1, 2, 4, 8), "width": (64, 128, 256)}[varied]
    return {str(value): {varied: value} for value in values}


def numbers(features: np.ndarray, targets: dict[str, np.ndarray]) -> SupervisedTable:
    columns = {f"x{i}": np.ascontiguousarray(features[:, i]) for i in range(features.shape[1])}
    frame = pl.DataFrame(columns | targets)
    # a missing label is -1
    frame = frame.with_columns(pl.when(pl.col(name) >= 0).then(pl.col(name)) for name in targets)
    return SupervisedTable.prepare(frame, list(targets))


def many_bits(rows: int, columns: int, seed: int) -> SupervisedTable:
    """Rare bits, as of molecules: a task is likely where any of its few groups of bits is set."""
    random = np.random.default_rng(seed)
    parts = random.random((rows, 40)) < 0.15
    owners = random.integers(0, 40, (columns, 2))
    noise = random.random((rows, columns)) < 0.01
    bits = (parts[:, owners].any(2) & (random.random((rows, columns)) < 0.25)) | noise
    targets = {}
    weights = random.normal(size=(40, 3)) * (random.random((40, 3)) < 0.2)
    for task in range(6):
        score = parts @ weights @ random.normal(size=3) + random.normal(size=rows)
        labels = (score > np.quantile(score, 0.9)).astype(np.int64)
        labels[random.random(rows) < 0.2] = -1
        targets[f"y{task}"] = labels
    return numbers(bits.astype(np.float32), targets)


def class_tables(folder: Path | None) -> Iterator[tuple[str, SupervisedTable]]:
    yield "penguins", SupervisedTable.prepare(load_penguins(), ["species", "sex"])
    x, y = load_digits(return_X_y=True)
    digits = {"digit": y, "odd": y % 2, "large": (y > 4).astype(np.int64)}
    yield "digits", numbers(x, digits)
    yield "wine", numbers(load_wine().data, {"kind": load_wine().target})
    cancer = load_breast_cancer()
    yield "cancer", numbers(cancer.data, {"benign": cancer.target})
    yield "bits 512", many_bits(1500, 512, 0)
    yield "bits 1024", many_bits(4000, 1024, 1)
    if folder is not None and (folder / "yeast.csv.gz").exists():
        frame = read_table(folder / "yeast.csv.gz").drop("split")
        names = [name for name in frame.columns if name.startswith("Class")]
        yield "yeast", SupervisedTable.prepare(frame, names)


def regression_tables(folder: Path | None) -> Iterator[tuple[str, SupervisedTable]]:
    if folder is None:
        return
    index = json.loads((folder / "index.json").read_text())
    for name, entry in index.items():
        if entry["file"].endswith(".csv"):
            kinds = dict.fromkeys(entry["targets"], "regression")
            frame = read_table(folder / entry["file"])
            yield name, SupervisedTable.prepare(frame, entry["targets"], kinds=kinds)


def loss(task: Task, prediction: np.ndarray, labels: np.ndarray) -> float:
    """Return RMSE or log-loss over the labelled rows."""
    known = np.isfinite(labels)
    predicted, wanted = prediction[known], labels[known]
    if not task.has_classes:
        return float(np.sqrt(np.mean((predicted - wanted) ** 2)))
    if predicted.ndim == 1:
        predicted = np.stack([1 - predicted, predicted], 1)
    chosen = predicted[np.arange(len(wanted)), wanted.astype(int)]
    return float(-np.log(np.clip(chosen, 1e-12, 1)).mean())


def constant(task: Task, labels: np.ndarray, rows: int) -> np.ndarray:
    """Return what a constant predicts: the mean, or how frequent each class is."""
    known = labels[np.isfinite(labels)]
    if not task.has_classes:
        return np.full(rows, known.mean())
    counts = np.bincount(known.astype(int), minlength=len(task.classes)) + 1.0
    return np.tile(counts / counts.sum(), (rows, 1))


def score(table: SupervisedTable, settings: dict[str, Any], folds: int) -> float:
    labels, ratios = table.labels(), []
    splits = KFold(folds, shuffle=True, random_state=0).split(labels)
    for train, test in splits:
        recipe = Recipe(**({"ensemble": None} | settings))
        part = SupervisedTable(table.frame[train], table.tasks, table.columns)
        model = fit_table(part, recipe, seed=0, fit_runs=fit_together)
        predictions = model.predict(table.frame[test])
        for position, task in enumerate(table.tasks):
            truth = labels[test, position]
            base = constant(task, labels[train, position], len(test))
            ratios.append(loss(task, predictions[task.name], truth) / loss(task, base, truth))
    return float(np.mean(ratios))


def sample(table: SupervisedTable, rows: int) -> SupervisedTable:
    if rows >= len(table.frame):
        return table
    return replace(table, frame=table.frame.sample(rows, seed=0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path, nargs="?")
    varied = ("dropout", "bins", "ensemble", "width")
    parser.add_argument("--vary", nargs="*", choices=varied, default=varied)
    parser.add_argument("--kinds", nargs="*", choices=list(DROPOUTS), default=list(DROPOUTS))
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--rows", type=int)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    for kind in arguments.kinds:
        found = dict((class_tables if kind == "class" else regression_tables)(arguments.folder))
        if len(found) < 2:
            print(f"{kind}: fewer than two tables\n")
            continue
        if arguments.rows is not None:
            found = {name: sample(table, arguments.rows) for name, table in found.items()}
        for one in arguments.vary:
            choose(f"{kind}, {one}", found, candidates(one, kind), arguments.folds)


def choose(
    title: str,
    tables: Mapping[str, SupervisedTable],
    settings: Mapping[str, dict[str, Any]],
    folds: int,
) -> None:
    """Print the scores of all candidates on all tables, and what choices they lead to."""
    titles = list(settings)
    print(title + "\n" + " " * 10 + "".join(f"{name:>9}" for name in titles))
    scores = []
    for name, table in tables.items():
        scores.append([score(table, one, folds) for one in settings.values()])
        print(f"{name:10}" + "".join(f"{value:9.3f}" for value in scores[-1]), flush=True)
    values = np.array(scores)
    relative = values / values[:, :1]
    chosen = [int(np.delete(relative, i, 0).mean(0).argmin()) for i in range(len(values))]
    reached = values[np.arange(len(values)), chosen]
    best = int(relative.mean(0).argmin())
    print(f"{'relative':10}" + "".join(f"{value:9.3f}" for value in relative.mean(0)))
    print(f"chosen on the others: {', '.join(titles[index] for index in chosen)}")
    print(
        f"mean score {reached.mean():.3f}; of the first candidate {values[:, 0].mean():.3f}, of "
        f"the best in hindsight {values.min(1).mean():.3f}\nchosen on all: {titles[best]}\n"
    )


if __name__ == "__main__":
    main()
