"""Tables of a database: PostgreSQL by ADBC, SQLite by Python's own library."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlencode

import polars as pl

from jointrain.data._arrow_files import from_arrow
from jointrain.data._column_names import check_names
from jointrain.data._raw_table import RawTable
from jointrain.errors import InvalidInputError, MissingDependencyError, closest
from jointrain.system.database_address import DatabaseAddress, without_password

if TYPE_CHECKING:
    import pyarrow as pa

_POSTGRESQL = ("postgresql", "postgres")
_AS_TEXT = ("interval", "money")
"""Types of PostgreSQL that would come as something else than they look."""
_EXAMPLE = "add ?table=NAME or ?query=SELECT..."


def read_database(address: str) -> RawTable:
    """Read a table or the result of a query.

    Args:
        address: ``postgresql://user:password@host/database?table=NAME`` (or ``schema.NAME``),
            ``sqlite:///file.db?table=NAME``, or either with ``?query=SELECT ...``, which ends the
            address and is taken as it stands, or with all spaces and signs escaped (``%20``).

    Raises:
        InvalidInputError: The address names no known kind of database, no table and no query, or
            the database refuses it.
        MissingDependencyError: The driver of PostgreSQL is not installed.
    """
    scheme = address.partition("://")[0].lower().partition("+")[0]
    shown = without_password(address)
    if scheme not in (*_POSTGRESQL, "sqlite"):
        advice = (
            "download the file first"
            if scheme in ("http", "https", "ftp", "s3", "gs", "az")
            else "export the table to a file"
        )
        raise InvalidInputError(
            f"{shown} can't be read: known are postgresql:// and sqlite:///; {advice}"
        )
    place, table, query, rest = DatabaseAddress.of(address)
    if table and query:
        raise InvalidInputError(f"{shown} names a table and a query; drop one of the two")
    where = place.partition("://")[2]
    if scheme == "sqlite":
        if rest:
            raise InvalidInputError(
                f"{shown} says {next(iter(rest))!r}, which nothing here understands; {_EXAMPLE}"
            )
        raw = _read_sqlite(where, table, query, shown)
    else:
        if not (table or query):
            raise InvalidInputError(f"{shown} names no table; {_EXAMPLE}")
        if "PGCONNECT_TIMEOUT" not in os.environ:
            rest = {"connect_timeout": "10"} | rest
        # the library of PostgreSQL takes a + as it is
        said = urlencode(rest, quote_via=quote)
        raw = _read_postgresql(
            f"postgresql://{where}?{said}", query or _all_of(table, split=True), shown
        )
    if raw.frame.height == 0:
        raise InvalidInputError(f"{shown} has no rows; a table needs at least one")
    return raw


def _all_of(table: str, *, split: bool) -> str:
    parts = table.split(".") if split else [table]
    quoted = ".".join('"' + part.replace('"', '""') + '"' for part in parts)
    return f"SELECT * FROM {quoted}"


# ---------------------------------------------------------------------------- SQLite


def _read_sqlite(place: str, table: str, query: str, shown: str) -> RawTable:
    path = _sqlite_path(unquote(place))
    if not path.is_file():
        raise InvalidInputError(f"{shown} can't be read: there is no file {path}")
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            tables = sqlite_tables(connection)
            if not (table or query):
                raise InvalidInputError(
                    f"{shown} names no table; {_EXAMPLE} (it has {', '.join(tables) or 'none'})"
                )
            if table and table not in tables:
                raise InvalidInputError(
                    f"{shown}: there is no table {table!r}{closest(table, tables)}; it has "
                    f"{', '.join(tables) or 'none'}"
                )
            cursor = connection.execute(query or _all_of(table, split=False))
            if cursor.description is None:
                raise InvalidInputError(f"{shown}: the query gives no table; give a SELECT")
            names = [column[0] for column in cursor.description]
            check_names(names, shown)
            rows = cursor.fetchall()
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise InvalidInputError(f"{shown} can't be read: {error}") from None
    columns: dict[str, list[Any]] = {
        name: [row[index] for row in rows] for index, name in enumerate(names)
    }
    for name, values in columns.items():
        _refuse_some_bytes(name, values, shown)
    mixed = [name for name, values in columns.items() if _is_mixed(values)]
    for name in mixed:
        columns[name] = [None if value is None else str(value) for value in columns[name]]
    shown_mixed = ", ".join(map(repr, mixed))
    return RawTable(
        pl.DataFrame([_sqlite_column(name, columns[name], shown) for name in names]),
        is_text=False,
        where=shown,
        notes=(f"{shown} has columns with text and numbers, read as text: {shown_mixed}",)
        if mixed
        else (),
    )


def _refuse_some_bytes(name: str, values: list[Any], shown: str) -> None:
    """Refuse bytes beside other values: as text they would be something else.

    Raises:
        InvalidInputError: Column and row are named.
    """
    rows = [row for row, value in enumerate(values) if isinstance(value, bytes)]
    if rows and len(rows) < sum(value is not None for value in values):
        raise InvalidInputError(
            f"column {name!r} of {shown} holds bytes in row {rows[0] + 1}, and other values in "
            "other rows; CAST it to text in a ?query="
        )


def _is_mixed(values: list[Any]) -> bool:
    kinds = {type(value) for value in values} - {type(None)}
    return str in kinds and len(kinds) > 1


def _sqlite_column(name: str, values: list[Any], shown: str) -> pl.Series:
    try:
        return pl.Series(name, values, strict=all(not isinstance(v, float) for v in values))
    except (pl.exceptions.PolarsError, TypeError, OverflowError) as error:
        raise InvalidInputError(
            f"column {name!r} of {shown} can't be used ({str(error).splitlines()[0]}); CAST it in "
            "a ?query="
        ) from None


def sqlite_tables(connection: sqlite3.Connection) -> list[str]:
    """Return the names of the tables and views of a database."""
    found = connection.execute(
        "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') "
        "AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name"
    )
    return [name for (name,) in found]


def _sqlite_path(place: str) -> Path:
    """Return the file: ``/x`` may be a relative x or an absolute /x, ``//x`` is absolute."""
    relative = Path(place.lstrip("/"))
    absolute = Path("/") / relative
    if place.startswith("//") or not relative.is_file():
        return absolute if absolute.is_file() or place.startswith("//") else relative
    return relative


