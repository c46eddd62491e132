"""What predicts target columns of a table, and what predictions are worth."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Self

import numpy as np
import polars as pl
import torch

from jointrain.data import (
    Column,
    TableSchema,
    as_table,
    checked_row_weights,
    encode_targets,
    query_columns,
    query_numbers,
    read_row_weights,
)
from jointrain.errors import InvalidInputError, closest
from jointrain.tables._calibration import Calibration
from jointrain.task import (
    Task,
    conditional_metrics,
    conditionals,
    given_name,
    labels_of,
)

ONE_TRADE_OFF = (
    "the model has one trade-off between its targets; `jointrain fit --network pareto-set` makes "
    "one that takes a preference"
)


class AnyPredictor(Protocol):
    """What can be explained: also a model of one's own."""

    @property
    def columns(self) -> tuple[Column, ...]: ...

    @property
    def predicted_tasks(self) -> tuple[Task, ...]: ...

    def predict(self, frame: Any) -> Mapping[str, np.ndarray]: ...

    def conformed(self, frame: Any, others: Sequence[str] = ()) -> pl.DataFrame: ...


class TablePredictor(ABC):
    """What predicts target columns: predictions as a table, and how good they are."""

    calibration: Calibration = Calibration()
    """What rows that a model was not trained on tell of its predictions; by default nothing."""

    columns: tuple[Column, ...]
    """The feature columns of the table that it was fitted on."""

    schema: TableSchema | None = None
    """How the columns of that table were read; None if an older jointrain fitted it."""

    @property
    @abstractmethod
    def predicted_tasks(self) -> tuple[Task, ...]:
        """The tasks that it predicts."""

    @abstractmethod
    def predict(self, frame: Any) -> dict[str, np.ndarray]:
        """Return the predictions of each task."""

    def preferring(self, preference: Mapping[str, float]) -> Self:
        """Return the model for another trade-off between its tasks, if it has such.

        Raises:
            InvalidInputError: It has none.
        """
        self.preferred_shares(preference)
        return self

    def preferred_shares(self, preference: Mapping[str, float]) -> dict[str, float]:
        """Return the shares of the tasks, which sum to 1, if the model has several trade-offs.

        Raises:
            InvalidInputError: It has one.
        """
        del preference
        raise InvalidInputError(ONE_TRADE_OFF)

    def predict_interval(self, frame: Any, coverage: float = 0.9) -> dict[str, np.ndarray]:
        """Return intervals for the values of each regression task.

        They reach from the prediction to quantiles of the errors on rows that a network was not
        trained on, below and above apart: of plain errors, or of ratios where labels are positive
        and spread over a factor of ten or more. A target that was never negative has no interval
        below 0. With an ensemble these are errors of single networks, which are somewhat larger
        than those of its mean, so the intervals are rather too wide than too narrow.

        Args:
            frame: As in `predict`.
            coverage: Which share of the true values the intervals are to hold, in (0, 1); default
                0.9. It holds over all rows together, not for each kind of row.

        Shape:
            returns: [n, 2], lower and upper end in the target's unit; infinite where there were too
            few rows for such a coverage.

        Raises:
            InvalidInputError: No task is of kind regression, or as in `predict`.
        """
        tasks = self._tasks_with_intervals(coverage)
        return self._interval_ends(tasks, self.predict(frame), coverage)

    def _tasks_with_intervals(self, coverage: float) -> list[Task]:
        """Return the tasks of kind regression; refuse a coverage that none can have."""
        tasks = [t for t in self.predicted_tasks if t.in_table.calibrated_by == "errors"]
        if not tasks:
            what = "has classes"
            if not all(task.has_classes for task in self.predicted_tasks):
                kinds = dict.fromkeys(task.kind for task in self.predicted_tasks)
                what = f"is {' or '.join(kinds)}"
            raise InvalidInputError(f"intervals are for numbers, and every task {what}")
        for task in tasks:  # a fault is said before the work is done
            self.calibration.interval(task, np.zeros(0), coverage)
        return tasks

    def _interval_ends(
        self, tasks: Sequence[Task], predictions: Mapping[str, np.ndarray], coverage: float
    ) -> dict[str, np.ndarray]:
        return {
            task.name: self.calibration.interval(task, predictions[task.name], coverage)
            for task in tasks
        }

    def predict_given(self, frame: Any) -> dict[str, np.ndarray]:
        """Return the probabilities of tasks that are given another one, where that one is.

        Args:
            frame: As in `predict`.

        Returns:
            [n] by names such as ``purchase|click``; p(purchase) is p(click) times it.

        Raises:
            InvalidInputError: As in `predict`.
        """
        return conditionals(self.predicted_tasks, self.predict(frame))

    def predict_table(self, frame: Any, intervals: float | None = None) -> pl.DataFrame:
        """Return the predictions as a table, a row for each row of `frame`.

        A regression task gives a column of its name. A class task gives a column of its name with
        the most probable class, and a column ``name=class`` with the probability of each class.
        Several labels give a column ``name=label`` each, proportions ``name=part``. Quantiles give
        ``name``, the one in the middle, and each as ``name_q0.05``. Survival gives ``name``, the
        mean time until the last end, and ``name>30``, the probability of more than 30. A task that
        is given another one has ``purchase|click``, its probability where that one is. Where a
        task has the name of such a further column, the column's name ends in ``(probability)``,
        ``(share)``, ``(quantile)`` or ``(interval)``.

        Args:
            frame: As in `predict`.
            intervals: Coverage of intervals of the regression tasks, in columns ``name_low`` and
                ``name_high``; None (default) for none.

        Raises:
            InvalidInputError: As in `predict` and `predict_interval`.
        """
        bounded = [] if intervals is None else self._tasks_with_intervals(intervals)
        predictions = self.predict(frame)
        ends = {} if intervals is None else self._interval_ends(bounded, predictions, intervals)
        return predictions_as_table(self.predicted_tasks, predictions, ends)

    def evaluate(
        self, frame: Any, weights: str | Sequence[float] | np.ndarray | None = None
    ) -> dict[str, dict[str, float]]:
        """Return each task's metrics over the rows of `frame` that have its label.

        Args:
            frame: A table with the feature and target columns.
            weights: How much each row counts: a column of the frame by its name, [n], or [n, t];
                default all the same.

        Raises:
            InvalidInputError: A feature or target column is missing or of another type, or a weight
                is not a number of 0 or more.
        """
        tasks = self.predicted_tasks
        read = [name for task in tasks for name in task.target_columns]
        table = self.conformed(frame, [*read, *query_columns(tasks)])
        labels = encode_targets(table, list(tasks))
        of_rows = None if weights is None else _given_weights(weights, table, len(tasks))
        queries = query_numbers(table, tasks)
        return evaluate_predictions(tasks, self.predict(table), labels, queries, of_rows)

    def conformed(self, frame: Any, others: Sequence[str] = ()) -> pl.DataFrame:
        """Return a table with the types that the features had in training, and the named columns.

        Args:
            frame: As in `predict`.
            others: More columns to treat so.

        Raises:
            InvalidInputError: A column has a type that can't be turned into its own exactly.
        """
        table = as_table(frame)
        if self.schema is None:
            return table
        return self.schema.only([*(column.name for column in self.columns), *others]).conform(table)


