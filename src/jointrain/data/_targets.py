"""Targets: from a table's columns to tasks, and from labels to numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import polars as pl

from jointrain.data._columns import check_finite
from jointrain.data._number_text import leading_zero
from jointrain.data._table_schema import number_text
from jointrain.data._type_words import type_in_words
from jointrain.errors import InvalidInputError, closest
from jointrain.task import KINDS, TABLE_KINDS, ClassKind, Label, TableTaskKind, Task

_LARGEST = 1e100
"""Targets beyond it, or that differ by less than its inverse, have no mean square."""

MAX_CLASS_SHARE = 0.5
"""A class target has at most so many classes for each labelled row, if they are more than ten."""

_TYPO_DISTINCT = 20
"""Text with more distinct values than this that are mostly numbers is a number with a typo."""


def infer_tasks(
    frame: pl.DataFrame, targets: Sequence[str], kinds: Mapping[str, str] | None = None
) -> list[Task]:
    """Return a task for each target column.

    Two distinct values of any type make a binary task; so do booleans. Strings and categories with
    more make a multiclass task. Numbers with more than two distinct values make a regression task,
    integers too: a number, a count and a class written as a number look the same, and `kinds` says
    which. Classes are sorted; numbers without fraction become integers.

    Args:
        frame: The table; missing labels are null or NaN.
        targets: Names of the target columns.
        kinds: Kind by target name (``regression``, ``mean-variance``, ``count``,
            ``negative-binomial``, ``binary``, ``multiclass`` or ``ordinal``) where it is not to be
            inferred. The classes of an ordinal target are
            ordered as numbers are, or as its type (a Polars Enum) has them, or as they are named,
            lowest first: ``ordinal:low:medium:high``. A class that is named may be absent.

    Raises:
        InvalidInputError: A target does not exist or is named twice, a kind is unknown, or a
            column does not fit its kind: no labels, one value only, infinite values, text where
            numbers are needed, more than two classes in a binary task, numbers with fractions as
            classes, counts that are negative or have a fraction, ordered classes that are text
            without an order or are not all named.
    """
    kinds = kinds or {}
    if not isinstance(kinds, Mapping) or not all(isinstance(name, str) for name in kinds):
        raise InvalidInputError(
            f"`kinds` gives the kind of a target by the target's name, as text: got {kinds!r}"
        )
    if not targets:
        raise InvalidInputError("no target is named; name at least one column to predict")
    known = frame.columns
    for name, count in Counter(targets).items():
        if name not in known:
            raise InvalidInputError(
                f"target {name!r} is not in the table{closest(name, known)}; it has "
                f"{_listed(known, 8)}"
            )
        if count > 1:
            raise InvalidInputError(f"target {name!r} is named {count} times; name it once")
    for name, kind in kinds.items():
        if name not in targets:
            raise InvalidInputError(
                f"a kind is given for {name!r}, which is no target{closest(name, targets)}"
            )
        kind_and_order(name, kind)
    return [_infer_task(frame[name], kinds.get(name)) for name in targets]


def kind_and_order(target: str, said: str) -> tuple[type[TableTaskKind], tuple[str, ...]]:
    """Return the kind that is said of a target, and its classes where they are named in order.

    Args:
        target: The target.
        said: Such as ``regression`` or ``ordinal:low:medium:high``.

    Raises:
        InvalidInputError: There is no such kind, or it has no order.
    """
    kind, *order = str(said).split(":")
    if kind in KINDS and kind not in TABLE_KINDS:
        raise InvalidInputError(
            f"target {target!r} can't be {kind}: a column of a table is {', '.join(TABLE_KINDS)}; "
            f"tasks of kind {kind} are for modules of your own"
        )
    if kind not in TABLE_KINDS:
        raise InvalidInputError(
            f"target {target!r} has unknown kind {kind!r}{closest(kind, TABLE_KINDS)}; known are "
            f"{', '.join(TABLE_KINDS)}"
        )
    found = TABLE_KINDS[kind]
    if order and not found.takes_order:
        raise InvalidInputError(
            f"{kind} target {target!r} is given an order of classes, {said!r}, but only ordinal "
            "targets have one"
        )
    order = [label.strip() for label in order]
    if len(set(order)) < len(order) or len(order) == 1 or not all(order):
        raise InvalidInputError(
            f"the order of target {target!r}, {said!r}, must name two or more classes, each once, "
            "between colons, lowest first"
        )
    return found, tuple(order)


def encode_targets(frame: pl.DataFrame, tasks: Sequence[Task]) -> np.ndarray:
    """Return the labels as numbers: values of regression tasks, class indices of the others.

    The values are float64: single precision would round targets such as 1234567890.5.

    Args:
        frame: A table with a column for each task.
        tasks: The tasks, of the kinds that `infer_tasks` gives.

    Shape:
        returns: [n, t], NaN where a label is missing.

    Raises:
        InvalidInputError: A task's column does not exist, or holds a value that is no number or
            none of the task's classes; the row (from 1) is named.
    """
    labels = np.full((frame.height, len(tasks)), np.nan)  # [n, t]
    known = set(frame.columns)
    for index, task in enumerate(tasks):
        if task.name not in known:
            raise InvalidInputError(
                f"target column {task.name!r} is not in the table"
                f"{closest(task.name, frame.columns)}"
            )
        column = _cleaned(frame[task.name])
        if task.has_classes:
            labels[:, index] = _class_indices(column, task)
        else:
            labels[:, index] = _numbers(column, task.kind).cast(pl.Float64).to_numpy()
            task.in_table.check_labels(labels[:, index])
    return labels


def as_text(column: pl.Series) -> pl.Series:
    """Return values as text, null for NaN; numbers without fraction are written without one."""
    if column.dtype.is_float() or isinstance(column.dtype, pl.Decimal):
        return number_text(column.cast(pl.Float64))
    return column.cast(pl.String)


def _cleaned(column: pl.Series) -> pl.Series:
    """Return the column with null for NaN, categories as text; refuse infinite values."""
    if column.dtype.is_float():
        column = column.fill_nan(None)
        _check_finite(column)
    elif column.dtype in (pl.Categorical, pl.Enum):
        column = column.cast(pl.String)
    elif isinstance(column.dtype, pl.Decimal):
        column = column.cast(pl.Float64)
    if not (column.dtype.is_numeric() or column.dtype in (pl.Boolean, pl.String, pl.Null)):
        raise InvalidInputError(
            f"target {column.name!r} holds {type_in_words(column.dtype)}, which can't be "
            "predicted; turn it into a number or a class"
        )
    return column


def _check_finite(column: pl.Series) -> None:
    try:
        check_finite(column.to_frame(), [column.name])
    except InvalidInputError as error:
        raise InvalidInputError(str(error).replace("column", "target", 1)) from None


def _infer_task(column: pl.Series, said: str | None) -> Task:
    name = column.name
    ordered_type = column.dtype.categories.to_list() if isinstance(column.dtype, pl.Enum) else None
    column = _cleaned(column)
    known = column.drop_nulls()
    if known.is_empty():
        raise InvalidInputError(
            f"all labels of target {name!r} are missing; leave it out of the targets"
        )
    values = known.unique().sort()
    if len(values) == 1:
        raise InvalidInputError(
            f"target {name!r} has one value only, {values[0]!r}; there is nothing to predict, "
            "leave it out of the targets"
        )
    kind, order = kind_and_order(name, said or _inferred_kind(column, values))
    if not issubclass(kind, ClassKind):
        numbers = _numbers(column, kind.name).cast(pl.Float64).to_numpy()
        check_target_scale(str(name), numbers)
        task = Task(name, kind.name)
        task.in_table.check_labels(numbers)
        return task
    if kind.most_classes is not None and len(values) > kind.most_classes:
        raise InvalidInputError(
            f"{kind.name} target {name!r} has {len(values)} distinct values "
            f"({_listed(values.to_list(), 4)}); make it multiclass or regression"
        )
    if len(values) > max(10, MAX_CLASS_SHARE * len(known)):
        raise InvalidInputError(
            f"target {name!r} has {len(values)} classes in {len(known)} rows "
            f"({_listed(values.to_list(), 4)}); a class needs several rows to be learned: merge "
            "classes, make it a number, or leave it out of the targets"
        )
    classes = _classes(column, values, kind)
    if order:
        classes = _in_order(column, classes, order)
    elif kind.takes_order and ordered_type is not None:
        classes = tuple(label for label in ordered_type if label in set(classes))
    else:
        classes = kind.ordered(str(name), classes)
    return Task(name, kind.name, classes)


def _in_order(
    column: pl.Series, classes: Sequence[Label], order: Sequence[str]
) -> tuple[Label, ...]:
    """Return the classes that are named, lowest first, as labels of the column's type."""
    words = isinstance(classes[0], str)
    named = [label if words else _read_label(label) for label in order]
    if not words:
        numbers = [isinstance(label, (bool, int, float)) for label in named]
        if not all(numbers):
            raise InvalidInputError(
                f"target {column.name!r} holds values such as {classes[0]!r}, but its order names "
                f"{order[numbers.index(False)]!r}; name its values, lowest first"
            )
        if any(isinstance(label, float) for label in (*named, *classes)):
            named = [float(label) for label in named if label is not None]
    left = [label for label in classes if label not in named]
    if left:
        row = int((column == left[0]).arg_true()[0])
        raise InvalidInputError(
            f"target {column.name!r} holds {left[0]!r} in row {row + 1}, which its order does not "
            f"name; the order must hold all of {_listed(classes, 8)}"
        )
    return tuple(label for label in named if label is not None)


