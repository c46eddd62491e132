"""Writes ``bundles.tar.xz``, bundles of schema 1; to be run by the code of jointrain 0.1.0.

    git worktree add ../old 4bc1fe6
    PYTHONPATH=../old/src python tests/bundle/old/make.py

It needs skops, lightgbm and catboost. The models are of few rows, and of few trees, so that they
are small; each is what 0.1.0 fits, saves and loads, and the CSV file beside it is what it predicts.
"""

from __future__ import annotations

import datetime
import os
import tarfile
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
from jointrain.studies._baselines import BASELINES, BaselineModel, fit_baseline
from jointrain.studies._blended_model import BlendedModel, FittedBaseline
from jointrain.training._calibration import Calibration, Residuals
from jointrain.training._recipe import Recipe
from jointrain.training._schedule import Separate

from jointrain.bundle import load_bundle, save_bundle
from jointrain.data import SupervisedTable, TableEncoder, load_penguins
from jointrain.training import fit_table

TREES = 2
"""Trees, or rounds of boosting, that are kept."""


def rows() -> pl.DataFrame:
    """Return penguins with columns of every kind that 0.1.0 knew but text, which takes 1 MB."""
    frame = load_penguins()
    start = datetime.datetime(2024, 1, 31, 5)
    return frame.with_columns(
        pl.Series("seen", [start + datetime.timedelta(hours=7 * i) for i in range(frame.height)]),
        pl.Series("clock", [datetime.time(i % 24, i % 60) for i in range(frame.height)]),
        pl.Series("ringed", [None if i % 11 == 0 else i % 3 == 0 for i in range(frame.height)]),
    )


def shortened(model: BaselineModel) -> BaselineModel:
    """Return a baseline of fewer trees."""
    models = []
    for one in model.models:
        made = one.estimator
        if made is None or model.name == "linear":
            pass
        elif model.name in ("random forest", "extra trees"):
            made = made[:TREES]
        elif model.name == "gradient boosting":
            made._predictors = made._predictors[:TREES]
        elif model.name == "lightgbm":
            import lightgbm

            made = lightgbm.Booster(model_str=made.model_to_string(num_iteration=TREES))
        else:
            made.shrink(TREES)
        models.append(replace(one, estimator=made))
    return replace(model, models=tuple(models))


def baseline(name: str, table: SupervisedTable) -> FittedBaseline:
    """Return a baseline of 0.1.0, shortened."""
    encoder = TableEncoder(bins=0).fit(table.frame, list(table.columns), 1)
    inputs = encoder.transform(table.frame)
    model = fit_baseline(name, inputs, table.labels(), list(table.tasks), 1)
    return FittedBaseline(table.tasks, encoder, shortened(model))


def save(model: object, folder: Path, frame: pl.DataFrame) -> None:
    """Write a bundle and its predictions."""
    metrics = {"sex": {"accuracy": 0.5, "ROC-AUC": float("nan")}}
    save_bundle(model, folder, metrics=metrics, notes={"id": None})
    intervals = (
        None if not hasattr(model, "calibration") or not model.calibration.residuals else 0.9
    )
    load_bundle(folder).predict_table(frame, intervals).write_csv(f"{folder}.csv")


def write(place: Path) -> None:
    """Write all into a folder."""
    frame = rows()
    targets = ["species", "sex", "body_mass_g"]
    few = frame.gather_every(4)
    shown = frame.gather_every(9)
    shown.write_parquet(place / "rows.parquet")
    table = SupervisedTable.prepare(few.drop("seen", "clock", "ringed"), targets)
    small = {"width": 4, "depth": 1, "epochs": 2, "bins": 2}
    kinds = SupervisedTable.prepare(few, targets)
    save(fit_table(kinds, Recipe(ensemble=2, **small), seed=1), place / "networks", shown)
    apart = Recipe(name="apart", schedule=Separate(), layout="per_task", **small)
    components = {name: baseline(name, table) for name in BASELINES}
    components["apart"] = fit_table(table, apart, seed=1)
    weights = {name: 1 / len(components) for name in components}
    sizes = np.sort(np.random.default_rng(0).exponential(300, 40))
    calibration = Calibration({"species": 1.3, "sex": 0.8}, {"body_mass_g": Residuals(40, sizes)})
    blend = BlendedModel(
        table.tasks, table.columns, components, dict.fromkeys(targets, weights), calibration
    )
    save(blend, place / "blend", shown)


def main() -> None:
    """Write all into one file."""
    with tempfile.TemporaryDirectory() as place:
        write(Path(place))
        with tarfile.open(Path(__file__).with_name("bundles.tar.xz"), "w:xz") as file:
            for name in sorted(os.listdir(place)):
                file.add(Path(place, name), name)


if __name__ == "__main__":
    main()
