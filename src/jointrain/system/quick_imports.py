"""Imports of many modules, in less time."""

from __future__ import annotations

import atexit
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quick_imports() -> Iterator[None]:
    """Let imports in the block go without looks for garbage: what they make stays to the end.

    They take a seventh less time.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@atexit.register
def _unfreeze() -> None:
    """Let the interpreter clear away at its end what a library would report as leaked."""
    if "datasketches" in sys.modules:
        gc.unfreeze()
