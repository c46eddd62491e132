"""Temporary folders, which go with this process however it ends by itself."""

from __future__ import annotations

from tempfile import TemporaryDirectory
from weakref import WeakSet

_open: WeakSet[TemporaryDirectory[str]] = WeakSet()


def temporary_folder(prefix: str) -> TemporaryDirectory[str]:
    """Return a new folder, which goes when it is no longer used."""
    folder = TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True)
    _open.add(folder)
    return folder


def remove_temporary_folders() -> None:
    """Remove those that are still there: `os._exit` would leave them."""
    for folder in list(_open):
        folder.cleanup()
