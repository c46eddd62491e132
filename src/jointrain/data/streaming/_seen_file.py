"""SeenFile: a file as it was when it was first seen."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from jointrain.errors import InvalidInputError


@dataclass(frozen=True)
class SeenFile:
    """A file that must stay as it is while a table is read from it, several times or in parts.

    Its bytes are not compared: size, time of the last change, and number on the disk are.

    Args:
        name: What messages call it.
        path: Where it is.
        state: What it was like; None if there was none.
    """

    name: str
    path: str
    state: tuple[int, int, int] | None

    @classmethod
    def now(cls, path: str | Path) -> SeenFile:
        """Return a file as it is now."""
        where = os.path.abspath(path)
        return cls(str(path), where, _state(where))

    def check(self) -> None:
        """Refuse a file that is no longer what it was.

        Raises:
            InvalidInputError: It is not.
        """
        now = _state(self.path)
        if now != self.state:
            raise InvalidInputError(
                f"{self.name} {'is gone' if now is None else 'has changed'}; files must stay as "
                "they are while they are read"
            )

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Read the file in a block; it must be the same before and after.

        Raises:
            InvalidInputError: It is not, whatever else went wrong in the block.
        """
        self.check()
        try:
            yield
        except Exception:
            self.check()
            raise
        self.check()


def _state(path: str) -> tuple[int, int, int] | None:
    """Return size, time of the last change, and number on the disk (0 where there are none)."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ino
