"""StreamedTable: a table larger than memory, what to predict from it, and what one pass found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jointrain.data._arrow_files import index_note
from jointrain.data._columns import Column
from jointrain.data._encoder import TableEncoder
from jointrain.data._raw_table import ReadingOptions
from jointrain.data._row_weights import ClassWeights
from jointrain.data._supervised_table import SupervisedTable, _names, typed_sample
from jointrain.data._table_schema import TableSchema
from jointrain.data.streaming._column_sketches import ColumnSketch, encoder_of
from jointrain.data.streaming._row_reading import RowReading, TypedRows
from jointrain.data.streaming._table_files import Piece, TableFiles
from jointrain.data.streaming._table_scan import TableScan
from jointrain.data.streaming._text_files import TextFiles
from jointrain.errors import InvalidInputError
from jointrain.task import Task

VALIDATION_ROWS = 100_000
"""So many rows are kept for early stopping and calibration at most, by default."""

_VALIDATION_CELLS = 10_000_000
"""Of wide tables fewer, so that they have no more cells than this."""

Progress = Callable[[int, int], Any]


@dataclass(frozen=True)
class StreamedTable:
    """A table larger than memory, with its roles, and what one pass over its rows has left.

    Args:
        reading: How its rows are read.
        validation: The rows that are kept for early stopping, and have a label.
        training_rows: How many rows of each piece are trained on.
        labels: In how many of them each task has a label, by its name.
        sketches: Of each feature column.
        scaling: Mean and standard deviation of the labels of tasks of numbers.
        class_factors: What rows weigh by their class, [c], for tasks that have class weights.
        mean_weights: Mean over a task's labelled rows of what they weigh; empty if all weigh the
            same.
        text_schema: How the columns of text files were read; None for files that have types.

    Examples:
        >>> from jointrain.data.streaming import StreamedTable, table_files
        >>> files = table_files("folder")  # doctest: +SKIP
        >>> StreamedTable.prepare(files, ["price", "sold"]).rows  # doctest: +SKIP
        17000000
    """

    reading: RowReading
    validation: SupervisedTable | None
    training_rows: tuple[int, ...]
    labels: Mapping[str, int]
    sketches: Mapping[str, ColumnSketch]
    scaling: Mapping[str, tuple[float, float]]
    class_factors: Mapping[str, np.ndarray] = field(default_factory=dict)
    mean_weights: Mapping[str, float] = field(default_factory=dict)
    text_schema: TableSchema | None = None

    @classmethod
    def prepare(
        cls,
        files: TableFiles | TextFiles,
        targets: Sequence[str] | str,
        *,
        kinds: Mapping[str, str] | None = None,
        metrics: Mapping[str, str] | None = None,
        ignore: Sequence[str] | str = (),
        id_column: str | None = None,
        group_column: str | None = None,
        reading: ReadingOptions | None = None,
        row_weight: str | None = None,
        class_weights: ClassWeights | None = None,
        said: Mapping[str, str] | None = None,
        validation_fraction: float = 0.15,
        validation_rows: int = VALIDATION_ROWS,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> StreamedTable:
        """Infer tasks and features from a sample, and go through all rows once.

        Args:
            files: The table, see `table_files`.
            targets: As for `SupervisedTable.prepare`, like all that are not described here.
            kinds: Likewise.
            metrics: Likewise; none that ranks rows within queries.
            ignore: Likewise.
            id_column: A column that names rows; which rows are kept for validation follows from
                its values, and without it from a row's number and the content of its file. So
                neither names nor the order of files matter.
            group_column: Rows with the same value are kept for validation together, or not.
            reading: As there.
            row_weight: As there.
            class_weights: As there.
            said: As there.
            validation_fraction: Which share of the rows is kept for early stopping, and ...
            validation_rows: ... how many at most, about; they are held in memory.
            seed: Another one keeps other rows.
            progress: Called with the number of rows that are through, and that of all.

        Raises:
            InvalidInputError: As there; and where a column, a label or a weight of any row can't be
                used: file, row and value are named.
        """
        ignore = [ignore] if isinstance(ignore, str) else list(ignore)
        schema: TableSchema | None = None
        of_text: Sequence[str] = ()
        if isinstance(files, TextFiles):
            roles = {"id_column": id_column, "group_column": group_column, "row_weight": row_weight}
            text = typed_sample(files.sample(), targets, kinds, ignore, reading, said, **roles)
            files, schema, reading = files.as_parquet(text.schema), text.schema, None
            of_text = text.notes
        named = {*ignore, id_column, group_column, row_weight, *_names(targets, "target")}
        indices = [name for name in files.indices if name not in named]
        ignore = [*ignore, *indices]
        if indices:
            of_text = [*of_text, index_note(indices)]
        most = min(validation_rows, max(1, _VALIDATION_CELLS // max(1, len(files.schema))))
        scan = TableScan(
            files,
            targets,
            ignore=ignore,
            fraction=min(validation_fraction, most / files.rows),
            salt=seed,
            id_column=id_column,
            group_column=group_column,
            row_weight=row_weight,
            kinds=kinds,
            metrics=metrics,
            reading=reading,
            class_weights=class_weights,
            said=said,
        )
        done = 0
        for piece, frame in files.frames(scan.columns):
            scan.add(piece, frame)
            done += piece.rows
            if progress is not None:
                progress(done, files.rows)
        scan.finish(of_text)
        return cls(
            scan.reading,
            scan.validation(),
            tuple(scan.training_rows),
            scan.label_counts(),
            scan.sketches,
            scan.scaling(),
            scan.class_factors(),
            scan.mean_weights(),
            schema if schema is None else schema.only(scan.reading.table.schema.columns),
        )

    @property
    def files(self) -> TableFiles:
        """The table."""
        return self.reading.files

    @property
    def sample(self) -> SupervisedTable:
        """A sample of its rows, drawn evenly; tasks, features, schema and notes are the whole's."""
        return self.reading.table

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What to predict."""
        return self.sample.tasks

    @property
    def columns(self) -> tuple[Column, ...]:
        """The feature columns."""
        return self.sample.columns

    @property
    def schema(self) -> TableSchema:
        """How tables that are predicted later are to be read."""
        return self.sample.schema if self.text_schema is None else self.text_schema

    @property
    def rows(self) -> int:
        """How many rows are trained on."""
        return sum(self.training_rows)

    def encoder(self, bins: int | None = 0, seed: int = 0) -> TableEncoder:
        """Return the encoder of all rows, see `encoder_of`."""
        return encoder_of(self.columns, dict(self.sketches), self.sample.frame, bins, seed)

    def read(self, number: int) -> TypedRows:
        """Return the rows of a piece that are trained on.

        Args:
            number: The number of the piece.

        Raises:
            InvalidInputError: They can't be read, or are no longer as many as they were.
        """
        piece: Piece = self.files.pieces[number]
        frame = self.files.read(piece, self.reading.needed)
        rows = self.reading.typed(piece, frame)
        found = rows.where(rows.labelled & ~rows.validation)
        if len(found.frame) != self.training_rows[number]:
            raise InvalidInputError(
                f"{self.files.files[piece.file].name} has other labels than before; files must "
                "stay as they are while they are read"
            )
        return found
