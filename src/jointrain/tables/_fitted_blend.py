"""A recipe's networks beside cheap baselines, weighed by rows that none of them has seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from jointrain.baselines import (
    AnyBaseline,
    baseline_encoder,
    predict_with_baseline,
)
from jointrain.data import SupervisedTable
from jointrain.experiments import Recipe
from jointrain.tables._blend import blend_predictions, steady_weights
from jointrain.tables._blended_model import BlendedModel, FittedBaseline, fit_baseline_to
from jointrain.tables._fit_table import Splits, calibration_of, fit_seen_and_unseen
from jointrain.tables._table_model import TableModel
from jointrain.tables._unseen_parts import unseen_parts
from jointrain.task import Task, known_labels
from jointrain.training import FitRuns, one_thread
from jointrain.training.population import fit_together

MOST_TREE_ROWS = 20_000
"""Trees of more rows, those of all forests of a fit together, would take minutes and gigabytes.

A forest of all targets needs a further one for each target that lacks labels.
"""


def fit_blend(
    table: SupervisedTable,
    recipe: Recipe,
    *,
    seed: int = 0,
    device: str | torch.device = "auto",
    fit_runs: FitRuns = fit_together,
) -> TableModel | BlendedModel:
    """Fit a recipe's networks to all rows of a table, and baselines beside them.

    The baselines are ``linear``, extra trees of all targets at once, and of numbers ``kernel
    ridge``; of a target whose kind has several numbers a row none. Their weights come from rows
    that none of the models that predict them has seen, see `steady_weights`: networks predict the
    rows that they have kept for early stopping, and baselines are fitted without these, at most
    four times. There are no trees beyond 20,000 rows, those of all forests together: one forest for
    all targets of a kind, and a further one for each of them that lacks labels.

    Args:
        table: The rows.
        recipe: Of the networks.
        seed: Seed of all random choices.
        device: Where to train networks.
        fit_runs: Fits the trainers, as in `fit_table`.

    Returns:
        The blend; the networks alone where there is no baseline for any task.

    Raises:
        InvalidInputError: As in `fit_table`.
    """
    predicted = [task for task in table.tasks if task.name not in recipe.auxiliary]
    labels = table.labels()
    lacking = np.asarray(~known_labels(labels, table.tasks).all(0))
    gaps = [task.name for task, some in zip(table.tasks, lacking, strict=True) if some]
    chosen = baselines_of(predicted, len(labels), gaps)
    networks, unseen, splits = fit_seen_and_unseen(
        table, recipe, seed=seed, device=device, fit_runs=fit_runs, in_halves=bool(chosen)
    )
    if not chosen:
        calibration = calibration_of(table, networks.predicted_tasks, unseen)
        return replace(networks, calibration=calibration)
    tasks = networks.predicted_tasks
    predictions = {task.name: {recipe.name: unseen[task.name]} for task in tasks}
    components: dict[str, TableModel | FittedBaseline] = {
        recipe.name: replace(networks, schema=None)
    }
    with one_thread():
        for name, (baseline, names) in chosen.items():
            own = _of_tasks(table, names)
            for task, values in _unseen_by(baseline, own, splits, seed).items():
                predictions[task][name] = values
            components[name] = fit_baseline_to(baseline, own.only(names), seed)
    return _blended(table, tasks, predictions, components)


def _blended(
    table: SupervisedTable,
    tasks: Sequence[Task],
    predictions: Mapping[str, Mapping[str, np.ndarray]],
    components: Mapping[str, TableModel | FittedBaseline],
) -> BlendedModel:
    places = [[task.name for task in table.tasks].index(task.name) for task in tasks]
    own = _of_tasks(table, [task.name for task in tasks])
    of_rows = table.fit_weights()
    weights = steady_weights(
        tasks, predictions, own.labels(), None if of_rows is None else of_rows[:, places]
    )
    blended = {
        task.name: blend_predictions(predictions[task.name], weights[task.name]) for task in tasks
    }
    calibration = calibration_of(table, tasks, blended)
    return BlendedModel(tuple(tasks), table.columns, components, weights, calibration, table.schema)


def baselines_of(
    tasks: Sequence[Task], rows: int, gaps: Sequence[str] = ()
) -> dict[str, tuple[str, list[str]]]:
    """Return the baselines that go beside networks of so many rows, each with its tasks' names.

    They are called by their names; where some targets are numbers and some are classes, those that
    can't predict both are called by what they predict, too.

    Args:
        tasks: What is predicted.
        rows: Rows of the table.
        gaps: Names of the tasks that lack labels.
    """
    plain = [task for task in tasks if task.in_table.objective != "problems"]
    numbers = [task.name for task in plain if not task.has_classes]
    classes = [task.name for task in plain if task.has_classes]
    found: dict[str, tuple[str, list[str]]] = {}
    if plain:
        found["linear"] = ("linear", [task.name for task in plain])
    for names, what in ((numbers, "numbers"), (classes, "classes")):
        forests = 1 + len({*names} & {*gaps}) * (len(names) > 1)
        if names and rows * forests <= MOST_TREE_ROWS:
            trees = "extra trees joint" if len(names) > 1 else "extra trees"
            called = f"{trees} of {what}" if numbers and classes else trees
            found[called] = (trees, names)
    if numbers:
        found["kernel ridge"] = ("kernel ridge", numbers)
    return found


def _of_tasks(table: SupervisedTable, names: Sequence[str]) -> SupervisedTable:
    """Return the table with some of its tasks, and all its rows."""
    places = [index for index, task in enumerate(table.tasks) if task.name in names]
    return replace(
        table,
        tasks=tuple(table.tasks[index] for index in places),
        weights=None if table.weights is None else table.weights[:, places],
    )


def _unseen_by(
    baseline: AnyBaseline, table: SupervisedTable, splits: Splits, seed: int
) -> dict[str, np.ndarray]:
    """Return a baseline's predictions of rows that it was fitted without, NaN for all others."""
    encoder = baseline_encoder(baseline).fit(table.frame, list(table.columns), seed)
    inputs, labels, weights = encoder.transform(table.frame), table.labels(), table.fit_weights()
    found = {
        task.name: np.full((len(labels), *task.in_table.prediction_shape()), np.nan)
        for task in table.tasks
    }
    labelled = known_labels(labels, table.tasks)
    for known, rows in unseen_parts(splits):
        known = known[labelled[known].any(1)]
        # by group and time, a target may have no label left
        if not len(rows) or not labelled[known].any(0).all():
            continue
        predicted = predict_with_baseline(
            baseline,
            inputs[known],
            labels[known],
            inputs[rows],
            table.tasks,
            seed,
            None if weights is None else weights[known],
            encoder.code_places,
        )
        for name, values in predicted.items():
            found[name][rows] = values
    return found