def _given_weights(
    given: str | Sequence[float] | np.ndarray, table: pl.DataFrame, tasks: int
) -> np.ndarray:
    """Return the weights of rows, [n, t]."""
    if isinstance(given, str):
        if given not in table.columns:
            raise InvalidInputError(
                f"there is no column {given!r} of weights{closest(given, table.columns)}"
            )
        weights = read_row_weights(table[given])
    else:
        weights = checked_row_weights(np.asarray(given, dtype=np.float64), "`weights`")
    if weights.shape == (len(table),):
        weights = np.repeat(weights[:, None], tasks, axis=1)
    if weights.shape != (len(table), tasks):
        raise InvalidInputError(
            f"`weights` must be one number a row, [{len(table)}], or one for each task, got shape "
            f"{list(weights.shape)}"
        )
    return weights


def checked_predictions(predictions: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return predictions of which each is a number.

    Raises:
        InvalidInputError: One is not: a row is too far from those of training, as for the
            exponential of a count, or the model's weights are too large to compute with.
    """
    for name, values in predictions.items():
        if not np.isfinite(values).all():
            row = int(np.argwhere(~np.isfinite(values))[0][0])
            raise InvalidInputError(
                f"the model gives no number for {name!r} in row {row + 1}: its features are too "
                "far from those of training, or the model's weights too large to compute with; "
                "correct or leave out the row, or if it is as in training, fit the model again"
            )
    return dict(predictions)


def predictions_as_table(
    tasks: Sequence[Task],
    predictions: Mapping[str, np.ndarray],
    ends: Mapping[str, np.ndarray],
) -> pl.DataFrame:
    """Return predictions as `TableModel.predict_table` does.

    Args:
        tasks: What is predicted.
        predictions: Of each, as `TableModel.predict`.
        ends: Intervals, [n, 2], of the tasks that have some.
    """
    given = conditionals(tasks, predictions)
    taken = {task.name for task in tasks}
    columns: dict[str, Any] = {}

    def add(name: str, kind: str, values: Any) -> None:
        while name in taken:
            name = f"{name} ({kind})"
        taken.add(name)
        columns[name] = values

    for task in tasks:
        for suffix, what, values in task.in_table.predicted_columns(predictions[task.name]):
            if suffix:
                add(task.name + suffix, what, values)
            else:
                columns[task.name] = values
        if given_name(task) in given:
            add(given_name(task), "probability", given[given_name(task)])
        for side, end in enumerate(("low", "high") if task.name in ends else ()):
            add(f"{task.name}_{end}", "interval", ends[task.name][:, side])
    return pl.DataFrame(columns)


def evaluate_predictions(
    tasks: Sequence[Task],
    predictions: Mapping[str, np.ndarray],
    labels: np.ndarray,
    queries: Mapping[str, np.ndarray],
    weights: np.ndarray | None = None,
) -> dict[str, dict[str, float]]:
    """Return each task's metrics over its labelled rows, by task and metric name.

    A task that is given another one of them has metrics of both its probabilities, see
    `conditional_metrics`.

    Shape:
        predictions: as `TableModel.predict`. labels: [n, w], NaN where one is missing. weights:
        [n, t]. queries: as `query_numbers`, [n] each.
    """
    of_rows = {name: torch.from_numpy(numbers) for name, numbers in queries.items()}
    whole = {
        task.name: (
            torch.from_numpy(np.asarray(predictions[task.name], dtype=np.float64)),
            torch.from_numpy(own.astype(np.float64)),
            None if weights is None else torch.from_numpy(weights[:, index].astype(np.float64)),
        )
        for index, (task, own) in enumerate(zip(tasks, labels_of(labels, tasks), strict=True))
    }
    found = {task.name: task.evaluate(*whole[task.name], queries=of_rows) for task in tasks}
    for task in tasks:
        if task.given in whole:
            (own, target, weight), (other, given, _) = whole[task.name], whole[task.given]
            found[task.name] |= conditional_metrics(task, own, target, other, given, weight)
    return found
