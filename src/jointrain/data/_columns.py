"""Columns: what kind of feature each column of a table is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl

from jointrain.data._language import BAG_MARK, are_hashes, is_bag, is_language
from jointrain.data._type_words import type_in_words
from jointrain.errors import InvalidInputError, closest

ColumnKind = Literal[
    "numeric", "boolean", "category", "text", "datetime", "time", "calendar", "id", "bag"
]

SAID_KINDS = ("category", "text", "bag")
"""What a user can say of a column of many values."""

MAX_SMALL_CATEGORIES = 40
"""So many distinct strings are categories in any table."""

MAX_CATEGORIES = 1000
"""So many distinct strings are no text if each stands in `ROWS_PER_CATEGORY` rows on average."""

MOST_COLUMNS = 100
"""More categories than these are ids: each a learned vector in place of a 0/1 column."""

ROWS_PER_CATEGORY = 20


@dataclass(frozen=True)
class Column:
    """A feature column of a table.

    Args:
        name: The column's name.
        kind: ``numeric`` (integers, numbers, durations in seconds), ``boolean``, ``category``
            (strings with few distinct values), ``text`` (language), ``datetime`` (dates with or
            without time of day), ``time`` (time of day), ``calendar`` (dates of which only month,
            weekday and hour count), ``id`` (many values that are no language) or ``bag`` (several
            values in a cell).
        dtype: The column's Polars type, as text.
        separator: Of a bag, what stands between its values.
    """

    name: str
    kind: str
    dtype: str
    separator: str = ""


def infer_columns(
    frame: pl.DataFrame, names: Sequence[str], said: Mapping[str, str] | None = None
) -> list[Column]:
    """Return the feature columns among the named ones, with their kinds.

    Columns that hold one value only, or none, carry nothing and are left out; `dropped_columns`
    says which. The kind of a column of strings, in order:

    1. At most 40 distinct values are a category.
    2. Values with ``|`` between items of which there are at most half as many are a bag.
    3. At most 1000 distinct values with 20 rows for each on average are a category up to 100 of
       them, ids beyond.
    4. Language is text (see `jointrain.data._language`).
    5. UUIDs and hashes are ids.
    6. Where less than half of the rows hold a value that another row holds, too, no value can be
       learned: text, whose parts may say something.
    7. All else is a category up to 100 values, ids beyond.

    Args:
        frame: The table.
        names: Columns to look at, in order.
        said: What columns of strings are, by name, where it is not to be inferred: ``category``
            (or ids if there are more than 100), ``text`` or ``bag``, with ``bag:;`` the separator
            ``;`` in place of ``|``.

    Raises:
        InvalidInputError: A column does not exist, holds an infinite value, or has a type that is
            no feature (lists, structures, bytes), or it is said to be what it can't be.
    """
    _check_known(frame, names)
    schema = frame.schema
    kinds = {name: kind_of_type(schema[name], name) for name in names}
    check_finite(frame, names)
    dropped = dropped_columns(frame, names)
    kept = [name for name in names if name not in dropped]
    said = dict(said or {})
    _check_said(said, kinds)
    return [
        _of_strings(frame[name], said.get(name))
        if kinds[name] == "category"
        else Column(name, kinds[name], str(schema[name]))
        for name in kept
    ]


def _check_said(said: Mapping[str, str], kinds: Mapping[str, str]) -> None:
    for name, kind in said.items():
        word = kind.partition(":")[0]
        if word not in SAID_KINDS or (word != "bag" and ":" in kind):
            raise InvalidInputError(
                f"column {name!r} is said to be {kind!r}{closest(word, SAID_KINDS)}; known are "
                f"{', '.join(SAID_KINDS)}"
            )
        if name not in kinds:
            raise InvalidInputError(
                f"column {name!r} is said to be {word}, but it is no feature{closest(name, kinds)}"
            )
        if kinds[name] != "category":
            raise InvalidInputError(
                f"column {name!r} is said to be {word}, but its values are {kinds[name]}; write "
                "them as text"
            )


def _of_strings(values: pl.Series, said: str | None) -> Column:
    """Return a column of strings with its kind, see `infer_columns`."""
    name, dtype = values.name, str(values.dtype)
    word, _, separator = (said or "").partition(":")
    if word == "bag":
        return Column(name, "bag", dtype, separator or BAG_MARK)
    if word == "text":
        return Column(name, "text", dtype)
    known = values.drop_nulls()
    count = known.n_unique()
    by_number = "category" if count <= MOST_COLUMNS else "id"
    if word == "category" or count <= MAX_SMALL_CATEGORIES:
        return Column(name, by_number, dtype)
    distinct = known.cast(pl.String).unique()
    if is_bag(distinct):
        return Column(name, "bag", dtype, BAG_MARK)
    if count > MAX_CATEGORIES or count * ROWS_PER_CATEGORY > len(values):
        hardly_repeat = 2 * int(known.is_duplicated().sum()) < len(known)
        if is_language(distinct):
            return Column(name, "text", dtype)
        if are_hashes(distinct):
            return Column(name, "id", dtype)
        if hardly_repeat:
            return Column(name, "text", dtype)
    return Column(name, by_number, dtype)


_ID_NAME = re.compile(
    r"(?:^|[_ .\-])(?:id|key|uuid|sku|ean|isbn|zip|zipcode|postcode|postal|plz|code)$",
    re.IGNORECASE,
)
_CAMEL_ID = re.compile(r"[a-z](?:Id|ID)$")
_FEWEST_IDS = 40
_MANY_IDS = 1000


def looks_like_ids(values: pl.Series) -> bool:
    """Return whether whole numbers may be ids: by the column's name, or by their range.

    More than 40 distinct ones in a column with a name such as ``user_id``, ``itemId`` or ``zip``;
    or more than 1000 from 0 or 1 on of which nine in ten stand in some row, two rows each or more.
    """
    known = values.drop_nulls()
    if not len(known) or (values.dtype.is_float() and not (known == known.round()).all()):
        return False
    count = known.n_unique()
    if count <= _FEWEST_IDS:
        return False
    if _ID_NAME.search(values.name) or _CAMEL_ID.search(values.name):
        return True
    least, most = int(known.min()), int(known.max())  # type: ignore[arg-type]
    dense = least in (0, 1) and 10 * count >= 9 * (most - least + 1)
    return count > _MANY_IDS and dense and 2 * count <= len(known)


def dropped_columns(frame: pl.DataFrame, names: Sequence[str]) -> dict[str, str]:
    """Return why columns carry nothing, by name: ``no values`` or ``one value only``.

    A column with one value in some rows and none in others is kept: that a value is missing may
    tell something.

    Raises:
        InvalidInputError: A column does not exist.
    """
    _check_known(frame, names)
    if not names or frame.height == 0:
        return {}
    schema = frame.schema
    counted = [name for name in names if _countable(schema[name])]
    # NaN is missing, as null is
    values = [
        pl.col(name).fill_nan(None) if schema[name].is_float() else pl.col(name) for name in counted
    ]
    nulls = frame.select(value.null_count() for value in values).row(0) if values else ()
    distinct = frame.select(value.n_unique() for value in values).row(0) if values else ()
    dropped = {}
    for name, null_count, count in zip(counted, nulls, distinct, strict=True):
        if null_count == frame.height:
            dropped[name] = "no values"
        elif count == 1:
            dropped[name] = "one value only"
    return dropped


def most_frequent(values: pl.Series) -> pl.DataFrame:
    """Return the distinct values and how many rows have them: the most frequent first.

    Equals come in their order. The columns are ``value`` and ``rows``, whatever the name of
    `values`.
    """
    counts = values.drop_nulls().alias("value").value_counts(name="rows")
    return counts.sort(["rows", "value"], descending=[True, False])


def kind_of_type(dtype: pl.DataType, name: str) -> ColumnKind:
    """Return the kind of a column of this type; strings are ``category``.

    Raises:
        InvalidInputError: The type is no feature.
    """
    if dtype.is_numeric() or dtype in (pl.Duration, pl.Null):
        return "numeric"
    if dtype == pl.Boolean:
        return "boolean"
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        return "category"
    if dtype in (pl.Date, pl.Datetime):
        return "datetime"
    if dtype == pl.Time:
        return "time"
    raise InvalidInputError(
        f"column {name!r} holds {type_in_words(dtype)}, which can't be a feature; split it into "
        "plain columns, or ignore it"
    )


def check_finite(frame: pl.DataFrame, names: Sequence[str]) -> None:
    """Refuse infinite values.

    Raises:
        InvalidInputError: A column holds an infinite value; column, row (from 1) and value are
            named.
    """
    schema = frame.schema
    floats = [name for name in names if schema[name].is_float()]
    if not floats:
        return
    found = frame.select(pl.col(floats).is_infinite().any()).row(0)
    for name, infinite in zip(floats, found, strict=True):
        if infinite:
            row = int(frame[name].is_infinite().fill_null(value=False).arg_true()[0])
            raise InvalidInputError(
                f"column {name!r} holds {frame[name][row]} in row {row + 1}; put a number there or "
                "leave it empty"
            )


def _countable(dtype: pl.DataType) -> bool:
    return not dtype.is_nested() and dtype != pl.Object


def _check_known(frame: pl.DataFrame, names: Sequence[str]) -> None:
    known = set(frame.columns)
    for name in names:
        if name not in known:
            raise InvalidInputError(
                f"column {name!r} is not in the table{closest(name, frame.columns)}"
            )
