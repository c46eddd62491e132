"""Weights of a table's rows and classes: read from a column, checked, and put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import polars as pl

from jointrain.data._type_words import type_in_words
from jointrain.errors import InvalidInputError, closest
from jointrain.task import Task, checked_class_weight, labels_of

ClassWeights = Literal["balanced"] | Mapping[Any, Any]
"""``balanced``, or weights by class, or either of them by target."""

ResolvedWeights = Mapping[str, "Literal['balanced'] | tuple[float, ...]"]
"""For each target that has class weights: ``balanced``, or the weight of each class in order."""


def read_row_weights(column: pl.Series) -> np.ndarray:
    """Return the weights of a column's rows, [n] of float64.

    Raises:
        InvalidInputError: A weight is no number, missing, negative or infinite, or all are 0; the
            row is counted from 1.
    """
    name, dtype = column.name, column.dtype
    if not dtype.is_numeric():
        found = type_in_words(dtype)
        example = "" if column.null_count() == len(column) else f" such as {column.drop_nulls()[0]}"
        raise InvalidInputError(
            f"row-weight column {name!r} holds {found}{example}; weights are numbers of 0 or more"
        )
    return checked_row_weights(column.cast(pl.Float64).to_numpy(), f"row-weight column {name!r}")


def checked_row_weights(weights: np.ndarray, what: str) -> np.ndarray:
    """Return weights that are finite and not negative, and not all 0.

    Args:
        weights: [n] or [n, t].
        what: What they are called in the message.

    Raises:
        InvalidInputError: They are not such.
    """
    wrong = ~(np.isfinite(weights) & (weights >= 0))
    if wrong.any():
        place = np.argwhere(wrong)[0]
        value = weights[tuple(place)]
        raise InvalidInputError(
            f"{what} {'is empty or not a number' if np.isnan(value) else f'holds {value:g}'} in "
            f"row {place[0] + 1}; weights are finite numbers of 0 or more"
        )
    if not (weights > 0).any():
        raise InvalidInputError(
            f"{what} is zero: a weight of 0 in every row; give some a weight above 0"
        )
    return weights


def check_weighted_metrics(tasks: Sequence[Task]) -> None:
    """Refuse metrics that take no weights of rows, before anything is trained.

    Raises:
        InvalidInputError: One takes none.
    """
    for task in tasks:
        for metric in task.metrics or ():
            if not metric.takes_weights:
                raise InvalidInputError(
                    f"metric {metric.name!r} of {task.name!r} takes no weights of rows; leave out "
                    "the metric or the weights"
                )


def check_weighted_labels(tasks: Sequence[Task], labels: np.ndarray, weights: np.ndarray) -> None:
    """Refuse weights that are 0 in all rows of a target, or of a class.

    Shape:
        labels: [n, w] as `encode_targets` gives them. weights: [n, t].

    Raises:
        InvalidInputError: They are; the class is named.
    """
    for index, (task, own) in enumerate(zip(tasks, labels_of(labels, tasks), strict=True)):
        known = task.in_table.known(own)
        counted = own[known & (weights[:, index] > 0)]
        if known.any() and not len(counted):
            raise InvalidInputError(
                f"all rows that have a label of {task.name!r} have weight 0; give some a weight "
                "above 0, or leave the target out"
            )
        for code in range(len(task.classes) if task.has_classes else 0):
            if (own == code).any() and not (counted == code).any():
                raise InvalidInputError(
                    f"all rows of class {task.classes[code]!r} of {task.name!r} have weight 0; "
                    "give some a weight above 0, or empty their labels"
                )


def resolve_class_weights(given: ClassWeights | None, tasks: Sequence[Task]) -> ResolvedWeights:
    """Return what `given` says of each target that has classes.

    Args:
        given: ``balanced`` for all targets with classes; weights by class, for all targets that
            have the class, or by ``target:class``, others being 1; or either of these by target.
        tasks: The targets.

    Raises:
        InvalidInputError: It is of another form, names what is no class, or a weight is not a
            number above 0.
    """
    if given is None or (isinstance(given, Mapping) and not given):
        return {}
    with_classes = [task for task in tasks if task.has_classes]
    if not with_classes:
        raise InvalidInputError("class weights are for targets with classes, and there is none")
    if not isinstance(given, Mapping):
        check_class_weight_rule(given)
        return {task.name: "balanced" for task in with_classes}
    names = {task.name: task for task in tasks}
    if all(name in names for name in given) and any(
        isinstance(of_one, Mapping) or of_one == "balanced" for of_one in given.values()
    ):
        found: dict[str, Any] = {}
        for name, of_one in given.items():
            found |= resolve_class_weights(of_one, [names[name]])
        return found
    return _by_class(given, with_classes)


def check_class_weight_rule(given: object) -> None:
    """Refuse what is no rule by which classes weigh.

    Raises:
        InvalidInputError: It is not ``balanced``.
    """
    if given != "balanced":
        raise InvalidInputError(
            f"class weights must be 'balanced' or a number for each class, got {given!r}"
            f"{closest(str(given), ['balanced'])}"
        )


def _by_class(given: Mapping[Any, Any], tasks: Sequence[Task]) -> ResolvedWeights:
    """Return the weights of the classes of the targets that have one of the named classes.

    A class may be named ``target:class`` where others have classes of the same name.
    """
    by_text = {str(label): weight for label, weight in given.items()}
    known = {str(label) for task in tasks for label in task.classes}
    known |= {f"{task.name}:{label}" for task in tasks for label in task.classes}
    for label, weight in by_text.items():
        if label not in known:
            raise InvalidInputError(
                f"class weights name {label!r}, which is no class of a target"
                f"{closest(label, known)}"
            )
        checked_class_weight(label, weight)

    def of_class(task: Task, label: object) -> float | None:
        own = by_text.get(f"{task.name}:{label}", by_text.get(str(label)))
        return None if own is None else float(own)

    found = {task.name: [of_class(task, label) for label in task.classes] for task in tasks}
    return {
        name: tuple(1.0 if weight is None else weight for weight in weights)
        for name, weights in found.items()
        if any(weight is not None for weight in weights)
    }


def class_factors(
    labels: np.ndarray,
    weights: np.ndarray | None,
    rule: Literal["balanced"] | tuple[float, ...],
    classes: int,
    rows: np.ndarray | None = None,
) -> np.ndarray:
    """Return what the weight of each row of a target is multiplied by, [n]; 1 without a label.

    Args:
        labels: Class indices, [n], NaN where one is missing.
        weights: Of the rows, [n]; None for equal ones.
        rule: The weight of each class, or ``balanced``, see `balanced_class_weights`.
        classes: Number of classes.
        rows: Whose classes are counted; default all.
    """
    known = np.isfinite(labels)
    codes = np.where(known, labels, 0).astype(np.int64)
    if rule == "balanced":
        counted = known.astype(np.float64) if weights is None else np.where(known, weights, 0.0)
        chosen = slice(None) if rows is None else rows
        factors = balanced_class_weights(codes[chosen], counted[chosen], classes)
    else:
        factors = np.array(rule)
    return np.where(known, factors[codes], 1.0)


def balanced_class_weights(codes: np.ndarray, weights: np.ndarray, classes: int) -> np.ndarray:
    """Return weights by which all classes that occur weigh the same, [c]; 1 for the others.

    They are W / (c W_k) for class k of the c classes that occur, W being sums of weights, as in
    scikit-learn's ``class_weight``.

    Args:
        codes: Class indices, [n].
        weights: Of the rows, [n].
        classes: Number of classes.
    """
    sums = np.bincount(codes, weights, minlength=classes)
    there = sums > 0
    factors = np.ones(classes)
    factors[there] = sums.sum() / (there.sum() * sums[there])
    return factors


def weight_notes(
    weights: np.ndarray | None, column: str | None, class_weights: ResolvedWeights
) -> list[str]:
    """Say what weights mean for the reader of figures and of probabilities.

    Args:
        weights: Of the rows, [n, t].
        column: Where they come from.
        class_weights: Those of classes.
    """
    notes = []
    if weights is not None and len(weights) and not (weights == weights[0]).all():
        effective = max(1, round(effective_rows(weights[:, 0])))
        notes.append(
            f"rows weigh by column {column}: {len(weights)} rows tell as much as {effective} of "
            "equal weight"
        )
    if class_weights:
        names = ", ".join(class_weights)
        notes.append(
            f"classes of {names} weigh in training: probabilities are not those of the rows' own "
            "shares of classes, and metrics are without these weights"
        )
    return notes


def effective_rows(weights: np.ndarray) -> float:
    """Return how many rows of equal weight tell as much as these, [n]: (sum w)^2 / sum w^2.

    Source: Kish, "Survey Sampling", 1965, section 11.7.
    """
    largest = weights.max(initial=0.0)
    if not largest > 0:
        return 0.0
    scaled = weights / largest
    return float(scaled.sum() ** 2 / (scaled**2).sum())
