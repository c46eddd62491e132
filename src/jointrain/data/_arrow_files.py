"""Parquet, Arrow and Feather files."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from jointrain.data._column_names import check_names
from jointrain.data._raw_table import RawTable
from jointrain.errors import InvalidInputError

if TYPE_CHECKING:
    import pyarrow as pa


def read_arrow(source: Path | bytes, where: str, *, parquet: bool) -> RawTable:
    """Read a file with types of its own.

    Args:
        source: The file or its bytes.
        where: What messages call it.
        parquet: Whether it is Parquet; else Arrow.

    Raises:
        InvalidInputError: It is damaged, or a column has a type or name that can't be used.
    """
    import pyarrow as pa
    from pyarrow import ipc, parquet as pq

    kind = "Parquet" if parquet else "Arrow"
    try:
        file = pa.BufferReader(source) if isinstance(source, bytes) else pa.OSFile(str(source))
        with file:
            if parquet:
                table = pq.ParquetFile(file).read()
            else:
                magic = file.read(6)
                file.seek(0)
                open_ = ipc.open_file if magic == b"ARROW1" else ipc.open_stream
                table = open_(file).read_all()
        table.validate(full=True)
        for noted in (table.schema, *table.schema):  # in others, Polars panics
            for text in (one for pair in (noted.metadata or {}).items() for one in pair):
                text.decode()
    except pa.ArrowNotImplementedError:
        return _read_by_polars(source, where)
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, PermissionError):
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise InvalidInputError(
            f"{where} is no whole {kind} file ({reason}); fetch or write it again"
        ) from None
    check_names(table.column_names, where)
    return RawTable(
        from_arrow(table, where), is_text=False, where=where, indices=pandas_indices(table.schema)
    )


def _read_by_polars(source: Path | bytes, where: str) -> RawTable:
    """Read Parquet with a type that only Polars has: whole numbers of 128 bits."""
    try:
        frame = pl.read_parquet(source)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise InvalidInputError(
            f"{where} has a type that can't be read ({str(error).splitlines()[0]})"
        ) from None
    check_names(frame.columns, where)
    return RawTable(frame, is_text=False, where=where)


_INDEX = re.compile(r"__index_level_\d+__")


def pandas_indices(schema: pa.Schema) -> tuple[str, ...]:
    """Return the columns without a name of their own in which pandas kept the index of its rows."""
    with suppress(KeyError, TypeError, ValueError):  # what others wrote there
        found = json.loads((schema.metadata or {})[b"pandas"])["index_columns"]
        names = [name for name in found if isinstance(name, str) and _INDEX.fullmatch(name)]
        return tuple(name for name in names if name in schema.names)
    return ()


def index_note(names: Sequence[str]) -> str:
    """Return what is to be said of the columns that `pandas_indices` found."""
    return f"{', '.join(names)}: the index of a pandas table, left out"


def from_arrow(table: pa.Table, where: str) -> pl.DataFrame:
    """Return an Arrow table as a Polars table, naming the column that can't be one.

    Categories of numbers become text: who makes such does not want numbers.
    """
    frame = _from_arrow(table, where)
    numbers = [name for name in _categories(table) if frame.schema[name].is_numeric()]
    return frame.with_columns(pl.col(numbers).cast(pl.String)) if numbers else frame


def _categories(table: pa.Table) -> list[str]:
    """Return the columns that are categories: dictionaries, or such of pandas before Parquet."""
    import pyarrow as pa

    found = [field.name for field in table.schema if pa.types.is_dictionary(field.type)]
    with suppress(KeyError, TypeError, ValueError):  # what others wrote there
        columns = json.loads((table.schema.metadata or {})[b"pandas"])["columns"]
        found += [one["field_name"] for one in columns if one["pandas_type"] == "categorical"]
    return [name for name in table.column_names if name in found]


def _from_arrow(table: pa.Table, where: str) -> pl.DataFrame:
    for field in table.schema:
        if "decimal256(" in str(field.type):  # at which Polars panics, with lines of its own
            raise _unusable(field.name, field.type, where)
    try:
        return pl.DataFrame(pl.from_arrow(table))
    except (
        pl.exceptions.PolarsError, pl.exceptions.PanicException, TypeError, ValueError,
        NotImplementedError,
    ):  # fmt: skip
        columns: dict[str, pl.Series] = {}
        for name, column in zip(table.column_names, table.columns, strict=True):
            try:
                columns[name] = pl.Series(name, column)
            except (Exception, pl.exceptions.PanicException):
                raise _unusable(name, column.type, where) from None
        return pl.DataFrame(columns)


def _unusable(name: str, dtype: pa.DataType, where: str) -> InvalidInputError:
    return InvalidInputError(
        f"column {name!r} of {where} has the type {dtype}, which jointrain can't use; remove it or "
        "give it another type"
    )
