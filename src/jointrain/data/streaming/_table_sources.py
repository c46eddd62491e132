"""What a table larger than memory may be: a folder, a list of files, or a stream of rows."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jointrain.data._compression import packing_of
from jointrain.data._raw_table import ReadingOptions
from jointrain.data._table_source import (
    HEAD_BYTES,
    PACKINGS,
    SEPARATORS,
    ending_of,
    kind_by_content,
)
from jointrain.data.streaming._row_sources import kept_rows, kept_shards
from jointrain.data.streaming._table_files import TableFiles
from jointrain.data.streaming._text_files import TextFiles
from jointrain.errors import InvalidInputError

_PATTERN = ("*", "?", "[")


def is_streamed(source: str | Path) -> bool:
    """Return whether a source is a folder, or a pattern of files such as ``part-*.parquet``."""
    text = str(source)
    return Path(text).is_dir() or (is_pattern(text) and not Path(text).exists())


LARGE_BYTES = 1 << 25
"""Files from this size on are predicted part by part, as they would take much of the memory."""

LARGE_PACKED_BYTES = 1 << 23


def large_table(
    source: str, options: ReadingOptions | None = None
) -> TableFiles | TextFiles | None:
    """Return a file that can be read in parts, and had better be; None for any other source.

    Args:
        source: As for `read_raw`.
        options: How a text file is written.

    Raises:
        InvalidInputError: It is such a file and can't be read.
    """
    path = Path(source)
    kind = "" if is_pattern(source) or not path.is_file() else _kind(path)
    if kind not in ("Parquet", "text"):
        return None
    packed = kind == "Parquet" or ending_of(path)[1]
    if path.stat().st_size < (LARGE_PACKED_BYTES if packed else LARGE_BYTES):
        return None
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    # an ending may be wrong; what the content says counts, and is found out where it is read
    if kind == "Parquet":
        return TableFiles([path]) if kind_by_content(head) == "Parquet" else None
    packed_as_said = packing_of(head) == PACKINGS.get(ending_of(path)[1])
    return TextFiles([path], options) if kind_by_content(head) is None and packed_as_said else None


def is_pattern(text: str) -> bool:
    """Return whether a text names files by a pattern."""
    return any(mark in text for mark in _PATTERN) and "://" not in text


def table_files(source: Any, options: ReadingOptions | None = None) -> TableFiles | TextFiles:
    """Return the files of a table.

    Args:
        source: A folder, with all its Parquet files, or all its CSV files, and those of its folders
            but for names that begin with ``.`` or ``_``; a file; a pattern; a list of files; or
            rows: a data set of ``datasets``, a ``webdataset.WebDataset`` whose samples have
            ``json``, ``cls`` or ``txt``, or anything that gives mappings of columns to values.
            Shards of WebDataset are also known by their ending ``.tar``.
        options: How text files are written.

    Raises:
        InvalidInputError: There are none, or they can't be read as one table.
    """
    if not isinstance(source, (str, Path, list, tuple)):
        return kept_rows(source)
    paths, base = _paths(source)
    kinds = {_kind(path) for path in paths}
    for path in paths:
        if not _kind(path):
            raise InvalidInputError(
                f"{path} can't be streamed; tables larger than memory are Parquet files, text with "
                "separators (.csv, .tsv), or shards (.tar)"
            )
        if path.exists() and not path.is_file():  # reading a pipe or a device may never end
            raise InvalidInputError(f"{path} is no regular file; name files of a table")
    if len(kinds) > 1:
        raise InvalidInputError(
            f"{paths[0]} and others are files of different kinds: {', '.join(sorted(kinds))}; name "
            "files of one kind"
        )
    if kinds == {"text"}:
        return TextFiles(paths, options)
    return kept_shards(paths) if kinds == {"shards"} else TableFiles(paths, base)


def _paths(source: str | Path | Sequence[str | Path]) -> tuple[list[Path], Path | None]:
    """Return the files that a source names, and the folder that they lie in, if it is one."""
    base: Path | None = None
    if not isinstance(source, (str, Path)):
        paths = [Path(path) for path in source]
    elif Path(source).is_dir():
        base = Path(source)
        paths = _in_folder(base)
    elif is_pattern(str(source)) and not Path(source).exists():
        paths = [Path(path) for path in sorted(glob.glob(str(source), recursive=True))]
        if not paths:
            raise InvalidInputError(f"no file is called {source}; check the pattern")
    else:
        paths = [Path(source)]
    if len({path.resolve() for path in paths}) < len(paths):
        raise InvalidInputError("a file is named twice; name each once")
    if not paths:
        raise InvalidInputError("there is no file to read; name at least one")
    return paths, base


def _in_folder(folder: Path) -> list[Path]:
    """Return the tables of a folder and of those in it, by name."""
    found = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and not any(part.startswith((".", "_")) for part in path.relative_to(folder).parts)
        and _kind(path)
    ]
    if not found:
        raise InvalidInputError(
            f"{folder} holds no Parquet or CSV file; name a folder with such files, or a file"
        )
    kinds = {_kind(path) for path in found}
    if len(kinds) > 1:
        first, other = (next(p for p in found if _kind(p) == kind) for kind in sorted(kinds))
        raise InvalidInputError(
            f"{folder} holds {first.relative_to(folder)} and {other.relative_to(folder)}, which "
            "are of different kinds; name the files of one table by a pattern, such as "
            f"{folder}/*{first.suffix}"
        )
    return found


def _kind(path: Path) -> str:
    """Return what a file is by its ending, nothing for what is no table."""
    ending, packing = ending_of(path)
    if ending == ".parquet" and not packing:
        return "Parquet"
    if ending == ".tar":
        return "shards"
    return "text" if ending in SEPARATORS and ending != ".txt" else ""
