"""What a table larger than memory may be: a folder, a list of files, or a stream of rows."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from jointrain.data._table_source import SEPARATORS, ending_of
from jointrain.data.streaming._table_files import TableFiles
from jointrain.errors import InvalidInputError

_PATTERN = ("*", "?", "[")


def is_streamed(source: str | Path) -> bool:
    """Return whether a source is a folder, or a pattern of files such as ``part-*.parquet``."""
    text = str(source)
    return Path(text).is_dir() or (is_pattern(text) and not Path(text).exists())


def is_pattern(text: str) -> bool:
    """Return whether a text names files by a pattern."""
    return any(mark in text for mark in _PATTERN) and "://" not in text


def table_files(source: str | Path | Sequence[str | Path]) -> TableFiles:
    """Return the files of a table.

    Args:
        source: A folder, with all its Parquet files and those of its folders but for names that
            begin with ``.`` or ``_``; a file; a pattern; or a list of files.

    Raises:
        InvalidInputError: There are none, or they can't be read as one table.
    """
    base: Path | None = None
    if isinstance(source, (str, Path)):
        if Path(source).is_dir():
            base = Path(source)
            paths = _in_folder(base)
        elif is_pattern(str(source)) and not Path(source).exists():
            paths = [Path(path) for path in sorted(glob.glob(str(source), recursive=True))]
            if not paths:
                raise InvalidInputError(f"no file is called {source}; check the pattern")
        else:
            paths = [Path(source)]
    else:
        paths = [Path(path) for path in source]
    if len({path.resolve() for path in paths}) < len(paths):
        raise InvalidInputError("a file is named twice; name each once")
    kinds = {path: _kind(path) for path in paths}
    others = [path for path, kind in kinds.items() if kind != "Parquet"]
    if others:
        raise InvalidInputError(
            f"{others[0]} is no Parquet file; tables larger than memory are Parquet files"
        )
    return TableFiles(paths, base)


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
            f"{folder} holds no Parquet file; name a folder with such files, or a file"
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
    return "text" if ending in SEPARATORS and ending != ".txt" else ""
