"""What is said of a column of text while it is found out what it holds."""

from __future__ import annotations

import shlex
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, NoReturn

import polars as pl

from jointrain.data._table_schema import Place
from jointrain.errors import InvalidInputError

FEW = 0.1
"""So large a share of cells that are no numbers is an error in a column of numbers."""

_SAMPLE = 1000
_SHOWN = 8


@dataclass
class ReadingNotes:
    """Decisions for the user, those of the same kind in one sentence."""

    sentences: list[str] = field(default_factory=list)
    grouped: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def add(self, sentence: str) -> None:
        """Note one sentence."""
        self.sentences.append(sentence)

    def group(self, before: str, column: str, after: str) -> None:
        """Note a column in a sentence that others share: ``before: columns; after``."""
        self.grouped.setdefault((before, after), []).append(column)

    def all(self) -> tuple[str, ...]:
        """Return all sentences."""
        together = (
            f"{before}: {listed(columns)}; {after}"
            for (before, after), columns in self.grouped.items()
        )
        return (*self.sentences, *together)


@dataclass(frozen=True)
class ColumnText:
    """A column of text of which it is to be found out what it holds.

    Args:
        text: The cells without outer spaces, null where missing, [n].
        place: Puts a row (from 0) into words.
        said: What the user says that it holds, None if nothing.
        is_target: Whether it is to be predicted.
        is_class: Whether it is said to be a target of classes.
        notes: Where decisions are noted.
    """

    text: pl.Series
    place: Place
    said: str | None
    is_target: bool
    is_class: bool
    notes: ReadingNotes

    @property
    def name(self) -> str:
        """The column's name."""
        return self.text.name

    @property
    def known(self) -> pl.Series:
        """The cells that are not missing."""
        return self.text.drop_nulls()

    @property
    def sample(self) -> pl.Series:
        """At most 1000 of the known cells, evenly spread."""
        known = self.known
        return known.gather_every(max(1, -(-len(known) // _SAMPLE)))

    def where(self, cell: str) -> str:
        """Return the first row with a cell, in words."""
        return self.place(int((self.text == cell).arg_true()[0]))

    def refuse(self, cell: Any, why: str) -> NoReturn:
        """Raise, naming column, cell and row."""
        raise InvalidInputError(f"column {self.name!r} holds {cell!r} in {self.where(cell)}, {why}")

    def is_almost(self, share: float) -> bool:
        """Return whether so many cells are of one kind that the others must be faults."""
        return self.said is not None or share >= 1 - FEW

    def refuse_few(self, wrong: pl.Series, what: str) -> NoReturn:
        """Raise because a few cells are not what all others are.

        Args:
            wrong: These cells.
            what: What the others are, in the plural.
        """
        cells = wrong.unique(maintain_order=True)
        shown = ", ".join(repr(cell) for cell in cells[1:4])
        more = f" (also {shown}{' and others' if len(cells) > 4 else ''})" if shown else ""
        flag = missing_flag(*cells) if len(cells) <= 3 else "--missing"
        holds = "holds" if self.said is None else "is said to hold"
        raise InvalidInputError(
            f"column {self.name!r} {holds} {what}, but {cells[0]!r} in {self.where(cells[0])} is "
            f"none{more}: {len(wrong)} of {self.text.count()} values; mend them, take them as "
            f"missing with {flag}, or read the column as text with {self.flag('text')}"
        )

    def note_text(self, cell: str, why: str, remedy: str) -> None:
        """Note that a column that looks like another kind is read as text."""
        self.notes.add(
            f"column {self.name} is read as text: {cell!r} in {self.where(cell)} {why}; {remedy}"
        )

    def flag(self, kind: str) -> str:
        """Return the flag that says what the column holds."""
        return f"--column {shlex.quote(f'{self.name}={kind}')}"


def missing_flag(*cells: str) -> str:
    """Return the flag that takes cells as missing."""
    tokens = [
        '"' + cell.replace('"', '""') + '"' if any(mark in cell for mark in ',"') else cell
        for cell in cells
    ]
    return f"--missing {shlex.quote(','.join(tokens))}"


def share(mask: pl.Series) -> float:
    """Return the share of true values; null is false."""
    return float(mask.fill_null(value=False).sum()) / max(1, len(mask))


def listed(words: Collection[str]) -> str:
    """Return words with commas, those beyond eight as their number."""
    shown = list(words)[:_SHOWN]
    more = len(words) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
