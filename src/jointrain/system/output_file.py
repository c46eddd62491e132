"""A file that a command writes: whole or absent."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from jointrain.errors import InvalidInputError

T = TypeVar("T")


def check_new_file(path: str | Path, *, force: bool = False, flag: str = "--out") -> None:
    """Refuse a file that exists, before any work is done.

    Args:
        path: The file.
        force: Whether it is to be replaced.
        flag: What names it on the command line.

    Raises:
        InvalidInputError: It exists, and is not to be replaced.
    """
    if os.path.lexists(path) and not force:
        raise InvalidInputError(f"{path} exists; choose another {flag} or replace it with --force")


def write_whole(path: Path, write: Callable[[Path], T]) -> T:
    """Write a file so that it is whole or absent, and return what `write` returns.

    Args:
        path: The file; replaced if it is there.
        write: Writes it at the place that it is called with, of the same ending.

    Raises:
        InvalidInputError: It can't be written.
    """
    with whole_or_not(path) as temporary:
        made = write(temporary)
        os.replace(temporary, path)
    return made


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8; what it holds of names of files that are none is escaped."""
    path.write_text(text, encoding="utf-8", errors="backslashreplace")


@contextmanager
def whole_or_not(path: Path) -> Iterator[Path]:
    """Give a temporary name beside a file, of the same ending, and leave nothing of it afterwards.

    What processes that were killed have left is removed, too. Renaming it is up to the block.

    Raises:
        InvalidInputError: The block, or the place, can't be written.
    """
    for old in path.parent.glob(f".{glob.escape(path.name)}.*.tmp*"):
        if _has_ended(old.name.removeprefix(f".{path.name}.").split(".")[0]):
            old.unlink(missing_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
    except OSError as error:
        raise InvalidInputError(
            f"{path} can't be written: {error.strerror or error}; choose another place"
        ) from None
    finally:
        with suppress(OSError):  # a name that is too long
            temporary.unlink(missing_ok=True)


def _has_ended(process: str) -> bool:
    """Return whether a process, by its number, was ended."""
    if os.name != "posix" or not process.isdecimal():
        return False
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:  # somebody else's
        pass
    return False
