"""Column importance: how much worse each task is predicted when a column says nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch

from jointrain.charts import InNotebook
from jointrain.data import SupervisedTable, encode_targets
from jointrain.errors import InvalidInputError, closest
from jointrain.metrics import Metric, compute_metrics
from jointrain.tables._fit_table import inner_splits
from jointrain.tables._table_model import TableModel
from jointrain.tables._table_predictor import AnyPredictor
from jointrain.task import Task, labels_of, only_labels
from jointrain.training import FittedNetwork, predict

STANDARD_ERRORS = 2.0
"""A task uses a column whose importance lies more standard errors above 0 than this ..."""

SMALLEST_SHARE = 0.05
"""... and is more than this share of the task's largest importance."""

_GROUPS = 5
"""Groups of rows that are left out in turn, for the standard error."""


@dataclass(frozen=True)
class ColumnImportance(InNotebook):
    """How much worse each task's first metric is when a column's values change places.

    Args:
        metrics: By task the name of the metric.
        columns: The feature columns.
        increase: By task the worsening for each column, in the metric's unit, positive is worse;
            mean over repeats.
        error: By task its standard errors: of the repeats, and of the rows by a jackknife.
        rows: How many rows were measured.
    """

    metrics: Mapping[str, str]
    columns: tuple[str, ...]
    increase: Mapping[str, np.ndarray]
    error: Mapping[str, np.ndarray]
    rows: int

    def used(self, task: str) -> tuple[str, ...]:
        """Return the columns that a task uses, the most important first.

        The rule: the importance is more than `STANDARD_ERRORS` standard errors above 0, and more
        than `SMALLEST_SHARE` of the largest one. A column may be unused because another one says
        the same.
        """
        values, error = self.increase[task], self.error[task]
        largest = np.nanmax(values, initial=0.0)
        order = np.argsort(-values, kind="stable")
        return tuple(
            self.columns[i]
            for i in order
            if values[i] > STANDARD_ERRORS * error[i] and values[i] > SMALLEST_SHARE * largest
        )

    @property
    def shared(self) -> tuple[str, ...]:
        """The columns that two tasks or more use."""
        users = self.users
        return tuple(name for name in self.columns if len(users[name]) > 1)

    @property
    def own(self) -> dict[str, tuple[str, ...]]:
        """For each task the columns that no other task uses."""
        users = self.users
        return {
            task: tuple(name for name in self.columns if users[name] == (task,))
            for task in self.increase
        }

    @property
    def users(self) -> dict[str, tuple[str, ...]]:
        """For each column the tasks that use it."""
        used = {task: set(self.used(task)) for task in self.increase}
        return {name: tuple(task for task in used if name in used[task]) for name in self.columns}

    def table(self) -> pl.DataFrame:
        """Return a row for each task and column: metric, increase, error and whether it is used."""
        rows = []
        for task, values in self.increase.items():
            used = self.used(task)
            rows += [
                (task, name, self.metrics[task], float(value), float(error), name in used)
                for name, value, error in zip(self.columns, values, self.error[task], strict=True)
            ]
        names = ["task", "column", "metric", "increase", "error", "used"]
        return pl.DataFrame(rows, schema=names, orient="row")

    def to_frame(self) -> pl.DataFrame:
        """Return `table`."""
        return self.table()

    def to_json(self) -> dict[str, Any]:
        """Return what JSON can hold; not a number becomes null."""

        def plain(values: np.ndarray) -> list[float | None]:
            return [float(v) if math.isfinite(v) else None for v in values]

        return {
            "rows": self.rows,
            "columns": list(self.columns),
            "tasks": {
                task: {
                    "metric": self.metrics[task],
                    "increase": plain(values),
                    "error": plain(self.error[task]),
                    "used": list(self.used(task)),
                }
                for task, values in self.increase.items()
            },
        }


def column_importance(
    model: AnyPredictor,
    frame: Any,
    *,
    columns: Sequence[str] | None = None,
    repeats: int = 5,
    rows: int = 2000,
    seed: int = 0,
    weights: np.ndarray | None = None,
) -> ColumnImportance:
    """Measure the importance of columns on rows that the model was not fitted to.

    Args:
        model: Anything with `columns`, `predicted_tasks`, `predict` and `conformed`.
        frame: A table with the feature and target columns.
        columns: Which feature columns; default all.
        repeats: Permutations of each column; default 5.
        rows: Rows that are drawn from the frame at most; default 2000.
        seed: Seed of the drawing and the permutations.
        weights: How much each label counts in metrics, [n, t]; default all the same.

    Raises:
        InvalidInputError: A number is below 1, or a column is missing or no feature.

    Source: Breiman, "Random Forests", Machine Learning 45, 2001, section 10; Fisher, Rudin &
        Dominici, "All Models are Wrong, but Many are Useful", JMLR 20, 2019 (of any model).
    """
    tasks = model.predicted_tasks
    table = model.conformed(frame, [name for task in tasks for name in task.target_columns])
    _check(repeats, rows)
    random = np.random.default_rng(seed)
    drawn = _drawn(table.height, rows, random)
    table = table[drawn]
    labels = encode_targets(table, list(tasks))

    def permuted(column: str, orders: np.ndarray) -> Mapping[str, np.ndarray]:
        stacked = pl.concat([table] * len(orders))
        return model.predict(stacked.with_columns(table[column][orders.ravel()].alias(column)))

    return _measure(
        tasks,
        _chosen(columns, [column.name for column in model.columns]),
        labels,
        model.predict(table),
        permuted,
        repeats,
        random,
        None if weights is None else weights[drawn],
    )


