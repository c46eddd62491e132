"""A table with its roles: targets, features, groups and time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl

from jointrain.charts import Chart, InNotebook, bars
from jointrain.data._arrow_files import index_note
from jointrain.data._blocks import varying_parts
from jointrain.data._chains import selection_notes, with_joint_labels
from jointrain.data._columns import Column, dropped_columns, infer_columns
from jointrain.data._duplicates import Duplicates, treat_duplicates
from jointrain.data._id_notes import check_said, id_notes
from jointrain.data._leaks import index_columns, leak_notes
from jointrain.data._list_columns import have_several_items, list_columns, lists_as_bags
from jointrain.data._query_columns import check_queries, query_columns
from jointrain.data._rare_classes import RareClasses, Relabelled, rare_labels, treat_rare_classes
from jointrain.data._raw_table import RawTable, ReadingOptions
from jointrain.data._row_weights import (
    ClassWeights,
    ResolvedWeights,
    check_weighted_labels,
    check_weighted_metrics,
    class_factors,
    read_row_weights,
    resolve_class_weights,
    weight_notes,
)
from jointrain.data._table_schema import TableSchema
from jointrain.data._tables import as_table
from jointrain.data._targets import encode_targets, infer_tasks, said_kind, target_columns
from jointrain.data._text_notes import group_notes
from jointrain.data._type_inference import TypedTable, type_frame, type_table
from jointrain.data._type_words import type_in_words
from jointrain.errors import InvalidInputError, closest
from jointrain.task import (
    Task,
    check_metric,
    known_labels,
    label_columns,
    labels_of,
    with_given,
    without_labels,
)


@dataclass(frozen=True)
class SupervisedTable(InNotebook):
    """A table, what to predict from it, and from which columns.

    Args:
        frame: The rows that have at least one label.
        tasks: What to predict.
        columns: The feature columns.
        groups: Number of each row's group, [n]; rows of a group stay on one side of every split.
            Rows that are kept together as repeats are groups, too.
        time: Rank of each row's time, [n]; splits train on the past and test on the future.
        unlabelled_rows: How many rows were left out because they have no label at all.
        dropped: Why a column that could have been a feature is none, by its name.
        schema: How its columns were read, to read others in the same way.
        notes: What was decided for the user, and what looks like a leak, a sentence each.
        weights: How much each row counts for each task, [n, t], 0 or more; None if all are equal. A
            label of weight 0 is none.
        class_weights: What weights are multiplied by where models are fitted, for targets that have
            class weights, see `resolve_class_weights`.
        relabelled: What became of rare labels, by target, see `rare_labels`.
    """

    frame: pl.DataFrame
    tasks: tuple[Task, ...]
    columns: tuple[Column, ...]
    groups: np.ndarray | None = None
    time: np.ndarray | None = None
    unlabelled_rows: int = 0
    dropped: Mapping[str, str] = field(default_factory=dict)
    schema: TableSchema = field(default_factory=TableSchema)
    notes: tuple[str, ...] = ()
    weights: np.ndarray | None = None
    class_weights: ResolvedWeights = field(default_factory=dict)
    relabelled: Relabelled = field(default_factory=dict)

    def to_frame(self) -> pl.DataFrame:
        """Return a row for each column, as it is used.

        Columns: column, role (``target``, ``feature`` or ``left out``), kind (or why it is left
        out), and missing, the number of rows without a value; null where it is left out.
        """
        rows: list[tuple[str, str, str, int | None]] = []
        labels = known_labels(self.labels(), self.tasks)
        for task, known in zip(self.tasks, labels.T, strict=True):
            rows.append((task.name, "target", task.rules.in_words(), int((~known).sum())))
        for column in self.columns:
            missing = self.frame[column.name].null_count()
            rows.append((column.name, "feature", column.kind, missing))
        rows += [(name, "left out", why, None) for name, why in self.dropped.items()]
        kinds = {"column": pl.String, "role": pl.String, "kind": pl.String, "missing": pl.Int64}
        return pl.DataFrame(rows, schema=kinds, orient="row")

    def _notebook_title(self) -> str:
        return f"Table of {len(self.frame):,} rows with a label"

    def plot(self) -> Chart:
        """Return a chart of how many rows have each target's label."""
        known = known_labels(self.labels(), self.tasks).sum(0)
        rows = [
            {"name": task.name, "value": int(count), "text": f"{count:,} rows"}
            for task, count in zip(self.tasks, known, strict=True)
        ]
        return bars(rows, across="rows with a label", down=None)

    @classmethod
    def prepare(
        cls,
        frame: Any,
        targets: Sequence[str] | str,
        *,
        kinds: Mapping[str, str] | None = None,
        metrics: Mapping[str, str] | None = None,
        ignore: Sequence[str] | str = (),
        id_column: str | None = None,
        group_column: str | None = None,
        time_column: str | None = None,
        query_column: str | None = None,
        rare: RareClasses = "keep",
        rare_rows: int = 5,
        duplicates: Duplicates | None = None,
        reading: ReadingOptions | None = None,
        row_weight: str | None = None,
        class_weights: ClassWeights | None = None,
        said: Mapping[str, str] | None = None,
        given: Mapping[str, str] | None = None,
    ) -> SupervisedTable:
        """Infer tasks and feature columns; `notes` say what was decided, and what looks odd.

        Args:
            frame: Polars, pandas or Arrow table, or what `read_raw` gives: only then is it known
                how cells were written when columns are given their types.
            targets: Names of the target columns, or the name of one.
            kinds: Kind of a task by target name where it should not be inferred, see
                `infer_tasks`.
            metrics: Name of the metric that a target is judged by, by target name; see
                `Task.judged_by`. Default: the first one of its kind.
            ignore: Columns that are no features.
            id_column: A column that names rows; no feature.
            group_column: Rows with the same value stay together in every split; no feature.
            time_column: Rows are split by its order, past before future; rows of the same time stay
                together. Of dates, month, weekday and hour stay a feature, unless the column is
                ignored, too; numbers are no feature.
            query_column: Rows with the same value are ranked among each other by the metrics
                NDCG@K, recall@K and group AUC. It stays a feature unless it is ignored or has
                another role.
            rare: What becomes of the classes of a target that few rows have: ``keep`` (default),
                ``merge`` into the class "other", or ``drop`` their labels.
            rare_rows: A class with fewer rows than this is rare; default 5, as a study has folds.
            duplicates: What becomes of rows that are equal in all features: kept ``together`` on
                one side of every split, dealt out ``apart``, or ``drop`` all but the first of those
                that are equal in features and targets. None (default) keeps them together where
                repeats are unlikely by chance, see `repeats_are_unlikely`, and there is no time.
            reading: How cells that are text are to be read; default by the rules of `type_table`.
            row_weight: A column of numbers that say how much each row counts; no feature. Rows of
                weight 0 are left out. Their unit does not matter.
            class_weights: ``balanced``, or a weight for each class, or either by target: what
                the weights of rows are multiplied by where models are fitted; metrics are without.
            said: What feature columns are, by name, where it is not to be inferred: ``category``
                (whole numbers, too), ``text``, ``bag`` or ``bag:`` and its separator; see
                `infer_columns`. Lists of text or whole numbers are bags.
            given: What a binary target is given, by target: ``{"purchase": "click"}`` for what
                needs a click, or with a correction, ``"click:doubly-robust"``; see `Task`. Rows
                without a click are then labelled no.

        Raises:
            InvalidInputError: A cell can't be read, a column does not exist, has two roles or holds
                what its role can't use, rare classes can't be merged or dropped, no feature column
                is left, or what a target is given is no binary target, the target itself or, by
                way of others, a circle.
        """
        raw = frame
        if not isinstance(raw, RawTable):
            raw = RawTable(as_table(frame), False, "the table")
        targets, ignore = _names(targets, "target"), _names(ignore, "ignored")
        columns_of = target_columns(targets, kinds)
        roles = _roles(
            raw.frame, columns_of, ignore, id_column, group_column, time_column, row_weight
        )
        raw, roles = _without_indices(raw, roles)
        said_kinds = dict(said or {})
        check_said(said_kinds, raw.frame.columns, roles)
        single = {*roles, *([] if query_column is None else [query_column])}
        plain, said_kinds = lists_as_bags(raw.frame, said_kinds, single)
        lists = have_several_items(plain, list_columns(raw.frame, single))
        raw = replace(raw, frame=plain)
        typed = _typed(raw, _read_as_text(reading, said_kinds), roles, kinds or {}, time_column)
        found = _infer_targets(typed, targets, kinds, row_weight, (rare, rare_rows), given)
        table, labels, weights = found.table, found.labels, found.weights
        with _rows_counted(found.rows):
            tasks = _judged_by(found.tasks, labels, metrics or {}, query_column)
            check_queries(table, tasks)
            if weights is not None:
                check_weighted_metrics(tasks)
            labelled = np.asarray(known_labels(labels, tasks).any(1))
            features = [name for name in table.columns if name not in roles]
            dropped = dropped_columns(table, features)
            said_kinds = {name: kind for name, kind in said_kinds.items() if name not in dropped}
            columns, of_columns = _feature_columns(
                table, features, said_kinds, time_column, time_column in ignore
            )
            groups = _numbered(table, group_column, "group", labelled)
            time = _numbered(table, time_column, "time", labelled)
        if group_column is not None:
            of_columns += group_notes(table[group_column].filter(pl.Series(labelled)))
        prepared = cls(
            frame=table.filter(pl.Series(labelled)),
            tasks=tuple(tasks),
            columns=tuple(columns),
            groups=groups,
            time=time,
            unlabelled_rows=int((~labelled).sum()),
            dropped=dropped,
            schema=typed.schema.only(
                [*roles, *query_columns(tasks), *(column.name for column in columns)]
            ).with_lists(lists),
            notes=(*typed.notes, *found.notes, *of_columns),
            weights=None
            if weights is None
            else np.repeat(weights[labelled][:, None], len(tasks), axis=1),
            class_weights=resolve_class_weights(class_weights, tasks),
            relabelled=found.relabelled,
        )
        read = list(dict.fromkeys(name for names in columns_of.values() for name in names))
        return prepared._without_leaks(read, duplicates, row_weight)

    def _without_leaks(
        self, read: Sequence[str], duplicates: Duplicates | None, row_weight: str | None
    ) -> SupervisedTable:
        """Return the table with its repeats together or dropped, and notes of what may leak.

        Args:
            read: The columns that targets are read from.
            duplicates: As for `prepare`.
            row_weight: Likewise.
        """
        columns, prepared = self.columns, self
        indices = index_columns(self.frame, columns)
        repeats = treat_duplicates(
            self.frame, columns, read, duplicates, self.groups, self.time, indices
        )
        units = repeats.units
        if repeats.groups is not None:
            prepared = replace(prepared, groups=repeats.groups)
        if repeats.kept is not None:
            prepared = prepared._rows(repeats.kept)
            units = None if units is None else units[repeats.kept]
        labels = prepared.labels()
        leaks = leak_notes(prepared.frame, columns, self.tasks, labels, indices, units)
        weighed = weight_notes(prepared.weights, row_weight, prepared.class_weights)
        return replace(prepared, notes=(*self.notes, *repeats.notes, *weighed, *leaks))

    def _rows(self, kept: np.ndarray) -> SupervisedTable:
        """Return some of the rows, `kept` [n] of bool."""
        return replace(
            self,
            frame=self.frame.filter(pl.Series(kept)),
            groups=None if self.groups is None else self.groups[kept],
            time=None if self.time is None else self.time[kept],
            weights=None if self.weights is None else self.weights[kept],
        )

    def only(self, tasks: Sequence[str]) -> SupervisedTable:
        """Return the table with some of its tasks, and the rows that have a label of one of them.

        Args:
            tasks: Their names.
        """
        if {task.name for task in self.tasks} <= set(tasks):
            return self
        places = [index for index, task in enumerate(self.tasks) if task.name in tasks]
        fewer = replace(
            self,
            tasks=tuple(self.tasks[index] for index in places),
            weights=None if self.weights is None else self.weights[:, places],
        )
        labelled = np.asarray(known_labels(fewer.labels(), fewer.tasks).any(1))
        unlabelled = self.unlabelled_rows + int((~labelled).sum())
        return replace(fewer._rows(labelled), unlabelled_rows=unlabelled)

    def labels(self) -> np.ndarray:
        """Return the labels as numbers, [n, w], NaN where one is missing or has weight 0.

        They are those of `encode_targets`: w is the number of tasks, and more where a kind has
        several numbers a row.
        """
        labels = encode_targets(self.frame, list(self.tasks))
        if self.weights is not None and (self.weights == 0).any():
            return without_labels(labels, self.tasks, self.weights == 0)
        return labels

    def fit_weights(self, rows: np.ndarray | None = None) -> np.ndarray | None:
        """Return what models are fitted with, [n, t]: weights of rows times those of classes.

        Args:
            rows: Whose classes are counted where they are to be balanced; default all rows.

        Returns:
            None where all rows are equal.
        """
        if not self.class_weights:
            return self.weights
        labels, weights = self.labels(), self.weights
        found = np.ones((len(labels), len(self.tasks))) if weights is None else weights.copy()
        places = label_columns(self.tasks)
        for index, task in enumerate(self.tasks):
            rule = self.class_weights.get(task.name)
            if rule is not None:
                given = None if weights is None else weights[:, index]
                count = len(task.classes)
                own = labels[:, places[index].start]
                found[:, index] *= class_factors(own, given, rule, count, rows)
        return found


