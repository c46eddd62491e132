"""The one pass over a table larger than memory: what is inferred, counted, sketched and kept."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl

from jointrain.data._columns import MOST_COLUMNS, Column, kind_of_type
from jointrain.data._duplicates import unlikely_repeats
from jointrain.data._language import is_language
from jointrain.data._leaks import index_columns
from jointrain.data._list_columns import ITEM_MARK, is_list
from jointrain.data._row_weights import balanced_class_weights
from jointrain.data._supervised_table import SupervisedTable
from jointrain.data._targets import check_target_scale, said_kind, target_columns
from jointrain.data._total_rows import RowsAbove, row_of_sums
from jointrain.data.streaming._column_sketches import ColumnSketch
from jointrain.data.streaming._row_reading import RowReading, TypedRows
from jointrain.data.streaming._sketches import Moments
from jointrain.data.streaming._table_files import Piece, TableFiles
from jointrain.errors import InvalidInputError, closest
from jointrain.task import Label, Task, labels_of

SAMPLE_ROWS = 50_000
"""So many rows are kept as a sample of all, ..."""

_SAMPLE_CELLS = 5_000_000
"""... and of wide tables as many as have so many cells."""

_FIRST_PIECES = 16
"""Tasks and kinds of columns are inferred from rows of so many pieces."""

_SAMPLE_SALT = -1


@dataclass
class _TaskCounts:
    """What is counted of a task.

    Args:
        moments: Of its labels, rows counting by their weights.
        by_class: For each class, by its label: weight of all rows, and of those trained on, and the
            number of these.
        labelled: How many rows that are trained on have its label, ...
        weight: ... and what they weigh.
    """

    moments: Moments = field(default_factory=Moments)
    by_class: dict[Label, list[float]] = field(default_factory=dict)
    labelled: int = 0
    weight: float = 0.0


class TableScan:
    """Goes through a table once.

    Args:
        files: The table.
        targets: Names of the targets.
        ignore: Columns that are no features.
        fraction: Which share of the rows is kept for validation.
        salt: Of that choice.
        id_column: A column that names rows.
        group_column: A column whose equal values stay together.
        row_weight: A column of weights.
        class_weights: As for `SupervisedTable.prepare`.
        kinds: Likewise.
        said: Likewise.
        settings: Likewise.
    """

    def __init__(
        self,
        files: TableFiles,
        targets: Sequence[str] | str,
        *,
        ignore: Sequence[str],
        fraction: float,
        salt: int,
        id_column: str | None,
        group_column: str | None,
        row_weight: str | None,
        kinds: Mapping[str, str] | None,
        said: Mapping[str, str] | None,
        **settings: Any,
    ) -> None:
        self.files = files
        self._targets = [targets] if isinstance(targets, str) else list(targets)
        for name in ignore:
            if name not in files.schema:
                raise InvalidInputError(
                    f"ignored column {name!r} is not in the table{closest(name, files.schema)}"
                )
        roles = {id_column, group_column, row_weight}
        self.columns = [name for name in files.schema if name not in ignore or name in roles]
        self._kinds = dict(kinds or {})
        self._said = dict(said or {})
        self._settings = settings | {
            "ignore": [name for name in ignore if name in self.columns],
            "id_column": id_column,
            "group_column": group_column,
            "row_weight": row_weight,
            "kinds": kinds,
            "said": said,
            "duplicates": "apart",
        }
        self._known_kinds: dict[str, Column] = {}
        self._rows: list[pl.DataFrame] = []
        self._origins: list[tuple[Piece, int]] = []
        self._read_first_rows()
        table = self._prepared()
        read = {name for names in target_columns(self._targets, kinds).values() for name in names}
        features = [name for name in self.columns if name not in read and name not in roles]
        features = [name for name in features if name not in self._settings["ignore"]]
        self.reading = RowReading(
            files, table, fraction, salt, id_column, group_column, row_weight,
            tuple(name for name in features if is_list(files.schema[name])),
        )  # fmt: skip
        self.sketches = {name: self._sketch(name) for name in features}
        self._constant = {name: self._first_value(name) for name in table.dropped}
        self._seen = {name: set(self._distinct(name)) for name in self._open_classes(table)}
        self._counts = {task.name: _TaskCounts() for task in table.tasks}
        most = min(SAMPLE_ROWS, max(1, _SAMPLE_CELLS // max(1, len(self.columns))))
        self._sample_share = most / files.rows
        self._sample: list[TypedRows] = []
        self._validation: list[TypedRows] = []
        self._last_pieces = set({piece.file: piece for piece in files.pieces}.values())
        self._above = RowsAbove()
        self.training_rows: list[int] = []
        self.unlabelled = 0

    # --- before the pass ----------------------------------------------------------------------

    def _read_first_rows(self) -> None:
        """Read rows of pieces all over the table, to infer from."""
        pieces = self.files.pieces
        count = min(len(pieces), _FIRST_PIECES)
        chosen = [pieces[(len(pieces) - 1) * i // max(1, count - 1)] for i in range(count)]
        most = min(SAMPLE_ROWS, max(1, _SAMPLE_CELLS // max(1, len(self.columns))))
        each = -(-most // count)
        for piece in chosen:
            frame = self.files.read(piece, self.columns)
            self._keep(piece, frame, np.arange(0, piece.rows, -(-piece.rows // each)))

    def _keep(self, piece: Piece, frame: pl.DataFrame, rows: np.ndarray) -> None:
        """Keep rows of a piece to infer from."""
        self._rows.append(frame[rows])
        self._origins += [(piece, int(row)) for row in rows]

    def _prepared(self) -> SupervisedTable:
        """Infer tasks and features from the rows that are kept for that.

        Columns that were features before keep their kind.
        """
        try:
            table = SupervisedTable.prepare(pl.concat(self._rows), self._targets, **self._settings)
        except InvalidInputError as error:
            raise self._located(error) from None
        columns = tuple(self._known_kinds.setdefault(one.name, one) for one in table.columns)
        return replace(table, columns=columns)

    def _located(self, error: InvalidInputError) -> InvalidInputError:
        """Return an error that counts the rows to infer from as one that names file and row."""
        found = re.search(r"\brow (\d+)\b", str(error))
        if found is None or int(found[1]) > len(self._origins):
            return error
        place = self.files.place(*self._origins[int(found[1]) - 1])
        return InvalidInputError(str(error).replace(found[0], place, 1))

    def _sketch(self, name: str) -> ColumnSketch:
        """Return the sketch of a column: as it was inferred, or by its type."""
        dtype = self.files.schema[name]
        column = self._known_kinds.get(name)
        if column is None:
            kind = "bag" if is_list(dtype) else kind_of_type(dtype, name)
            column = Column(name, kind, str(dtype), ITEM_MARK if is_list(dtype) else "")
        guessed = column.kind == "text" and name not in self._said
        values = pl.Series(name, self._distinct(name)).drop_nulls() if guessed else None
        may_be_ids = values is not None and not is_language(values.cast(pl.String))
        return ColumnSketch(column, may_be_ids=may_be_ids)

    def _first_value(self, name: str) -> Any:
        """Return the only value that a column had so far, None for none."""
        for rows in self._rows:
            known = rows[name].drop_nulls()
            if len(known):
                return known[0]
        return None

    def _distinct(self, name: str) -> list[Any]:
        return pl.concat([rows.select(name) for rows in self._rows])[name].unique().to_list()

    def _open_classes(self, table: SupervisedTable) -> list[str]:
        """Return the targets whose classes are those that come."""
        found = []
        for task in table.tasks:
            said = self._kinds.get(task.name)
            named = said is not None and bool(said_kind(task.name, said).classes)
            if task.has_classes and task.target_columns == (task.name,) and not named:
                found.append(task.name)
        return found

    # --- the pass -----------------------------------------------------------------------------

    def add(self, piece: Piece, frame: pl.DataFrame) -> None:
        """Take in a piece.

        Raises:
            InvalidInputError: A value can't be used; file and row are named.
        """
        self._refuse_sums(piece, frame)
        self._infer_more(piece, frame)
        rows = self.reading.typed(piece, frame)
        drawn = self.reading.shares(piece, frame, _SAMPLE_SALT) < self._sample_share
        try:
            for name, sketch in self.sketches.items():
                sketch.add(rows.frame[name])
            self._count(rows)
        except InvalidInputError as error:
            raise self.files.located(error, piece) from None
        if (rows.labelled & drawn).any():
            self._sample.append(self._thinned(rows.where(rows.labelled & drawn)))
        if (rows.labelled & rows.validation).any():
            self._validation.append(self._thinned(rows.where(rows.labelled & rows.validation)))
        self.training_rows.append(int((rows.labelled & ~rows.validation).sum()))
        self.unlabelled += int((~rows.labelled).sum())

    def _refuse_sums(self, piece: Piece, frame: pl.DataFrame) -> None:
        """Refuse a last row of a file that sums up the others of it.

        Raises:
            InvalidInputError: There is one; the file is named.
        """
        if piece.first == 0:
            self._above = RowsAbove()
        if piece in self._last_pieces and (why := row_of_sums(frame, self._above)) is not None:
            raise InvalidInputError(
                f"the last row of {self.files.files[piece.file].name} is no case to train on: "
                f"{why}; remove it"
            )
        self._above.add(frame)

    def _thinned(self, rows: TypedRows) -> TypedRows:
        return replace(rows, labels=np.zeros((len(rows.frame), 0)))

    def _infer_more(self, piece: Piece, frame: pl.DataFrame) -> None:
        """Look for classes that have not come yet, and values of columns that had one alone."""
        before = len(self._rows)
        for name, seen in self._seen.items():
            new = [value for value in frame[name].unique().to_list() if value not in seen]
            if new:
                seen.update(new)
                among = frame.with_row_index("row number of piece").filter(
                    pl.col(name).is_in([value for value in new if value is not None])
                )
                firsts = among.unique(subset=name, keep="first", maintain_order=True)
                self._keep(piece, frame, firsts["row number of piece"].to_numpy())
        for name, value in list(self._constant.items()):
            column = frame[name]
            other = column.is_not_null()
            if value is not None:
                other = (column != value) | column.is_null()
            found = other.arg_true().head(1).to_numpy()
            if len(found):
                self._keep(piece, frame, found)
                del self._constant[name]
        if len(self._rows) == before:
            return
        table = self._prepared()
        self._constant = {name: self._first_value(name) for name in table.dropped}
        self._rename_counts(table)
        self._seen = {name: self._seen[name] for name in self._open_classes(table)}
        self.reading = replace(self.reading, table=table)

    def _rename_counts(self, table: SupervisedTable) -> None:
        """Count classes as numbers where a target of two values has turned out to hold numbers."""
        for task in table.tasks:
            counts = self._counts[task.name]
            if not task.has_classes and counts.by_class:
                for label, (weight, _, _) in counts.by_class.items():
                    counts.moments.add(np.array([float(label)]), np.array([weight]))
                counts.by_class = {}

    def _count(self, rows: TypedRows) -> None:
        tasks = self.reading.table.tasks
        weights = np.ones(len(rows.frame)) if rows.weights is None else rows.weights
        trained = ~rows.validation
        for task, own in zip(tasks, labels_of(rows.labels, tasks), strict=True):
            counts = self._counts[task.name]
            known = np.asarray(task.in_table.known(own))
            counts.labelled += int((known & trained).sum())
            counts.weight += float(weights[known & trained].sum())
            if task.has_classes:
                codes = own[known].astype(np.int64)
                size = len(task.classes)
                every = np.bincount(codes, weights[known], size)
                used = np.bincount(codes, weights[known] * trained[known], size)
                number = np.bincount(codes, trained[known], size)
                for code, label in enumerate(task.classes):
                    found = counts.by_class.setdefault(label, [0.0, 0.0, 0.0])
                    found[0] += every[code]
                    found[1] += used[code]
                    found[2] += number[code]
            elif not task.in_table.label_shape():
                check_target_scale(task.name, own)
                counts.moments.add(own, weights)

    # --- after the pass -----------------------------------------------------------------------

    def finish(self, of_text: Sequence[str] = ()) -> None:
        """Settle the kinds of columns of text by all their values, and check the labels.

        Args:
            of_text: Notes on how the cells of text files were read.

        Raises:
            InvalidInputError: A task has no label in the rows that are trained on.
        """
        table = self.reading.table
        for name, counts in self._counts.items():
            if not counts.labelled:
                raise InvalidInputError(
                    f"task {name!r} has no label in the rows that are trained on; give more rows "
                    "with its label, or keep fewer for validation"
                )
        columns = tuple(self._settled(column) for column in table.columns)
        for column in columns:
            self.sketches[column.name].column = column
        notes = (
            f"kinds of columns and notes are those of {len(self._origins)} rows out of "
            f"{self.files.rows}",
            *of_text,
            *table.notes,
        )
        table = replace(table, columns=columns, notes=notes, unlabelled_rows=self.unlabelled)
        frame, weights = _joined(self._sample, len(table.tasks))
        if not len(frame):
            kept = self._validation or []
            frame, weights = _joined(kept[:1], len(table.tasks))
        groups = self._groups(frame)
        if groups is None:
            indices = index_columns(frame, columns)
            groups = unlikely_repeats(frame, [one for one in columns if one.name not in indices])
            if groups is not None:
                same = len(groups) - int(groups.max()) - 1
                note = (
                    f"{same} of {len(groups)} rows that were looked at repeat an earlier row in "
                    "all features, which chance does not explain: rows that are kept for "
                    "validation are trained on, too; leave repeats out of the files, or name the "
                    "column that tells them with --group"
                )
                table = replace(table, notes=(*notes, note))
        table = replace(table, frame=frame, weights=weights, groups=groups)
        self.reading = replace(self.reading, table=table)

    def _groups(self, frame: pl.DataFrame) -> np.ndarray | None:
        """Return the number of each row's group, [n]; None without groups."""
        name = self.reading.group_column
        if name is None or not len(frame):
            return None
        return frame[name].rank("dense").to_numpy().astype(np.int64) - 1

    def _settled(self, column: Column) -> Column:
        """Return a column with the kind that all its values make, where a sample could not tell."""
        sketch = self.sketches[column.name]
        if column.name in self._said:
            return column
        if column.kind == "category" and sketch.counts is not None:
            return replace(column, kind="id") if sketch.counts.distinct > MOST_COLUMNS else column
        if column.kind == "text" and sketch.values_repeat:
            return replace(column, kind="id")
        return column

    def validation(self) -> SupervisedTable | None:
        """Return the rows that are kept for validation, None if there are none."""
        if not self._validation:
            return None
        frame, weights = _joined(self._validation, len(self.reading.table.tasks))
        groups = self._groups(frame)
        return replace(self.reading.table, frame=frame, weights=weights, groups=groups)

    def label_counts(self) -> dict[str, int]:
        """Return in how many rows that are trained on each task has a label."""
        return {name: counts.labelled for name, counts in self._counts.items()}

    def scaling(self) -> dict[str, tuple[float, float]]:
        """Return mean and standard deviation of the labels of tasks that have a scale."""
        found = {}
        for task in self.reading.table.tasks:
            if not task.in_table.has_scale:
                continue
            scaling = task.in_table.scaling(self._labels_to_scale(task), None)
            if scaling is not None:
                found[task.name] = scaling
        return found

    def _labels_to_scale(self, task: Task) -> np.ndarray:
        """Return labels whose mean and standard deviation are those of all: two of them.

        Of several numbers a row, those of the sample.
        """
        if task.in_table.label_shape():
            table = self.reading.table.only([task.name])
            return table.labels()
        moments = self._counts[task.name].moments
        return moments.mean + moments.deviation * np.array([-1.0, 1.0])

    def class_factors(self) -> dict[str, np.ndarray]:
        """Return what rows weigh by their class, [c], for tasks that have class weights."""
        found = {}
        for task in self.reading.table.tasks:
            rule = self.reading.table.class_weights.get(task.name)
            if rule is None:
                continue
            if rule == "balanced":
                by_class = self._counts[task.name].by_class
                weights = np.array([by_class[label][0] for label in task.classes])
                codes = np.arange(len(task.classes))
                found[task.name] = balanced_class_weights(codes, weights, len(codes))
            else:
                found[task.name] = np.array(rule)
        return found

    def mean_weights(self) -> dict[str, float]:
        """Return what rows weigh that are trained on, the mean by task; empty if all the same."""
        factors = self.class_factors()
        if self.reading.row_weight is None and not factors:
            return {}
        found = {}
        for task in self.reading.table.tasks:
            counts = self._counts[task.name]
            total = counts.weight
            if task.name in factors:
                used = [counts.by_class[label][1] for label in task.classes]
                total = float(np.dot(used, factors[task.name]))
            found[task.name] = total / counts.labelled
        return found


def _joined(parts: Sequence[TypedRows], tasks: int) -> tuple[pl.DataFrame, np.ndarray | None]:
    """Return rows as one table, and their weights, [n, t]."""
    if not parts:
        return pl.DataFrame(), None
    frame = pl.concat([one.frame for one in parts], how="vertical_relaxed")
    if parts[0].weights is None:
        return frame, None
    weights = np.concatenate([one.weights for one in parts if one.weights is not None])
    return frame, np.repeat(weights[:, None], tasks, axis=1)