@dataclass(frozen=True)
class _Members:
    """Networks of a model, each with the rows that it was not trained on.

    Args:
        model: The model.
        rows: Number of rows, n.
        parts: Networks, and which rows they have left out.
    """

    model: TableModel
    rows: int
    parts: Sequence[tuple[Sequence[FittedNetwork], np.ndarray]]

    def predict(
        self, at: Callable[[np.ndarray], torch.Tensor], repeats: int
    ) -> dict[str, np.ndarray]:
        """Return the predictions [repeats * n, ...] from the inputs [repeats * m, d] of rows."""
        totals: dict[str, np.ndarray] = {}
        times = np.zeros(self.rows)
        for parts, own in self.parts:
            if not len(own):
                continue
            times[own] += 1
            for name, values in _predict(parts, self.model.predicted_tasks, at(own)).items():
                shape = values.shape[1:]
                total = totals.setdefault(name, np.zeros((repeats, self.rows, *shape)))
                total[:, own] += values.reshape(repeats, len(own), *shape)
        scaled = {}
        for name, total in totals.items():
            mean, deviation = self.model.scaling.get(name, (0.0, 1.0))
            values = total / times.reshape(-1, *[1] * (total.ndim - 2)) * deviation + mean
            scaled[name] = values.reshape(-1, *values.shape[2:])
        return scaled


def unseen_column_importance(
    model: TableModel,
    table: SupervisedTable,
    *,
    columns: Sequence[str] | None = None,
    repeats: int = 5,
    rows: int = 2000,
    seed: int = 0,
) -> ColumnImportance:
    """Measure the importance of columns on the rows that a model was fitted to, but honestly.

    Each row is predicted by the networks that were not trained on it; see `inner_splits`.

    Args:
        model: Fitted to `table` by `fit_table`.
        table: All of its rows, in the same order.
        columns: Which feature columns; default all.
        repeats: Permutations of each column; default 5.
        rows: Rows that are drawn at most; default 2000.
        seed: Seed of the drawing and the permutations.

    Raises:
        InvalidInputError: As in `column_importance`, or no row was held out of training.
    """
    _check(repeats, rows)
    random = np.random.default_rng(seed)
    tasks, labels = model.predicted_tasks, table.labels()
    splits = inner_splits(model.recipe, labels, table.tasks, model.seed, table.groups, table.time)
    count = len(model.parts) // len(splits)
    held_out = np.unique(np.concatenate([split[1] for split in splits]))
    if not len(held_out):
        raise InvalidInputError(
            "no row could be left out of training (too few rows, groups, times or labels), so "
            "there is none to measure columns on, to stop early by, or to calibrate by; use "
            "`column_importance` with other rows"
        )
    drawn = held_out[_drawn(len(held_out), rows, random)]
    inputs = torch.from_numpy(model.encoder.transform(table.frame[drawn]))
    place = {row: position for position, row in enumerate(drawn.tolist())}
    members = _Members(
        model,
        len(drawn),
        [
            (
                model.parts[index * count : (index + 1) * count],
                np.array([place[row] for row in split[1].tolist() if row in place], dtype=np.int64),
            )
            for index, split in enumerate(splits)
        ],
    )
    sources = np.array(model.encoder.source_columns)
    names = [task.name for task in table.tasks]
    kept = [names.index(task.name) for task in tasks]

    def permuted(column: str, orders: np.ndarray) -> Mapping[str, np.ndarray]:
        own_inputs = torch.from_numpy(np.flatnonzero(sources == column))

        def at(own: np.ndarray) -> torch.Tensor:
            stacked = inputs[torch.from_numpy(own)].repeat(len(orders), 1)
            from_rows = torch.from_numpy(orders[:, own].ravel())
            stacked[:, own_inputs] = inputs[from_rows][:, own_inputs]
            return stacked

        return members.predict(at, len(orders))

    return _measure(
        tasks,
        _chosen(columns, [column.name for column in model.columns]),
        only_labels(labels[drawn], table.tasks, [task.name for task in tasks]),
        members.predict(lambda own: inputs[torch.from_numpy(own)], 1),
        permuted,
        repeats,
        random,
        None if table.weights is None else table.weights[drawn][:, kept],
    )


