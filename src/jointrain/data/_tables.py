"""Tables: read from files, taken from other libraries' frames, written to files."""

from __future__ import annotations

import csv
import gzip
import io
import os
import sys
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import polars as pl

from jointrain.errors import InvalidInputError, closest

if TYPE_CHECKING:
    import pyarrow as pa

MISSING_TOKENS = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "?")
"""What counts as a missing value in CSV and TSV files, with or without spaces around it."""

_SEPARATORS = {".csv": ",", ".tsv": "\t", ".csv.gz": ",", ".tsv.gz": "\t"}
_ARROW_ENDINGS = (".arrow", ".feather", ".ipc")
_ENDINGS = (*_SEPARATORS, ".parquet", *_ARROW_ENDINGS)
_DATETIME = r"^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d([.,]\d{1,9})?)?)?$"
_ZONED_DATETIME = r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d([.,]\d{1,9})?)?\s?(Z|[+-]\d\d:?\d\d)$"
_TIME = r"^\d\d:\d\d(:\d\d([.,]\d{1,9})?)?$"
_DECIMAL_COMMA = r"^[+-]?(\d+(,\d*)?|,\d+)([eE][+-]?\d+)?$"


def read_table(path: str | Path) -> pl.DataFrame:
    """Read a table from a file, by its ending.

    Known endings are ``.csv``, ``.tsv`` (both also with ``.gz``), ``.parquet``, ``.arrow``,
    ``.feather`` and ``.ipc``. CSV and TSV files are UTF-8, with or without byte order mark, with
    quotes where a field needs them; a ``.csv`` file whose header has semicolons or tabs and no
    comma is separated by those, and one with semicolons may have decimal commas. `MISSING_TOKENS`
    are missing values. The type of a column (integer, number, boolean written true/false, ISO date,
    time or both, else text) is inferred over the whole file. Spaces around names and values are
    dropped; a column without a name is called ``unnamed_`` and its position. NaN is a missing value
    in every format.

    Args:
        path: The file.

    Returns:
        A table with at least one row.

    Raises:
        InvalidInputError: The file does not exist, has an unknown ending, is empty, has a header
            only, is damaged, is not UTF-8, has rows of unequal length or names a column twice.
    """
    path = Path(path)
    ending = _ending(path)
    _check_is_file(path)
    if ending is None:
        raise InvalidInputError(
            f"{path} has an ending that jointrain can't read; known are {', '.join(_ENDINGS)}"
        )
    try:
        if path.stat().st_size == 0:
            raise InvalidInputError(f"{path} is empty; it needs a header and at least one row")
        if ending in _SEPARATORS:
            frame = _read_separated(path, ending)
        else:
            frame = _read_arrow(path, parquet=ending == ".parquet")
    except OSError as error:
        raise InvalidInputError(f"{path} can't be read: {error.strerror or error}") from None
    if frame.height == 0:
        raise InvalidInputError(f"{path} has column names but no rows; it needs at least one row")
    return _without_nan(frame)


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
        return _without_nan(frame)
    if isinstance(frame, Mapping):
        return _without_nan(_from_mapping(frame))
    return _without_nan(_from_foreign(frame))


def write_table(frame: pl.DataFrame, path: str | Path) -> None:
    """Write a table to a file by its ending; ``-`` writes CSV to standard output.

    The file appears whole or not at all: it is written under a temporary name and renamed.

    Args:
        frame: The table.
        path: The file, with an ending that `read_table` knows, or ``-``.

    Raises:
        InvalidInputError: The ending is unknown, the folder can't be written, or the table has a
            column that CSV can't hold.
    """
    check_writable_ending(path)
    if str(path) == "-":
        sys.stdout.write(_to_separated(frame, ",", "standard output").decode())
        return
    path = Path(path)
    ending = _ending(path)
    assert ending is not None
    with _replacing(path) as temporary:
        if ending in _SEPARATORS:
            data = _to_separated(frame, _SEPARATORS[ending], str(path))
            if ending.endswith(".gz"):
                data = gzip.compress(data, compresslevel=6, mtime=0)
            temporary.write_bytes(data)
        elif ending == ".parquet":
            frame.write_parquet(temporary)
        else:
            # the oldest level: other readers of Arrow files lack string views
            frame.write_ipc(temporary, compat_level=pl.CompatLevel.oldest())


