"""Blocks of codes: ids and bags of them, whose values a network looks vectors up by."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import polars as pl

from jointrain.data._blocks import (
    Block,
    State,
    _distinct,
    _strings,
    _with_numbers,
    known_values,
)
from jointrain.data._columns import Column, most_frequent
from jointrain.data._list_columns import is_list, list_items
from jointrain.data._targets import as_text
from jointrain.task import MISSING_CODE, RARE_CODE, UNSEEN_CODE, CodeColumns

MOST_VALUES = 100_000
"""With more distinct values, only so many have codes of their own; all others are hashed."""

BUCKETS = 16_384
"""How many codes the hashed values share."""

FEWEST_ROWS = 2
"""A value in fewer rows is rare."""

MOST_ITEMS = 32
"""Of a longer bag, the first so many values count."""

_FIRST = RARE_CODE + 1


class _Vocabulary:
    """The values of a column and their codes.

    Args:
        name: The column's name, which salts the hash: the same value falls into another bucket in
            another column.
        values: Those with codes of their own.
        rare: Those that share one code.
        hashed: Whether all others are hashed.
    """

    def __init__(self, name: str, values: Sequence[str], rare: Sequence[str], hashed: bool) -> None:
        self.name, self.values, self.rare = name, list(values), list(rare)
        self.hashed = hashed
        if len(self.values) > MOST_VALUES or len(self.rare) > MOST_VALUES:
            raise ValueError("more values than have codes")
        self.count = _FIRST + len(self.values) + (BUCKETS if hashed else 0)

    @classmethod
    def fit(cls, name: str, found: pl.Series) -> _Vocabulary:
        """Count values, missing ones left out."""
        ordered = most_frequent(found)
        if len(ordered) > MOST_VALUES:
            return cls(name, sorted(ordered["value"].head(MOST_VALUES)), [], True)
        often = ordered["rows"] >= FEWEST_ROWS
        frequent, rare = ordered.filter(often), ordered.filter(~often)
        return cls(name, sorted(frequent["value"]), sorted(rare["value"]), False)

    def codes(self, values: pl.Series) -> np.ndarray:
        """Return the code of each value, [n]."""
        known = [*self.values, *self.rare]
        places = [*range(_FIRST, _FIRST + len(self.values)), *[RARE_CODE] * len(self.rare)]
        found = values.replace_strict(
            pl.Series(known, dtype=pl.String), pl.Series(places, dtype=pl.Int64),
            default=UNSEEN_CODE, return_dtype=pl.Int64,
        )  # fmt: skip
        missing = values.is_null().to_numpy()
        codes = np.where(missing, MISSING_CODE, found.fill_null(UNSEEN_CODE).to_numpy())
        if self.hashed:
            rest = np.flatnonzero(codes == UNSEEN_CODE)
            others = values[rest]
            buckets = {value: self._bucket(value) for value in others.unique()}
            codes[rest] = _FIRST + len(self.values) + np.array([buckets[v] for v in others], int)
        return np.asarray(codes)

    def _bucket(self, value: str) -> int:
        salt = hashlib.blake2b(self.name.encode(), digest_size=16).digest()
        digest = hashlib.blake2b(value.encode(), digest_size=8, salt=salt).digest()
        return int.from_bytes(digest, "little") % BUCKETS


class _CodeBlock(Block):
    """Codes of columns.

    Args:
        vocabularies: By the table's column.
    """

    codes = True

    def __init__(self, vocabularies: Mapping[str, _Vocabulary]) -> None:
        super().__init__(list(vocabularies))
        self.vocabularies = dict(vocabularies)
        self.numeric_text = _with_numbers(
            {name: [*one.values, *one.rare] for name, one in self.vocabularies.items()}
        )

    @property
    def told_unseen(self) -> list[str]:
        """The columns without hashed values."""
        return [name for name, one in self.vocabularies.items() if not one.hashed]

    def state(self) -> State:
        """Return the values."""
        settings = {
            "values": {name: one.values for name, one in self.vocabularies.items()},
            "rare": {name: one.rare for name, one in self.vocabularies.items()},
            "hashed": {name: one.hashed for name, one in self.vocabularies.items()},
        }
        return settings, {}

    @staticmethod
    def _vocabularies(settings: Mapping[str, Any]) -> dict[str, _Vocabulary]:
        """Return what `state` told."""
        made = {}
        for name, values in settings["values"].items():
            rare, hashed = settings["rare"][name], settings["hashed"][name]
            _distinct(_strings(values) + _strings(rare))
            if not isinstance(name, str) or not isinstance(hashed, bool):
                raise ValueError("a name or a flag is none")
            made[name] = _Vocabulary(name, values, rare, hashed)
        return made

    @abstractmethod
    def code_columns(self, start: int) -> list[CodeColumns]: ...


class IdBlock(_CodeBlock):
    """The code of each value."""

    kind = "id"

    def __init__(self, vocabularies: Mapping[str, _Vocabulary]) -> None:
        super().__init__(vocabularies)
        self.features = [(f"{name} id", name) for name in self.names]

    @classmethod
    def fit(cls, frame: pl.DataFrame, seed: int) -> Self:  # noqa: ARG003 -- nothing random here
        """Count the values."""
        return cls({one.name: _Vocabulary.fit(one.name, known_values(one)) for one in frame})

    def transform(self, frame: pl.DataFrame, out: np.ndarray) -> None:
        """Write the codes."""
        for index, column in enumerate(frame):
            out[:, index] = self.vocabularies[column.name].codes(as_text(column))

    def code_columns(self, start: int) -> list[CodeColumns]:
        """Return a column of codes for each column of the table."""
        return [
            CodeColumns(name, start + index, one.count)
            for index, (name, one) in enumerate(self.vocabularies.items())
        ]

    def unseen(self, column: pl.Series) -> pl.Series:
        """Return which values fitting never saw."""
        codes = self.vocabularies[column.name].codes(known_values(column))
        return pl.Series(codes == UNSEEN_CODE)

    @classmethod
    def from_state(cls, settings: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Self:  # noqa: ARG003
        """Build from the values."""
        return cls(cls._vocabularies(settings))


class BagBlock(_CodeBlock):
    """The codes of the values of bags, filled up with 0.

    Args:
        vocabularies: By the table's column.
        separators: What stands between values, by column.
        items: How many values a bag has at most, by column.
    """

    kind = "bag"

    def __init__(
        self,
        vocabularies: Mapping[str, _Vocabulary],
        separators: Mapping[str, str],
        items: Mapping[str, int],
    ) -> None:
        super().__init__(vocabularies)
        self.separators = {name: separators[name] for name in self.names}
        self.items = {name: items[name] for name in self.names}
        self.features = [
            (f"{name} item {number + 1}", name)
            for name in self.names
            for number in range(self.items[name])
        ]

    @classmethod
    def fit_columns(cls, frame: pl.DataFrame, columns: Sequence[Column], seed: int) -> Self:  # noqa: ARG003
        """Count the values."""
        vocabularies, items = {}, {}
        for column in columns:
            held = items_of(frame[column.name], column.separator)
            name = column.name
            vocabularies[name] = _Vocabulary.fit(name, held.explode().drop_nulls())
            longest = held.list.len().max()
            # a bag of one is no id: 0 is no value of it
            items[name] = min(MOST_ITEMS, max(2, longest if isinstance(longest, int) else 0))
        return cls(vocabularies, {column.name: column.separator for column in columns}, items)

    @classmethod
    def fit(cls, frame: pl.DataFrame, seed: int) -> Self:
        """Learn the encoding of columns whose separators are not known."""
        raise NotImplementedError

    def transform(self, frame: pl.DataFrame, out: np.ndarray) -> None:
        """Write the codes."""
        out[:] = MISSING_CODE
        start = 0
        for column in frame:
            name = column.name
            rows, items = self._exploded(column)
            number = _number_in_row(rows)
            kept = number < self.items[name]
            codes = self.vocabularies[name].codes(items)
            out[rows[kept], start + number[kept]] = codes[kept]
            start += self.items[name]

    def _exploded(self, column: pl.Series) -> tuple[np.ndarray, pl.Series]:
        """Return the row of each value, and the values."""
        held = items_of(column, self.separators[column.name])
        frame = pl.DataFrame({"row": np.arange(len(held)), "item": held}).explode("item")
        frame = frame.drop_nulls("item")
        return frame["row"].to_numpy(), frame["item"]

    def code_columns(self, start: int) -> list[CodeColumns]:
        """Return the columns of codes of each column of the table."""
        found = []
        for name, one in self.vocabularies.items():
            found.append(CodeColumns(name, start, one.count, self.items[name]))
            start += self.items[name]
        return found

    def unseen(self, column: pl.Series) -> pl.Series:
        """Return which rows hold a value that fitting never saw."""
        rows, items = self._exploded(column)
        new = self.vocabularies[column.name].codes(items) == UNSEEN_CODE
        return pl.Series(np.ones(len(np.unique(rows[new])), dtype=bool))

    def state(self) -> State:
        """Return values, separators and lengths."""
        settings, arrays = super().state()
        return {**settings, "separators": self.separators, "items": self.items}, arrays

    @classmethod
    def from_state(cls, settings: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Self:  # noqa: ARG003
        """Build from values, separators and lengths."""
        vocabularies = cls._vocabularies(settings)
        names = list(vocabularies)
        items = settings["items"]
        if {*items} != {*names} or not all(
            type(count) is int and 2 <= count <= MOST_ITEMS for count in items.values()
        ):
            raise ValueError("lengths of bags are none")
        return cls(vocabularies, checked_separators(settings["separators"], names), items)


def items_of(column: pl.Series, separator: str) -> pl.Series:
    """Return the values of bags without spaces around them, lists of text; null where missing."""
    lists = list_items(column) if is_list(column.dtype) else as_text(column).str.split(separator)
    split = lists.list.eval(pl.element().str.strip_chars())
    return split.list.eval(pl.element().filter(pl.element() != ""))


def checked_separators(given: Any, names: Sequence[str]) -> dict[str, str]:
    """Return the separator of each column; what is none raises ValueError."""
    if not isinstance(given, Mapping) or {*given} != {*names}:
        raise ValueError("separators and columns differ")
    if not all(isinstance(one, str) and one for one in given.values()):
        raise ValueError("a separator is no text")
    return {name: given[name] for name in names}


def _number_in_row(rows: np.ndarray) -> np.ndarray:
    """Return the number of each entry among those of its row, from 0; rows lie in order."""
    starts = np.r_[True, rows[1:] != rows[:-1]] if len(rows) else np.zeros(0, dtype=bool)
    first = np.maximum.accumulate(np.where(starts, np.arange(len(rows)), 0))
    return np.asarray(np.arange(len(rows)) - first)


ID_BLOCKS: dict[str, type[Block]] = {block.kind: block for block in (IdBlock, BagBlock)}
"""The blocks of codes, which come after all others."""
