"""Rare classes: those with fewer rows than a study has folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import polars as pl

from jointrain.data._targets import as_text, encode_targets, infer_tasks
from jointrain.errors import InvalidInputError, closest
from jointrain.task import ClassKind, Label, Task, labels_of

RareClasses = Literal["keep", "merge", "drop"]
"""What becomes of rare classes: kept, merged into one class, or their labels dropped."""

OTHER = "other"
"""The class that rare classes are merged into."""

_SHOWN = 5
"""Rare classes of a target that are listed by name at most."""


def rare_classes(
    labels: np.ndarray, tasks: Sequence[Task], rows: int
) -> dict[str, dict[Label, int]]:
    """Return the classes with fewer rows than `rows`, with their rows, by task; rarest first.

    Tasks without rare classes are left out.

    Shape:
        labels: [n, w] as `encode_targets` gives them.
    """
    found: dict[str, dict[Label, int]] = {}
    for task, own in zip(tasks, labels_of(labels, tasks), strict=True):
        if task.has_classes:
            known = own[~np.isnan(own)].astype(np.int64)
            counts = np.bincount(known, minlength=len(task.classes))
            # a class of no row is one that the user has named
            order = np.argsort(counts, kind="stable").tolist()
            rare = [i for i in order if 0 < counts[i] < rows]
            if rare:
                found[task.name] = {task.classes[i]: int(counts[i]) for i in rare}
    return found


def treat_rare_classes(
    frame: pl.DataFrame,
    tasks: Sequence[Task],
    how: RareClasses,
    rows: int,
    kinds: Mapping[str, str] | None = None,
) -> tuple[pl.DataFrame, list[Task], tuple[str, ...]]:
    """Return the table and its tasks without rare classes, or with them, and what was done.

    Args:
        frame: The table.
        tasks: As `infer_tasks` gives them.
        how: ``keep`` changes nothing. ``merge`` puts the rare classes of a target into the class
            `OTHER`, and turns its classes into text where they are numbers. ``drop`` makes their
            labels missing.
        rows: A class with fewer rows is rare.
        kinds: As in `infer_tasks`.

    A class named `OTHER` that is there already takes the merged ones in.

    Raises:
        InvalidInputError: `how` is unknown; a target has nothing to merge with (two classes, or a
            single rare one); or fewer than two classes would be left. All such targets are named.
    """
    if how not in ("keep", "merge", "drop"):
        raise InvalidInputError(
            f"rare classes can be kept, merged or dropped: got {how!r}"
            f"{closest(str(how), ('keep', 'merge', 'drop'))}, use keep, merge or drop"
        )
    rare = rare_classes(encode_targets(frame, tasks), tasks, rows)
    if not rare:
        return frame, list(tasks), ()
    listed = "; ".join(f"target {name!r}: {_counted(of_task)}" for name, of_task in rare.items())
    said = f"classes with fewer than {rows} rows"
    if how == "keep":
        note = (
            f"{said} are kept and can be missing from a test part: {listed}; --rare merge puts "
            "those of a target into one class, --rare drop leaves their labels out"
        )
        return frame, list(tasks), (note,)
    by_name = {task.name: task for task in tasks}
    _check_left(rare, by_name, how)
    change = _dropped if how == "drop" else _merged
    frame = frame.with_columns(
        change(frame, by_name[name], list(of_task)) for name, of_task in rare.items()
    )
    if how == "merge":
        kinds = {**(kinds or {}), **dict.fromkeys(rare, "multiclass")}
    again = infer_tasks(frame, list(by_name), kinds)
    if how == "drop":
        return frame, again, (f"{said}: their labels are dropped: {listed}",)
    notes = [f"{said} are merged into the class {OTHER!r}: {listed}"]
    numbers = [name for name in rare if not isinstance(by_name[name].classes[0], str)]
    if numbers:
        notes.append(f"the classes of {', '.join(map(repr, numbers))} are text now, not numbers")
    return frame, again, tuple(notes)


Relabelled = Mapping[str, Mapping[str, str | None]]
"""What became of rare labels, as text, by target; None for a label that was dropped."""


def rare_labels(before: Sequence[Task], after: Sequence[Task], how: RareClasses) -> Relabelled:
    """Return what `treat_rare_classes` made of which labels.

    Numbers that are merged are left out: their column is read as numbers, and holds no `OTHER`.

    Args:
        before: The tasks that it was given, ...
        after: ... and those that it returned.
        how: As there.
    """
    left = {one.name: {str(label) for label in one.classes} for one in after if one.has_classes}
    became = OTHER if how == "merge" else None
    gone = {
        task.name: [str(one) for one in task.classes if str(one) not in left[task.name]]
        for task in before
        if task.has_classes
        and task.name in left
        and (how == "drop" or isinstance(task.classes[0], str))
    }
    return {name: dict.fromkeys(labels, became) for name, labels in gone.items() if labels}


def with_rare_labels(frame: pl.DataFrame, became: Relabelled) -> pl.DataFrame:
    """Return another table with rare labels treated as those of training were."""
    columns = []
    for name, labels in became.items():
        if name in frame.columns:
            column, text = frame[name], as_text(frame[name])
            if OTHER in labels.values():
                columns.append(text.replace(dict(labels)))
            else:
                columns.append(column.set(text.is_in(list(labels)).fill_null(value=False), None))
    return frame.with_columns(columns)


def _check_left(
    rare: Mapping[str, Mapping[Label, int]], tasks: Mapping[str, Task], how: RareClasses
) -> None:
    wrong = []
    for name, of_task in rare.items():
        classes = tasks[name].classes
        kept = [label for label in classes if label not in of_task]
        if how == "merge" and len(classes) == 2:
            wrong.append(f"target {name!r} has two classes only")
        elif how == "merge" and not _can_merge(tasks[name]):
            wrong.append(f"{tasks[name].kind} target {name!r} has no place for {OTHER!r}")
        elif how == "merge" and len(of_task) == 1 and OTHER not in kept:
            wrong.append(f"target {name!r} has one rare class only, {next(iter(of_task))!r}")
        elif len({*kept, OTHER} if how == "merge" else kept) < 2:
            wrong.append(f"target {name!r} would have fewer than two classes left")
    if wrong:
        raise InvalidInputError(
            f"rare classes can't be {'merged' if how == 'merge' else 'dropped'}: "
            f"{'; '.join(wrong)}; keep them, or leave the target out"
        )


def _can_merge(task: Task) -> bool:
    kind = task.in_table
    return isinstance(kind, ClassKind) and kind.rare_classes_merge


def _dropped(frame: pl.DataFrame, task: Task, classes: Sequence[Label]) -> pl.Series:
    """Return a target without the labels of some classes."""
    return frame[task.name].zip_with(
        ~_is_of(frame, task, classes), pl.Series([None], dtype=frame.schema[task.name])
    )


def _merged(frame: pl.DataFrame, task: Task, classes: Sequence[Label]) -> pl.Series:
    """Return a target as text, with some of its classes merged into `OTHER`."""
    words = {
        float(index): OTHER if label in classes else str(label)
        for index, label in enumerate(task.classes)
    }
    codes = pl.Series(encode_targets(frame, [task])[:, 0]).fill_nan(None)
    return codes.replace_strict(words, default=None, return_dtype=pl.String).alias(task.name)


def _is_of(frame: pl.DataFrame, task: Task, classes: Sequence[Label]) -> pl.Series:
    """Return which labels are of some classes, [n] of bool."""
    codes = encode_targets(frame, [task])[:, 0]
    return pl.Series(np.isin(codes, [task.classes.index(label) for label in classes]))


def _counted(classes: Mapping[Label, int]) -> str:
    shown = [
        f"{label!r} ({count} row{'s' * (count != 1)})"
        for label, count in list(classes.items())[:_SHOWN]
    ]
    more = len(classes) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