@dataclass(frozen=True)
class _Targets:
    """What is predicted, and the rows that count for it.

    Args:
        table: The rows of weight above 0.
        tasks: What to predict.
        labels: Those of `encode_targets`, [n, w].
        weights: Of the rows, [n]; None if all are equal.
        rows: Which rows of the whole table they are, [n]; None if all.
        notes: What was decided.
        relabelled: What became of rare labels.
    """

    table: pl.DataFrame
    tasks: list[Task]
    labels: np.ndarray
    weights: np.ndarray | None
    rows: np.ndarray | None
    notes: tuple[str, ...]
    relabelled: Relabelled


def _infer_targets(
    typed: TypedTable,
    targets: Sequence[str],
    kinds: Mapping[str, str] | None,
    row_weight: str | None,
    rare: tuple[RareClasses, int],
    given: Mapping[str, str] | None,
) -> _Targets:
    """Return the tasks of a table with types; the arguments are those of `prepare`."""
    table = typed.frame
    tasks = infer_tasks(table, targets, kinds)
    notes = tuple(notes_on_tasks(table, tasks, kinds or {}))
    weights = rows = None
    if row_weight is not None:
        weights = read_row_weights(table[row_weight])
        rows = np.flatnonzero(weights > 0)
        table, weights, of_weights = _without_weightless(table, tasks, weights, row_weight)
        notes += of_weights
    with _rows_counted(rows):
        before = tasks
        table, tasks, of_rare = treat_rare_classes(table, tasks, *rare, kinds)
        relabelled = rare_labels(before, tasks, rare[0])
        tasks = with_given(tasks, given or {})
        labels = encode_targets(table, tasks)
        table = with_joint_labels(table, tasks, labels)
    notes += (*of_rare, *selection_notes(tasks, labels))
    return _Targets(table, tasks, labels, weights, rows, notes, relabelled)


