"""The file of a fitted encoder: arrays and one text through skops, checked before they are read."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from jointrain.data import _skops_file
from jointrain.data._skops_file import DamagedError

__all__ = ["TRUSTED_TYPES", "DamagedError", "from_bytes", "to_bytes"]

_LOADERS = {
    "builtins.dict": ("DictNode",),
    "builtins.list": ("ListNode",),  # only of the types of a dict's keys
    "builtins.str": ("JsonNode", "TypeNode"),
    "numpy.ndarray": ("NdArrayNode",),
}

TRUSTED_TYPES = tuple(_LOADERS)
"""All that an encoder file may hold. No class of any library, so that reading constructs nothing
that could run code; skops itself would trust several hundred types."""


def to_bytes(text: str, arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return text and arrays as a skops file; the same content gives the same bytes."""
    return _skops_file.to_bytes({"text": text, "arrays": dict(arrays)})


def from_bytes(data: bytes) -> tuple[str, dict[str, np.ndarray]]:
    """Return the text and the arrays of an encoder file.

    Raises:
        DamagedError: It is no whole zip file, or holds another type than `TRUSTED_TYPES`.
    """
    state = _skops_file.from_bytes(data, _LOADERS)
    try:
        return state["text"], state["arrays"]
    except (TypeError, KeyError):
        raise DamagedError("it has no text and arrays") from None
