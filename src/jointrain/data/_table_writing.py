"""Tables written to files."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import polars as pl

from jointrain.data._compression import packed, packed_file
from jointrain.data._table_schema import check_dates
from jointrain.data._table_source import ARROW_ENDINGS, JSON_ENDINGS, SEPARATORS, ending_of
from jointrain.data._type_words import type_in_words
from jointrain.errors import InvalidInputError
from jointrain.system.output_file import whole_or_not


def write_table(frame: pl.DataFrame, path: str | Path, *, replace: bool = True) -> Path:
    """Write a table to a file by its ending; ``-`` writes CSV to standard output.

    The file appears whole or not at all: it is written under a temporary name and renamed.

    Args:
        frame: The table.
        path: The file, with an ending that `read_table` knows, or ``-``.
        replace: Replace a file that is there (default), or take a free name beside it, such as
            ``a-2.csv``.

    Returns:
        Where the table is.

    Raises:
        InvalidInputError: The ending is unknown, the folder can't be written, or the table has a
            column that CSV can't hold.
    """
    check_writable_ending(path)
    if str(path) == "-":
        sys.stdout.write(_to_separated(frame, ",", "standard output").decode())
        return Path(path)
    path = Path(path)
    ending, packing = ending_of(path)
    with whole_or_not(path) as temporary:
        if ending in SEPARATORS:
            data = _to_separated(frame, SEPARATORS[ending], str(path))
            temporary.write_bytes(packed(data, packing))
        elif ending in JSON_ENDINGS:
            temporary.write_bytes(packed(_to_json_lines(frame, path), packing))
        elif ending == ".parquet":
            write_parquet(frame, temporary)
        else:
            with _opened(temporary) as file:
                # the oldest level: other readers of Arrow files lack string views
                frame.write_ipc(file, compat_level=pl.CompatLevel.oldest())
        if replace:
            os.replace(temporary, path)
            return path
        return _renamed_to_free(temporary, path)


def write_parquet(frame: pl.DataFrame, path: Path) -> None:
    """Write a file; what the system says is raised as of any other file, not as polars does.

    Raises:
        OSError: It can't be written, as on a full disk.
    """
    with _opened(path) as file:
        frame.write_parquet(file)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file that polars is to write, for which a name that is not UTF-8 is none."""
    try:
        with path.open("wb") as file:
            yield file
    except (pl.exceptions.ComputeError, OSError) as error:
        found = _SYSTEM_ERROR.search(str(error))
        if found is None:
            raise
        raise OSError(int(found[1]), os.strerror(int(found[1])), str(path)) from None


_SYSTEM_ERROR = re.compile(r"\(os error (\d+)\)")


def write_parts(parts: Iterable[pl.DataFrame], path: str | Path, *, replace: bool = True) -> Path:
    """Write a table that comes in parts, as `write_table` writes one that is whole.

    Args:
        parts: At least one, all with the same columns.
        path: As for `write_table`.
        replace: Likewise.

    Returns:
        Where the table is.

    Raises:
        InvalidInputError: As in `write_table`.
    """
    check_writable_ending(path)
    path = Path(path)
    ending, packing = ending_of(path)
    if str(path) == "-":
        for data in _as_text(parts, ",", "standard output", path):
            sys.stdout.write(data.decode())
        return path
    with whole_or_not(path) as temporary:
        if ending in (*SEPARATORS, *JSON_ENDINGS):
            separator = SEPARATORS.get(ending)
            with packed_file(temporary, packing) as file:
                for data in _as_text(parts, separator, str(path), path):
                    file.write(data)
        else:
            _write_typed(parts, temporary, parquet=ending == ".parquet")
        if replace:
            os.replace(temporary, path)
            return path
        return _renamed_to_free(temporary, path)


def _as_text(
    parts: Iterable[pl.DataFrame], separator: str | None, where: str, path: Path
) -> Iterator[bytes]:
    """Yield a table as text with a separator and a header, or as JSON lines."""
    first = True
    for part in parts:
        if separator is None:
            yield _to_json_lines(part, path)
        else:
            yield _to_separated(part, separator, where, header=first)
        first = False