# ---------------------------------------------------------------------------- PostgreSQL


def _read_postgresql(address: str, query: str, shown: str) -> RawTable:
    try:
        from adbc_driver_manager import Error
        from adbc_driver_postgresql import dbapi
    except ImportError:
        raise MissingDependencyError(
            f"{shown} is a PostgreSQL database, which needs: pip install 'jointrain[database]'"
        ) from None
    try:
        with dbapi.connect(address) as connection, connection.cursor() as cursor:
            cursor.execute(query)
            table = cursor.fetch_arrow_table()
    except Error as error:
        reason = str(error).partition("ERROR:")[2] or str(error)
        reason = " ".join(without_password(reason).splitlines()[0].split())
        raise InvalidInputError(f"{shown} can't be read: {reason}") from None
    check_names(table.column_names, shown)
    return RawTable(from_arrow(plain_types(table, shown), shown), is_text=False, where=shown)


def plain_types(table: pa.Table, shown: str) -> pa.Table:
    """Return a result of PostgreSQL with types that all readers know.

    Numbers of any precision become decimals with as many places as the longest; names of rows
    (uuid) and JSON become text.

    Raises:
        InvalidInputError: A column has a type that has no exact counterpart.
    """
    import pyarrow as pa

    for index, field in enumerate(table.schema):
        kind = (field.metadata or {}).get(b"POSTGRESQL:type", b"").decode()
        column = table.column(index)
        if kind == "numeric":
            column = _decimals(column)
        elif kind == "uuid":
            values = [None if value is None else str(value) for value in column.to_pylist()]
            column = pa.chunked_array([pa.array(values, pa.string())])
        elif kind in ("json", "jsonb"):
            column = column.cast(pa.string())
        elif kind in _AS_TEXT or isinstance(field.type, pa.BaseExtensionType):
            raise InvalidInputError(
                f"column {field.name!r} of {shown} has the type {kind}; CAST it to text or to a "
                "number in a ?query="
            )
        table = table.set_column(index, pa.field(field.name, column.type), column)
    return table


def _decimals(column: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa

    text = pl.Series(column.cast(pa.string()).to_pylist(), dtype=pl.String)
    places = text.str.extract(r"\.(\d+)$").str.len_chars().max() or 0
    whole = text.str.extract(r"^-?(\d+)").str.len_chars().max() or 0
    known = text.drop_nulls().str.contains(r"^-?\d+(\.\d+)?$").all()
    exact = known and int(str(places)) + int(str(whole)) <= 38
    kind = pl.Decimal(38, int(str(places))) if exact else pl.Float64()
    return pa.chunked_array([text.cast(kind).to_arrow()])