@contextmanager
def _rows_counted(rows: np.ndarray | None) -> Iterator[None]:
    """Let errors name rows of the whole table, of which only some are left.

    Args:
        rows: Which ones, [n]; None if all.
    """

    def number(found: re.Match[str]) -> str:
        left = int(found[1])
        return f"row {left if rows is None or left > len(rows) else rows[left - 1] + 1}"

    try:
        yield
    except InvalidInputError as error:
        # a name in quotes is none
        raise InvalidInputError(re.sub(r"(?<!')\brow (\d+)", number, str(error), count=1)) from None


def _feature_columns(
    table: pl.DataFrame,
    features: Sequence[str],
    said: Mapping[str, str],
    time_column: str | None,
    time_is_ignored: bool,
) -> tuple[list[Column], tuple[str, ...]]:
    """Return the columns to predict from, and notes on them.

    Raises:
        InvalidInputError: None is left.
    """
    columns = infer_columns(table, features, said)
    notes = id_notes(table, columns, said)
    if time_column is not None:
        calendar, of_time = _time_feature(table[time_column], ignored=time_is_ignored)
        columns += calendar
        notes += of_time
    if not columns:
        raise InvalidInputError(
            "no feature column is left beside targets, ignored, id, group, time and constant "
            "columns; the table needs at least one"
        )
    return columns, notes