def check_target_scale(name: str, values: np.ndarray) -> None:
    """Refuse values whose squares, or whose differences' squares, double precision can't hold.

    Args:
        name: The target.
        values: NaN where a label is missing.

    Shape:
        values: [n].

    Raises:
        InvalidInputError: A value is beyond 1e100, or all differ by less than 1e-100.
    """
    known = values[np.isfinite(values)]
    if not len(known):
        return
    largest, spread = float(np.abs(known).max()), float(known.max() - known.min())
    if largest > _LARGEST or 0 < spread < 1 / _LARGEST:
        what = "values as large as" if largest > _LARGEST else "no larger difference than"
        size = largest if largest > _LARGEST else spread
        row = int(np.nanargmax(np.abs(values)))
        raise InvalidInputError(
            f"target {name!r} has {what} {size:.3g} (row {row + 1} holds {values[row]:.3g}); "
            "give it in another unit"
        )


def _inferred_kind(column: pl.Series, values: pl.Series) -> str:
    if len(values) == 2:
        return "binary"
    if column.dtype.is_numeric():
        return "regression"
    # digits that begin with 0 are codes, which are classes
    if len(values) > _TYPO_DISTINCT and leading_zero(values.cast(pl.String)) is None:
        finite = column.cast(pl.Float64, strict=False).is_finite().fill_null(value=False)
        if finite.sum() == column.count():
            raise InvalidInputError(
                f"target {column.name!r} is text, but all its values are numbers, such as "
                f"{column.drop_nulls()[0]!r}; turn it into numbers, or say that the target is "
                "regression or multiclass"
            )
        if finite.sum() > 0.5 * column.count():
            row = int((~finite & column.is_not_null()).arg_true()[0])
            raise InvalidInputError(
                f"target {column.name!r} is mostly numbers but holds {column[row]!r} in row "
                f"{row + 1}; mend it, take it as missing (--missing), or say that the target is "
                "multiclass"
            )
    return "multiclass"


