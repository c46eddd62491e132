"""Rows that come one after the other: streams of `datasets`, samples of WebDataset, mappings."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl

from jointrain.data._arrow_files import from_arrow
from jointrain.data._column_names import check_names
from jointrain.data._json_lines import json_fault
from jointrain.data.streaming._kept_rows import KeptRows
from jointrain.data.streaming._seen_file import SeenFile
from jointrain.data.streaming._table_files import TableFiles
from jointrain.errors import InvalidInputError

_AT_ONCE = 1 << 13
"""So many rows are made a table at a time."""

_LARGEST_TEXT = 1 << 24
"""Bytes of a sample's json, cls or txt at most: a shard may be packed, and grow a thousandfold."""


def kept_rows(source: Any) -> TableFiles:
    """Go through rows once, and return them as a table.

    Args:
        source: A data set of ``datasets``, streamed or not; a ``webdataset.WebDataset``; or
            anything else that gives mappings of columns to values.

    Raises:
        InvalidInputError: It gives something else, or a column holds values of two types.
    """
    if not isinstance(source, Iterable):
        raise InvalidInputError(
            f"a table larger than memory is a folder, a list of files or rows one after the other, "
            f"got {type(source).__name__}"
        )
    kept = KeptRows()
    name = f"the {type(source).__name__}"
    with kept.file(name) as rows:
        for frame in _frames(source, name):
            rows.add(frame)
    return _table(kept, name)


def kept_shards(paths: Sequence[Path]) -> TableFiles:
    """Go through shards of WebDataset once, and return their samples as a table.

    Files of a sample have its name and an ending: of ``json`` the entries are columns; ``cls`` is a
    column of whole numbers, and ``txt`` one of text. Others, such as pictures, are passed over.

    Raises:
        InvalidInputError: A shard is damaged, changes meanwhile, or its samples have no such files.
    """
    kept = KeptRows()
    for path in paths:
        with SeenFile.now(path).unchanged(), kept.file(str(path)) as rows:
            for frame in _frames(_samples(path), str(path)):
                rows.add(frame)
    return _table(kept, f"{paths[0]} and others" if len(paths) > 1 else str(paths[0]))


def _table(kept: KeptRows, name: str) -> TableFiles:
    try:
        return kept.as_table()
    except InvalidInputError as error:
        if "no file to read" not in str(error):
            raise
        raise InvalidInputError(f"{name} gave no row") from None


def _frames(source: Iterable[Any], name: str) -> Iterator[pl.DataFrame]:
    """Yield rows as tables, all with the types of the first."""
    if hasattr(source, "with_format") and hasattr(source, "iter"):
        # a data set of Hugging Face, which gives Arrow tables
        for table in source.with_format("arrow").iter(batch_size=_AT_ONCE):
            check_names(table.column_names, name)
            yield from_arrow(table, name)
        return
    rows = (_as_row(row, name) for row in source)
    kinds: dict[str, type | None] = {}
    done = 0
    while some := list(islice(rows, _AT_ONCE)):
        for number, row in enumerate(some, done + 1):
            _check_row(row, kinds, f"row {number} of {name}")
        schema = {
            column: pl.Null if kind is None else _TYPES.get(kind) for column, kind in kinds.items()
        }
        yield pl.DataFrame(some, schema=schema, infer_schema_length=None)
        done += len(some)


_TYPES: dict[type, Any] = {bool: pl.Boolean, float: pl.Float64, str: pl.String}
"""Types of columns by those of their values; others follow from the values."""


def _check_row(row: Mapping[str, Any], kinds: dict[str, type | None], where: str) -> None:
    """Refuse a row that is not like those before, whose types are in `kinds`, to be added to.

    Raises:
        InvalidInputError: It has other columns, or a value is of another type.
    """
    if not kinds:
        kinds.update(dict.fromkeys(row))
    if row.keys() != kinds.keys():
        column = sorted(row.keys() ^ kinds.keys())[0]
        lacks = "lacks" if column in kinds else "has another column,"
        raise InvalidInputError(f"{where} {lacks} {column!r}; all rows must have the same columns")
    for column, value in row.items():
        if value is None:
            continue
        # whole numbers and others are numbers
        kind = float if type(value) is int else type(value)
        if kinds[column] is None:
            kinds[column] = kind
        elif kinds[column] is not kind:
            raise InvalidInputError(
                f"column {column!r} holds {value!r} in {where}, which is of another type than "
                "before; give values of one type"
            )


def _as_row(row: Any, name: str) -> dict[str, Any]:
    """Return a row, or a sample of WebDataset, as columns and values."""
    if not isinstance(row, Mapping):
        raise InvalidInputError(
            f"{name} gives {type(row).__name__}; rows are mappings of columns to values"
        )
    if "__key__" not in row:
        return {str(column): value for column, value in row.items()}
    return _of_sample({k: v for k, v in row.items() if not k.startswith("__")}, name)


def _of_sample(files: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the columns of a sample by its files, decoded or as bytes."""
    try:
        found = _columns_of(files, name)
    except (ValueError, RecursionError) as error:  # no JSON, no number, no UTF-8, or too deep
        reason = str(error).splitlines()[0][:100]
        raise InvalidInputError(f"a sample of {name} can't be read: {reason}") from None
    if not found:
        raise InvalidInputError(
            f"a sample of {name} has none of json, cls and txt, but {', '.join(files)}"
        )
    return found


def _columns_of(files: Mapping[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for ending, content in files.items():
        if ending == "json":
            entries = content
            if isinstance(content, (bytes, str)):
                entries = json.loads(content, object_pairs_hook=_object)
            if not isinstance(entries, Mapping):
                raise InvalidInputError(f"a json of {name} holds no columns, but {entries!r}")
            found |= {str(column): value for column, value in entries.items()}
        elif ending in ("cls", "txt"):
            text = content.decode() if isinstance(content, bytes) else content
            found[ending] = int(text) if ending == "cls" else str(text)
    return found


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if (fault := json_fault(pairs)) is not None:
        raise ValueError(f"it holds {fault}")
    return dict(pairs)


def _samples(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the samples of a shard: files of one name follow each other."""
    try:
        with tarfile.open(path, "r|*") as shard:
            key, files = "", dict[str, Any]()
            for member in shard:
                if not member.isfile():
                    continue
                folder, _, last = member.name.rpartition("/")
                stem, _, ending = last.partition(".")
                if files and (folder + "/" + stem) != key:
                    yield {"__key__": key, **files}
                    files = {}
                key = folder + "/" + stem
                content = shard.extractfile(member)
                if content is not None:
                    wanted = ending in ("json", "cls", "txt")
                    if wanted and member.size > _LARGEST_TEXT:
                        raise InvalidInputError(
                            f"{member.name!a} in {path} has more than {_LARGEST_TEXT:,} bytes"
                        )
                    files[ending] = content.read() if wanted else None
            if files:
                yield {"__key__": key, **files}
    except FileNotFoundError:
        raise InvalidInputError(f"{path} does not exist; check the name and the folder") from None
    except (tarfile.TarError, OSError, EOFError) as error:
        raise InvalidInputError(
            f"{path} is no whole shard ({error}); fetch or write it again"
        ) from None
