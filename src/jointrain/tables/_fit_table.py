"""Fitting a recipe to the rows of a table."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jointrain.data import (
    SparseRows,
    SupervisedTable,
    TableEncoder,
    TensorData,
    check_target_scale,
    outer_folds,
    validation_halves,
    validation_split,
)
from jointrain.errors import InvalidInputError
from jointrain.experiments import Recipe
from jointrain.tables._calibration import Calibration
from jointrain.tables._network_runs import fit_parts, member_seed, refuse_rules_of_other_runs
from jointrain.tables._table_model import TableModel, encoded_features, predict_parts
from jointrain.task import (
    CodeColumns,
    Task,
    labels_of,
    only_labels,
)
from jointrain.training import (
    FitRuns,
    FittedNetwork,
    Phases,
    Strategy,
)
from jointrain.training.callbacks import Callback
from jointrain.training.population import fit_together

Splits = Sequence[tuple[np.ndarray, np.ndarray]]
"""For each member of an ensemble the rows to train on and those for early stopping."""


def fit_table(
    table: SupervisedTable,
    recipe: Recipe,
    *,
    seed: int = 0,
    device: str | torch.device = "auto",
    callbacks: Sequence[Callback] = (),
    fit_runs: FitRuns = fit_together,
    sparse: Any = None,
    start: TableModel | None = None,
    strategy: Strategy | None = None,
) -> TableModel:
    """Fit a recipe on all rows of a table.

    A part of the rows is used for early stopping and not trained on, a different one by each member
    of an ensemble; see `inner_splits`.

    Args:
        table: The rows, with tasks and feature columns.
        recipe: How.
        seed: Seed of all random choices.
        device: Where to train: auto, cpu or cuda.
        callbacks: Hooks of the trainers.
        fit_runs: Fits the trainers; default `jointrain.training.population.fit_together`, which
            trains small networks as one program and others one after the other.
        sparse: The features, [n, c]: a sparse matrix of scipy with a column for each of the
            table's, which are all numeric; networks read it batch by batch. Default: those in the
            table's frame.
        start: A model of the same columns and tasks, whose weights the networks begin with; its
            encoder and its scaling of numbers are kept, and its number of networks if the recipe
            leaves that open. Default: fresh networks.
        strategy: ``ddp`` trains on all processes that torchrun has started, see `Trainer`; each of
            them gives the same table and gets the same model. Default: on one.

    Raises:
        InvalidInputError: The table or the recipe can't be used as they are, or `start` is of other
            columns, tasks or networks.
    """
    model, unseen, _ = fit_seen_and_unseen(
        table,
        recipe,
        seed=seed,
        device=device,
        callbacks=callbacks,
        fit_runs=fit_runs,
        sparse=sparse,
        start=start,
        strategy=strategy,
    )
    return replace(model, calibration=calibration_of(table, model.predicted_tasks, unseen))


def fit_seen_and_unseen(
    table: SupervisedTable,
    recipe: Recipe,
    *,
    seed: int = 0,
    device: str | torch.device = "auto",
    callbacks: Sequence[Callback] = (),
    fit_runs: FitRuns = fit_together,
    sparse: Any = None,
    start: TableModel | None = None,
    in_halves: bool = False,
    strategy: Strategy | None = None,
) -> tuple[TableModel, dict[str, np.ndarray], Splits]:
    """Fit a recipe as `fit_table`, and return also what its networks predict of unseen rows.

    Args:
        table: As in `fit_table`, and likewise the others but `in_halves`.
        recipe: How.
        seed: Seed of all random choices.
        device: Where to train.
        callbacks: Hooks of the trainers.
        fit_runs: Fits the trainers.
        sparse: The features.
        start: A model to begin with.
        in_halves: Whether each half of the rows for early stopping is predicted with the weights
            that the other half has chosen: early stopping flatters a network on the rows that it
            stops by. Default False.
        strategy: As in `fit_table`.

    Returns:
        The model, without calibration; the predictions of each row by networks that were not
        trained on it, by predicted task, NaN if there is none; the rows of each member.
    """
    tasks, labels = table.tasks, table.labels()
    names = [task.name for task in tasks]
    recipe.check_tasks(names)
    weights = table.fit_weights()
    if start is None:
        encoder, inputs = encode_table(table, recipe, seed, sparse)
        scaling: Mapping[str, tuple[float, float]] = target_scaling(labels, tasks, weights)
    else:
        _check_start(start, table, recipe)
        encoder, scaling = start.encoder, start.scaling
        own = replace(start, schema=start.schema and start.schema.after_reading())
        inputs = encoded_features(own, table.frame if sparse is None else sparse)
        if recipe.ensemble is None:
            recipe = replace(recipe, ensemble=len(start.parts) // len(recipe.groups(names)))
    data = make_data(inputs, labels, tasks, scaling, weights, encoder.code_columns)
    splits = inner_splits(recipe, labels, tasks, seed, table.groups, table.time)
    first_halves = [0] * len(splits)
    if in_halves:
        for member, (train, rows) in enumerate(splits):
            halves = validation_halves(
                labels[rows],
                tasks,
                seed,
                None if table.groups is None else table.groups[rows],
                None if table.time is None else table.time[rows],
            )
            splits[member] = train, rows[np.concatenate(halves)]
            first_halves[member] = len(halves[0]) if len(halves[1]) else 0
    parts = fit_parts(
        recipe,
        data,
        tasks,
        splits,
        seed=seed,
        device=device,
        callbacks=callbacks,
        fit_runs=fit_runs,
        start=() if start is None else start.parts,
        first_halves=first_halves,
        strategy=strategy,
    )
    plain = tuple(replace(part, by_half=None) for part in parts)
    model = TableModel(
        tasks, table.columns, encoder, scaling, plain, recipe, seed, schema=table.schema
    )
    unseen = predict_unseen(
        parts, splits, model.predicted_tasks, scaling, data.inputs, first_halves
    )
    return model, unseen, splits


def target_scaling(
    labels: np.ndarray, tasks: Sequence[Task], weights: np.ndarray | None = None
) -> dict[str, tuple[float, float]]:
    """Return mean and standard deviation of each regression target; 1 for a constant one.

    Shape:
        labels: [n, w], NaN where one is missing. weights: [n, t].

    Raises:
        InvalidInputError: Values are too large or too close for double precision.
    """
    scaling = {}
    for index, (task, own) in enumerate(zip(tasks, labels_of(labels, tasks), strict=True)):
        if task.in_table.has_scale:
            values = own.astype(np.float64)
            check_target_scale(task.name, values)
            of_rows = None if weights is None else weights[:, index]
            found = task.in_table.scaling(values, of_rows)
            if found is not None:
                scaling[task.name] = found
    return scaling


def make_data(
    inputs: Tensor | SparseRows,
    labels: np.ndarray,
    tasks: Sequence[Task],
    scaling: Mapping[str, tuple[float, float]],
    weights: np.ndarray | None = None,
    codes: Sequence[CodeColumns] = (),
) -> TensorData:
    """Return tensors to train on: inputs, standardised values, class indices and weights.

    Args:
        inputs: What an encoder gave.
        labels: Of all tasks.
        tasks: The tasks.
        scaling: Mean and standard deviation of regression targets.
        weights: How much each label counts.
        codes: Which inputs are codes, `TableEncoder.code_columns`.

    Shape:
        inputs: [n, d]. labels: [n, w], NaN where one is missing. weights: [n, t].
    """
    targets = {}
    for task, own in zip(tasks, labels_of(labels, tasks), strict=True):
        values = task.in_table.training_target(
            own.astype(np.float64), scaling.get(task.name, (0.0, 1.0))
        )
        targets[task.name] = torch.from_numpy(values.astype(np.float32))
    if weights is None:
        return TensorData(inputs, targets, None, tuple(codes))
    of_rows = [torch.from_numpy(np.ascontiguousarray(column)) for column in weights.T]
    return TensorData(
        inputs,
        targets,
        {task.name: of_rows[index] for index, task in enumerate(tasks)},
        tuple(codes),
    )


def inner_splits(
    recipe: Recipe,
    labels: np.ndarray,
    tasks: Sequence[Task],
    seed: int,
    groups: np.ndarray | None = None,
    time: np.ndarray | None = None,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the rows to train on and those for early stopping, of each member of the ensemble.

    A single network keeps `Recipe.validation_fraction` of the rows. The members of an ensemble keep
    the folds of a cross-validation in turn; by time, or where a task has too few labels for that,
    they keep parts like the single network's.

    Shape:
        labels: [n, w], NaN where a label is missing. groups, time: [n].
    """
    count = min(recipe.chosen_ensemble(len(labels)), max(1, len(labels) // 2))
    if count > 1 and time is None:
        # fewer groups than members, or a task without a label on one side
        with suppress(InvalidInputError):
            return outer_folds(labels, tasks, count, seed, groups=groups)
    return [
        validation_split(
            labels, tasks, recipe.validation_fraction, member_seed(seed, member), groups, time
        )
        for member in range(count)
    ]


def predict_unseen(
    parts: Sequence[FittedNetwork],
    splits: Splits,
    tasks: Sequence[Task],
    scaling: Mapping[str, tuple[float, float]],
    inputs: Tensor | SparseRows,
    first_halves: Sequence[int] = (),
) -> dict[str, np.ndarray]:
    """Return predictions of each row by networks that were not trained on it; NaN if there is none.

    Args:
        parts: The networks, those of each member of the ensemble together.
        splits: For each member the rows trained on and those for early stopping.
        tasks: The tasks to predict.
        scaling: Mean and standard deviation of each regression target.
        inputs: Encoded features of all rows.
        first_halves: How many of each member's rows for early stopping, the first ones, are a half;
            parts that hold weights by half predict either with those of the other. Default none.

    Shape:
        inputs: [n, d]. returns: as `TableModel.predict`.
    """
    count = len(parts) // len(splits)
    totals: dict[str, np.ndarray] = {}
    times = np.zeros(len(inputs))
    for member, (_, rows) in enumerate(splits):
        own = parts[member * count : (member + 1) * count]
        first = first_halves[member] if first_halves else 0
        for half, held_out in enumerate((rows[:first], rows[first:])):
            if not len(held_out):
                continue
            times[held_out] += 1
            chosen = [_by_other_half(part, half) for part in own] if first else own
            for name, values in predict_parts(
                chosen, tasks, scaling, inputs.index_select(0, torch.from_numpy(held_out))
            ).items():
                total = totals.setdefault(name, np.zeros((len(inputs), *values.shape[1:])))
                total[held_out] += values
    times[times == 0] = np.nan
    if not totals:
        shapes = {task.name: task.in_table.prediction_shape() for task in tasks}
        return {name: np.full((len(inputs), *shape), np.nan) for name, shape in shapes.items()}
    return {
        name: total / times.reshape(-1, *[1] * (total.ndim - 1)) for name, total in totals.items()
    }


def _by_other_half(part: FittedNetwork, half: int) -> FittedNetwork:
    """Return a network with the weights that the other half of its validation rows has chosen."""
    if part.by_half is None:
        return part
    chosen = replace(part, network=copy.deepcopy(part.network))
    chosen.choose_half(1 - half)
    return chosen


def calibration_of(
    table: SupervisedTable, tasks: Sequence[Task], unseen: Mapping[str, np.ndarray]
) -> Calibration:
    """Return what predictions of a table's rows by models without them tell.

    Args:
        table: The rows.
        tasks: Those of its tasks that are predicted.
        unseen: By task, NaN for rows that nothing has predicted so.
    """
    names = [task.name for task in table.tasks]
    weights, kept = table.fit_weights(), [names.index(task.name) for task in tasks]
    return Calibration.fit(
        tasks,
        unseen,
        only_labels(table.labels(), table.tasks, [task.name for task in tasks]),
        None if table.weights is None else table.weights[:, kept],
        None if weights is None else weights[:, kept],
    )


def encode_table(
    table: SupervisedTable, recipe: Recipe, seed: int, sparse: Any = None
) -> tuple[TableEncoder, Tensor | SparseRows]:
    """Return an encoder fitted to the rows of a table, and what it makes of them.

    Args:
        table: The rows.
        recipe: Says how numbers are cut.
        seed: Seed of random choices.
        sparse: The features as for `fit_table`.

    Raises:
        InvalidInputError: Phases pretrain, and the features are sparse.
    """
    encoder = TableEncoder(recipe.bins)
    if sparse is None:
        encoder.fit(table.frame, list(table.columns), seed)
        return encoder, torch.from_numpy(encoder.transform(table.frame))
    _check_reads_sparse(recipe)
    encoder.fit_sparse(sparse, table.columns)
    return encoder, encoder.transform_sparse(sparse)


def _check_start(start: TableModel, table: SupervisedTable, recipe: Recipe) -> None:
    refuse_rules_of_other_runs(recipe, "a start from former weights")
    if start.columns != table.columns or start.tasks != table.tasks:
        what = "tasks" if start.columns == table.columns else "feature columns"
        raise InvalidInputError(
            f"the model to start from has other {what} than the table; give the same, or begin anew"
        )
    if recipe.bins != start.recipe.bins:
        raise InvalidInputError(
            f"the model to start from has bins={start.recipe.bins}, and the recipe {recipe.bins}; "
            "keep `bins` as they were, or begin anew"
        )


def _check_reads_sparse(recipe: Recipe) -> None:
    if isinstance(recipe.schedule, Phases) and recipe.schedule.pretrains:
        raise InvalidInputError(
            "phases that pretrain need dense features, and these are sparse; leave such phases out"
        )
