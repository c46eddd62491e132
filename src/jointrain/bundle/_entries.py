"""What networks and blends describe alike: tasks, columns, calibration, and how a table is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load as load_tensors

from jointrain.bundle._description import check_digest
from jointrain.bundle._fields import ColumnEntry, PartEntry, TaskEntry
from jointrain.data import Column, ColumnReading, TableEncoder, TableSchema
from jointrain.errors import InvalidInputError
from jointrain.system.array_file import check_header
from jointrain.system.stored_files import DamagedError, read_file
from jointrain.tables import BlendedModel, Calibration, Residuals, TableModel
from jointrain.task import Task
from jointrain.training import FittedNetwork

WEIGHTS = "weights.safetensors"
"""The networks' weights, and the residuals of the calibration."""
ENCODER = "encoder.safetensors"
"""The encoder of networks, and of baselines that version 0.1 fitted."""
ERRORS = "errors of "
"""What the names of residuals begin with among the weights."""


def task_entry(
    task: Task, scaling: Mapping[str, tuple[float, float]], calibration: Calibration
) -> TaskEntry:
    """Return a task with its scale, mean and deviation by name, and its calibration."""
    mean, deviation = scaling.get(task.name, (None, None))
    residuals = calibration.residuals.get(task.name)
    return TaskEntry(
        name=task.name,
        kind=task.kind,
        classes=list(task.classes),
        columns=list(task.columns),
        metric=_named_metric(task),
        query=task.metrics[0].query if task.metrics else None,
        given=task.given,
        correction=task.correction,
        mean=mean,
        deviation=deviation,
        temperature=calibration.temperatures.get(task.name),
        unseen_rows=None if residuals is None else residuals.rows,
        interval_scale=None if residuals is None else residuals.scale,
        lowest=None if residuals is None else residuals.lowest,
    )


def part_entries(parts: Sequence[FittedNetwork]) -> list[PartEntry]:
    """Return networks without their weights."""
    return [
        PartEntry(
            tasks=list(part.tasks),
            network_tasks=list(part.network.task_names),
            weights=dict(part.weights),
            validation=dict(part.validation),
            epochs=part.epochs,
        )
        for part in parts
    ]


def column_entries(model: TableModel | BlendedModel) -> list[ColumnEntry]:
    """Return the columns of a model with their categories."""
    return [
        ColumnEntry(
            name=column.name,
            kind=column.kind,
            dtype=column.dtype,
            categories=model.encoder.categories.get(column.name)
            if column.kind == "category"
            else None,
            separator=column.separator,
        )
        for column in model.columns
    ]


def known_metrics(
    metrics: Mapping[str, Mapping[str, float]],
) -> dict[str, dict[str, float | None]]:
    """Return metrics, by task and name, with None for NaN."""
    return {
        task: {name: None if value != value else value for name, value in values.items()}
        for task, values in metrics.items()
    }


def readings_of(schema: TableSchema | None) -> dict[str, ColumnReading] | None:
    """Return how each column is read; None where that is not known."""
    return None if schema is None else dict(schema.columns)


def tasks_of(entries: Sequence[TaskEntry]) -> tuple[Task, ...]:
    """Return the tasks that entries describe."""
    return tuple(_task_of(entry) for entry in entries)


def _task_of(entry: TaskEntry) -> Task:
    task = Task(
        entry.name,
        entry.kind,
        tuple(entry.classes),
        columns=tuple(entry.columns),
        given=entry.given,
        correction=entry.correction,
    )
    _check_columns_of(task)
    return task if entry.metric is None else task.judged_by(entry.metric, entry.query)


def _check_columns_of(task: Task) -> None:
    """Refuse columns that the kind's cells can't be read from."""
    many = len(task.target_columns)
    shape = task.in_table.label_shape()
    several = shape[0] if shape else 1
    fits = many == several or (task.in_table.cells == "bounds" and many == 1)
    if not fits:
        raise DamagedError(f"task {task.name!r} is read from another number of columns")


def _named_metric(task: Task) -> str | None:
    """Return the metric that was chosen for a task; None for its kind's own, or one of no name."""
    own = task.rules.default_metrics()
    if not task.metrics or (own and task.metrics[0] == own[0]):
        return None
    try:
        chosen = task.judged_by(task.metrics[0].name, task.metrics[0].query)
    except InvalidInputError:
        return None
    return task.metrics[0].name if chosen.metrics == task.metrics else None


def columns_of(entries: Sequence[ColumnEntry]) -> tuple[Column, ...]:
    """Return the columns that entries describe."""
    return tuple(Column(entry.name, entry.kind, entry.dtype, entry.separator) for entry in entries)


def check_columns(encoder: TableEncoder, columns: Sequence[Column]) -> None:
    """Refuse an encoder of other columns.

    Raises:
        DamagedError: It has others.
    """
    if encoder.columns != tuple(columns):
        raise DamagedError("the columns of an encoder are not those of the bundle")


def schema_of(readings: Mapping[str, ColumnReading] | None) -> TableSchema | None:
    """Return the schema of readings; None for None."""
    return None if readings is None else TableSchema(readings)


def residual_tensors(calibration: Calibration) -> dict[str, torch.Tensor]:
    """Return the residuals of a calibration as tensors, by name."""
    for residuals in calibration.residuals.values():
        _check_residuals(residuals)
    return {
        f"{ERRORS}{name}": torch.from_numpy(residuals.errors)
        for name, residuals in calibration.residuals.items()
    }


def read_calibration(
    entries: Sequence[TaskEntry], weights: Mapping[str, torch.Tensor]
) -> Calibration:
    """Return the calibration that entries and residuals among the weights describe."""
    return Calibration(
        {entry.name: entry.temperature for entry in entries if entry.temperature is not None},
        {
            entry.name: _read_residuals(entry, weights)
            for entry in entries
            if entry.unseen_rows is not None
        },
    )


def _read_residuals(entry: TaskEntry, weights: Mapping[str, torch.Tensor]) -> Residuals:
    errors = weights[ERRORS + entry.name].numpy()
    residuals = Residuals(
        entry.unseen_rows or 0, errors, entry.interval_scale or "linear", entry.lowest
    )
    _check_residuals(residuals)
    return residuals


def _check_residuals(residuals: Residuals) -> None:
    if residuals.errors.dtype != "float64" or not np.isfinite(residuals.errors).all():
        raise DamagedError("the residuals of a task hold a value that is no number")
    residuals.check()


def read_weights(folder: Path, digests: Mapping[str, str]) -> dict[str, torch.Tensor]:
    """Return what the file of weights holds, after checking its digest."""
    data = read_file(folder / WEIGHTS, folder=folder)
    check_digest(data, WEIGHTS, digests)
    check_header(data)
    return dict(load_tensors(data))
