"""How far the saved model can be trusted: by predictions of rows that it was not trained on."""

from __future__ import annotations

from typing import Any

import numpy as np

from jointrain.reports.page._figures import Figures
from jointrain.studies import StudyResult
from jointrain.tables import Calibration, scale_probabilities
from jointrain.task import Task, labels_of

COVERAGES = (0.5, 0.8, 0.9, 0.95)

_SHOWN_ROWS = 300
_BINS = 10
_FEWEST = 20
"""With fewer rows nothing is said of a target."""


def saved_model_figures(result: StudyResult) -> dict[str, Figures]:
    """Return what rows that the networks left out say of the saved model, by target.

    Temperatures and widths of intervals are learned from one half of those rows and checked on the
    other, and the other way round: on their own rows they would always look right.
    """
    table = result.study.table
    predictions = result.held_out_blends()
    found: dict[str, Figures] = {}
    labels = table.labels()
    random = np.random.default_rng(0)
    half = random.permutation(len(labels)) % 2 == 0
    weights, class_weights = table.weights, table.fit_weights()

    def fitted(rows: np.ndarray) -> Calibration:
        return Calibration.fit(
            table.tasks,
            {name: values[rows] for name, values in predictions.items()},
            labels[rows],
            None if weights is None else weights[rows],
            None if class_weights is None else class_weights[rows],
        )

    fits = [(half, fitted(~half)), (~half, fitted(half))]
    for task, own in zip(table.tasks, labels_of(labels, table.tasks), strict=True):
        predicted = predictions[task.name]
        how = task.in_table.calibrated_by
        if how == "errors" and predicted.ndim == 1:
            one = _number_figures(task, predicted, own, fits, random)
        elif how == "temperature" and own.ndim == 1:
            one = _class_figures(task, predicted, own, fits)
        else:
            continue
        if one is not None:
            found[task.name] = one
    return found


def _number_figures(
    task: Task, predicted: np.ndarray, truth: np.ndarray, fits: Any, random: np.random.Generator
) -> Figures | None:
    both = np.isfinite(predicted) & np.isfinite(truth)
    rows = np.flatnonzero(both)
    if len(rows) < _FEWEST:
        return None
    coverage = []
    for wanted in COVERAGES:
        inside, widths = [], []
        for part, calibration in fits:
            if task.name not in calibration.residuals:
                return None
            own = part & both
            ends = calibration.interval(task, predicted[own], wanted)
            inside.append((ends[:, 0] <= truth[own]) & (truth[own] <= ends[:, 1]))
            widths.append(ends[:, 1] - ends[:, 0])
        width = float(np.median(np.concatenate(widths)))
        coverage.append(
            {
                "wanted": wanted,
                "found": float(np.concatenate(inside).mean()),
                "width": width if np.isfinite(width) else None,
            }
        )
    errors = truth[rows] - predicted[rows]
    shown = np.sort(random.choice(rows, min(len(rows), _SHOWN_ROWS), replace=False))
    return {
        "kind": "number",
        "rows": len(rows),
        "points": [[float(f"{truth[r]:.5g}"), float(f"{predicted[r]:.5g}")] for r in shown],
        "residuals": {
            "mean": float(errors.mean()),
            "deviation": float(errors.std()),
            "quantiles": {
                f"{share:g}": float(np.quantile(errors, share))
                for share in (0.05, 0.25, 0.5, 0.75, 0.95)
            },
        },
        "coverage": coverage,
    }


def _class_figures(
    task: Task, predicted: np.ndarray, truth: np.ndarray, fits: Any
) -> Figures | None:
    """Return how often the second of two classes, or the likeliest of several, was right."""
    known = np.isfinite(predicted.reshape(len(predicted), -1)).all(1) & np.isfinite(truth)
    if known.sum() < _FEWEST:
        return None
    said, hit = [], []
    for part, calibration in fits:
        own = part & known
        given = scale_probabilities(
            predicted[own].astype(np.float64), calibration.temperatures.get(task.name, 1.0)
        )
        labels = truth[own].astype(np.int64)
        if given.ndim == 1:
            said.append(given)
            hit.append(labels == 1)
        else:
            said.append(given.max(1))
            hit.append(labels == given.argmax(1))
    probability, came = np.concatenate(said), np.concatenate(hit)
    bins = np.minimum((probability * _BINS).astype(int), _BINS - 1)
    points = [
        {
            "said": float(probability[bins == number].mean()),
            "found": float(came[bins == number].mean()),
            "count": int((bins == number).sum()),
        }
        for number in range(_BINS)
        if (bins == number).any()
    ]
    gap = sum(one["count"] * abs(one["said"] - one["found"]) for one in points) / len(came)
    return {
        "kind": "binary" if predicted.ndim == 1 else "classes",
        "classes": [str(name) for name in task.classes],
        "rows": len(came),
        "points": points,
        "gap": gap,
    }
