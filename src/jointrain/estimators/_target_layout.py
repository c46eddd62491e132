"""Which columns of y a target is read from, which its predictions fill, and how good they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch

from jointrain.data import target_columns, yes_or_no
from jointrain.errors import InvalidInputError, closest
from jointrain.estimators._estimator_data import Targets, label_column
from jointrain.task import ClassKind, Task

ColumnsOf = Mapping[str, tuple[str, ...]]
"""The columns of y that each target is read from, by its name."""


class PredictedTarget(NamedTuple):
    """A column of predictions.

    Args:
        name: What it is called.
        place: The column of y whose name and type it has; None for numbers of its own.
        is_class: Whether it holds classes.
    """

    name: str
    place: int | None
    is_class: bool


def columns_by_target(kinds: Mapping[str, str | None]) -> ColumnsOf:
    """Return the columns that each target is read from, by what is said of its kind.

    Raises:
        InvalidInputError: A kind is unknown, or a column is read by two targets.
    """
    said = {name: kind for name, kind in kinds.items() if kind is not None}
    found = target_columns(list(kinds), said)
    reader: dict[str, str] = {}
    for name, columns in found.items():
        for column in columns:
            if column in reader:
                raise InvalidInputError(
                    f"`tasks` has {column!r} of y read by two targets, {reader[column]!r} and "
                    f"{name!r}; give y a copy of it under another name"
                )
            reader[column] = name
    return found


def with_names(targets: Targets, columns_of: ColumnsOf) -> Targets:
    """Return the columns of y, which must be those that targets are read from.

    Raises:
        InvalidInputError: They are others; of y without names, their number is another.
    """
    wanted = [column for columns in columns_of.values() for column in columns]
    if not targets.named:
        if len(wanted) != len(targets.names):
            raise InvalidInputError(
                f"y has {len(targets.names)} columns without names, and `tasks` names "
                f"{len(wanted)}: {', '.join(wanted[:8])}; give a column for each, in their order"
            )
        return targets.called(wanted)
    for name, columns in columns_of.items():
        for column in columns:
            if column not in targets.names:
                what = f"{column!r} as a column of {name!r}" if columns != (name,) else repr(name)
                raise InvalidInputError(
                    f"`tasks` names {what}, which y lacks{closest(column, targets.names)}; y has "
                    f"{', '.join(targets.names[:8])}"
                )
    for column in targets.names:
        if column not in wanted:
            raise InvalidInputError(
                f"y has a column {column!r} that `tasks` does not name{closest(column, wanted)}; "
                "give its kind there, or drop it"
            )
    return targets


def in_order_of_y(targets: Targets, columns_of: ColumnsOf) -> dict[str, list[int]]:
    """Return the places of each target's columns in y, targets in the order of their first."""
    if not columns_of:
        return {name: [place] for place, name in enumerate(targets.names)}
    places = {
        name: [targets.names.index(column) for column in columns]
        for name, columns in columns_of.items()
    }
    return dict(sorted(places.items(), key=lambda item: min(item[1])))


def predicted_targets(
    name: str, places: Sequence[int], targets: Targets, task: Task | None, *, is_class: bool
) -> list[PredictedTarget]:
    """Return the columns that predictions of a target fill.

    Args:
        name: The target.
        places: Its columns in y.
        targets: The columns of y.
        task: The target; None of one with one value only.
        is_class: Whether it has one class a row.
    """
    cells = "numbers" if task is None else task.in_table.cells
    if cells in ("yes or no", "shares"):
        return [
            PredictedTarget(targets.names[place], place, cells == "yes or no") for place in places
        ]
    own = len(places) == 1 and targets.names[places[0]] == name
    return [PredictedTarget(name, places[0] if own else None, is_class)]


def words_for_yes(targets: Targets, place: int, target: str) -> tuple[Any, Any]:
    """Return what a column of y holds for no and for yes."""
    known = targets.known(place)
    meant = yes_or_no(label_column(targets, place).drop_nulls(), target)
    no, yes = (known[int((meant == value).argmax())] for value in (0, 1))
    return no, yes


