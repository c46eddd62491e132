"""Columns whose values say which rows are ranked among each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from jointrain.data._type_words import type_in_words
from jointrain.errors import InvalidInputError, closest
from jointrain.task import Task


def query_columns(tasks: Sequence[Task]) -> list[str]:
    """Return the columns that metrics of the tasks look at beside targets, each once."""
    found = [metric.query for task in tasks for metric in task.metrics or ()]
    return list(dict.fromkeys(name for name in found if name is not None))


def query_numbers(frame: pl.DataFrame, tasks: Sequence[Task]) -> dict[str, np.ndarray]:
    """Return the number of each row's query, [n], by the column that tells it.

    Raises:
        InvalidInputError: A column does not exist, is empty in a row, or holds no single values.
    """
    found = {}
    for name in query_columns(tasks):
        if name not in frame.columns:
            raise InvalidInputError(
                f"query column {name!r} is not in the table{closest(name, frame.columns)}"
            )
        values = frame[name]
        if values.dtype.is_nested():
            raise InvalidInputError(
                f"query column {name!r} holds {type_in_words(values.dtype)}; it needs one value a "
                "row"
            )
        if values.null_count():
            row = int(values.is_null().arg_true()[0])
            raise InvalidInputError(
                f"query column {name!r} is empty in row {row + 1}; fill it or leave the row out"
            )
        found[name] = values.rank("dense").to_numpy().astype(np.int64)
    return found


def check_queries(frame: pl.DataFrame, tasks: Sequence[Task]) -> None:
    """Refuse columns of which no two rows have the same value, and those of `query_numbers`.

    Raises:
        InvalidInputError: There is such a column.
    """
    for name, numbers in query_numbers(frame, tasks).items():
        if len(np.unique(numbers)) == len(numbers):
            raise InvalidInputError(
                f"query column {name!r} has another value in every row, so there are no rows to "
                "rank among each other; name the column of queries, users or sessions"
            )