def _without_weightless(
    table: pl.DataFrame, tasks: Sequence[Task], weights: np.ndarray, column: str
) -> tuple[pl.DataFrame, np.ndarray, tuple[str, ...]]:
    """Return the rows of weight above 0 with their weights, and a note where some are left out."""
    counted = weights > 0
    if counted.all():
        return table, weights, ()
    labels = encode_targets(table, tasks)
    check_weighted_labels(tasks, labels, np.repeat(weights[:, None], len(tasks), axis=1))
    left_out = int((~counted).sum())
    if counted.sum() < 2:
        raise InvalidInputError(
            f"row-weight column {column!r} is 0 in all rows but one; fitting needs two or more"
        )
    rows = "row of weight 0 is" if left_out == 1 else "rows of weight 0 are"
    note = f"{left_out} {rows} left out, by column {column}"
    return table.filter(pl.Series(counted)), weights[counted], (note,)


def _judged_by(
    tasks: Sequence[Task], labels: np.ndarray, metrics: Mapping[str, str], query: str | None
) -> list[Task]:
    """Return the tasks with the metrics that were named for them.

    Raises:
        InvalidInputError: A name is no target, a metric is none of it, or the query column is a
            target or of no use.
    """
    names = [task.name for task in tasks]
    for name in metrics:
        if name not in names:
            raise InvalidInputError(
                f"a metric is given for {name!r}, which is no target{closest(name, names)}"
            )
    found = []
    for task, own in zip(tasks, labels_of(labels, tasks), strict=True):
        judged = task
        if task.name in metrics:
            judged = task.judged_by(metrics[task.name], query)
            check_metric(judged.primary_metric, task.name, own)
        found.append(judged)
    if query is not None and query in names:
        raise InvalidInputError(f"column {query!r} is a target and also query; drop one of the two")
    if query is not None and not query_columns(found):
        raise InvalidInputError(
            f"query column {query!r} has no use: no target is judged within queries; name such a "
            f"metric (--metric {names[0]}=NDCG@10), or leave the column's role out"
        )
    return found


