"""Rows that can be read once only, kept as Parquet in a temporary folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from jointrain.data.streaming._table_files import TableFiles
from jointrain.errors import InvalidInputError
from jointrain.system.temporary_folders import temporary_folder

GROUP_ROWS = 1 << 16
"""Rows of a row group."""


class KeptRows:
    """Writes rows to a temporary folder, which goes when the table of them is no longer used."""

    def __init__(self) -> None:
        self._folder = temporary_folder("jointrain-rows-")
        self._told: dict[str, tuple[str, int | None]] = {}

    @contextmanager
    def file(self, name: str, content: int | None = None) -> Iterator[RowFile]:
        """Take the rows of one file.

        Args:
            name: What messages call it.
            content: The number of its content; default that of the Parquet file of its rows.
        """
        path = Path(self._folder.name) / f"{len(self._told):06d}.parquet"
        rows = RowFile(path, name)
        try:
            yield rows
        finally:
            rows.close()
        if path.exists():
            self._told[str(path)] = (name, content)

    def as_table(self) -> TableFiles:
        """Return the table of all files."""
        return TableFiles(list(self._told), told=self._told, keep=self._folder)


class RowFile:
    """A file of rows that come in parts of whatever size.

    Args:
        path: Where it is written.
        name: What messages call it.
    """

    def __init__(self, path: Path, name: str) -> None:
        self._path, self._name = path, name
        self._waiting: list[pl.DataFrame] = []
        self._rows = 0
        self._writer: Any = None
        self._schema: dict[str, Any] = {}

    def add(self, frame: pl.DataFrame) -> None:
        """Take in rows, all with the same columns and types."""
        self._waiting.append(frame)
        self._rows += len(frame)
        while self._rows >= GROUP_ROWS:
            together = pl.concat(self._waiting, how="vertical_relaxed")
            self._write(together.head(GROUP_ROWS))
            self._waiting = [together.slice(GROUP_ROWS)]
            self._rows = len(self._waiting[0])

    def close(self) -> None:
        """Write what is left."""
        if self._rows:
            self._write(pl.concat(self._waiting, how="vertical_relaxed"))
            self._waiting, self._rows = [], 0
        if self._writer is not None:
            self._writer.close()

    def _write(self, frame: pl.DataFrame) -> None:
        from pyarrow import parquet

        table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
        if self._writer is None:
            # a column whose first rows are all missing may hold anything later
            empty = [name for name, dtype in frame.schema.items() if dtype == pl.Null]
            frame = frame.with_columns(pl.col(empty).cast(pl.String))
            table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
            self._schema = dict(frame.schema)
            self._writer = parquet.ParquetWriter(str(self._path), table.schema, compression="zstd")
        for name, dtype in self._schema.items():
            if frame.schema[name] not in (dtype, pl.Null):
                raise InvalidInputError(
                    f"column {name!r} of {self._name} has the type {dtype} in some rows and "
                    f"{frame.schema[name]} in others; write it with one type"
                )
        frame = frame.select(pl.col(name).cast(dtype) for name, dtype in self._schema.items())
        table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
        self._writer.write_table(table.cast(self._writer.schema), row_group_size=GROUP_ROWS)
