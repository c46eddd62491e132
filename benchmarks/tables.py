"""aRRMSE on multi-target regression tables: jointrain beside what people use today.

    python benchmarks/tables.py FOLDER [--tables a b] [--models ...] [--folds 5]

FOLDER holds CSV files and an ``index.json``: ``{"name": {"file": "x.csv", "targets": [...]}}``.
Every model sees the same folds, `KFold(5, shuffle=True, random_state=0)`. aRRMSE is the mean over
targets of the root of the squared error over that of the training mean; 1 is no better than a
constant. Each line is a model: its aRRMSE on each table, the mean, the mean rank, and its time
over the time of the first model.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import ExtraTreesRegressor, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold
from sklearn.multioutput import MultiOutputRegressor
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from jointrain import JointRegressor, SupervisedTable, read_table


def encoded(model: Any, *, scale: bool = False) -> Any:
    """Put a plain encoding of a pandas frame before a scikit-learn model."""
    numbers = make_pipeline(
        SimpleImputer(strategy="median"), *([StandardScaler()] if scale else [])
    )
    return make_pipeline(
        make_column_transformer(
            (numbers, make_column_selector(dtype_include="number")),
            (
                OneHotEncoder(handle_unknown="ignore", max_categories=20, sparse_output=False),
                make_column_selector(dtype_exclude="number"),
            ),
        ),
        model,
    )


class ScaledTargets:
    """Standardises the targets for a network."""

    def __init__(self, model: Any) -> None:
        self.model, self.scaler = model, StandardScaler()

    def fit(self, X: Any, y: np.ndarray) -> ScaledTargets:
        scaled = self.scaler.fit_transform(y)
        self.model.fit(X, scaled)
        return self

    def predict(self, X: Any) -> np.ndarray:
        prediction = self.model.predict(X)
        return self.scaler.inverse_transform(prediction.reshape(len(prediction), -1))


def network() -> MLPRegressor:
    return MLPRegressor(
        hidden_layer_sizes=(128, 128), early_stopping=True, max_iter=500, random_state=0
    )


MODELS: dict[str, Callable[[], Any]] = {
    "jointrain": lambda: JointRegressor(random_state=0),
    "jointrain joint networks": lambda: JointRegressor(components="network", random_state=0),
    "jointrain separate networks": lambda: JointRegressor(
        components="network", schedule="separate", random_state=0
    ),
    "ridge": lambda: encoded(RidgeCV(np.logspace(-3, 3, 13)), scale=True),
    "random forest per target": lambda: encoded(
        MultiOutputRegressor(RandomForestRegressor(300, random_state=0, n_jobs=-1))
    ),
    "extra trees joint": lambda: encoded(ExtraTreesRegressor(300, random_state=0, n_jobs=-1)),
    "scikit-learn MLP joint": lambda: ScaledTargets(encoded(network(), scale=True)),
    "scikit-learn MLP per target": lambda: ScaledTargets(
        encoded(MultiOutputRegressor(network()), scale=True)
    ),
}


def arrmse(truth: np.ndarray, prediction: np.ndarray, training: np.ndarray) -> float:
    error = ((truth - prediction) ** 2).sum(0)
    constant = ((truth - training.mean(0)) ** 2).sum(0)
    return float(np.sqrt(error / constant).mean())


def measure(make: Callable[[], Any], features: Any, targets: np.ndarray, folds: int) -> list[float]:
    """Return the aRRMSE of each fold."""
    scores = []
    for train, test in KFold(folds, shuffle=True, random_state=0).split(targets):
        model = make().fit(features.iloc[train], targets[train])
        prediction = np.asarray(model.predict(features.iloc[test])).reshape(len(test), -1)
        scores.append(arrmse(targets[test], prediction, targets[train]))
    return scores


def load(folder: Path, entry: dict[str, Any]) -> tuple[Any, np.ndarray]:
    frame = read_table(folder / entry["file"])
    names = entry["targets"]
    kinds = dict.fromkeys(names, "regression")
    table = SupervisedTable.prepare(frame, names, kinds=kinds)
    features = table.frame.select([column.name for column in table.columns])
    return features.to_pandas(), table.frame.select(pl.col(names).cast(pl.Float64)).to_numpy()


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, *rows):
        first, *rest = (
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        print("  ".join([first, *rest]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tables", nargs="*")
    parser.add_argument("--models", nargs="*", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--folds", type=int, default=5)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    index = json.loads((arguments.folder / "index.json").read_text())
    tables = arguments.tables or [name for name in index if index[name]["file"].endswith(".csv")]
    scores = {model: [] for model in arguments.models}
    seconds = dict.fromkeys(arguments.models, 0.0)
    for name in tables:
        features, targets = load(arguments.folder, index[name])
        for model in arguments.models:
            start = time.perf_counter()
            scores[model].append(
                np.mean(measure(MODELS[model], features, targets, arguments.folds))
            )
            seconds[model] += time.perf_counter() - start
            print(f"{name}: {model} {scores[model][-1]:.3f}", flush=True)
    values = np.array(list(scores.values()))
    ranks = values.argsort(0).argsort(0) + 1
    base = next(iter(seconds.values()))
    print()
    print_table(
        ["model", *tables, "mean", "rank", "time"],
        [
            [
                model,
                *(f"{value:.3f}" for value in values[i]),
                f"{values[i].mean():.3f}",
                f"{ranks[i].mean():.1f}",
                f"{seconds[model] / base:.2f}x",
            ]
            for i, model in enumerate(arguments.models)
        ],
    )
    print(
        f"\nseconds for a fit of {arguments.models[0]}: {base / len(tables) / arguments.folds:.1f}"
    )


if __name__ == "__main__":
    main()