def values_of(task: Task, prediction: np.ndarray, words: Sequence[tuple[Any, Any]]) -> list[Any]:
    """Return what is predicted, in the columns of `predicted_targets`, [n] each.

    Args:
        task: The target.
        prediction: [n] or [n, c], as models give it.
        words: Of several labels, what stands for no and for yes in the column of each.
    """
    kind = task.in_table
    if isinstance(kind, ClassKind):
        return [_chosen(task.classes, kind.chosen(prediction))]
    if kind.cells == "yes or no":
        likely = (prediction > 0.5).astype(np.int64)
        return [_chosen(both, likely[:, index]) for index, both in enumerate(words)]
    if kind.cells == "shares":
        return list(prediction.T)
    return [np.asarray(kind.predicted_columns(prediction)[0].values)]


def _chosen(labels: Sequence[Any], index: np.ndarray) -> np.ndarray:
    found = np.empty(len(labels), dtype=object)
    found[:] = labels
    return np.asarray(found[index])


def levels_around(task: Task, coverage: float) -> tuple[int, int] | None:
    """Return the places of the two quantiles of an interval with this coverage, None if not there.

    Raises:
        InvalidInputError: The coverage does not lie between 0 and 1.
    """
    if not isinstance(coverage, Real) or not 0 < coverage < 1:
        raise InvalidInputError(f"coverage must lie between 0 and 1, got {coverage!r}")
    levels = np.array([float(level) for level in task.classes])
    wanted = np.array([1 - coverage, 1 + coverage]) / 2
    low, high = (int(place) for place in np.abs(levels[:, None] - wanted).argmin(0))
    return (low, high) if np.abs(levels[[low, high]] - wanted).max() < 1e-9 else None


def has_own_score(task: Task) -> bool:
    """Return whether a target is scored by `own_score`, and not by R2 or accuracy of its column."""
    kind = task.in_table
    several = bool(kind.label_shape() or kind.prediction_shape())
    return task.given is not None or (several and not isinstance(kind, ClassKind))


def own_score(
    task: Task, prediction: np.ndarray, labels: np.ndarray, weights: np.ndarray | None
) -> float | None:
    """Return how good predictions of a target are that has no plain R2 or accuracy; 1 is best.

    Several labels and what is given another target: the accuracy (of each label, their mean).
    Survival: the C-index. Others: D2, the part of a constant's loss that is explained, which of
    squared errors is R2.

    Shape:
        prediction: [n] or [n, c]. labels: [n] or [n, m], NaN where one is missing. weights: [n].

    Returns:
        None where there is no label.
    """
    kind = task.in_table
    counted = kind.known(labels) if weights is None else kind.known(labels) & (weights > 0)
    if not counted.any():
        return None
    prediction, labels = prediction[counted], labels[counted]
    of_rows = None if weights is None else weights[counted]
    if kind.cells == "yes or no" or task.given is not None:
        right = (prediction > 0.5) == (labels > 0.5)
        known = ~np.isnan(labels)
        counts = known if of_rows is None else (known.T * of_rows).T
        shares = (right * counts).sum(0) / np.where(counts.sum(0) > 0, counts.sum(0), np.nan)
        return float(np.nanmean(shares))
    if kind.cells == "times":
        (concordance,) = (m for m in task.rules.default_metrics() if m.name == "C-index")
        tensors = [torch.from_numpy(np.asarray(part)) for part in (prediction, labels)]
        if of_rows is not None:
            tensors.append(torch.from_numpy(of_rows))
        return float(concordance.compute(*tensors))
    constant = kind.constant(labels, of_rows)[None].repeat(len(labels), 0)
    of_constant = kind.row_losses(kind.from_columns(constant), labels)
    found = np.average(kind.row_losses(prediction, labels), weights=of_rows)
    least = np.average(of_constant, weights=of_rows)
    if least <= 0:
        return float(found <= 0)
    return float(1 - found / least)


def label_frame(targets: Targets, orders: Sequence[Sequence[str] | None] | None = None) -> Any:
    """Return the columns of y as a table; `orders` as in `label_column`."""
    each = orders or [None] * len(targets.names)
    return pl.DataFrame([label_column(targets, index, order) for index, order in enumerate(each)])