def _read_as_text(reading: ReadingOptions | None, said: Mapping[str, str]) -> ReadingOptions | None:
    """Return options by which columns that are said to be of many values are read as text."""
    if not said:
        return reading
    reading = reading or ReadingOptions()
    return replace(reading, columns={**reading.columns, **dict.fromkeys(said, "text")})


def typed_sample(
    raw: RawTable,
    targets: Sequence[str] | str,
    kinds: Mapping[str, str] | None,
    ignore: Sequence[str],
    reading: ReadingOptions | None,
    said: Mapping[str, str] | None,
    **roles: str | None,
) -> TypedTable:
    """Return some rows of a table of text with the types that `SupervisedTable.prepare` gives.

    Args:
        raw: The rows.
        targets: As for `SupervisedTable.prepare`, like all that follow.
        kinds: Likewise.
        ignore: Likewise.
        reading: Likewise.
        said: Likewise.
        roles: ``id_column``, ``group_column`` and ``row_weight``.

    Raises:
        InvalidInputError: As there.
    """
    columns_of = target_columns(_names(targets, "target"), kinds)
    named = _roles(raw.frame, columns_of, ignore, time_column=None, **roles)
    check_said(said or {}, raw.frame.columns, named)
    return _typed(raw, _read_as_text(reading, said or {}), named, kinds or {}, None)


FEW_NUMBERS = 10
"""So few different whole numbers may be classes."""


