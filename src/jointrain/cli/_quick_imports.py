"""Imports at the start of a command, in less time."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quick_imports() -> Iterator[None]:
    """Let imports in the block go without looks for garbage: what they make stays to the end.

    They take a sixth of the time of a command that predicts one row.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
