"""Tables: read from files, taken from other libraries' frames, written to files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from jointrain.data._arrow_files import from_arrow
from jointrain.data._column_names import check_names
from jointrain.data._missing_values import is_missing, mixed_kinds, unmasked
from jointrain.data._raw_table import RawTable, ReadingOptions
from jointrain.data._table_schema import TableSchema, without_nan
from jointrain.data._table_source import read_raw
from jointrain.data._type_inference import check_said, type_frame, type_table
from jointrain.errors import InvalidInputError

if TYPE_CHECKING:
    import pyarrow as pa


def read_table(
    path: str | Path, options: ReadingOptions | None = None, schema: TableSchema | None = None
) -> pl.DataFrame:
    """Read a table from a file, standard input or a database, by the rules of ``docs/tables.md``.

    What a column of text holds (numbers, truth values, dates, times or text) is decided over the
    whole file, or taken from a schema; then a row's meaning does not depend on the other rows.
    Spaces around names and values are dropped; a column without a name is called ``unnamed_`` and
    its position. NaN is a missing value in every format.

    Args:
        path: The file, ``-`` for standard input, or the address of a database.
        options: How to read it; default as the file shows.
        schema: How to read its columns, such as `TableModel.schema`; columns that it doesn't know
            stay text.

    Returns:
        A table with at least one row.

    Raises:
        InvalidInputError: The file does not exist, is empty, has a header only, is damaged, is in
            another encoding than said, has rows of unequal length or names a column twice.
    """
    return type_raw(read_raw(path, options), options, schema)


def type_raw(
    raw: RawTable,
    options: ReadingOptions | None = None,
    schema: TableSchema | None = None,
    *,
    every_row: bool = False,
) -> pl.DataFrame:
    """Give the columns of a table that was read as it is written their types.

    Args:
        raw: The table.
        options: How to read its columns; default by the rules of ``docs/tables.md``.
        schema: How to read them as those of another table were; all rows stay.
        every_row: Without a schema, whether a last row of totals, sums or means stays.

    Raises:
        InvalidInputError: A cell can't be read.
    """
    if schema is not None:
        if options is not None:
            check_said(options, raw.frame.columns)
            schema = schema.with_options(options)
        return without_nan(schema.read(raw))
    type_columns = type_table if raw.is_text else type_frame
    typed = type_columns(raw, options, every_row=every_row)
    return without_nan(typed.frame)


def as_table(frame: Any) -> pl.DataFrame:
    """Return a table of any of the known kinds as a Polars table.

    NaN becomes a missing value; names that are no strings become strings.

    Args:
        frame: A Polars table (eager or lazy), a pandas or Arrow table or any other that narwhals
            knows, or a mapping of column names to one-dimensional arrays of equal length.

    Raises:
        InvalidInputError: It is none of these, names a column twice, or holds what a table can't.
    """
    if isinstance(frame, pl.LazyFrame):
        frame = frame.collect()
    if isinstance(frame, pl.DataFrame):
        check_names(frame.columns, "the table")
        return without_nan(frame)
    if isinstance(frame, Mapping):
        return without_nan(_from_mapping(frame))
    return without_nan(_from_foreign(frame))


def load_penguins() -> pl.DataFrame:
    """Return the Palmer penguins table: 344 rows, 8 columns, some values missing.

    Source: Horst, Hill & Gorman (2020), palmerpenguins: Palmer Archipelago (Antarctica) penguin
    data, https://allisonhorst.github.io/palmerpenguins/, CC0.
    """
    return read_table(Path(__file__).parent / "penguins.csv")


# ---------------------------------------------------------------------------- other frames


def _from_mapping(columns: Mapping[Any, Any]) -> pl.DataFrame:
    names = [str(name) for name in columns]
    check_names(names, "the table")
    series = []
    for name, values in zip(names, columns.values(), strict=True):
        try:
            dimensions = 1 if isinstance(values, pl.Series) else np.ndim(values)
        except ValueError:
            raise InvalidInputError(
                f"column {name!r} holds lists of unequal length; give one value per row"
            ) from None
        if dimensions != 1:
            raise InvalidInputError(
                f"column {name!r} must be one-dimensional, got {dimensions} dimensions"
            )
        try:
            series.append(_series(name, values))
        except InvalidInputError:
            raise
        except (pl.exceptions.PolarsError, TypeError, ValueError) as error:
            raise InvalidInputError(
                f"column {name!r} can't be used ({str(error).splitlines()[0]}); give values of one "
                "type"
            ) from None
        if len(series[-1]) != len(series[0]):
            raise InvalidInputError(
                f"column {name!r} has {len(series[-1])} rows, column {names[0]!r} has "
                f"{len(series[0])}; give all the same number"
            )
    return pl.DataFrame(series)


def _series(name: str, values: Any) -> pl.Series:
    if isinstance(values, pl.Series):
        return values.alias(name)
    if isinstance(values, np.ma.MaskedArray):
        values = unmasked(values)
    if isinstance(values, np.ndarray) and values.dtype.kind == "c":
        raise InvalidInputError(
            f"column {name!r} holds complex numbers; give real and imaginary parts in columns of "
            "their own"
        )
    if isinstance(values, np.ndarray) and values.dtype == np.longdouble:
        values = values.astype(np.float64)
    if isinstance(values, (list, tuple)) or str(getattr(values, "dtype", "")) == "object":
        values = [None if is_missing(value) else value for value in values]
        _check_one_kind(name, values)
    elif isinstance(values, np.ndarray) and values.dtype.kind in "mM":
        values = values.astype(f"{values.dtype.kind}8[us]")
    if hasattr(values, "__array__") and not isinstance(values, np.ndarray):
        values = _from_foreign_column(values)
    # whole numbers among others with fractions are numbers, too
    return pl.Series(name, values, nan_to_null=True, strict=not isinstance(values, list))


def _from_foreign_column(values: Any) -> Any:
    import narwhals as nw

    try:
        return nw.from_native(values, series_only=True).to_polars()
    except TypeError:
        return np.asarray(values)


def _from_foreign(frame: Any) -> pl.DataFrame:
    import narwhals as nw

    if type(frame).__module__ == "pyarrow.lib" and hasattr(frame, "column_names"):
        check_names(frame.column_names, "the table")
        return from_arrow(frame, "the table")
    if not isinstance(frame, np.ndarray) and hasattr(frame, "columns"):
        frame = _with_plain_columns(frame)
    try:
        known = nw.from_native(frame)
        if isinstance(known, nw.LazyFrame):
            known = known.collect("polars")
        if not isinstance(known, nw.DataFrame):
            raise TypeError
    except TypeError:
        if (stream := _arrow_table(frame)) is not None:
            return from_arrow(stream, "the table")
        raise InvalidInputError(
            "the table must be a Polars, pandas or Arrow table, or a mapping of column names to "
            f"arrays, got {type(frame).__module__}.{type(frame).__qualname__}"
        ) from None
    try:
        return known.to_polars()
    except Exception as whole:
        for name in known.columns:
            try:
                known[name].to_polars()
            except Exception as error:
                raise InvalidInputError(
                    f"column {name!r} can't be used ({str(error).splitlines()[0]}); give it values "
                    "of one type"
                ) from None
        raise InvalidInputError(f"the table can't be used ({str(whole).splitlines()[0]})") from None


def _check_one_kind(name: str, values: Any) -> None:
    """Refuse objects of different kinds, which would be turned into each other unseen.

    Raises:
        InvalidInputError: Column, values and rows are named.
    """
    found = mixed_kinds(values)
    if found is not None:
        one, other = found
        raise InvalidInputError(
            f"column {name!r} holds {values[one]!r} in row {one + 1} and {values[other]!r} in row "
            f"{other + 1}; give it values of one type"
        )


def _with_plain_columns(frame: Any) -> Any:
    """Return a frame with text as names; one of pandas without sparse columns, categories as text.

    Raises:
        InvalidInputError: Names have several levels, or are given twice.
    """
    named = getattr(frame, "column_names", frame.columns)
    levels = getattr(named, "nlevels", 1)
    if levels > 1:
        raise InvalidInputError(
            f"the names of the table's columns have {levels} levels; join them to one text each, "
            "such as frame.columns = ['_'.join(map(str, name)) for name in frame.columns]"
        )
    names = [str(name) for name in named]
    check_names(names, "the table")
    if not type(frame).__module__.startswith("pandas"):
        return frame
    if list(named) != names:
        frame = frame.set_axis(names, axis="columns")
    changed = {}
    for name, dtype in frame.dtypes.items():
        if type(dtype).__name__ == "SparseDtype":
            changed[name] = frame[name].sparse.to_dense()
        elif type(dtype).__name__ == "CategoricalDtype" and dtype.categories.dtype.kind != "O":
            # who makes categories of numbers does not want numbers
            changed[name] = frame[name].cat.rename_categories(str)
        elif str(dtype) == "object":
            _check_one_kind(name, frame[name].to_list())
    return frame.assign(**changed) if changed else frame


def _arrow_table(frame: Any) -> pa.Table | None:
    """Return what speaks Arrow's table interface but is unknown to narwhals; None for the rest."""
    import pyarrow as pa

    try:
        return pa.RecordBatchReader.from_stream(frame).read_all()
    except (TypeError, pa.ArrowInvalid):
        return None