def _write_typed(parts: Iterable[pl.DataFrame], path: Path, *, parquet: bool) -> None:
    """Write a file with types of its own."""
    from contextlib import ExitStack

    import pyarrow as pa
    from pyarrow import parquet as pq

    with ExitStack() as stack:
        file, writer = stack.enter_context(path.open("wb")), None
        for part in parts:
            table = part.to_arrow(compat_level=pl.CompatLevel.oldest())
            if writer is None:
                make = pq.ParquetWriter if parquet else pa.ipc.new_file
                writer = stack.enter_context(make(file, table.schema))
            writer.write_table(table)


def check_writable_ending(path: str | Path) -> None:
    """Refuse a file name that `write_table` can't write, before any work is done.

    Raises:
        InvalidInputError: The ending is unknown, the path is a folder, or its folder does not
            exist.
    """
    if str(path) == "-":
        return
    path = Path(path)
    ending, packing = ending_of(path)
    as_text = (*SEPARATORS, *JSON_ENDINGS)
    known = as_text if packing else (*as_text, ".parquet", *ARROW_ENDINGS)
    if ending not in known:
        raise InvalidInputError(
            f"{path} has an ending that jointrain can't write; known are {', '.join(known)}, text "
            "also with .gz or .zst, and - for standard output"
        )
    try:
        folder = path.is_dir()
    except OSError as error:
        raise InvalidInputError(
            f"{path} can't be written: {error.strerror}; choose another place"
        ) from None
    if folder:
        raise InvalidInputError(f"{path} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise InvalidInputError(f"{path} can't be written: there is no folder {path.parent}")


def _to_separated(frame: pl.DataFrame, separator: str, where: str, *, header: bool = True) -> bytes:
    check_text_form(frame, where)
    return frame.write_csv(separator=separator, include_header=header).encode()


def _to_json_lines(frame: pl.DataFrame, path: Path) -> bytes:
    check_text_form(frame, str(path), json=True)
    return frame.write_ndjson().encode()


def check_text_form(
    frame: pl.DataFrame, where: str, *, json: bool = False, instead: str = ".parquet or .arrow"
) -> None:
    """Refuse a table with a column that CSV can't hold, or JSON.

    Args:
        frame: The table.
        where: Where it is to be written.
        json: Ask for JSON, which has lists, and durations as text.
        instead: What holds such columns.

    Raises:
        InvalidInputError: Column and type are named.
    """
    for name, dtype in frame.schema.items():
        check_dates(frame[name])
        unfit = dtype in (pl.Binary, pl.Object)
        unfit |= _holds_bytes(dtype) if json else dtype.is_nested() or dtype == pl.Duration
        if unfit:
            raise InvalidInputError(
                f"column {name!r} holds {type_in_words(dtype)}, which can't be written to "
                f"{where}: {'JSON' if json else 'text'} has no form for it; choose {instead}"
            )


def _holds_bytes(dtype: pl.datatypes.DataTypeClass | pl.DataType) -> bool:
    if isinstance(dtype, (pl.List, pl.Array)):
        return _holds_bytes(dtype.inner)
    if isinstance(dtype, pl.Struct):
        return any(_holds_bytes(field.dtype) for field in dtype.fields)
    return dtype == pl.Binary


def _renamed_to_free(temporary: Path, path: Path) -> Path:
    """Rename a file to a name that nothing has: the system refuses to link over anything."""
    number, made = 1, path
    while True:
        try:
            os.link(temporary, made)
            return made
        except FileExistsError:
            number += 1
            made = path.with_name(f"{path.stem}-{number}{path.suffix}")
        except OSError:  # disks of cameras and sticks have no links
            if not os.path.lexists(made):
                os.replace(temporary, made)
                return made
            number += 1
            made = path.with_name(f"{path.stem}-{number}{path.suffix}")


def formulas_escaped(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a table in which a spreadsheet finds no formulas.

    Texts, and names of columns, that begin with ``=``, ``+``, ``-``, ``@``, a tab or a carriage
    return get an apostrophe before them; numbers stay.
    """
    texts = [name for name, dtype in frame.schema.items() if dtype == pl.String]
    escaped = frame.with_columns(pl.col(texts).str.replace(_FORMULA, "'${1}"))
    names = [name for name in frame.columns if name.startswith(_FORMULA_MARKS)]
    return escaped.rename({name: f"'{name}" for name in names})


_FORMULA_MARKS = ("=", "+", "-", "@", "\t", "\r")
_FORMULA = "^([=+\\-@\t\r])"
