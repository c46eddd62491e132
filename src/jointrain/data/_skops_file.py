"""Files written by skops, of known types only, and the same bytes for the same content."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_SCHEMA = "schema.json"
_YEAR_ONE = (1980, 1, 1, 0, 0, 0)


class DamagedError(ValueError):
    """The bytes are no such file; the message says what is wrong with them."""


def to_bytes(state: Any) -> bytes:
    """Return a state as a skops file; the same content gives the same bytes.

    skops names objects by their place in memory and stamps files with the time of day; both are
    replaced by numbers counted from 0 and a fixed date.
    """
    import skops.io

    with zipfile.ZipFile(io.BytesIO(skops.io.dumps(state))) as written:
        schema = json.loads(written.read(_SCHEMA))
        identities: dict[object, int] = {}
        files: dict[str, bytes] = {}
        for node in _nodes(schema):
            if "__id__" in node:
                # whether two plain values are one object depends on the process that made them
                key = object() if node.get("__loader__") == "JsonNode" else node["__id__"]
                node["__id__"] = identities.setdefault(key, len(identities))
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


def from_bytes(data: bytes, loaders: Mapping[str, Sequence[str]]) -> Any:
    """Return the state of a skops file.

    Args:
        data: The file.
        loaders: All that it may hold: names of types, and the ways (of skops) to read each.

    Raises:
        DamagedError: It is no whole zip file, or holds another type.
    """
    import skops.io

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            broken = archive.testzip()
            if broken is not None:
                raise DamagedError(f"its part {broken} was changed")
            schema = json.loads(archive.read(_SCHEMA))
        for node in _nodes(schema):
            _check_node(node, loaders)
        untrusted = skops.io.get_untrusted_types(data=data)
        return skops.io.loads(data, trusted=[name for name in untrusted if name in loaders])
    except DamagedError:
        raise
    except Exception as error:
        # whatever skops, zipfile and numpy raise on bytes that nobody wrote on purpose
        raise DamagedError(f"it can't be read ({type(error).__name__})") from None


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


def _check_node(node: Mapping[str, Any], loaders: Mapping[str, Sequence[str]]) -> None:
    if not any(key in node for key in ("__loader__", "__class__", "__module__")):
        return
    name = f"{node.get('__module__')}.{node.get('__class__')}"
    if name not in loaders:
        raise DamagedError(f"it holds a {name}, which has no place in such a file")
    if node.get("__loader__") not in loaders[name]:
        raise DamagedError(f"it holds a {name} of an unknown form")
    if name == "numpy.ndarray" and node.get("type") != "numpy":
        raise DamagedError("it holds an array of objects")