def check_writable_ending(path: str | Path) -> None:
    """Refuse a file name that `write_table` can't write, before any work is done.

    Raises:
        InvalidInputError: The ending is unknown, the path is a folder, or its folder does not
            exist.
    """
    if str(path) == "-":
        return
    path = Path(path)
    if _ending(path) is None:
        raise InvalidInputError(
            f"{path} has an ending that jointrain can't write; known are {', '.join(_ENDINGS)}, "
            "and - for standard output"
        )
    if path.is_dir():
        raise InvalidInputError(f"{path} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise InvalidInputError(f"{path} can't be written: there is no folder {path.parent}")


def load_penguins() -> pl.DataFrame:
    """Return the Palmer penguins table: 344 rows, 8 columns, some values missing.

    Source: Horst, Hill & Gorman (2020), palmerpenguins: Palmer Archipelago (Antarctica) penguin
    data, https://allisonhorst.github.io/palmerpenguins/, CC0.
    """
    return read_table(Path(__file__).parent / "penguins.csv")


def _ending(path: Path) -> str | None:
    name = path.name.lower()
    return next((ending for ending in _ENDINGS if name.endswith(ending)), None)


def _check_is_file(path: Path) -> None:
    if path.is_dir():
        raise InvalidInputError(f"{path} is a folder; name a file in it")
    if path.exists():
        return
    folder = path.parent
    if not folder.is_dir():
        raise InvalidInputError(f"{path} does not exist: there is no folder {folder}")
    try:
        hint = closest(path.name, [entry.name for entry in folder.iterdir() if entry.is_file()])
    except OSError:
        hint = ""
    raise InvalidInputError(f"{path} does not exist{hint or '; check the name and the folder'}")


def _check_names(names: Sequence[str], where: str) -> None:
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        shown = ", ".join(repr(name) for name in repeated[:5])
        more = f" and {len(repeated) - 5} more" if len(repeated) > 5 else ""
        raise InvalidInputError(
            f"{where} names column {shown}{more} more than once; give each column its own name"
        )


def _without_nan(frame: pl.DataFrame) -> pl.DataFrame:
    """Put null where a floating-point column has NaN."""
    floats = [name for name, dtype in frame.schema.items() if dtype.is_float()]
    return frame.with_columns(pl.col(floats).fill_nan(None)) if floats else frame


# ---------------------------------------------------------------------------- separated text


def _read_separated(path: Path, ending: str) -> pl.DataFrame:
    data = _file_bytes(path, compressed=ending.endswith(".gz"))
    data = data.removeprefix(b"\xef\xbb\xbf")
    if not data.strip():
        raise InvalidInputError(f"{path} is empty; it needs a header and at least one row")
    separator = _SEPARATORS[ending]
    names, skipped_lines = _header(path, data, separator)
    if ending.startswith(".csv") and len(names) == 1:
        separator = next((other for other in ";\t" if other in names[0]), separator)
        names, skipped_lines = _header(path, data, separator)
    names = [name.strip() or f"unnamed_{i}" for i, name in enumerate(names, start=1)]
    _check_names(names, f"the header of {path}")
    table = _parse(path, data, separator, names, skipped_lines)
    frame = pl.DataFrame(pl.from_arrow(table))
    schema = frame.schema
    frame = frame.with_columns(
        _refined(frame[name], decimal_comma=separator == ";")
        for name, dtype in schema.items()
        if dtype == pl.String
    )
    return frame.with_columns(
        pl.col(name).cast(pl.Datetime("us", dtype.time_zone))
        for name, dtype in schema.items()
        if isinstance(dtype, pl.Datetime)
    )


def _file_bytes(path: Path, *, compressed: bool) -> bytes:
    data = path.read_bytes()
    if not compressed:
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidInputError(
            f"{path} is no whole gzip file ({error}); fetch or write it again"
        ) from None


def _text(path: Path, data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidInputError(
            f"{path} is not UTF-8: line {line} holds the byte 0x{data[error.start]:02x}; save it "
            "with UTF-8 encoding"
        ) from None


def _header(path: Path, data: bytes, separator: str) -> tuple[list[str], int]:
    """Return the names, and the number of lines that the header and blank lines above it take."""
    start = 0
    end = 0
    while True:  # more of the file until the header, whose names may hold line breaks, is whole
        end = min(len(data), max(2 * end, 1 << 16))
        cut = data.rfind(b"\n", start, end) + 1 if end < len(data) else end
        reader = csv.reader(
            io.StringIO(_text(path, data[:cut]), newline=""), delimiter=separator, strict=True
        )
        try:
            for fields in reader:
                if fields:
                    return fields, reader.line_num
        except csv.Error:
            if end == len(data):
                raise InvalidInputError(
                    f"the header of {path} has a quote that does not close; close or remove it"
                ) from None
        if end == len(data):
            raise InvalidInputError(f"{path} is empty; it needs a header and at least one row")


def _parse(
    path: Path, data: bytes, separator: str, names: list[str], header_lines: int
) -> pa.Table:
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    body = io.BytesIO(data)
    for _ in range(header_lines):
        body.readline()
    rest = data[body.tell() :]
    if not rest.strip(b"\r\n"):
        raise InvalidInputError(f"{path} has a header but no rows; it needs at least one row")
    if rest.count(b'"') % 2:
        _check_quotes(path, data, separator)
    try:
        return arrow_csv.read_csv(
            pa.BufferReader(rest),
            # one block for small files; a field must fit into a block
            read_options=arrow_csv.ReadOptions(column_names=names, block_size=1 << 24),
            parse_options=arrow_csv.ParseOptions(
                delimiter=separator,
                newlines_in_values=b'"' in rest,
                # in a table of one column a blank line is a missing value
                ignore_empty_lines=len(names) > 1,
            ),
            convert_options=arrow_csv.ConvertOptions(
                null_values=list(MISSING_TOKENS),
                strings_can_be_null=True,
                true_values=["true", "True", "TRUE"],
                false_values=["false", "False", "FALSE"],
            ),
        )
    except pa.ArrowInvalid as error:
        _explain(path, data, separator, len(names), str(error).splitlines()[0])


def _check_quotes(path: Path, data: bytes, separator: str) -> None:
    """Refuse a quote that does not close; the fast parser would take the rest as one field."""
    text = io.StringIO(_text(path, data), newline="")
    csv.field_size_limit(max(csv.field_size_limit(), len(data)))
    reader = csv.reader(text, delimiter=separator, strict=True)
    line = 1
    try:
        for _ in reader:
            line = reader.line_num + 1
    except csv.Error:
        raise InvalidInputError(
            f"{path} has a quote in line {line} that does not close; close or remove it"
        ) from None


def _explain(path: Path, data: bytes, separator: str, expected: int, reason: str) -> NoReturn:
    """Find the line that can't be read, and raise."""
    reader = csv.reader(io.StringIO(_text(path, data), newline=""), delimiter=separator)
    line = 1
    csv.field_size_limit(max(csv.field_size_limit(), len(data)))
    for fields in reader:
        if fields and len(fields) != expected:
            raise InvalidInputError(
                f"{path} has {len(fields)} fields in line {line} where the header has {expected}; "
                "mend that line (a field with a separator in it needs quotes)"
            )
        line = reader.line_num + 1
    raise InvalidInputError(f"{path} can't be read: {reason}; mend the file")


def _refined(column: pl.Series, *, decimal_comma: bool) -> pl.Series:
    """Find missing values, booleans, numbers and times that the fast parser leaves as text."""
    text = column.str.strip_chars()
    text = text.set(text.is_in(MISSING_TOKENS), None)
    known = text.drop_nulls()
    if known.is_empty():
        return text.cast(pl.Null)
    if known.str.to_lowercase().is_in(["true", "false"]).all():
        return text.str.to_lowercase() == "true"
    if decimal_comma and known.str.contains(_DECIMAL_COMMA).all():
        text = text.str.replace(",", ".", literal=True)
    for convert in (_as_integers, _as_floats, _as_times):
        converted = convert(text)
        if converted is not None and converted.null_count() == text.null_count():
            return converted
    return text


def _as_integers(text: pl.Series) -> pl.Series | None:
    return text.cast(pl.Int64, strict=False)


def _as_floats(text: pl.Series) -> pl.Series | None:
    return text.cast(pl.Float64, strict=False)


def _as_times(text: pl.Series) -> pl.Series | None:
    """Parse ISO times, dates and both, with or without time zone; None if it is something else."""
    known = text.drop_nulls()
    plain = text.str.replace(" ", "T", literal=True).str.replace(",", ".", literal=True)
    if known.str.contains(_TIME).all():
        return _with_seconds(plain).str.to_time("%H:%M:%S%.f", strict=False)
    if known.str.contains(_DATETIME).all():
        whole = _with_seconds(plain).str.replace(r"^(.{10})$", "${1}T00:00:00")
        return whole.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", time_unit="us", strict=False)
    if known.str.contains(_ZONED_DATETIME).all():
        plain = plain.str.replace(r"T?Z$", "+00:00").str.replace(r"T?([+-]\d\d):?(\d\d)$", "$1:$2")
        whole = plain.str.replace(r"(T\d\d:\d\d)([+-])", "${1}:00$2")
        return whole.str.to_datetime(
            "%Y-%m-%dT%H:%M:%S%.f%:z", time_unit="us", time_zone="UTC", strict=False
        )
    return None


def _with_seconds(text: pl.Series) -> pl.Series:
    return text.str.replace(r"((?:^|T)\d\d:\d\d)$", "$1:00")


def _to_separated(frame: pl.DataFrame, separator: str, where: str) -> bytes:
    for name, dtype in frame.schema.items():
        if dtype.is_nested() or dtype in (pl.Binary, pl.Object):
            raise InvalidInputError(
                f"column {name!r} ({dtype}) can't be written to {where}: text has no form for it; "
                "choose .parquet or .arrow"
            )
    return frame.write_csv(separator=separator).encode()


# ---------------------------------------------------------------------------- Parquet and Arrow


def _read_arrow(path: Path, *, parquet: bool) -> pl.DataFrame:
    import pyarrow as pa
    from pyarrow import ipc
    from pyarrow import parquet as pq

    kind = "Parquet" if parquet else "Arrow"
    try:
        if parquet:
            table = pq.ParquetFile(path).read()
        else:
            with pa.OSFile(str(path)) as file:
                magic = file.read(6)
                file.seek(0)
                open_ = ipc.open_file if magic == b"ARROW1" else ipc.open_stream
                table = open_(file).read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, PermissionError):
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise InvalidInputError(
            f"{path} is no whole {kind} file ({reason}); fetch or write it again"
        ) from None
    _check_names(table.column_names, str(path))
    return _from_arrow(table, str(path))


def _from_arrow(table: pa.Table, where: str) -> pl.DataFrame:
    try:
        return pl.DataFrame(pl.from_arrow(table))
    except (pl.exceptions.PolarsError, TypeError, ValueError, NotImplementedError):
        columns: dict[str, pl.Series] = {}
        for name, column in zip(table.column_names, table.columns, strict=True):
            try:
                columns[name] = pl.Series(name, column)
            except Exception:
                raise InvalidInputError(
                    f"column {name!r} of {where} has the type {column.type}, which jointrain can't "
                    "use; remove it or give it another type"
                ) from None
        return pl.DataFrame(columns)


# ---------------------------------------------------------------------------- other frames


def _from_mapping(columns: Mapping[Any, Any]) -> pl.DataFrame:
    names = [str(name) for name in columns]
    _check_names(names, "the table")
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
    if isinstance(values, np.ndarray) and values.dtype == object:
        # NaN and None both stand for missing in arrays of objects
        values = [None if value is None or value != value else value for value in values]
    elif isinstance(values, np.ndarray) and values.dtype.kind in "mM":
        values = values.astype(f"{values.dtype.kind}8[us]")
    if hasattr(values, "__array__") and not isinstance(values, np.ndarray):
        values = _from_foreign_column(values)
    return pl.Series(name, values, nan_to_null=True)


def _from_foreign_column(values: Any) -> Any:
    import narwhals as nw

    try:
        return nw.from_native(values, series_only=True).to_polars()
    except TypeError:
        return np.asarray(values)


def _from_foreign(frame: Any) -> pl.DataFrame:
    import narwhals as nw

    if not isinstance(frame, np.ndarray) and hasattr(frame, "columns"):
        named = getattr(frame, "column_names", frame.columns)
        names = [str(name) for name in named]
        _check_names(names, "the table")
        if type(frame).__module__.startswith("pandas") and list(named) != names:
            frame = frame.set_axis(names, axis="columns")
    try:
        known = nw.from_native(frame)
        if isinstance(known, nw.LazyFrame):
            known = known.collect("polars")
        if not isinstance(known, nw.DataFrame):
            raise TypeError
    except TypeError:
        if (stream := _arrow_table(frame)) is not None:
            return _from_arrow(stream, "the table")
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


def _arrow_table(frame: Any) -> pa.Table | None:
    """Return what speaks Arrow's table interface but is unknown to narwhals; None for the rest."""
    import pyarrow as pa

    try:
        return pa.RecordBatchReader.from_stream(frame).read_all()
    except (TypeError, pa.ArrowInvalid):
        return None


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name in the same folder that becomes `path` when all went well."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise InvalidInputError(
            f"{path} can't be written: {error.strerror or error}; choose another place"
        ) from None
    finally:
        temporary.unlink(missing_ok=True)
