"""Sketches of a table's columns, and the encoder that they make."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from jointrain.data._blocks import (
    _PARTS,
    MAX_CATEGORIES,
    Block,
    BooleanBlock,
    CalendarBlock,
    CategoryBlock,
    DatetimeBlock,
    NumericBlock,
    TextBlock,
    TimeBlock,
    _numbers,
    _part,
    _seconds,
    _with_numbers,
)
from jointrain.data._columns import Column, check_finite
from jointrain.data._encoder import TableEncoder
from jointrain.data._id_blocks import (
    FEWEST_ROWS,
    MOST_ITEMS,
    MOST_VALUES,
    BagBlock,
    IdBlock,
    _Vocabulary,
    items_of,
)
from jointrain.data._targets import as_text
from jointrain.data.streaming._sketches import Counts, Distinct, Quantiles


class ColumnSketch:
    """What one pass over the rows leaves of a feature column.

    Args:
        column: It, of whatever kind.
        may_be_ids: Of text, whether it may be ids whose values repeat too seldom in a sample.
    """

    def __init__(self, column: Column, *, may_be_ids: bool = False) -> None:
        self.column = column
        self.rows = 0
        self.missing = 0
        self.numbers = Quantiles() if column.kind in ("numeric", "datetime", "time") else None
        counted = column.kind in ("category", "id", "bag") or may_be_ids
        self.counts = Counts() if counted else None
        self.distinct = Distinct() if column.kind == "text" else None
        self.has_numbers = False
        self.parts: dict[str, set[int]] = {part: set() for part in _PARTS}
        self.longest = 0

    def add(self, values: pl.Series) -> None:
        """Take in the values of some rows, typed as the table's schema says."""
        self.rows += len(values)
        self.missing += values.null_count()
        known = values.drop_nulls()
        match self.column.kind:
            case "numeric" if self.numbers is not None:
                check_finite(values.to_frame(), [values.name])
                self.numbers.add(_numbers(known.to_frame())[:, 0])
            case "datetime" | "calendar" | "time":
                self._add_dates(known)
            case "bag" if self.counts is not None:
                items = items_of(known, self.column.separator)
                self.counts.add(items.explode().drop_nulls())
                longest = items.list.len().max()
                self.longest = max(self.longest, longest if isinstance(longest, int) else 0)
            case "category" | "id" if self.counts is not None:
                self.counts.add(as_text(known))
            case "text" if self.distinct is not None:
                text = as_text(known)
                self.distinct.add(text)
                if self.counts is not None:
                    self.counts.add(text)
                self.has_numbers = self.has_numbers or bool(
                    _with_numbers({values.name: text.unique().to_list()})
                )

    def _add_dates(self, known: pl.Series) -> None:
        if self.numbers is not None:
            self.numbers.add(_seconds(known.to_frame()).to_series().to_numpy())
        if self.column.kind != "time" and known.dtype != pl.Null:
            for part, found in self.parts.items():
                found.update(_part(known, part).drop_nulls().unique().to_list())

    @property
    def has_missing(self) -> bool:
        """Whether a value was missing."""
        return self.missing > 0

    @property
    def values_repeat(self) -> bool:
        """Whether half of the rows or more hold a value that another row holds, as ids do."""
        if self.counts is None:
            return False
        known = self.rows - self.missing
        if not self.counts.exact:
            return 2 * self.counts.distinct <= known
        rows = self.counts.most_frequent()["rows"]
        return 2 * int(rows.filter(rows > 1).sum()) >= known > 0

    @property
    def varying_parts(self) -> list[str]:
        """Which of month, weekday and hour of dates vary."""
        return [part for part, found in self.parts.items() if len(found) > 1]

    def center_and_scale(self) -> tuple[float, float]:
        """Return what `robust_scale` gives of all values, quartiles being those of the sketch."""
        if self.numbers is None or self.numbers.empty:
            return 0.0, 0.0
        first, median, third = self.numbers.at((0.25, 0.5, 0.75))
        low, high = self.numbers.ends
        with np.errstate(divide="ignore", over="ignore"):
            scale = np.float64(1) / np.float64(third - first)
            if not np.isfinite(scale):
                scale = np.float64(2) / np.float64(high - low)
        return float(median), float(scale) if np.isfinite(scale) else 0.0


