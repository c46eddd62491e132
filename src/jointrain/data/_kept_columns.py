"""Columns that go from a table to its predictions as they are written."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from jointrain.data._raw_table import RawTable
from jointrain.errors import InvalidInputError, closest


def kept_columns(raw: RawTable, id_column: str | None, keep: Sequence[str]) -> pl.DataFrame:
    """Return the column of names, if the table has it, and the columns that are asked for.

    Args:
        raw: The table as it is written, so that text stays byte for byte.
        id_column: The column that named the rows in training.
        keep: Further columns.

    Raises:
        InvalidInputError: One of `keep` is not in the table.
    """
    known = raw.frame.columns
    for name in keep:
        if name not in known:
            raise InvalidInputError(
                f"column {name!r} is not in {raw.where}{closest(name, known)}; it has "
                f"{', '.join(known)}"
            )
    first = [id_column] if id_column in known and id_column is not None else []
    return raw.frame.select(list(dict.fromkeys([*first, *keep])))


def with_kept(predictions: pl.DataFrame, kept: pl.DataFrame) -> pl.DataFrame:
    """Return predictions with the kept columns before them.

    Args:
        predictions: A row for each of the table.
        kept: Columns of the table.

    Raises:
        InvalidInputError: A kept column has the name of a prediction.
    """
    for name in kept.columns:
        if name in predictions.columns:
            raise InvalidInputError(
                f"column {name!r} of the table can't be kept, because a prediction has that name; "
                "name it otherwise in the table"
            )
    return kept.hstack(predictions) if kept.width else predictions
