"""Files of a table that is larger than memory: one table in pieces, each a row group of a file."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from jointrain.data._arrow_files import from_arrow, pandas_indices
from jointrain.data._column_names import check_names
from jointrain.data.streaming._seen_file import SeenFile
from jointrain.errors import InvalidInputError, closest

if TYPE_CHECKING:
    import pyarrow as pa

_FOOTER_BYTES = 8
"""How a Parquet file ends: the length of its footer, and a mark."""


@dataclass(frozen=True)
class Piece:
    """A row group of a file.

    Args:
        file: Number of the file.
        group: Number of the row group in it.
        first: Number of its first row in the file, from 0.
        rows: How many rows it has.
    """

    file: int
    group: int
    first: int
    rows: int


@dataclass(frozen=True)
class TableFile:
    """A Parquet file.

    Args:
        name: What messages call it.
        content: A number that its content has, wherever it lies and whatever it is called.
        fragment: It, as pyarrow reads it.
        seen: It, as it was when it was opened.
    """

    name: str
    content: int
    fragment: Any
    seen: SeenFile


class TableFiles:
    """Parquet files that are one table, read row group by row group.

    The files are put in the order of their contents, so that neither their names nor their order
    matter. Columns are found by their names. Folders called ``name=value`` give a column.

    Args:
        paths: The files.
        base: The folder whose folders below may be called ``name=value``; default none.
        told: Of files that hold what was read elsewhere: what messages call each, and the number of
            its content, by path.
        keep: What must not go while the files are read, such as a temporary folder.

    Attributes:
        schema: Names of the columns, with the types that Polars gives them.
        pieces: All row groups, in order.

    Raises:
        InvalidInputError: There is no file or no row, one can't be read, lacks a column that others
            have, or has a column of another type.
    """

    def __init__(
        self,
        paths: Sequence[str | Path],
        base: str | Path | None = None,
        *,
        told: Mapping[str, tuple[str, int | None]] | None = None,
        keep: Any = None,
    ) -> None:
        if not paths:
            raise InvalidInputError("there is no file to read; name at least one")
        texts = [str(path) for path in paths]
        files = [_opened(text, None if base is None else str(base)) for text in texts]
        files = [_told(file, (told or {}).get(file.name)) for file in files]
        self._keep = keep
        self._as_given = {file.name: number for number, file in enumerate(files)}
        self.files = sorted(files, key=lambda file: (file.content, file.name))
        self._partitions = [_partition(file) for file in self.files]
        self._arrow_schema, self.schema = self._common_schema()
        self.pieces = [
            Piece(number, group, first, rows)
            for number, file in enumerate(self.files)
            for group, first, rows in _row_groups(file)
        ]
        if not self.pieces:
            raise InvalidInputError(
                f"{self.where} {'have' if len(self.files) > 1 else 'has'} no rows; give a table "
                "with at least one"
            )

    @property
    def where(self) -> str:
        """What messages call all of it."""
        if len(self.files) == 1:
            return self.files[0].name
        return f"the {len(self.files)} files around {self.files[0].name}"

    @property
    def indices(self) -> tuple[str, ...]:
        """Columns that pandas wrote to number its rows, by the first file."""
        return pandas_indices(self.files[0].fragment.physical_schema)

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return sum(piece.rows for piece in self.pieces)

    def read(self, piece: Piece, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """Return the rows of a piece.

        Args:
            piece: It.
            columns: Which columns, default all.

        Raises:
            InvalidInputError: It can't be read any more, or its file has changed; file and row
                group are named.
        """
        with self.files[piece.file].seen.unchanged():
            return self._rows_of(piece, columns)

    def _rows_of(self, piece: Piece, columns: Sequence[str] | None) -> pl.DataFrame:
        """Return the rows of a piece, whatever became of its file."""
        import pyarrow as pa

        file, own = self.files[piece.file], self._partitions[piece.file]
        wanted = list(self.schema) if columns is None else list(columns)
        where = f"row group {piece.group + 1} of {file.name}"
        try:
            group = file.fragment.subset(row_group_ids=[piece.group])
            table = group.to_table(
                schema=self._arrow_schema,
                columns=[name for name in wanted if name not in own],
                use_threads=False,
            )
            table.validate(full=True)
        except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
            raise InvalidInputError(
                f"{where} can't be read ({_reason(error)}); fetch or write the file again"
            ) from None
        if len(table) != piece.rows:
            raise InvalidInputError(
                f"{where} has {len(table)} rows, and had {piece.rows} before; files must stay as "
                "they are while they are read"
            )
        frame = from_arrow(table, where)
        if own:
            frame = frame.with_columns(pl.lit(value).alias(name) for name, value in own.items())
        floats = [name for name, dtype in frame.schema.items() if dtype.is_float()]
        known = {name: dtype for name, dtype in self.schema.items() if name in frame.columns}
        return frame.with_columns(pl.col(floats).fill_nan(None)).select(wanted).cast(known)  # type: ignore[arg-type]

    def frames(self, columns: Sequence[str] | None = None) -> Iterator[tuple[Piece, pl.DataFrame]]:
        """Yield all rows, piece by piece in order.

        Raises:
            InvalidInputError: As in `read`; or a file has changed before the last row was read.
        """
        for piece in self.pieces:
            yield piece, self.read(piece, columns)
        self.check_unchanged()

    def check_unchanged(self) -> None:
        """Refuse files that have changed since they were opened.

        Raises:
            InvalidInputError: One has.
        """
        for file in self.files:
            file.seen.check()

    def in_order_of_names(self) -> list[Piece]:
        """Return all row groups in the order in which the files were given."""
        return sorted(
            self.pieces, key=lambda one: (self._as_given[self.files[one.file].name], one.group)
        )

    def check_columns(self, names: Sequence[str]) -> None:
        """Refuse names of columns that are not there.

        Raises:
            InvalidInputError: One is not.
        """
        for name in names:
            if name not in self.schema:
                raise InvalidInputError(
                    f"column {name!r} is not in {self.where}{closest(name, self.schema)}"
                )

    def place(self, piece: Piece, row: int) -> str:
        """Return a row of a piece (from 0) in words."""
        return f"row {piece.first + row + 1} of {self.files[piece.file].name}"

    def located(self, error: InvalidInputError, piece: Piece) -> InvalidInputError:
        """Return an error that counts the rows of a piece as one that counts those of its file."""

        def place(found: re.Match[str]) -> str:
            return self.place(piece, int(found[1]) - 1)

        return InvalidInputError(re.sub(r"\brow (\d+)(?! of )", place, str(error), count=1))

    def _common_schema(self) -> tuple[pa.Schema, dict[str, pl.DataType]]:
        """Return the columns of all files, which must be alike."""
        import pyarrow as pa

        arrow: dict[str, pa.DataType] = {}
        known: dict[str, pl.DataType] = {}
        told: dict[str, str] = {}
        first = self.files[0]
        for file, own in zip(self.files, self._partitions, strict=True):
            found = _polars_types(file.fragment.physical_schema, file.name)
            found |= {name: pl.Series([value]).dtype for name, value in own.items()}
            if file is first:
                known = dict(found)
            _check_names_alike(found, known, file.name, first.name)
            for name, dtype in found.items():
                if known[name] == pl.Null or name not in told:
                    # a column without values fits every type
                    known[name] = dtype
                    told[name] = file.name
                elif dtype not in (known[name], pl.Null):
                    raise InvalidInputError(
                        f"column {name!r} of {file.name} has the type {dtype}, and that of "
                        f"{told[name]} {known[name]}; write both with one type"
                    )
                if name not in own and told[name] == file.name:
                    arrow[name] = file.fragment.physical_schema.field(name).type
        return pa.schema(list(arrow.items())), known


def _check_names_alike(
    found: dict[str, pl.DataType], known: dict[str, pl.DataType], name: str, first: str
) -> None:
    for column in known:
        if column not in found:
            raise InvalidInputError(
                f"{name} has no column {column!r}, which {first} has{closest(column, found)}; "
                "all files must have the same columns"
            )
    for column in found:
        if column not in known:
            raise InvalidInputError(
                f"{first} has no column {column!r}, which {name} has{closest(column, known)}; "
                "all files must have the same columns"
            )


def _opened(path: str, base: str | None) -> TableFile:
    """Open a Parquet file, and read what it tells of itself."""
    import pyarrow as pa
    from pyarrow import dataset as arrow_dataset

    seen = SeenFile.now(path)
    try:
        footer = _footer(path)
        dataset = arrow_dataset.dataset(
            [path],
            format="parquet",
            partitioning=None if base is None else "hive",
            partition_base_dir=base,
        )
        (fragment,) = dataset.get_fragments()
        fragment.ensure_complete_metadata()
    except FileNotFoundError:
        raise InvalidInputError(f"{path} does not exist; check the name and the folder") from None
    except pa.ArrowNotImplementedError as error:
        reason = _reason(error).rpartition(": ")[2]
        raise InvalidInputError(
            f"{path} has a type that can't be read in parts ({reason}); write that column with "
            "another type"
        ) from None
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInputError(
            f"{path} is no whole Parquet file ({_reason(error)}); fetch or write it again"
        ) from None
    check_names(fragment.physical_schema.names, path)
    content = int.from_bytes(hashlib.blake2b(footer, digest_size=8).digest(), "little")
    return TableFile(path, content, fragment, seen)


def _told(file: TableFile, told: tuple[str, int | None] | None) -> TableFile:
    """Return a file with the name and the content of the one whose rows it holds."""
    if told is None:
        return file
    name, content = told
    content = file.content if content is None else content
    return TableFile(name, content, file.fragment, replace(file.seen, name=name))


def _footer(path: str) -> bytes:
    """Return the end of a Parquet file, which tells size, place and statistics of all its parts."""
    with Path(path).open("rb") as file:
        end = file.seek(0, 2)
        file.seek(max(0, end - _FOOTER_BYTES))
        length = int.from_bytes(file.read(_FOOTER_BYTES)[:4], "little")
        file.seek(max(0, end - _FOOTER_BYTES - length))
        return file.read()


def _row_groups(file: TableFile) -> Iterator[tuple[int, int, int]]:
    """Yield number, first row and rows of the row groups of a file that have rows."""
    first = 0
    for group in file.fragment.row_groups:
        if group.num_rows:
            yield group.id, first, group.num_rows
        first += group.num_rows


def _partition(file: TableFile) -> dict[str, Any]:
    """Return the columns that folders called ``name=value`` give."""
    from pyarrow import dataset as arrow_dataset

    keys: dict[str, Any] = arrow_dataset.get_partition_keys(file.fragment.partition_expression)
    both = [name for name in keys if name in file.fragment.physical_schema.names]
    if both:
        raise InvalidInputError(
            f"{file.name} has a column {both[0]!r}, and its folder is called so, too; remove one"
        )
    return keys


def _polars_types(schema: pa.Schema, where: str) -> dict[str, pl.DataType]:
    """Return the types that Polars gives the columns; categories are text."""
    frame = from_arrow(schema.empty_table(), where)
    return {
        name: pl.String() if dtype == pl.Categorical else dtype
        for name, dtype in frame.schema.items()
    }


def _reason(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