def _classes(column: pl.Series, values: pl.Series, kind: type[ClassKind]) -> tuple[Label, ...]:
    if not values.dtype.is_float():
        return tuple(values.to_list())
    fractions = values.filter(values != values.round())
    if fractions.is_empty():
        return tuple(int(value) for value in values)
    if kind.whole_numbers:
        row = int((column == fractions[0]).arg_true()[0])
        raise InvalidInputError(
            f"multiclass target {column.name!r} holds {fractions[0]!r} in row {row + 1}, which is "
            "no class; make it regression, or write classes as text or whole numbers"
        )
    return tuple(values.to_list())


def _numbers(column: pl.Series, kind: str) -> pl.Series:
    """Return the values of a target of numbers; refuse text and infinite values."""
    if column.dtype.is_numeric():
        return column
    if column.dtype in (pl.Boolean, pl.Null):
        return column.cast(pl.Float64)
    numbers = column.str.strip_chars().cast(pl.Float64, strict=False)
    wrong = (numbers.is_null() & column.is_not_null()).arg_true()
    if len(wrong):
        row = int(wrong[0])
        raise InvalidInputError(
            f"{kind} target {column.name!r} holds the text {column[row]!r} in row {row + 1}; "
            "put a number there, leave it empty, or make the target multiclass"
        )
    _check_finite(numbers)
    return numbers.fill_nan(None)


def _class_indices(column: pl.Series, task: Task) -> np.ndarray:
    """Return each row's class index, [n], NaN where the label is missing."""
    classes = list(task.classes)
    # in Python, whole numbers of any size, numbers and truth values compare exactly
    index_of: dict[Any, float] = {label: float(index) for index, label in enumerate(classes)}
    words = all(isinstance(label, str) for label in classes)
    comparable = as_text(column) if words else column
    values = comparable.drop_nulls().unique()
    known = [
        index_of.get(_read_label(value) if isinstance(value, str) and not words else value)
        for value in values.to_list()
    ]
    indices = comparable.replace_strict(
        values, pl.Series(known, dtype=pl.Float64), default=None, return_dtype=pl.Float64
    )
    wrong = (indices.is_null() & column.is_not_null()).arg_true()
    if len(wrong):
        row = int(wrong[0])
        raise InvalidInputError(
            f"target {task.name!r} holds {column[row]!r} in row {row + 1}, which is none of its "
            f"classes {_listed(classes, 8)}; mend the label or leave it empty"
        )
    return indices.to_numpy()


def _read_label(text: str) -> Label | None:
    """Return the truth value or number that a text is written as, None if it is neither."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if "_" not in text:
        for kind in (int, float):
            with suppress(ValueError):
                return kind(text)
    return None


def _listed(values: Sequence[Any], limit: int) -> str:
    shown = ", ".join(str(value) for value in values[:limit])
    return shown if len(values) <= limit else f"{shown} and {len(values) - limit} more"
