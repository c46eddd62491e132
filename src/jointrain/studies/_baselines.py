"""Baselines that a sceptic would use: a constant, and extremely randomised trees per target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from jointrain.task import Task

BASELINES = ("constant", "extra trees")


def predict_with_baseline(
    name: str,
    inputs: np.ndarray,
    labels: np.ndarray,
    test_inputs: np.ndarray,
    tasks: Sequence[Task],
    seed: int,
) -> dict[str, np.ndarray]:
    """Fit a baseline for each task on its labelled rows and predict the test rows.

    Args:
        name: ``constant`` (mean, or the classes' shares) or ``extra trees`` (scikit-learn's
            ExtraTrees with its defaults).
        inputs: [n, d], encoded features of the training rows.
        labels: [n, t], NaN where a label is missing.
        test_inputs: [m, d].
        tasks: The tasks, in the order of the columns of `labels`.
        seed: Seed of the trees.

    Shape:
        returns: as `TableModel.predict`, m rows.
    """
    predictions = {}
    for index, task in enumerate(tasks):
        rows = np.isfinite(labels[:, index])
        target = labels[rows, index]
        if task.kind == "regression":
            predictions[task.name] = _values(name, inputs[rows], target, test_inputs, seed)
        else:
            probabilities = _probabilities(
                name, inputs[rows], target.astype(np.int64), test_inputs, len(task.classes), seed
            )
            predictions[task.name] = probabilities[:, 1] if task.kind == "binary" else probabilities
    return predictions


def _values(
    name: str, inputs: np.ndarray, target: np.ndarray, test_inputs: np.ndarray, seed: int
) -> np.ndarray:
    if name == "constant":
        return np.full(len(test_inputs), target.mean(dtype=np.float64))
    from sklearn.ensemble import ExtraTreesRegressor

    trees = ExtraTreesRegressor(random_state=seed)
    return np.asarray(trees.fit(inputs, target).predict(test_inputs), dtype=np.float64)


def _probabilities(
    name: str,
    inputs: np.ndarray,
    target: np.ndarray,
    test_inputs: np.ndarray,
    classes: int,
    seed: int,
) -> np.ndarray:
    if name == "constant":
        # add-one smoothing, so that a class absent from the fold does not cost infinite log-loss
        shares = np.bincount(target, minlength=classes) + 1.0
        return np.tile(shares / shares.sum(), (len(test_inputs), 1))
    from sklearn.ensemble import ExtraTreesClassifier

    trees: Any = ExtraTreesClassifier(random_state=seed).fit(inputs, target)
    probabilities = np.zeros((len(test_inputs), classes))
    probabilities[:, trees.classes_] = trees.predict_proba(test_inputs)
    return probabilities