def encoder_of(
    columns: Sequence[Column],
    sketches: dict[str, ColumnSketch],
    sample: pl.DataFrame,
    bins: int | None = 0,
    seed: int = 0,
) -> TableEncoder:
    """Return the encoder that `TableEncoder.fit` would learn of all rows, by their sketches.

    Which values are missing, ends of numbers, truth values, parts of dates, and counts of at most
    262,144 different values are exact; quartiles are right to 0.19 % of the rows. Text is learned
    from the sample, and so are the edges of bins.

    Args:
        columns: The feature columns.
        sketches: Of each.
        sample: Some of the rows, drawn evenly.
        bins: As in `TableEncoder`.
        seed: Seed of the decomposition of text.
    """
    blocks: list[Block] = []
    for kind in TableEncoder.kinds:
        own = [sketches[column.name] for column in columns if column.kind == kind]
        if own:
            blocks.append(_block(kind, own, sample, seed))
    return TableEncoder.of_blocks(columns, blocks, sample, bins)


def _block(kind: str, own: Sequence[ColumnSketch], sample: pl.DataFrame, seed: int) -> Block:
    names = [one.column.name for one in own]
    missing = np.array([one.has_missing for one in own], dtype=bool)
    match kind:
        case "numeric":
            return _numeric(own)
        case "boolean":
            return BooleanBlock(names, missing)
        case "category":
            return _categories(own)
        case "text":
            learned = TextBlock.fit(sample.select(names), seed)
            numeric = [one.column.name for one in own if one.has_numbers]
            return TextBlock(names, learned.frequencies, learned.directions, missing, numeric)
        case "datetime":
            parts = {one.column.name: one.varying_parts for one in own}
            return DatetimeBlock(_numeric(own), parts)
        case "time":
            return TimeBlock(_numeric(own))
        case "calendar":
            return CalendarBlock(
                names, {one.column.name: one.varying_parts or ["weekday"] for one in own}
            )
        case "id":
            return IdBlock({one.column.name: _vocabulary(one) for one in own})
        case _:
            return BagBlock(
                {one.column.name: _vocabulary(one) for one in own},
                {one.column.name: one.column.separator for one in own},
                {one.column.name: min(MOST_ITEMS, max(2, one.longest)) for one in own},
            )


def _numeric(own: Sequence[ColumnSketch]) -> NumericBlock:
    found = np.array([one.center_and_scale() for one in own], dtype=np.float64).reshape(-1, 2)
    return NumericBlock(
        [one.column.name for one in own],
        np.ascontiguousarray(found[:, 0]),
        np.ascontiguousarray(found[:, 1]),
        np.array([one.has_missing for one in own], dtype=bool),
    )


def _categories(own: Sequence[ColumnSketch]) -> CategoryBlock:
    """Return what `CategoryBlock.fit` gives, by counts."""
    frequent, rare = {}, {}
    for one in own:
        assert one.counts is not None
        least = min(20, max(2, round(0.001 * one.rows)))
        ordered = one.counts.most_frequent()
        enough = int((ordered["rows"] >= least).sum()) or len(ordered)
        keep = min(enough, MAX_CATEGORIES)
        categories = ordered["value"].to_list()
        frequent[one.column.name] = sorted(categories[:keep])
        rare[one.column.name] = sorted(categories[keep:])
    return CategoryBlock(frequent, rare, {one.column.name: one.has_missing for one in own})


def _vocabulary(one: ColumnSketch) -> _Vocabulary:
    """Return what `_Vocabulary.fit` gives, by counts."""
    assert one.counts is not None
    name, ordered = one.column.name, one.counts.most_frequent()
    if len(ordered) > MOST_VALUES or not one.counts.exact:
        return _Vocabulary(name, sorted(ordered["value"].head(MOST_VALUES)), [], True)
    often = ordered["rows"] >= FEWEST_ROWS
    return _Vocabulary(
        name, sorted(ordered.filter(often)["value"]), sorted(ordered.filter(~often)["value"]), False
    )
