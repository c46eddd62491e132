"""The file of a fitted encoder: arrays and one text through skops, checked before they are read."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

TRUSTED_TYPES = ("builtins.dict", "builtins.list", "builtins.str", "numpy.ndarray")
"""All that an encoder file may hold. No class of any library, so that reading constructs nothing
that could run code; skops itself would trust several hundred types."""

_LOADERS = {
    "builtins.dict": ("DictNode",),
    "builtins.list": ("ListNode",),  # only of the types of a dict's keys
    "builtins.str": ("JsonNode", "TypeNode"),
    "numpy.ndarray": ("NdArrayNode",),
}
_SCHEMA = "schema.json"
_YEAR_ONE = (1980, 1, 1, 0, 0, 0)


class DamagedError(ValueError):
    """The bytes are no encoder file; the message says what is wrong with them."""


def to_bytes(text: str, arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return text and arrays as a skops file; the same content gives the same bytes.

    skops names objects by their place in memory and stamps files with the time of day; both are
    replaced by numbers counted from 0 and a fixed date.
    """
    import skops.io

    state = {"text": text, "arrays": dict(arrays)}
    with zipfile.ZipFile(io.BytesIO(skops.io.dumps(state))) as written:
        schema = json.loads(written.read(_SCHEMA))
        identities: dict[int, int] = {}
        files: dict[str, bytes] = {}
        for node in _nodes(schema):
            if "__id__" in node:
                node["__id__"] = identities.setdefault(node["__id__"], len(identities))
            if "file" in node:
                content = written.read(node["file"])
                node["file"] = f"{len(files)}.npy"
                files[node["file"]] = content
    files[_SCHEMA] = json.dumps(schema, indent=1).encode()
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, _YEAR_ONE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    return data.getvalue()


def from_bytes(data: bytes) -> tuple[str, dict[str, np.ndarray]]:
    """Return the text and the arrays of an encoder file.

    Raises:
        DamagedError: It is no whole zip file, or holds another type than `TRUSTED_TYPES`.
    """
    import skops.io

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            broken = archive.testzip()
            if broken is not None:
                raise DamagedError(f"its part {broken} was changed")
            schema = json.loads(archive.read(_SCHEMA))
        for node in _nodes(schema):
            _check_node(node)
        state = skops.io.loads(data, trusted=[])
    except DamagedError:
        raise
    except Exception as error:
        # whatever skops, zipfile and numpy raise on bytes that nobody wrote on purpose
        raise DamagedError(f"it can't be read ({type(error).__name__})") from None
    try:
        text, arrays = state["text"], state["arrays"]
    except (TypeError, KeyError):
        raise DamagedError("it has no text and arrays") from None
    return text, arrays


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Yield all nodes of a schema, parents first."""
    waiting = [tree]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            yield item
            waiting += reversed(list(item.values()))
        elif isinstance(item, list):
            waiting += reversed(item)


def _check_node(node: Mapping[str, Any]) -> None:
    if not any(key in node for key in ("__loader__", "__class__", "__module__")):
        return
    name = f"{node.get('__module__')}.{node.get('__class__')}"
    if name not in TRUSTED_TYPES:
        raise DamagedError(f"it holds a {name}, and an encoder file holds arrays and text only")
    if node.get("__loader__") not in _LOADERS[name]:
        raise DamagedError(f"it holds a {name} of an unknown form")
    if name == "numpy.ndarray" and node.get("type") != "numpy":
        raise DamagedError("it holds an array of objects")
