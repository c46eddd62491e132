"""Targets of several numbers a row: bounds, times with events, shares, yes or no."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from jointrain.data._bounds import read_bounds
from jointrain.data._table_schema import FALSE_WORDS, TRUE_WORDS
from jointrain.data._type_words import type_in_words
from jointrain.errors import InvalidInputError
from jointrain.task import Task


def several_numbers(columns: Sequence[pl.Series], task: Task) -> np.ndarray:
    """Return the numbers of a target, [n, m], NaN where one is missing.

    Args:
        columns: The target's columns.
        task: The target.

    Raises:
        InvalidInputError: A cell can't be read as what the kind holds; column and row (from 1) are
            named.
    """
    cells = task.in_table.cells
    if cells == "bounds" and len(columns) == 1:
        found = read_bounds(columns[0], f"censored target {task.name!r}").numpy()
    elif cells == "bounds":
        lower, upper = (_numbers(column, task) for column in columns)
        missing = np.isnan(lower) & np.isnan(upper)
        low, high = np.nan_to_num(lower, nan=-np.inf), np.nan_to_num(upper, nan=np.inf)
        found = np.where(missing[:, None], np.nan, np.stack([low, high], axis=1))
    elif cells == "times":
        time, event = columns
        found = np.stack([_numbers(time, task), yes_or_no(event, task.name)], axis=1)
    elif cells == "shares":
        found = np.stack([_numbers(column, task) for column in columns], axis=1)
    else:
        found = np.stack([yes_or_no(column, task.name) for column in columns], axis=1)
    _check(found, task, columns)
    return found


def yes_or_no(column: pl.Series, target: str) -> np.ndarray:
    """Return 1 for yes and 0 for no, [n], NaN where a cell is missing.

    Yes are 1, true, yes, y and t, in upper or lower case; no are 0, false, no, n and f.

    Raises:
        InvalidInputError: A cell is neither.
    """
    written = column.cast(pl.String).str.strip_chars().str.to_lowercase()
    if column.dtype.is_float():
        written = column.fill_nan(None).cast(pl.String)
    found = np.full(len(column), np.nan)
    values = written.to_list()
    for row, value in enumerate(values):
        if value in TRUE_WORDS:
            found[row] = 1.0
        elif value in FALSE_WORDS:
            found[row] = 0.0
        elif value:
            raise InvalidInputError(
                f"column {column.name!r} of target {target!r} holds {column[row]!r} in row "
                f"{row + 1}; it takes 1 and 0, yes and no, or true and false"
            )
    return found


def _numbers(column: pl.Series, task: Task) -> np.ndarray:
    if not (column.dtype.is_numeric() or column.dtype in (pl.Null, pl.Boolean)):
        what = type_in_words(column.dtype)
        example = "" if column.null_count() == len(column) else f" such as {_shown(column)}"
        raise InvalidInputError(
            f"column {column.name!r} of {task.kind} target {task.name!r} holds {what}{example}; it "
            "takes numbers"
        )
    return column.cast(pl.Float64).to_numpy()


def _shown(column: pl.Series) -> Any:
    """Return the first cell that is no number, else the first."""
    known = column.drop_nulls()
    if known.dtype == pl.String:
        odd = known.filter(known.cast(pl.Float64, strict=False).is_null())
        known = odd if len(odd) else known
    return repr(known[0])


def _check(found: np.ndarray, task: Task, columns: Sequence[pl.Series]) -> None:
    """Refuse numbers that the kind can't have; column, row (from 1) and what must be are named."""
    kind, cells = task.in_table, task.in_table.cells
    names = " and ".join(repr(column.name) for column in columns[:2])
    if cells == "shares":
        wrong = np.argwhere((found < 0) | (found > 1))
        if len(wrong):
            row, part = (int(place) for place in wrong[0])
            raise InvalidInputError(
                f"column {columns[part].name!r} of {task.kind} target {task.name!r} holds "
                f"{found[row, part]:g} in row {row + 1}; shares are from 0 to 1 and sum to 1: "
                "divide the parts by their sum"
            )
        sums = found.sum(1)
        off = np.flatnonzero(np.abs(sums - 1) > 1e-3)
        if len(off):
            raise InvalidInputError(
                f"the shares of target {task.name!r} sum to {sums[off[0]]:g} in row {off[0] + 1}, "
                "not to 1; divide them by their sum, or leave one empty"
            )
    elif cells == "times":
        with np.errstate(invalid="ignore"):
            off = np.flatnonzero((found[:, 0] < 0) | np.isinf(found[:, 0]))
        if len(off):
            raise InvalidInputError(
                f"column {columns[0].name!r} of {task.kind} target {task.name!r} holds "
                f"{found[off[0], 0]:g} in row {off[0] + 1}; times are numbers of 0 or more"
            )
    elif cells == "bounds":
        lower, upper = found.T
        off = np.flatnonzero((lower > upper) | ((lower == upper) & np.isinf(lower)))
        if len(off):
            raise InvalidInputError(
                f"censored target {task.name!r} has the lower bound {lower[off[0]]:g} above the "
                f"upper one, {upper[off[0]]:g}, in row {off[0] + 1} of {names}; change their places"
            )
    kind.check_labels(found)
