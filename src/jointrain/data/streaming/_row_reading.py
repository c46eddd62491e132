"""How the rows of a table larger than memory are read, piece by piece."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from jointrain.data._list_columns import lists_as_bags
from jointrain.data._row_weights import checked_row_weights, read_row_weights
from jointrain.data._supervised_table import SupervisedTable
from jointrain.data._targets import encode_targets
from jointrain.data.streaming._row_hash import shares_by_place, shares_by_value
from jointrain.data.streaming._table_files import Piece, TableFiles
from jointrain.errors import InvalidInputError
from jointrain.task import known_labels, without_labels


@dataclass(frozen=True)
class TypedRows:
    """Rows of a piece, read as the table's schema says.

    Args:
        frame: They.
        labels: As `encode_targets` gives them, NaN where the row has weight 0.
        weights: How much each row counts, [n]; None if all count the same.
        validation: Which are kept for validation, [n] of bool.
        labelled: Which have a label, [n] of bool.
    """

    frame: pl.DataFrame
    labels: np.ndarray
    weights: np.ndarray | None
    validation: np.ndarray
    labelled: np.ndarray

    def where(self, chosen: np.ndarray) -> TypedRows:
        """Return some of the rows, `chosen` [n] of bool."""
        if chosen.all():
            return self
        return TypedRows(
            self.frame.filter(pl.Series(chosen)),
            self.labels[chosen],
            None if self.weights is None else self.weights[chosen],
            self.validation[chosen],
            self.labelled[chosen],
        )


@dataclass(frozen=True)
class RowReading:
    """How rows are read.

    Args:
        files: The table.
        table: A sample of it, with tasks, features and schema.
        fraction: Which share of the rows is kept for validation.
        salt: Of the choice of validation rows.
        id_column: By what they are chosen; default by their place.
        group_column: Likewise, before `id_column`.
        row_weight: The column of weights.
        lists: Columns that hold lists of items.
    """

    files: TableFiles
    table: SupervisedTable
    fraction: float
    salt: int = 0
    id_column: str | None = None
    group_column: str | None = None
    row_weight: str | None = None
    lists: tuple[str, ...] = ()

    @property
    def needed(self) -> list[str]:
        """The columns that are read."""
        read = [column.name for column in self.table.columns]
        read += [name for task in self.table.tasks for name in task.target_columns]
        roles = (self.id_column, self.group_column, self.row_weight)
        return list(dict.fromkeys([*read, *(name for name in roles if name is not None)]))

    def shares(self, piece: Piece, frame: pl.DataFrame, salt: int) -> np.ndarray:
        """Return the number in [0, 1) of each row that decides for what it is kept, [n]."""
        by = self.group_column or self.id_column
        if by is not None:
            return shares_by_value(frame[by], salt)
        content = self.files.files[piece.file].content
        return shares_by_place(content, piece.first, piece.rows, salt)

    def typed(self, piece: Piece, frame: pl.DataFrame) -> TypedRows:
        """Return the rows of a piece as the schema says.

        Args:
            piece: It.
            frame: Its rows as they are in the file.

        Raises:
            InvalidInputError: A value is not what its column must hold; file and row are named.
        """
        table = self.table
        validation = self.shares(piece, frame, self.salt) < self.fraction
        try:
            if self.lists:
                frame, _ = lists_as_bags(
                    frame, {}, [n for n in frame.columns if n not in self.lists]
                )
            frame = table.schema.after_joining().conform(frame)
            labels = encode_targets(frame, list(table.tasks))
            if self.group_column is not None and frame[self.group_column].null_count():
                row = int(frame[self.group_column].is_null().arg_true()[0])
                raise InvalidInputError(
                    f"group column {self.group_column!r} is empty in row {row + 1}; fill it or "
                    "leave those rows out"
                )
            weights = None
            if self.row_weight is not None:
                weights = part_weights(frame[self.row_weight])
                if (weights == 0).any():
                    none = np.repeat((weights == 0)[:, None], len(table.tasks), axis=1)
                    labels = without_labels(labels, table.tasks, none)
        except InvalidInputError as error:
            raise self.files.located(error, piece) from None
        labelled = np.asarray(known_labels(labels, table.tasks).any(1))
        return TypedRows(frame, labels, weights, validation, labelled)


def part_weights(column: pl.Series) -> np.ndarray:
    """Return the weights of some rows, which may all be 0."""
    if column.dtype.is_numeric() and not column.null_count():
        weights = column.cast(pl.Float64).to_numpy()
        if (weights == 0).all():
            return weights
        return checked_row_weights(weights, f"row-weight column {column.name!r}")
    return read_row_weights(column)