def _typed(
    raw: RawTable,
    reading: ReadingOptions | None,
    roles: Mapping[str, str],
    kinds: Mapping[str, str],
    time_column: str | None,
) -> TypedTable:
    """Return the table with the types of its columns; those that are only copied stay."""
    copied = {name for name, role in roles.items() if role in ("id", "group", "ignored")}
    verbatim = copied - {time_column}
    targets = {name for name, role in roles.items() if role == "target"}
    if not raw.is_text:
        return type_frame(raw, reading, targets=targets, verbatim=verbatim)
    said = {name: said_kind(name, kind) for name, kind in kinds.items()}
    # text in an order that is named is classes, too
    classes = {
        name
        for name, one in said.items()
        if one.kind.said_as_classes or (one.kind.takes_order and one.classes)
    }
    bounds = [
        column
        for name, one in said.items()
        for column in one.columns or (name,)
        if one.kind.cells == "bounds" and len(one.columns) < 2
    ]
    reading = reading or ReadingOptions()
    if bounds:
        columns = {**dict.fromkeys(bounds, "text"), **reading.columns}
        reading = replace(reading, columns=columns)
    return type_table(raw, reading, targets=targets, classes=classes, verbatim=verbatim)


def notes_on_tasks(
    table: pl.DataFrame, tasks: Sequence[Task], kinds: Mapping[str, str]
) -> list[str]:
    """Say where numbers may have been meant as classes, and what a kind says of its own."""
    notes = []
    for task in tasks:
        note = task.in_table.note()
        if note is not None:
            notes.append(note)
        if task.in_table.takes_order:
            notes += _notes_on_stages(table, task)
        if task.has_classes or task.name in kinds or not table[task.name].dtype.is_integer():
            continue
        column = table[task.name]
        count = column.drop_nulls().n_unique()
        if count <= FEW_NUMBERS:
            notes.append(
                f"target {task.name} holds {count} different whole numbers and is predicted as a "
                f"number; --task {task.name}=multiclass predicts classes, =ordinal classes with "
                "an order, =count a rate"
            )
    return notes


def _notes_on_stages(table: pl.DataFrame, task: Task) -> list[str]:
    """Say which classes of an order no row holds: of the column's type, or as they were named."""
    notes = []
    column = table[task.name]
    if isinstance(column.dtype, pl.Enum):
        every = column.dtype.categories.to_list()
        lacking = [label for label in every if label not in task.classes]
        if lacking:
            notes.append(
                f"ordinal target {task.name} never holds {', '.join(lacking)} of its type, so the "
                f"classes around {'it' if len(lacking) == 1 else 'them'} are neighbours; --task "
                f"{task.name}=ordinal:{':'.join(every)} keeps a place"
            )
    held = set(encode_targets(table, [task])[:, 0])
    absent = [str(label) for code, label in enumerate(task.classes) if code not in held]
    if absent:
        notes.append(
            f"no row holds {', '.join(absent)} of ordinal target {task.name}, which its order "
            "names: how probable it is can't be learned, and comes out near 0"
        )
    return notes


def _names(given: Sequence[str] | str, role: str) -> list[str]:
    """Return column names as a list; a text is one name.

    Raises:
        InvalidInputError: Something is no text.
    """
    if given is None or not hasattr(given, "__iter__"):
        raise InvalidInputError(
            f"{role} columns are given by their names, as text or a list of texts: got {given!r}"
        )
    names = [given] if isinstance(given, str) else list(given)
    for name in names:
        if not isinstance(name, str):
            raise InvalidInputError(
                f"{role} columns are given by their names, as text: got {name!r}, of type "
                f"{type(name).__name__}; write {str(name)!r} if that is the column's name"
            )
    return names


