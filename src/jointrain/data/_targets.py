"""Targets: from a table's columns to tasks, and from labels to numbers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, NoReturn

import numpy as np
import polars as pl

from jointrain.data._columns import check_finite
from jointrain.data._number_text import EXACT, leading_zero
from jointrain.data._table_schema import number_text
from jointrain.data._target_cells import several_numbers
from jointrain.data._type_words import type_in_words
from jointrain.errors import InvalidInputError, closest
from jointrain.task import (
    KINDS,
    TABLE_KINDS,
    ClassKind,
    Label,
    TableTaskKind,
    Task,
    chained_labels,
    default_ends,
    in_order_of_chains,
    label_columns,
)

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
        kinds: Kind by target name (one of `TABLE_KINDS`) where it is not to be inferred. The
            classes of an ordinal target are ordered as numbers are, or as its type (a Polars Enum)
            has them, or as they are named, lowest first: ``ordinal:low:medium:high``. A class that
            is named may be absent. Some targets are read from other columns than the one of their
            name: ``survival:TIME:EVENT`` (and the ends of intervals, ``:30:90``),
            ``multilabel:a:b:c``, ``proportions:a:b:c``, ``censored:COLUMN`` (cells such as ``>10``)
            or ``censored:LOWER:UPPER``. ``quantiles:0.1:0.9`` names levels.

    Raises:
        InvalidInputError: A target does not exist or is named twice, a kind is unknown, or a
            column does not fit its kind: no labels, one value only, infinite values, text where
            numbers are needed, more than two classes in a binary task, numbers with fractions as
            classes, counts that are negative or have a fraction, ordered classes that are text
            without an order or are not all named.
    """
    kinds = kinds or {}
    if not targets:
        raise InvalidInputError("no target is named; name at least one column to predict")
    _check_columns(frame.columns, targets, target_columns(targets, kinds))
    for name in kinds:
        if name not in targets:
            raise InvalidInputError(
                f"a kind is given for {name!r}, which is no target{closest(name, targets)}"
            )
    return [_infer_task(frame, name, kinds.get(name)) for name in targets]


def target_columns(
    targets: Sequence[str], kinds: Mapping[str, str] | None = None
) -> dict[str, tuple[str, ...]]:
    """Return the columns that each target is read from, by what is said of its kind.

    Raises:
        InvalidInputError: A kind is unknown, or what follows it does not fit.
    """
    kinds = kinds or {}
    if not isinstance(kinds, Mapping) or not all(isinstance(name, str) for name in kinds):
        raise InvalidInputError(
            f"`kinds` gives the kind of a target by the target's name, as text: got {kinds!r}"
        )
    said = {name: said_kind(name, kind) for name, kind in kinds.items()}
    return {name: (said[name].columns if name in said else ()) or (name,) for name in targets}


def _check_columns(
    known: Sequence[str], targets: Sequence[str], columns: Mapping[str, tuple[str, ...]]
) -> None:
    """Refuse targets that are named twice, or whose columns are not there."""
    for name, count in Counter(targets).items():
        if name in known and name not in columns[name]:
            raise InvalidInputError(
                f"target {name!r} is read from {_listed(columns[name], 4)}, but there is also a "
                "column of its name; give the target a name of its own"
            )
        for column in columns[name]:
            if column in known:
                continue
            what = f"target {name!r}"
            if columns[name] != (name,):
                what = f"column {column!r} of target {name!r}"
            raise InvalidInputError(
                f"{what} is not in the table{closest(column, known)}; it has {_listed(known, 8)}"
            )
        if count > 1:
            times = "twice" if count == 2 else f"{count} times"
            raise InvalidInputError(f"target {name!r} is named {times}; name it once")


class SaidKind(NamedTuple):
    """What is said of a target.

    Args:
        kind: Its kind.
        columns: The columns that it is read from; empty for the one of its name.
        classes: Its classes, levels or ends of intervals as they are written; empty if not said.
    """

    kind: type[TableTaskKind]
    columns: tuple[str, ...]
    classes: tuple[str, ...]


