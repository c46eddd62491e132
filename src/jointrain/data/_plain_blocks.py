"""Plain blocks: columns as the numbers that a user of scikit-learn would make of them by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl

from jointrain.data._blocks import (
    Block,
    State,
    _checked,
    _distinct,
    _flags,
    _numbers,
    _seconds,
    _strings,
    _with_numbers,
)
from jointrain.data._columns import Column, most_frequent
from jointrain.data._id_blocks import checked_separators, items_of
from jointrain.data._targets import as_text

ONE_HOT_MOST = 100
"""Columns of more categories get ordinal codes, or a column for each of the most frequent ones."""

TEXT_WORDS = 100
"""A text column gets a column for each of so many of the most frequent words."""

_LARGEST = 3e38
_PARTS = ("year", "month", "day", "weekday", "hour")


class PlainNumbers(Block):
    """Numbers as they are, the median for missing ones, and missing indicators.

    Equal to ``SimpleImputer(strategy="median", add_indicator=True)``; numbers are cut at 3e38,
    where trees of scikit-learn refuse them, and a column without any number is 0.

    Args:
        names: The table's columns.
        medians: Of each, [c].
        missing: Whether fitting saw missing values, [c].
    """

    kind = "numeric"

    def __init__(self, names: Sequence[str], medians: np.ndarray, missing: np.ndarray) -> None:
        super().__init__(names)
        self.medians = _checked(medians, np.float64, len(self.names))
        self.missing = _checked(missing, np.bool_, len(self.names))
        self.features = [(name, name) for name in self.names]
        self.features += [
            (f"{name} missing", name)
            for name, flag in zip(self.names, self.missing, strict=True)
            if flag
        ]

    @classmethod
    def fit(cls, frame: pl.DataFrame, seed: int) -> Self:  # noqa: ARG003 -- nothing random here
        """Learn the medians, and which columns have missing values."""
        values = cls._values(frame)
        absent = np.isnan(values)
        medians = np.array(
            [
                np.median(column[~hole]) if not hole.all() else 0.0
                for column, hole in zip(values.T, absent.T, strict=True)
            ],
            dtype=np.float64,
        )
        return cls(frame.columns, medians, absent.any(0))

    @property
    def centers(self) -> dict[str, float]:
        """The medians."""
        return dict(zip(self.names, self.medians.tolist(), strict=True))

    def transform(self, frame: pl.DataFrame, out: np.ndarray) -> None:
        """Write the numbers, then the missing indicators."""
        values = self._values(frame)
        absent = np.isnan(values)
        count = len(self.names)
        out[:, :count] = np.where(absent, self.medians, values)
        out[:, count:] = absent[:, self.missing]

    @staticmethod
    def _values(frame: pl.DataFrame) -> np.ndarray:
        values = _numbers(frame)
        return np.clip(values, -_LARGEST, _LARGEST, out=values)

    def state(self) -> State:
        """Return names, medians and flags, all of them as plain values."""
        settings = {
            "names": self.names,
            "medians": self.medians.tolist(),
            "missing": self.missing.tolist(),
        }
        return settings, {}

    @classmethod
    def from_state(cls, settings: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Self:  # noqa: ARG003
        """Build from names, medians and flags."""
        names, missing = _strings(settings["names"]), settings["missing"]
        if not all(isinstance(flag, bool) for flag in missing):
            raise ValueError("a flag is no truth value")
        return cls(names, _plain_numbers(settings["medians"]), np.array(missing, dtype=bool))


class PlainBooleans(PlainNumbers):
    """0 and 1, as numbers."""

    kind = "boolean"


class PlainTimes(PlainNumbers):
    """Seconds since midnight, as numbers."""

    kind = "time"

    @staticmethod
    def _values(frame: pl.DataFrame) -> np.ndarray:
        return _numbers(_seconds(frame))


class PlainDates(Block):
    """Calendar numbers: days since 1970, year, month, day, weekday and hour, where they vary.

    Args:
        parts: Which of the numbers vary beside the days, by the table's column.
        numbers: Their encoding.
    """

    kind = "datetime"
    only_on: ClassVar[tuple[str, ...]] = ("days",)
    """Numbers that are always there: those of a later day are new."""
    known_parts: ClassVar[tuple[str, ...]] = _PARTS
    at_least: ClassVar[tuple[str, ...]] = ()
    """What stays where no part varies."""

    def __init__(self, parts: Mapping[str, Sequence[str]], numbers: PlainNumbers) -> None:
        super().__init__(list(parts))
        self.parts = {name: list(chosen) for name, chosen in parts.items()}
        self.numbers = numbers
        made = self._made()
        if [name for name, _ in made] != numbers.names:
            raise ValueError("parts and numbers differ")
        sources = dict(made)
        self.features = [(name, sources[source]) for name, source in numbers.features]

    def _made(self) -> list[tuple[str, str]]:
        """Return name and source of each calendar number."""
        return [
            (f"{name} {part}", name)
            for name in self.names
            for part in (*self.only_on, *self.parts[name])
        ]

    @classmethod
    def fit(cls, frame: pl.DataFrame, seed: int) -> Self:
        """Learn which numbers vary, and their medians."""
        parts = {
            column.name: [
                part
                for part in cls.known_parts
                if _calendar(column, part).drop_nulls().n_unique() > 1
            ]
            or list(cls.at_least)
            for column in frame
        }
        return cls(parts, PlainNumbers.fit(cls._calendar_numbers(frame, parts), seed))

    def transform(self, frame: pl.DataFrame, out: np.ndarray) -> None:
        """Write the calendar numbers, then the missing indicators."""
        self.numbers.transform(self._calendar_numbers(frame, self.parts), out)

    def state(self) -> State:
        """Return the parts and the numbers' state."""
        settings, _ = self.numbers.state()
        return {"parts": self.parts, "numbers": settings}, {}

    @classmethod
    def from_state(cls, settings: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Self:
        """Build from the parts and the numbers' state."""
        parts = {str(name): _strings(chosen) for name, chosen in settings["parts"].items()}
        if any(part not in cls.known_parts for chosen in parts.values() for part in chosen):
            raise ValueError("unknown part of a date")
        return cls(parts, PlainNumbers.from_state(settings["numbers"], arrays))

    @classmethod
    def _calendar_numbers(
        cls, frame: pl.DataFrame, parts: Mapping[str, Sequence[str]]
    ) -> pl.DataFrame:
        columns = []
        for column, seconds in zip(frame, _seconds(frame), strict=True):
            columns += [(seconds / 86400).alias(f"{column.name} {part}") for part in cls.only_on]
            columns += [
                _calendar(column, part).cast(pl.Float64).alias(f"{column.name} {part}")
                for part in parts[column.name]
            ]
        return pl.DataFrame(columns)


class PlainCalendar(PlainDates):
    """Month, day, weekday and hour of the dates that order the splits, where they vary."""

    kind = "calendar"
    only_on = ()
    known_parts = tuple(part for part in _PARTS if part != "year")
    at_least = ("weekday",)


def _plain_numbers(values: Any) -> np.ndarray:
    """Return a list of numbers as an array; truth values and texts are none."""
    if not isinstance(values, list) or not all(type(value) in (int, float) for value in values):
        raise ValueError("not a list of numbers")
    return np.array(values, dtype=np.float64)


def _calendar(column: pl.Series, part: str) -> pl.Series:
    if column.dtype == pl.Null:
        return pl.Series([None], dtype=pl.Int32).new_from_index(0, len(column))
    # a day is its midnight, as it is where other rows of its table have a time of day
    column = column.cast(pl.Datetime("us")) if column.dtype == pl.Date else column
    found: pl.Series = getattr(column.dt, part)()
    return found


class PlainCategories(Block):
    """0/1 columns for columns of at most 100 categories, ordinal codes for columns of more.

    A missing value is a category of its own. Equal to ``OneHotEncoder(handle_unknown="ignore")``,
    and ``OrdinalEncoder`` with -1 for missing and unknown categories.

    Args:
        names: The table's columns.
        one_hot: The categories with a 0/1 column each, by the table's column.
        missing: Whether there is one for missing values, for the columns in `one_hot`.
        rest: The categories without a column of their own that fitting saw, for columns in
            `one_hot`; they have one together if there are any.
        ordinal: The categories of the other columns, in the order of their codes.
    """

    kind = "category"
    ordinal_beyond: ClassVar[int | None] = ONE_HOT_MOST
    """Columns of more categories get ordinal codes; None for none."""

    def __init__(
        self,
        names: Sequence[str],
        one_hot: Mapping[str, Sequence[str]],
        missing: Mapping[str, bool],
        rest: Mapping[str, Sequence[str]],
        ordinal: Mapping[str, Sequence[str]],
    ) -> None:
        super().__init__(names)
        self.one_hot = {name: list(values) for name, values in one_hot.items()}
        self.missing = {name: bool(missing[name]) for name in self.one_hot}
        self.rest = {name: list(rest[name]) for name in self.one_hot}
        self.ordinal = {name: list(values) for name, values in ordinal.items()}
        if sorted([*self.one_hot, *self.ordinal]) != sorted(self.names):
            raise ValueError("columns and categories differ")
        for name, values in self.one_hot.items():
            self.features += [(f"{name}={category}", name) for category in values]
            if self.missing[name]:
                self.features.append((f"{name} missing", name))
            if self.rest[name]:
                self.features.append((f"{name} rare", name))
        self.features += [(f"{name} code", name) for name in self.ordinal]
        for name in self.names:
            known = [*self.one_hot.get(name, ()), *self.rest.get(name, ())]
            self.categories[name] = sorted([*known, *self.ordinal.get(name, ())])
        self.numeric_text = _with_numbers(self.categories)

    @classmethod
    def fit(cls, frame: pl.DataFrame, seed: int) -> Self:  # noqa: ARG003 -- nothing random here
        """Learn the categories."""
        one_hot, missing, rest, ordinal = {}, {}, {}, {}
        for column in map(as_text, frame):
            name = column.name
            categories = sorted(column.drop_nulls().unique().to_list())
            if cls.ordinal_beyond is not None and len(categories) > cls.ordinal_beyond:
                ordinal[name] = categories
                continue
            kept = set(most_frequent(column)["value"].head(ONE_HOT_MOST))
            one_hot[name] = [category for category in categories if category in kept]
            rest[name] = [category for category in categories if category not in kept]
            missing[name] = column.has_nulls()
        return cls(frame.columns, one_hot, missing, rest, ordinal)

    def transform(self, frame: pl.DataFrame, out: np.ndarray) -> None:
        """Write 0/1 columns, then codes."""
        out[:] = 0
        rows = np.arange(frame.height)
        start = 0
        for name, categories in self.one_hot.items():
            number = len(categories)
            after = number + self.missing[name]
            places = _places(frame[name], categories, after if self.rest[name] else -1)
            absent = as_text(frame[name]).is_null().to_numpy()
            places[absent] = number if self.missing[name] else -1
            held = places >= 0
            out[rows[held], start + places[held]] = 1
            start = start + after + bool(self.rest[name])
        for name, categories in self.ordinal.items():
            out[:, start] = _places(frame[name], categories, -1)
            start += 1

    def state(self) -> State:
        """Return the categories."""
        settings = {
            "names": self.names,
            "one_hot": self.one_hot,
            "missing": self.missing,
            "rest": self.rest,
            "ordinal": self.ordinal,
        }
        return settings, {}

    @classmethod
    def from_state(cls, settings: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Self:  # noqa: ARG003
        """Build from the categories."""
        one_hot, rest, ordinal = (
            {str(name): _strings(values) for name, values in settings[key].items()}
            for key in ("one_hot", "rest", "ordinal")
        )
        for name, values in one_hot.items():
            _distinct(values + rest[name])
        for values in ordinal.values():
            _distinct(values)
        missing = _flags(settings["missing"], list(one_hot))
        return cls(_strings(settings["names"]), one_hot, missing, rest, ordinal)


class OneHotCategories(PlainCategories):
    """0/1 columns for all columns: what a linear model needs.

    Of more than 100 categories the most frequent ones have columns of their own, as with
    ``OneHotEncoder(max_categories=101)``.
    """

    ordinal_beyond = None


class PlainIds(PlainCategories):
    """Ordinal codes for all columns, however few values fitting saw."""

    kind = "id"
    ordinal_beyond = -1


class OneHotIds(OneHotCategories):
    """0/1 columns of the 100 most frequent ids, and one for all others."""

    kind = "id"


class PlainBags(Block):
    """0/1 columns of the 100 most frequent values of bags.

    Equal to those columns of ``MultiLabelBinarizer``; a missing bag holds nothing.

    Args:
        items: The values with a column, by the table's column.
        separators: What stands between values, by column.
    """

    kind = "bag"

    def __init__(self, items: Mapping[str, Sequence[str]], separators: Mapping[str, str]) -> None:
        super().__init__(list(items))
        self.items = {name: list(values) for name, values in items.items()}
        self.separators = {name: separators[name] for name in self.names}
        self.features = [
            (f"{name} has {item}", name) for name in self.names for item in self.items[name]
        ]

    @classmethod
    def fit_columns(cls, frame: pl.DataFrame, columns: Sequence[Column], seed: int) -> Self:  # noqa: ARG003
        """Count the values."""
        items = {}
        for column in columns:
            found = items_of(frame[column.name], column.separator).explode()
            items[column.name] = sorted(most_frequent(found)["value"].head(ONE_HOT_MOST))
        return cls(items, {column.name: column.separator for column in columns})

    @classmethod
    def fit(cls, frame: pl.DataFrame, seed: int) -> Self:
        """Learn the encoding of columns whose separators are not known."""
        raise NotImplementedError

    def transform(self, frame: pl.DataFrame, out: np.ndarray) -> None:
        """Write the indicators."""
        out[:] = 0
        start = 0
        for name, items in self.items.items():
            held = items_of(frame[name], self.separators[name])
            rows = pl.DataFrame({"row": np.arange(len(held)), "item": held}).explode("item")
            places = _places(rows["item"], items, -1)
            known = places >= 0
            out[rows["row"].to_numpy()[known], start + places[known]] = 1
            start += len(items)

    def state(self) -> State:
        """Return values and separators."""
        return {"items": self.items, "separators": self.separators}, {}

    @classmethod
    def from_state(cls, settings: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Self:  # noqa: ARG003
        """Build from values and separators."""
        items = {str(name): _distinct(values) for name, values in settings["items"].items()}
        return cls(items, checked_separators(settings["separators"], list(items)))


def _places(column: pl.Series, categories: Sequence[str], default: int) -> np.ndarray:
    """Return each value's place among categories, [n]."""
    text = as_text(column)
    places = text.replace_strict(
        pl.Series(categories, dtype=pl.String),
        pl.Series(range(len(categories)), dtype=pl.Int64),
        default=default,
        return_dtype=pl.Int64,
    )
    found = places.fill_null(default).to_numpy().copy()
    # a missing value is no unknown one
    found[text.is_null().to_numpy()] = -1
    return found


class PlainText(Block):
    """TF-IDF weights of a column's most frequent words.

    Equal to ``TfidfVectorizer(max_features=100)``, with an empty text for a missing value.

    Args:
        words: The words, sorted, by column.
        frequencies: Inverse document frequency of each word, by column.
        numeric_text: Columns some of whose values can be read as numbers.
    """

    kind = "text"

    def __init__(
        self,
        words: Mapping[str, Sequence[str]],
        frequencies: Mapping[str, Sequence[float]],
        numeric_text: Sequence[str],
    ) -> None:
        super().__init__(list(words))
        self.words = {name: list(chosen) for name, chosen in words.items()}
        self.frequencies = {
            name: _checked(
                np.array(frequencies[name], dtype=np.float64), np.float64, len(self.words[name])
            )
            for name in self.names
        }
        self.numeric_text = list(numeric_text)
        self.features = [
            (f"{name} word {word}", name) for name in self.names for word in self.words[name]
        ]

    @classmethod
    def fit(cls, frame: pl.DataFrame, seed: int) -> Self:  # noqa: ARG003 -- nothing random here
        """Learn the words and their frequencies."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        words: dict[str, list[str]] = {}
        frequencies: dict[str, list[float]] = {}
        for column in map(as_text, frame):
            vectorizer = TfidfVectorizer(max_features=TEXT_WORDS)
            try:
                vectorizer.fit(column.fill_null("").to_list())
            except ValueError:  # no value has a word
                words[column.name], frequencies[column.name] = [], []
                continue
            words[column.name] = vectorizer.get_feature_names_out().tolist()
            frequencies[column.name] = vectorizer.idf_.tolist()
        values = {column.name: as_text(column).drop_nulls().unique().to_list() for column in frame}
        return cls(words, frequencies, _with_numbers(values))

    def transform(self, frame: pl.DataFrame, out: np.ndarray) -> None:
        """Write the weights."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        start = 0
        for column in map(as_text, frame):
            words = self.words[column.name]
            if words and frame.height:
                vectorizer = TfidfVectorizer(vocabulary=words)
                vectorizer.idf_ = self.frequencies[column.name]
                weights = vectorizer.transform(column.fill_null("").to_list())
                out[:, start : start + len(words)] = weights.toarray()
            start += len(words)

    def state(self) -> State:
        """Return the words and their frequencies."""
        frequencies = {name: values.tolist() for name, values in self.frequencies.items()}
        settings = {
            "words": self.words,
            "frequencies": frequencies,
            "numeric_text": self.numeric_text,
        }
        return settings, {}

    @classmethod
    def from_state(cls, settings: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Self:  # noqa: ARG003
        """Build from the words and their frequencies."""
        words = {str(name): _distinct(chosen) for name, chosen in settings["words"].items()}
        frequencies = {
            name: _plain_numbers(settings["frequencies"][name]).tolist() for name in words
        }
        return cls(words, frequencies, _strings(settings["numeric_text"]))


PLAIN_BLOCKS: dict[str, type[Block]] = {
    block.kind: block
    for block in (
        PlainNumbers,
        PlainBooleans,
        PlainCategories,
        PlainText,
        PlainDates,
        PlainTimes,
        PlainCalendar,
        PlainIds,
        PlainBags,
    )
}
"""The plain encoding of each kind of column, in the order of the outputs."""

ONE_HOT_BLOCKS: dict[str, type[Block]] = PLAIN_BLOCKS | {
    "category": OneHotCategories,
    "id": OneHotIds,
}
"""The same without ordinal codes."""
