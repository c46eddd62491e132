"""The model that `compare --budget` saves, on outer folds that had no say in it.

    python benchmarks/shipped_model.py FOLDER [--tables a b] [--budget 120] [--workers 2] [--refit]

FOLDER is that of `benchmarks/tables.py`. Each table is compared once within the budget (seconds).
The figures are aRRMSE, as there: a target's RMSE on the test rows over that of the training mean,
averaged over targets, folds and seeds. "best baseline" is, on each fold, the baseline with the
lowest mean aRRMSE on the inner folds: what a careful user would pick without jointrain. "shipped"
chooses, for each target, a recipe, a baseline or a blend on those inner folds.

With ``--refit``, `compare` is run whole, the last fit with it, on the training part of each
of the folds of `benchmarks/tables.py`, and the model that it saves predicts the test rows: five
budgets a table. "best baseline" is then chosen by all rows of that part, and fitted to them.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
from sklearn.model_selection import KFold

from jointrain import Study, SupervisedTable, default_recipes, read_table
from jointrain.baselines import FIRST_BASELINES
from jointrain.reports import answer
from jointrain.studies import SHIPPED, StudyResult, fit_shipped, run_within_budget
from jointrain.tables._blended_model import fit_baseline_to


def arrmse(result: StudyResult, name: str) -> np.ndarray:
    """Return the aRRMSE of each fold and seed, NaN where the recipe was not run."""
    return np.mean(
        [
            result.values(name, task.name, "RMSE") / result.values("constant", task.name, "RMSE")
            for task in result.study.table.tasks
        ],
        axis=0,
    )


def best_baseline(result: StudyResult) -> np.ndarray:
    """Return the aRRMSE on each fold of the baseline that is best on its inner folds."""
    labels = result.study.table.labels()
    figures = {name: arrmse(result, name) for name in result.study.baseline_names}
    chosen = []
    for index, fold in enumerate(result.folds):
        scores = {}
        for name in result.study.baseline_names:
            inner = result.fold_results.get((name, fold.seed, fold.number))
            if inner is None:
                continue
            errors = []
            for position, task in enumerate(result.study.table.tasks):
                truth = labels[inner.inner_rows, position]
                error = np.sqrt(np.nanmean((inner.inner[task.name] - truth) ** 2))
                errors.append(error / max(np.nanstd(truth), 1e-12))
            scores[name] = float(np.mean(errors))
        chosen.append(figures[min(scores, key=scores.__getitem__)][index])
    return np.array(chosen)


def refitted(table: SupervisedTable, budget: float, workers: int | None) -> dict[str, list[float]]:
    """Return the aRRMSE, fold by fold, of what `compare` saves from the training part."""
    labels = table.labels()
    names = [task.name for task in table.tasks]
    found: dict[str, list[float]] = {"best baseline": [], "shipped": []}
    for train, test in KFold(5, shuffle=True, random_state=0).split(labels):
        part = replace(table, frame=table.frame[train])
        started = time.monotonic()
        study = Study(part, default_recipes(), FIRST_BASELINES)
        result = run_within_budget(study, budget, workers=workers, started=started)
        left = budget - (time.monotonic() - started)
        names = result.study.baseline_names
        scores = {name: float(np.mean(arrmse(result, name))) for name in names}
        baseline = min(scores, key=scores.__getitem__)
        models = {
            "best baseline": fit_baseline_to(baseline, part, 0),
            "shipped": fit_shipped(result, device="cpu", workers=workers, seconds=left),
        }
        constant = ((labels[test] - labels[train].mean(0)) ** 2).sum(0)
        for name, model in models.items():
            predictions = model.predict(table.frame[test])
            given = np.stack([predictions[target] for target in names], axis=1)
            error = ((labels[test] - given) ** 2).sum(0)
            found[name].append(float(np.sqrt(error / constant).mean()))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tables", nargs="*")
    parser.add_argument("--budget", type=float, default=120)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--refit", action="store_true")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    index = json.loads((arguments.folder / "index.json").read_text())
    tables = arguments.tables or [name for name in index if index[name]["file"].endswith(".csv")]
    columns: tuple[str, ...] = ("best baseline", "shipped")
    if not arguments.refit:
        columns = ("separate", "joint", *FIRST_BASELINES[1:], *columns)
    means: list[list[float]] = []
    for name in tables:
        entry = index[name]
        kinds = dict.fromkeys(entry["targets"], "regression")
        frame = read_table(arguments.folder / entry["file"])
        table = SupervisedTable.prepare(frame, entry["targets"], kinds=kinds)
        start = time.perf_counter()
        if arguments.refit:
            scores = refitted(table, arguments.budget, arguments.workers)
            means.append([float(np.mean(scores[column])) for column in columns])
            print(f"{name} ({time.perf_counter() - start:.0f} s): {means[-1]}", flush=True)
            continue
        study = Study(table, default_recipes(), FIRST_BASELINES)
        result = run_within_budget(study, arguments.budget, workers=arguments.workers)
        figures = [*(arrmse(result, one) for one in columns[:-2]), best_baseline(result)]
        figures.append(arrmse(result, SHIPPED))
        means.append([float(np.nanmean(values)) for values in figures])
        spent = time.perf_counter() - start
        ran = f"{len(result.recipe_names)} recipes and baselines, {len(result.folds)} fold runs"
        print(f"{name} ({spent:.0f} s, {ran}): {' '.join(answer(result))}\n", flush=True)
    print("table".ljust(10) + "".join(column.rjust(16) for column in columns))
    for name, values in [*zip(tables, means, strict=True), ("mean", np.mean(means, axis=0))]:
        print(name.ljust(10) + "".join(f"{value:16.3f}" for value in values))


if __name__ == "__main__":
    main()