def said_kind(target: str, said: str) -> SaidKind:
    """Return what is said of a target: its kind, and what follows after colons.

    Args:
        target: The target.
        said: Such as ``regression``, ``ordinal:low:medium:high`` or ``survival:time:event``.

    Raises:
        InvalidInputError: There is no such kind, or it takes no such names.
    """
    kind, *parts = (part.strip() for part in str(said).split(":"))
    if kind in KINDS and kind not in TABLE_KINDS:
        raise InvalidInputError(
            f"target {target!r} can't be {kind}: a target of a table is {', '.join(TABLE_KINDS)}; "
            f"tasks of kind {kind} are for modules of your own"
        )
    if kind not in TABLE_KINDS:
        raise InvalidInputError(
            f"target {target!r} has unknown kind {kind!r}{closest(kind, TABLE_KINDS)}; known are "
            f"{', '.join(TABLE_KINDS)}"
        )
    return SaidKind(TABLE_KINDS[kind], *TABLE_KINDS[kind].said(target, parts))


def encode_targets(frame: pl.DataFrame, tasks: Sequence[Task]) -> np.ndarray:
    """Return the labels as numbers: values, class indices, or several numbers of a target.

    The values are float64: single precision would round targets such as 1234567890.5.

    Args:
        frame: A table with the columns of each task.
        tasks: The tasks, of the kinds that `infer_tasks` gives.

    Shape:
        returns: [n, w], NaN where a label is missing; w is the number of tasks, and more where a
        kind has several numbers a row, see `label_columns`. What is given another task is no where
        that one is.

    Raises:
        InvalidInputError: A task's column does not exist, or holds a value that is no number,
            beyond 1e100 or none of the task's classes, or a task happened where the one that it is
            given did not; the row (from 1) is named.
    """
    places = label_columns(tasks)
    labels = np.full((frame.height, places[-1].stop if places else 0), np.nan)  # [n, w]
    known = set(frame.columns)
    for task, place in zip(tasks, places, strict=True):
        for name in task.target_columns:
            if name not in known:
                raise InvalidInputError(
                    f"target column {name!r} is not in the table{closest(name, frame.columns)}"
                )
        columns = [_cleaned(frame[name], task.name) for name in task.target_columns]
        if task.in_table.label_shape():
            labels[:, place] = several_numbers(columns, task)
        elif task.has_classes:
            labels[:, place.start] = _class_indices(columns[0], task)
        else:
            numbers = _numbers(columns[0], task.kind).cast(pl.Float64).to_numpy()
            labels[:, place.start] = numbers
            task.in_table.check_labels(numbers)
        if task.in_table.has_scale:
            _check_size(task.name, labels[:, place])
    linked = {task.name: place.start for task, place in zip(tasks, places, strict=True)}
    chained = chained_labels(tasks, {name: labels[:, place] for name, place in linked.items()})
    for task in in_order_of_chains(tasks):
        labels[:, linked[task.name]] = chained[task.name]
    return labels


def as_text(column: pl.Series) -> pl.Series:
    """Return values as text, null for NaN; numbers without fraction are written without one."""
    if column.dtype.is_float() or isinstance(column.dtype, pl.Decimal):
        return number_text(column)
    return column.cast(pl.String)


def _cleaned(column: pl.Series, target: str) -> pl.Series:
    """Return the column with null for NaN, categories as text; refuse infinite values."""
    if column.dtype.is_float():
        column = column.fill_nan(None)
        _check_finite(column)
    elif column.dtype in (pl.Categorical, pl.Enum):
        column = column.cast(pl.String)
    elif isinstance(column.dtype, pl.Decimal):
        whole = column.cast(pl.Int128)
        # as floats, large ones would be rounded
        exact = (whole.cast(column.dtype) == column).all()
        column = whole if exact else column.cast(pl.Float64)
    if not (column.dtype.is_numeric() or column.dtype in (pl.Boolean, pl.String, pl.Null)):
        raise InvalidInputError(
            f"target {target!r} holds {type_in_words(column.dtype)}, which can't be "
            "predicted; turn it into a number or a class"
        )
    return column


def _check_finite(column: pl.Series) -> None:
    try:
        check_finite(column.to_frame(), [column.name])
    except InvalidInputError as error:
        raise InvalidInputError(str(error).replace("column", "target", 1)) from None


def _infer_task(frame: pl.DataFrame, name: str, said: str | None) -> Task:
    if said is not None and (given := said_kind(name, said)).kind.cells not in _ONE_CELL:
        return _task_of_several(frame, name, given)
    column = frame[name]
    ordered_type = column.dtype.categories.to_list() if isinstance(column.dtype, pl.Enum) else None
    column = _cleaned(column, name)
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
    kind, _, order = said_kind(name, said or _inferred_kind(column, values))
    if not issubclass(kind, ClassKind):
        numbers = _numbers(column, kind.name).cast(pl.Float64).to_numpy()
        check_target_scale(str(name), numbers)
        task = Task(name, kind.name, tuple(float(level) for level in order))
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


