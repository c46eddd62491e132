"""Blocks: how all columns of one kind become numbers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl

from jointrain.data._columns import Column, most_frequent
from jointrain.data._targets import as_text
from jointrain.task import CodeColumns

MAX_CATEGORIES = 100
"""A category column gets at most so many columns for frequent categories."""

TEXT_FEATURES = 30
"""A text column gets at most so many columns."""

_TEXT_BUCKETS = 4096
_TEXT_SAMPLE = 10_000
_TEXT_LENGTH = 1000
_LARGEST = 1e150
_CHUNK = 4_000_000

State = tuple[dict[str, Any], dict[str, np.ndarray]]


class Block(ABC):
    """The columns of one kind, encoded.

    Args:
        names: The table's columns, in order.
    """

    kind: ClassVar[str]
    codes: ClassVar[bool] = False
    """Whether the outputs are codes of values."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self.features: list[tuple[str, str]] = []
        """Name and source column of each output column."""
        self.categories: dict[str, list[str]] = {}
        """The categories that fitting saw, by column."""
        self.numeric_text: list[str] = []
        """Columns of strings some of which can be read as numbers or truth values."""

    @classmethod
    def fit_columns(cls, frame: pl.DataFrame, columns: Sequence[Column], seed: int) -> Self:
        """Learn the encoding of some columns of `frame`."""
        return cls.fit(frame.select([column.name for column in columns]), seed)

    @classmethod
    @abstractmethod
    def fit(cls, frame: pl.DataFrame, seed: int) -> Self:
        """Learn the encoding of all columns of `frame`."""

    def code_columns(self, start: int) -> list[CodeColumns]:  # noqa: ARG002
        """Return which outputs are codes, the first of the block being the output `start`."""
        return []

    @property
    def told_unseen(self) -> list[str]:
        """The columns of which it can be told whether fitting saw a value."""
        return list(self.categories)

    def unseen(self, column: pl.Series) -> pl.Series:
        """Return the values, or the items of bags, that fitting never saw: true; others false."""
        return ~known_values(column).is_in(self.categories[column.name])

    @property
    def centers(self) -> dict[str, float]:
        """The middle of what fitting saw, of columns that are numbers, by name."""
        return {}

    @abstractmethod
    def transform(self, frame: pl.DataFrame, out: np.ndarray) -> None:
        """Write the encoding of `frame` into `out`, [n, d] with a column for each feature."""

    @abstractmethod
    def state(self) -> State:
        """Return all that was learned, as plain values and arrays."""

    @classmethod
    @abstractmethod
    def from_state(cls, settings: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Self:
        """Build a block from its state; a state that fits no block raises ValueError."""


class NumericBlock(Block):
    """Robust scaling, smooth clipping and missing indicators.

    Args:
        names: The table's columns.
        center: Median of each, [c].
        scale: What a value's distance from the median is multiplied with, [c]; 0 if constant.
        missing: Whether fitting saw missing values, [c].
    """

    kind = "numeric"

    def __init__(
        self, names: Sequence[str], center: np.ndarray, scale: np.ndarray, missing: np.ndarray
    ) -> None:
        super().__init__(names)
        self.center = _checked(center, np.float64, len(self.names))
        self.scale = _checked(scale, np.float64, len(self.names))
        self.missing = _checked(missing, np.bool_, len(self.names))
        marked = [name for name, flag in zip(self.names, self.missing, strict=True) if flag]
        self.features = [(name, name) for name in self.names]
        self.features += [(f"{name} missing", name) for name in marked]

    @classmethod
    def fit(cls, frame: pl.DataFrame, seed: int) -> Self:  # noqa: ARG003 -- nothing random here
        """Learn medians and quartiles."""
        names = frame.columns
        center, scale = np.zeros(len(names)), np.zeros(len(names))
        missing = np.zeros(len(names), dtype=bool)
        for chosen in _column_chunks(frame):
            part = slice(chosen.start, chosen.stop)
            values = _numbers(frame[:, part])
            missing[part] = np.isnan(values).any(0)
            center[part], scale[part] = robust_scale(values)
        return cls(names, center, scale, missing)

    @property
    def centers(self) -> dict[str, float]:
        """The medians."""
        return dict(zip(self.names, self.center.tolist(), strict=True))

    def transform(self, frame: pl.DataFrame, out: np.ndarray) -> None:
        """Write scaled values, then missing indicators."""
        marks = len(self.names) + np.cumsum(self.missing) - 1
        for chosen in _column_chunks(frame):
            part = slice(chosen.start, chosen.stop)
            values = _numbers(frame[:, part])
            absent = np.isnan(values)
            marked = self.missing[part]
            out[:, marks[part][marked]] = absent[:, marked]
            out[:, part] = squashed(values, self.center[part], self.scale[part])

    def state(self) -> State:
        """Return names and the three arrays."""
        arrays = {"center": self.center, "scale": self.scale, "missing": self.missing}
        return {"names": self.names}, arrays

    @classmethod
    def from_state(cls, settings: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Self:
        """Build from names and the three arrays."""
        return cls(
            _strings(settings["names"]), arrays["center"], arrays["scale"], arrays["missing"]
        )


class BooleanBlock(Block):
    """0 for false, 1 for true, 0.5 for missing, and missing indicators.

    Args:
        names: The table's columns.
        missing: Whether fitting saw missing values, [c].
    """

    kind = "boolean"

    def __init__(self, names: Sequence[str], missing: np.ndarray) -> None:
        super().__init__(names)
        self.missing = _checked(missing, np.bool_, len(self.names))
        for name, flag in zip(self.names, self.missing, strict=True):
            self.features.append((name, name))
            if flag:
                self.features.append((f"{name} missing", name))

    @classmethod
    def fit(cls, frame: pl.DataFrame, seed: int) -> Self:  # noqa: ARG003 -- nothing random here
        """Learn which columns have missing values."""
        return cls(frame.columns, np.array([column.has_nulls() for column in frame], dtype=bool))

    def transform(self, frame: pl.DataFrame, out: np.ndarray) -> None:
        """Write values and missing indicators."""
        position = 0
        for column, flag in zip(frame, self.missing, strict=True):
            out[:, position] = column.cast(pl.Float32).fill_null(0.5).to_numpy()
            if flag:
                out[:, position + 1] = column.is_null().to_numpy()
            position += 1 + int(flag)

    def state(self) -> State:
        """Return names and missing flags."""
        return {"names": self.names}, {"missing": self.missing}

    @classmethod
    def from_state(cls, settings: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Self:
        """Build from names and missing flags."""
        return cls(_strings(settings["names"]), arrays["missing"])


class CategoryBlock(Block):
    """A 0/1 column for each frequent category, for the rare ones together and for missing values.

    Args:
        frequent: The categories with a column of their own, by the table's column.
        rare: The other categories that fitting saw, by column.
        missing: Whether fitting saw missing values, by column.
    """

    kind = "category"

    def __init__(
        self,
        frequent: Mapping[str, Sequence[str]],
        rare: Mapping[str, Sequence[str]],
        missing: Mapping[str, bool],
    ) -> None:
        super().__init__(list(frequent))
        self.frequent = {name: list(values) for name, values in frequent.items()}
        self.rare = {name: list(rare[name]) for name in self.names}
        self.missing = {name: bool(missing[name]) for name in self.names}
        for name in self.names:
            self.categories[name] = sorted(self.frequent[name] + self.rare[name])
            self.features += [(f"{name}={category}", name) for category in self.frequent[name]]
            if self.rare[name]:
                self.features.append((f"{name} rare", name))
            if self.missing[name]:
                self.features.append((f"{name} missing", name))
        self.numeric_text = _with_numbers(self.categories)

    @classmethod
    def fit(cls, frame: pl.DataFrame, seed: int) -> Self:  # noqa: ARG003 -- nothing random here
        """Count the categories.

        A category is rare if it stands in less than one row of a thousand or in one row only, or
        if 100 others are more frequent.
        """
        least = min(20, max(2, round(0.001 * frame.height)))
        frequent, rare, missing = {}, {}, {}
        for column in map(as_text, frame):
            name = column.name
            ordered = most_frequent(column)
            enough = ordered["rows"] >= least
            if not enough.any():
                enough = ordered["rows"] > 0
            categories, keep = ordered["value"].to_list(), min(int(enough.sum()), MAX_CATEGORIES)
            frequent[name] = sorted(categories[:keep])
            rare[name] = sorted(categories[keep:])
            missing[name] = column.has_nulls()
        return cls(frequent, rare, missing)

    def transform(self, frame: pl.DataFrame, out: np.ndarray) -> None:
        """Write the indicators."""
        out[:] = 0
        rows = np.arange(frame.height)
        start = 0
        for column in map(as_text, frame):
            name = column.name
            number = len(self.frequent[name])
            # a category that fitting never saw counts as rare; without a rare one, as none
            rare = number if self.rare[name] else -1
            absent = number + (rare >= 0) if self.missing[name] else rare
            positions = column.replace_strict(
                pl.Series(self.frequent[name], dtype=pl.String),
                pl.Series(range(number), dtype=pl.Int64),
                default=rare,
                return_dtype=pl.Int64,
            )
            chosen = positions.to_numpy().copy()
            chosen[column.is_null().to_numpy()] = absent
            held = chosen >= 0
            out[rows[held], start + chosen[held]] = 1
            start += number + (rare >= 0) + self.missing[name]

    def state(self) -> State:
        """Return the categories."""
        return {"frequent": self.frequent, "rare": self.rare, "missing": self.missing}, {}

    @classmethod
    def from_state(cls, settings: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Self:  # noqa: ARG003
        """Build from the categories."""
        frequent = {str(k): _strings(v) for k, v in settings["frequent"].items()}
        rare = {str(k): _strings(v) for k, v in settings["rare"].items()}
        for name, categories in frequent.items():
            _distinct(categories + rare[name])
        return cls(frequent, rare, _flags(settings["missing"], list(frequent)))


class TextBlock(Block):
    """Hashed character n-grams, weighted by TF-IDF and projected on few directions.

    Args:
        names: The table's columns.
        frequencies: Inverse document frequency of each bucket, [4096], by column.
        directions: What the weights are projected on, [4096, k], by column.
        missing: Whether fitting saw missing values, [c].
        numeric_text: Columns some of whose values can be read as numbers.
    """

    kind = "text"

    def __init__(
        self,
        names: Sequence[str],
        frequencies: Sequence[np.ndarray],
        directions: Sequence[np.ndarray],
        missing: np.ndarray,
        numeric_text: Sequence[str],
    ) -> None:
        super().__init__(names)
        self.frequencies = [_checked(array, np.float32, _TEXT_BUCKETS) for array in frequencies]
        self.directions = [_checked(array, np.float32, _TEXT_BUCKETS, 2) for array in directions]
        self.missing = _checked(missing, np.bool_, len(self.names))
        self.numeric_text = list(numeric_text)
        for name, array, flag in zip(self.names, self.directions, self.missing, strict=True):
            self.features += [(f"{name} text {i + 1}", name) for i in range(array.shape[1])]
            if flag:
                self.features.append((f"{name} missing", name))

    @classmethod
    def fit(cls, frame: pl.DataFrame, seed: int) -> Self:
        """Learn the directions on at most 10,000 distinct values of each column."""
        frequencies, directions = [], []
        texts = [as_text(column) for column in frame]
        for column in texts:
            distinct = column.drop_nulls().unique().sort()
            if len(distinct) > _TEXT_SAMPLE:
                distinct = distinct.sample(_TEXT_SAMPLE, seed=seed)
            frequency, direction = _text_directions(distinct, seed)
            frequencies.append(frequency)
            directions.append(direction)
        values = {column.name: column.drop_nulls().unique().to_list() for column in texts}
        missing = np.array([column.has_nulls() for column in texts], dtype=bool)
        return cls(frame.columns, frequencies, directions, missing, _with_numbers(values))

    def transform(self, frame: pl.DataFrame, out: np.ndarray) -> None:
        """Write the projections and missing indicators."""
        start = 0
        for column, frequency, direction, flag in zip(
            frame, self.frequencies, self.directions, self.missing, strict=True
        ):
            text = as_text(column)
            distinct = text.drop_nulls().unique().sort()
            width = direction.shape[1]
            encoded = np.zeros((len(distinct) + 1, width), dtype=np.float32)  # last: missing
            for first in range(0, len(distinct), _TEXT_SAMPLE):
                counts = _counted(distinct[first : first + _TEXT_SAMPLE])
                encoded[first : first + counts.shape[0]] = _weighted(counts, frequency) @ direction
            positions = text.replace_strict(
                distinct, pl.Series(range(len(distinct)), dtype=pl.Int64),
                default=len(distinct), return_dtype=pl.Int64,
            )  # fmt: skip
            out[:, start : start + width] = encoded[positions.fill_null(len(distinct)).to_numpy()]
            if flag:
                out[:, start + width] = text.is_null().to_numpy()
            start += width + int(flag)

    def state(self) -> State:
        """Return names and arrays."""
        arrays = {"missing": self.missing}
        for index, (frequency, direction) in enumerate(
            zip(self.frequencies, self.directions, strict=True)
        ):
            arrays |= {f"frequency.{index}": frequency, f"direction.{index}": direction}
        return {"names": self.names, "numeric_text": self.numeric_text}, arrays

    @classmethod
    def from_state(cls, settings: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Self:
        """Build from names and arrays."""
        names = _strings(settings["names"])
        indices = range(len(names))
        return cls(
            names,
            [arrays[f"frequency.{index}"] for index in indices],
            [arrays[f"direction.{index}"] for index in indices],
            arrays["missing"],
            _strings(settings["numeric_text"]),
        )


_PARTS = {"month": 12, "weekday": 7, "hour": 24}


class DatetimeBlock(Block):
    """Seconds since 1970 as a number, and month, weekday and hour as points on a circle.

    Args:
        seconds: The encoding of the seconds.
        parts: Which of month, weekday and hour vary, by the table's column.
    """

    kind = "datetime"

    def __init__(self, seconds: NumericBlock, parts: Mapping[str, Sequence[str]]) -> None:
        super().__init__(seconds.names)
        self.seconds = seconds
        self.calendar = CalendarBlock(seconds.names, parts)
        self.features = [*seconds.features, *self.calendar.features]

    @classmethod
    def fit(cls, frame: pl.DataFrame, seed: int) -> Self:
        """Learn the encoding of the seconds, and which parts vary."""
        parts = {column.name: varying_parts(column) for column in frame}
        return cls(NumericBlock.fit(_seconds(frame), seed), parts)

    @property
    def centers(self) -> dict[str, float]:
        """The medians of the seconds."""
        return self.seconds.centers

    def transform(self, frame: pl.DataFrame, out: np.ndarray) -> None:
        """Write seconds, missing indicators and parts; 0 for the parts of missing values."""
        start = len(self.seconds.features)
        self.seconds.transform(_seconds(frame), out[:, :start])
        self.calendar.transform(frame, out[:, start:])

    def state(self) -> State:
        """Return the seconds' state and the parts."""
        settings, arrays = self.seconds.state()
        return {**settings, "parts": self.calendar.parts}, arrays

    @classmethod
    def from_state(cls, settings: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Self:
        """Build from the seconds' state and the parts."""
        parts = {str(k): _strings(v) for k, v in settings["parts"].items()}
        return cls(NumericBlock.from_state(settings, arrays), parts)


class CalendarBlock(Block):
    """Month, weekday and hour as points on a circle: of a date that only goes on, what comes back.

    Args:
        names: The table's columns.
        parts: Which of month, weekday and hour vary, by the table's column.
    """

    kind = "calendar"

    def __init__(self, names: Sequence[str], parts: Mapping[str, Sequence[str]]) -> None:
        super().__init__(names)
        self.parts = {name: list(parts[name]) for name in self.names}
        self.features = []
        for name in self.names:
            for part in self.parts[name]:
                _ = _PARTS[part]
                self.features += [(f"{name} {part} {axis}", name) for axis in ("sin", "cos")]

    @classmethod
    def fit(cls, frame: pl.DataFrame, seed: int) -> Self:  # noqa: ARG003
        """Learn which parts vary; the weekday stays where none does, as in a first short fold."""
        parts = {column.name: varying_parts(column) or ["weekday"] for column in frame}
        return cls(frame.columns, parts)

    def transform(self, frame: pl.DataFrame, out: np.ndarray) -> None:
        """Write the parts; 0 for those of missing values."""
        start = 0
        for column in frame:
            for part in self.parts[column.name]:
                values = _part(column, part).cast(pl.Float64).to_numpy()
                _write_circle(values / _PARTS[part], out[:, start : start + 2])
                start += 2

    def state(self) -> State:
        """Return the names and the parts."""
        return {"names": self.names, "parts": self.parts}, {}

    @classmethod
    def from_state(cls, settings: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Self:  # noqa: ARG003
        """Build from names and parts."""
        parts = {str(k): _strings(v) for k, v in settings["parts"].items()}
        return cls(_strings(settings["names"]), parts)


def varying_parts(column: pl.Series) -> list[str]:
    """Return which of month, weekday and hour vary in a column of dates."""
    return [part for part in _PARTS if _part(column, part).drop_nulls().n_unique() > 1]


class TimeBlock(Block):
    """Seconds since midnight as a number, and as a point on a circle.

    Args:
        seconds: The encoding of the seconds.
    """

    kind = "time"

    def __init__(self, seconds: NumericBlock) -> None:
        super().__init__(seconds.names)
        self.seconds = seconds
        self.features = list(seconds.features)
        for name in self.names:
            self.features += [(f"{name} {axis}", name) for axis in ("sin", "cos")]

    @classmethod
    def fit(cls, frame: pl.DataFrame, seed: int) -> Self:
        """Learn the encoding of the seconds."""
        return cls(NumericBlock.fit(_seconds(frame), seed))

    @property
    def centers(self) -> dict[str, float]:
        """The medians of the seconds."""
        return self.seconds.centers

    def transform(self, frame: pl.DataFrame, out: np.ndarray) -> None:
        """Write seconds, missing indicators and points; 0 for missing values."""
        start = len(self.seconds.features)
        seconds = _seconds(frame)
        self.seconds.transform(seconds, out[:, :start])
        for column in seconds:
            _write_circle(column.to_numpy() / 86400, out[:, start : start + 2])
            start += 2

    def state(self) -> State:
        """Return the seconds' state."""
        return self.seconds.state()

    @classmethod
    def from_state(cls, settings: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Self:
        """Build from the seconds' state."""
        return cls(NumericBlock.from_state(settings, arrays))


BLOCKS: dict[str, type[Block]] = {
    block.kind: block
    for block in (
        NumericBlock,
        BooleanBlock,
        CategoryBlock,
        TextBlock,
        DatetimeBlock,
        TimeBlock,
        CalendarBlock,
    )
}
"""The encoding of each kind of column, in the order of the outputs."""


def known_values(column: pl.Series) -> pl.Series:
    """Return the values of a category column that are not missing, as text."""
    return as_text(column).drop_nulls()


# ---------------------------------------------------------------------------- numbers


def _column_chunks(frame: pl.DataFrame) -> Iterator[range]:
    """Cut the columns so that a chunk's values take little memory."""
    width = max(1, _CHUNK // max(1, frame.height))
    for start in range(0, frame.width, width):
        yield range(start, min(start + width, frame.width))


def _numbers(frame: pl.DataFrame) -> np.ndarray:
    """Return numbers as float64, [n, c], NaN where missing; durations in seconds."""
    values = np.empty((frame.height, frame.width))
    for index, column in enumerate(frame):
        if column.dtype == pl.Duration:
            column = column.dt.total_microseconds().cast(pl.Float64) / 1e6
        values[:, index] = column.cast(pl.Float64).to_numpy()
    return np.clip(values, -_LARGEST, _LARGEST, out=values)


def robust_scale(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return median and scale of each column, [c] and [c], leaving out NaN.

    The scale is 1 / (distance of the quartiles); where they coincide, 2 / (distance of smallest and
    largest value); where these coincide, 0.
    """
    ordered = np.sort(values, axis=0)  # NaN last
    known = np.isfinite(ordered).sum(0)
    first, median, third = (_quantile(ordered, known, level) for level in (0.25, 0.5, 0.75))
    last = ordered[np.maximum(known - 1, 0), np.arange(ordered.shape[1])]
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        scale = 1 / (third - first)
        extremes = 2 / (last - ordered[0])
    scale = np.where(np.isfinite(scale), scale, extremes)
    usable = np.isfinite(scale) & (known > 0)
    return np.where(known > 0, median, 0.0), np.where(usable, scale, 0.0)


def _quantile(ordered: np.ndarray, known: np.ndarray, level: float) -> np.ndarray:
    """Return a quantile of each column's first `known` values, linear between neighbours, [c]."""
    position = level * np.maximum(known - 1, 0)
    below = np.floor(position).astype(np.int64)
    above = np.minimum(below + 1, np.maximum(known - 1, 0))
    columns = np.arange(ordered.shape[1])
    low, high = ordered[below, columns], ordered[above, columns]
    return np.asarray(low + (high - low) * (position - below))


def squashed(values: np.ndarray, center: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Scale and squash into (-3, 3), in place; NaN becomes 0, which is the median."""
    values -= center
    with np.errstate(over="ignore"):
        values *= scale
    np.nan_to_num(values, copy=False, nan=0.0)
    np.clip(values, -1e6, 1e6, out=values)
    values /= np.sqrt(1 + (values / 3) ** 2)
    return values


# ---------------------------------------------------------------------------- dates and times


def _seconds(frame: pl.DataFrame) -> pl.DataFrame:
    """Return dates and times as seconds since 1970 or midnight, in float64."""
    columns = []
    for column in frame:
        if column.dtype == pl.Time:
            seconds = column.cast(pl.Int64).cast(pl.Float64) / 1e9
        elif column.dtype == pl.Null:
            seconds = column.cast(pl.Float64)
        else:
            seconds = column.cast(pl.Datetime("us")).dt.epoch("us").cast(pl.Float64) / 1e6
        columns.append(seconds.alias(column.name))
    return pl.DataFrame(columns)


def _part(column: pl.Series, part: str) -> pl.Series:
    if column.dtype == pl.Null:
        return pl.Series([None], dtype=pl.Int8).new_from_index(0, len(column))
    # a day is its midnight, as it is where other rows of its table have a time of day
    column = column.cast(pl.Datetime("us")) if column.dtype == pl.Date else column
    if part == "month":
        return column.dt.month() - 1
    return column.dt.weekday() - 1 if part == "weekday" else column.dt.hour()


def _write_circle(turns: np.ndarray, out: np.ndarray) -> None:
    """Write sine and cosine of turns, [n, 2]; 0 for NaN."""
    out[:, 0] = np.nan_to_num(np.sin(2 * np.pi * turns))
    out[:, 1] = np.nan_to_num(np.cos(2 * np.pi * turns))


# ---------------------------------------------------------------------------- text


def _text_directions(distinct: pl.Series, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return inverse document frequencies, [4096], and directions, [4096, k]."""
    from sklearn.utils.extmath import randomized_svd

    if not len(distinct):
        return np.ones(_TEXT_BUCKETS, dtype=np.float32), np.zeros(
            (_TEXT_BUCKETS, 0), dtype=np.float32
        )
    counts = _counted(distinct)
    documents = np.diff(counts.tocsc().indptr)
    frequency = (np.log((1 + len(distinct)) / (1 + documents)) + 1).astype(np.float32)
    weighted = _weighted(counts, frequency)
    width = min(TEXT_FEATURES, len(distinct))
    _, strengths, directions = randomized_svd(weighted, width, n_iter=4, random_state=seed)
    # the squares of a row's outputs sum to their number, on average
    spread = np.sqrt((strengths**2).sum() / len(distinct) / width)
    return frequency, np.ascontiguousarray(directions.T / max(spread, 1e-12), dtype=np.float32)


def _counted(distinct: pl.Series) -> Any:
    """Return how often each hashed 3- or 4-gram stands in each text, sparse [n, 4096]."""
    from sklearn.feature_extraction.text import HashingVectorizer

    hashing = HashingVectorizer(
        analyzer="char_wb", ngram_range=(3, 4), n_features=_TEXT_BUCKETS, norm=None,
        alternate_sign=False, dtype=np.float32,
    )  # fmt: skip
    return hashing.transform(distinct.str.slice(0, _TEXT_LENGTH).to_list())


def _weighted(counts: Any, frequency: np.ndarray) -> Any:
    """Return TF-IDF weights, sparse [n, 4096], rows of length 1."""
    from scipy import sparse
    from sklearn.preprocessing import normalize

    return normalize(counts @ sparse.diags(frequency, format="csr"), copy=False)


# ---------------------------------------------------------------------------- checks


def _with_numbers(values: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the columns in which some value can be read as a number or a truth value."""
    found = []
    for name, known in values.items():
        column = pl.Series(known, dtype=pl.String)
        readable = column.str.strip_chars().cast(pl.Float64, strict=False).is_not_null()
        if (readable | column.str.to_lowercase().is_in(["true", "false"])).any():
            found.append(name)
    return found


def _checked(array: np.ndarray, dtype: Any, length: int, dimensions: int = 1) -> np.ndarray:
    if array.dtype != dtype or array.ndim != dimensions or len(array) != length:
        raise ValueError("an array does not fit")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError("an array holds a value that is no number")
    return array


def _flags(flags: Any, names: Sequence[str]) -> dict[str, bool]:
    """Return the truth value of each column."""
    if not isinstance(flags, Mapping) or {*flags} != {*names}:
        raise ValueError("flags and columns differ")
    if not all(isinstance(flag, bool) for flag in flags.values()):
        raise ValueError("a flag is no truth value")
    return {name: flags[name] for name in names}


def _distinct(values: Any) -> list[str]:
    """Return texts of which none comes twice."""
    texts = _strings(values)
    if len({*texts}) < len(texts):
        raise ValueError("a text comes twice")
    return texts


def _strings(values: Any) -> list[str]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError("not a list of strings")
    return values