def _roles(
    table: pl.DataFrame,
    targets: Mapping[str, tuple[str, ...]],
    ignore: Sequence[str],
    id_column: str | None,
    group_column: str | None,
    time_column: str | None,
    row_weight: str | None = None,
) -> dict[str, str]:
    """Return the role of each named column; others are features.

    Columns of several targets are named once.

    Raises:
        InvalidInputError: A column does not exist or has two roles that exclude each other.
    """
    roles: dict[str, str] = {}
    read = [name for names in targets.values() for name in names]
    named = [("target", name) for name in dict.fromkeys(read)]
    named += [("ignored", name) for name in ignore]
    named += [
        (role, _names([name], role)[0])
        for role, name in (
            ("id", id_column),
            ("group", group_column),
            ("time", time_column),
            ("row-weight", row_weight),
        )
        if name is not None
    ]
    for role, name in named:
        if name not in table.columns:
            raise InvalidInputError(
                f"{role} column {name!r} is not in the table{closest(name, table.columns)}; "
                f"it has {_shortened(table.columns)}"
            )
        # id and group may be the same column (rows of one patient); a target is only a target
        if role == "row-weight" and roles.get(name, "ignored") != "ignored":
            raise InvalidInputError(
                f"column {name!r} is {roles[name]} and also row-weight; drop one of the two"
            )
        if name in roles and "target" in (role, roles[name]):
            other = roles[name] if role == "target" else role
            raise InvalidInputError(
                f"column {name!r} is a target and also {other}; drop one of the two"
                if other != "target"
                else f"target {name!r} is named twice; name it once"
            )
        roles[name] = role
    return roles


def _without_indices(raw: RawTable, roles: dict[str, str]) -> tuple[RawTable, dict[str, str]]:
    """Return a table and its roles, of which pandas' own columns are ignored with a note."""
    indices = [name for name in raw.indices if name not in roles]
    if not indices:
        return raw, roles
    raw = replace(raw, notes=(*raw.notes, index_note(indices)))
    return raw, roles | dict.fromkeys(indices, "ignored")


def _time_feature(values: pl.Series, *, ignored: bool) -> tuple[list[Column], tuple[str, ...]]:
    """Return the time column as a feature, if it can be one, and what is to be said of it."""
    name = values.name
    distinct, rows = values.n_unique(), len(values)
    notes: list[str] = []
    if distinct < rows:
        notes.append(
            f"time column {name!r} has {distinct} distinct values in {rows} rows: rows of the same "
            "time stay on one side of a cut, so parts may differ in size"
        )
    if ignored:
        return [], tuple(notes)
    parts = varying_parts(values) if values.dtype in (pl.Date, pl.Datetime) else []
    if not parts:
        notes.append(
            f"time column {name!r} orders the splits and is no feature: it has no month, weekday "
            "or hour that varies"
        )
        return [], tuple(notes)
    notes.append(
        f"time column {name!r} orders the splits, and its {', '.join(parts)} "
        f"{'is a feature' if len(parts) == 1 else 'are features'}; ignore the column to leave "
        f"{'it' if len(parts) == 1 else 'them'} out"
    )
    return [Column(name, "calendar", str(values.dtype))], tuple(notes)


def _numbered(
    table: pl.DataFrame, column: str | None, role: str, labelled: np.ndarray
) -> np.ndarray | None:
    """Return the value of each row that has labels as its rank among the distinct values."""
    if column is None:
        return None
    values = table[column]
    missing = np.flatnonzero(values.is_null().to_numpy() & labelled)
    if len(missing):
        where = f"in row {missing[0] + 1}"
        if len(missing) > 1:
            where = f"in {len(missing)} rows, the first is row {missing[0] + 1}"
        raise InvalidInputError(
            f"{role} column {column!r} is empty {where}; fill it or leave those rows out"
        )
    if values.dtype.is_nested() or (role == "time" and values.dtype == pl.Boolean):
        raise InvalidInputError(
            f"{role} column {column!r} holds {type_in_words(values.dtype)}; it needs one "
            f"{'date or number' if role == 'time' else 'value'} a row"
        )
    if role == "time" and not (values.dtype.is_numeric() or values.dtype.is_temporal()):
        raise InvalidInputError(
            f"time column {column!r} holds text such as {values[0]!r}; --column {column}=date "
            "reads dates such as 2026-01-31, --date-format says how others are written; or give "
            "numbers"
        )
    ranks: np.ndarray = values.filter(pl.Series(labelled)).rank("dense").to_numpy()
    return ranks.astype(np.int64) - 1


def _shortened(names: Sequence[str], limit: int = 8) -> str:
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
