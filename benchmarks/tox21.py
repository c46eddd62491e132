"""Mean ROC-AUC over the 12 assays of Tox21: jointly, separately, and random forests per assay.

    python benchmarks/tox21.py FILE [--seeds 0 1 2] [--epochs N] [--separate]

FILE is a CSV with a column ``smiles`` and a column for each assay, empty where it was not measured
(DeepChem's tox21.csv.gz has them). Molecules become 1024-bit Morgan fingerprints of radius 2;
rows are split 80/10/10 at random, and the test tenth is scored. All are fitted with defaults on the
training and validation rows; what jointrain needs for early stopping it takes from them itself.
Needs rdkit.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score

from jointrain import JointClassifier


def fingerprints(smiles: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the bits [n, 1024] of those that rdkit can read, and their positions."""
    from rdkit import Chem, RDLogger
    from rdkit.Chem import rdFingerprintGenerator

    RDLogger.DisableLog("rdApp.*")
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=1024)
    found = [(i, Chem.MolFromSmiles(text)) for i, text in enumerate(smiles)]
    kept = [(i, molecule) for i, molecule in found if molecule is not None]
    bits = np.stack([generator.GetFingerprintAsNumPy(molecule) for _, molecule in kept])
    return bits.astype(np.float32), np.array([i for i, _ in kept])


def mean_auc(labels: np.ndarray, scores: np.ndarray) -> float:
    values = []
    for task in range(labels.shape[1]):
        known = np.isfinite(labels[:, task])
        if len(np.unique(labels[known, task])) == 2:
            values.append(roc_auc_score(labels[known, task], scores[known, task]))
    return float(np.mean(values))


def jointrain_scores(
    schedule: str, x: np.ndarray, y: np.ndarray, test: np.ndarray, seed: int, settings: Any
) -> np.ndarray:
    model = JointClassifier(schedule=schedule, random_state=seed, **settings).fit(x, y)
    return np.stack([p[:, 1] for p in model.predict_proba(test)], axis=1)


def forest_scores(x: np.ndarray, y: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
    scores = []
    for task in range(y.shape[1]):
        known = np.isfinite(y[:, task])
        forest = RandomForestClassifier(300, random_state=seed, n_jobs=-1)
        scores.append(forest.fit(x[known], y[known, task]).predict_proba(test)[:, 1])
    return np.stack(scores, axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--models", nargs="*", default=["joint", "separate", "random forest"])
    parser.add_argument("--set", nargs="*", default=[], help="NAME=NUMBER of JointClassifier")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    settings = {}
    for pair in arguments.set:
        name, value = pair.split("=")
        settings[name] = float(value) if "." in value else int(value)
    frame = pl.read_csv(arguments.file, infer_schema_length=10_000)
    x, kept = fingerprints(frame["smiles"].to_list())
    assays = [name for name in frame.columns if frame[name].dtype.is_numeric()]
    y = frame.select(assays).cast(pl.Float64).to_numpy()[kept]
    print(f"{len(x)} molecules, {len(assays)} assays")
    results: dict[str, list[float]] = {name: [] for name in arguments.models}
    for seed in arguments.seeds:
        order = np.random.default_rng(seed).permutation(len(x))
        train, test = order[: int(0.9 * len(x))], order[int(0.9 * len(x)) :]
        for name in arguments.models:
            start = time.perf_counter()
            given = (x[train], y[train], x[test], seed)
            scores = (
                forest_scores(*given)
                if name == "random forest"
                else jointrain_scores(name, *given, settings)
            )
            results[name].append(mean_auc(y[test], scores))
            spent = time.perf_counter() - start
            print(f"seed {seed}: {name} {results[name][-1]:.3f} ({spent:.0f} s)", flush=True)
    for name, values in results.items():
        print(f"{name:15} {np.mean(values):.3f}")


if __name__ == "__main__":
    main()
