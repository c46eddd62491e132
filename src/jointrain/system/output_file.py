"""A file that a command writes: whole or absent."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from jointrain.errors import InvalidInputError

T = TypeVar("T")


def write_whole(path: Path, write: Callable[[Path], T]) -> T:
    """Write a file so that it is whole or absent, and return what `write` returns.

    Args:
        path: The file; replaced if it is there.
        write: Writes it at the place that it is called with, of the same ending.

    Raises:
        InvalidInputError: It can't be written.
    """
    temporary = path.with_name(f".part.{path.name}")
    try:
        made = write(temporary)
        temporary.replace(path)
    except OSError as error:
        raise InvalidInputError(
            f"{path} can't be written: {error.strerror or error}; choose another place"
        ) from None
    finally:
        with suppress(OSError):  # a name that is too long
            temporary.unlink(missing_ok=True)
    return made
