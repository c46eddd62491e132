"""Predictions and metrics of a table larger than memory, piece by piece."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from jointrain import metrics as measures
from jointrain.data import (
    Moments,
    TableFiles,
    encode_targets,
    part_weights,
    query_columns,
    with_kept,
)
from jointrain.errors import InvalidInputError
from jointrain.metrics import Metric
from jointrain.tables._table_predictor import TablePredictor
from jointrain.task import Task, labels_of

EXACT_ROWS = 1_000_000
"""Of so many rows all predictions are kept, and every metric is computed of all of them."""

_MEANS: tuple[Callable[..., float], ...] = (
    measures.binary_log_loss,
    measures.log_loss,
    measures.accuracy,
)
"""Metrics that are means over rows."""

_OF_ERRORS: tuple[Callable[..., float], ...] = (measures.root_mean_squared_error, measures.r2)
"""Metrics that follow from means over rows."""


def predict_streamed(
    model: TablePredictor,
    files: TableFiles,
    intervals: float | None = None,
    keep: Sequence[str] = (),
    see: Callable[[pl.DataFrame], Any] | None = None,
) -> Iterator[pl.DataFrame]:
    """Yield the predictions of a table's rows, piece by piece, in the order of the files' names.

    Args:
        model: What predicts.
        files: The table.
        intervals: As for `TablePredictor.predict_table`.
        keep: Columns that are put before the predictions.
        see: Called with the rows of each piece, before they are predicted.

    Raises:
        InvalidInputError: As in `predict_table`; file and row are named. Or a file has changed,
            which may be found after the last row only.
    """
    needed = [column.name for column in model.columns]
    files.check_columns([*needed, *keep])
    for piece in files.in_order_of_names():
        frame = files.read(piece, list(dict.fromkeys([*keep, *needed])))
        try:
            table = model.conformed(frame)
            if see is not None:
                see(table)
            predictions = model.predict_table(table, intervals)
        except InvalidInputError as error:
            raise files.located(error, piece) from None
        yield with_kept(predictions, frame.select(keep))
    files.check_unchanged()


def evaluate_streamed(
    model: TablePredictor,
    files: TableFiles,
    weights: str | None = None,
    progress: Callable[[int, int], Any] | None = None,
) -> StreamedMetrics:
    """Return each task's metrics over the rows of a table that have its label.

    Up to `EXACT_ROWS` rows, they are those of `TablePredictor.evaluate`. Of more, means over rows
    (log-loss, accuracy, RMSE and R2) are of all of them, and the others of every n-th row, so many
    that at most `EXACT_ROWS` are kept.

    Args:
        model: What predicts.
        files: The table, with the targets.
        weights: The column that says how much each row counts; default all the same.
        progress: Called with the number of rows that are through, and that of all.

    Raises:
        InvalidInputError: As in `evaluate`, or a metric ranks rows within queries.
    """
    tasks = model.predicted_tasks
    if query_columns(tasks):
        raise InvalidInputError(
            f"metrics of {', '.join(query_columns(tasks))} rank rows among each other, and these "
            "are streamed; evaluate a file that fits into memory"
        )
    read = list(dict.fromkeys(name for task in tasks for name in task.target_columns))
    needed = [*(column.name for column in model.columns), *read]
    needed += [] if weights is None else [weights]
    files.check_columns(needed)
    every = max(1, -(-files.rows // EXACT_ROWS))
    measured = [_Measured(task, exact=every == 1) for task in tasks]
    passed = 0
    for piece, frame in files.frames(list(dict.fromkeys(needed))):
        try:
            table = model.conformed(frame, read)
            labels = encode_targets(table, list(tasks))
            of_rows = None if weights is None else part_weights(frame[weights])
            predictions = model.predict(frame)
        except InvalidInputError as error:
            raise files.located(error, piece) from None
        kept = np.arange(-passed % every, len(frame), every)
        passed += len(frame)
        for one, own in zip(measured, labels_of(labels, tasks), strict=True):
            one.add(predictions[one.task.name], own, of_rows, kept)
        if progress is not None:
            progress(passed, files.rows)
    sampled = sorted({name for one in measured for name in one.sampled})
    return StreamedMetrics(
        {one.task.name: one.result() for one in measured},
        files.rows,
        -(-files.rows // every),
        tuple(sampled),
    )


@dataclass(frozen=True)
class StreamedMetrics:
    """Metrics of a table larger than memory.

    Args:
        values: By task and metric name.
        rows: How many rows there were.
        sampled_rows: How many of them metrics in `sampled` are of.
        sampled: Names of the metrics that are not of all rows.
    """

    values: dict[str, dict[str, float]]
    rows: int
    sampled_rows: int
    sampled: tuple[str, ...]


@dataclass
class _Measured:
    """What is known so far of a task's metrics."""

    task: Task
    exact: bool
    predictions: list[np.ndarray] = field(default_factory=list)
    labels: list[np.ndarray] = field(default_factory=list)
    weights: list[np.ndarray] = field(default_factory=list)
    _counts: float = 0.0
    _sums: dict[str, float] = field(default_factory=dict)
    _target: Moments = field(default_factory=Moments)

    @property
    def _merged(self) -> list[Metric]:
        """The metrics that are computed of all rows without keeping them."""
        if self.exact or self.task.in_table.label_shape():
            return []
        return [m for m in self.task.metrics or () if m.compute in (*_MEANS, *_OF_ERRORS)]

    @property
    def sampled(self) -> list[str]:
        """Names of the metrics that are of a part of the rows."""
        if self.exact:
            return []
        return [m.name for m in self.task.metrics or () if m not in self._merged]

    def add(
        self,
        prediction: np.ndarray,
        label: np.ndarray,
        weights: np.ndarray | None,
        kept: np.ndarray,
    ) -> None:
        """Take in the predictions of some rows."""
        self.predictions.append(prediction[kept])
        self.labels.append(label[kept])
        if weights is not None:
            self.weights.append(weights[kept])
        known = np.asarray(self.task.in_table.known(label))
        if weights is not None:
            known = known & (weights > 0)
        if not self._merged or not known.any():
            return
        of_rows = None if weights is None else weights[known]
        count = float(known.sum()) if of_rows is None else float(of_rows.sum())
        given, target = _tensor(prediction[known]), _tensor(label[known])
        other = () if of_rows is None else (_tensor(of_rows),)
        self._counts += count
        for metric in self._merged:
            if metric.compute in _MEANS:
                value = metric.compute(given, target, *other)
            else:
                value = measures.root_mean_squared_error(given, target, *other) ** 2
            self._sums[metric.name] = self._sums.get(metric.name, 0.0) + count * value
        self._target.add(label[known], of_rows)

    def result(self) -> dict[str, float]:
        """Return the metrics by name."""
        weights = np.concatenate(self.weights) if self.weights else None
        found = self.task.evaluate(
            _tensor(np.concatenate(self.predictions)),
            _tensor(np.concatenate(self.labels)),
            None if weights is None else _tensor(weights),
        )
        for metric in self._merged:
            if metric.name not in self._sums:
                continue
            value = self._sums[metric.name] / self._counts
            if metric.compute is measures.root_mean_squared_error:
                value = math.sqrt(value)
            elif metric.compute is measures.r2:
                variance = self._target.deviation**2
                value = 1 - value / variance if variance else math.nan
            found[metric.name] = value
        return found


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float64))
