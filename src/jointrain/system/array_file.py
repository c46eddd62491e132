"""Files of named arrays of numbers, and one text: safetensors, which can hold nothing else."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from jointrain.system.stored_files import DamagedError

_TEXT = "text"

LARGEST_HEADER = 1 << 24
"""Bytes of names, types and shapes at most; each array has under 150."""


def check_header(data: bytes) -> None:
    """Refuse safetensors that declare more arrays than a file of jointrain has.

    Raises:
        DamagedError: They do.
    """
    if int.from_bytes(data[:8], "little") > LARGEST_HEADER:
        raise DamagedError(f"its header has more than {LARGEST_HEADER:,} bytes")


def to_bytes(arrays: Mapping[str, np.ndarray], text: str | None = None) -> bytes:
    """Return arrays and a text as a file; the same content gives the same bytes.

    Args:
        arrays: By name, of numbers or truth values; none is named ``text``.
        text: A text; None for none.

    Raises:
        DamagedError: There are more arrays than `from_bytes` takes.
    """
    content = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    if text is not None:
        content[_TEXT] = np.frombuffer(text.encode(), dtype=np.uint8)
    data = save(content)
    check_header(data)
    return data


def from_bytes(data: bytes) -> tuple[str, dict[str, np.ndarray]]:
    """Return the text, empty if there is none, and the arrays of a file.

    Raises:
        DamagedError: It is no whole file of this kind.
    """
    check_header(data)
    try:
        arrays = load(data)
        text = arrays.pop(_TEXT, np.zeros(0, dtype=np.uint8))
        return text.tobytes().decode(), arrays
    except (SafetensorError, KeyError, ValueError, TypeError, OverflowError) as error:
        reason = str(error).splitlines()[0][:100] if str(error) else type(error).__name__
        raise DamagedError(f"it can't be read ({reason})") from None