_ONE_CELL = ("numbers", "classes")


def _task_of_several(frame: pl.DataFrame, name: str, said: SaidKind) -> Task:
    """Return the task of a target that has several numbers a row."""
    kind, columns, classes = said
    columns = columns or (name,)
    series = [_cleaned(frame[column], name) for column in columns]
    own = () if columns == (name,) else columns
    if kind.cells != "times":
        task = Task(name, kind.name, classes, columns=own)
        labels = several_numbers(series, task)
    else:
        ends = tuple(float(end) for end in classes)
        labels = several_numbers(series, Task(name, kind.name, ends or (1.0,), columns=own))
        known = ~np.isnan(labels).any(1)
        events = labels[known & (labels[:, 1] == 1), 0]
        ends = ends or (default_ends(events) if len(events) else ())
        if known.any() and not (len(events) and ends):
            raise InvalidInputError(
                f"survival target {name!r} never happens after time 0, by column {columns[1]!r}; "
                "there is nothing to predict, leave it out of the targets"
            )
        task = Task(name, kind.name, ends or (1.0,), columns=own)
    kept = labels[task.in_table.known(labels)]
    if not len(kept):
        raise InvalidInputError(
            f"all labels of target {name!r} are missing; leave it out of the targets"
        )
    if task.in_table.has_scale:
        check_target_scale(name, labels)
    for index, column in enumerate(columns):
        values = (
            np.unique(kept[:, index][~np.isnan(kept[:, index])]) if kind.cells != "times" else ()
        )
        if kind.cells == "yes or no" and len(values) < 2:
            raise InvalidInputError(
                f"label {column!r} of target {name!r} has "
                f"{'one value only' if len(values) else 'no value'}; there is nothing to predict, "
                "leave it out"
            )
    if kind.cells != "times" and len(np.unique(kept, axis=0)) == 1:
        raise InvalidInputError(
            f"target {name!r} has one value only; there is nothing to predict, leave it out of "
            "the targets"
        )
    return task


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
        values: [n], or [n, k] of a target with several numbers a row.

    Raises:
        InvalidInputError: A value is beyond 1e100, or all differ by less than 1e-100.
    """
    _check_size(name, values)
    known = values[np.isfinite(values)]
    spread = float(known.max() - known.min()) if len(known) else 0.0
    if 0 < spread < 1 / _LARGEST:
        _refuse_scale(name, values, f"no larger difference than {spread:.3g}")


def _check_size(name: str, values: np.ndarray) -> None:
    """Refuse values whose squares double precision can't hold; [n] or [n, k]."""
    largest = float(np.abs(values[np.isfinite(values)]).max(initial=0.0))
    if largest > _LARGEST:
        _refuse_scale(name, values, f"values as large as {largest:.3g}")


def _refuse_scale(name: str, values: np.ndarray, what: str) -> NoReturn:
    flat = values.ravel()
    place = int(np.where(np.isfinite(flat), np.abs(flat), -1).argmax())
    row = place // values[0].size + 1
    raise InvalidInputError(
        f"target {name!r} has {what} (row {row} holds {flat[place]:.3g}); give it in another unit"
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
        classes = tuple(values.to_list())
        for label in classes:
            if isinstance(label, int) and not -(2**63) <= label < 2**64:
                raise InvalidInputError(
                    f"{kind.name} target {column.name!r} holds the class {label}, a number beyond "
                    "64 bits, which can't be saved; give classes as text "
                    f"(--column {column.name}=text)"
                )
        return classes
    rounded = values.filter(values.abs() >= EXACT)
    if kind.whole_numbers and len(rounded):
        row = int((column == rounded[0]).arg_true()[0])
        raise InvalidInputError(
            f"{kind.name} target {column.name!r} holds {rounded[0]!r} in row {row + 1}; "
            "floating-point numbers of that size can't be told apart, give whole numbers or text"
        )
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
        with suppress(ValueError):
            return int(re.sub(r"\.0*$", "", text.strip()))
        with suppress(ValueError):
            return float(text)
    return None


def _listed(values: Sequence[Any], limit: int) -> str:
    shown = ", ".join(str(value) for value in values[:limit])
    return shown if len(values) <= limit else f"{shown} and {len(values) - limit} more"