def _predict(
    parts: Sequence[FittedNetwork], tasks: Sequence[Task], inputs: torch.Tensor
) -> dict[str, np.ndarray]:
    """Return standardised values and probabilities of the networks of one member."""
    found = {}
    for part in parts:
        own = [task for task in tasks if task.name in part.tasks]
        for name, values in predict(part.network, own, inputs).items():
            found[name] = values.double().numpy()
    return found


def _measure(
    tasks: Sequence[Task],
    columns: Sequence[str],
    labels: np.ndarray,
    base: Mapping[str, np.ndarray],
    permuted: Callable[[str, np.ndarray], Mapping[str, np.ndarray]],
    repeats: int,
    random: np.random.Generator,
    weights: np.ndarray | None,
) -> ColumnImportance:
    """Return the importance of columns.

    Args:
        tasks: The tasks.
        columns: The columns.
        labels: [n, w].
        base: Predictions of the rows as they are.
        permuted: From a column and the rows that its values are taken from, [repeats, n], to
            predictions of repeats * n rows.
        repeats: Permutations of each column.
        random: Source of the permutations.
        weights: [n, t]; None for equal ones.
    """
    scored = {
        task.name: _Scored(
            metric, own, task.in_table.known(own), None if weights is None else weights[:, index]
        )
        for index, (task, own) in enumerate(zip(tasks, labels_of(labels, tasks), strict=True))
        # rows that are drawn leave little of a query
        for metric in [one for one in task.metrics or () if one.query is None][:1]
    }
    count = len(labels)
    group = random.permutation(count) % _GROUPS
    increase = {name: np.full(len(columns), np.nan) for name in scored}
    error = {name: np.full(len(columns), np.nan) for name in scored}
    losses = {name: _losses(one, base[name], group) for name, one in scored.items()}
    for index, column in enumerate(columns):
        orders = np.stack([random.permutation(count) for _ in range(repeats)])
        predictions = permuted(column, orders)
        for name, one in scored.items():
            of_repeats = predictions[name].reshape(repeats, count, *predictions[name].shape[1:])
            first = _losses(one, of_repeats[0], group) - losses[name]
            # metrics cost more than networks: the jackknife is made for the first repeat only
            others = [
                _loss(one, prediction, one.known) - losses[name][0] for prediction in of_repeats[1:]
            ]
            change = np.array([first[0], *others])
            increase[name][index] = change.mean()
            by_rows = (_GROUPS - 1) * first[1:].var()
            by_orders = change.var(ddof=1) / repeats if repeats > 1 else 0.0
            error[name][index] = math.sqrt(by_rows + by_orders)
    names = {name: one.metric.name for name, one in scored.items()}
    return ColumnImportance(names, tuple(columns), increase, error, count)


class _Scored(NamedTuple):
    """What tells how well a task is predicted.

    Shape:
        target: [n] or [n, m]. known: [n] of bool, the rows with a label. weights: [n], or None.
    """

    metric: Metric
    target: np.ndarray
    known: np.ndarray
    weights: np.ndarray | None


def _losses(one: _Scored, prediction: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Return the loss of all rows, and without each group of rows in turn."""
    return np.array([_loss(one, prediction, one.known & (group != g)) for g in range(-1, _GROUPS)])


def _loss(one: _Scored, prediction: np.ndarray, rows: np.ndarray) -> float:
    """Return the metric of some rows, its negative if higher is better."""
    found = compute_metrics(
        (one.metric,),
        torch.from_numpy(prediction[rows]),
        torch.from_numpy(one.target[rows]),
        None if one.weights is None else torch.from_numpy(one.weights[rows]),
    )[one.metric.name]
    return -found if one.metric.higher_is_better else found


def _chosen(columns: Sequence[str] | None, known: Sequence[str]) -> tuple[str, ...]:
    for name in columns or ():
        if name not in known:
            raise InvalidInputError(
                f"{name!r} is no feature column of the model{closest(name, known)}"
            )
    return tuple(known if columns is None else columns)


def _drawn(count: int, rows: int, random: np.random.Generator) -> np.ndarray:
    if count <= rows:
        return np.arange(count)
    return np.sort(random.choice(count, rows, replace=False))


def _check(repeats: int, rows: int) -> None:
    for name, value in (("repeats", repeats), ("rows", rows)):
        if value < 1:
            raise InvalidInputError(f"`{name}` must be at least 1, got {value}")
