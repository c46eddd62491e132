"""Arrow streams of strangers: compressed ones are refused, as a small one may hold very much."""

from __future__ import annotations

import struct

from jointrain.errors import InvalidInputError

_CONTINUES = 0xFFFFFFFF
_DICTIONARY, _RECORDS = 2, 3


def refuse_compressed(body: bytes) -> None:
    """Refuse an Arrow stream some of whose batches are compressed.

    The messages are looked at by the format's own description (Message.fbs: a message names its
    kind and the length of its body; a record batch has its compression in the fourth place, a
    dictionary batch has a record batch in the second). What is no whole message is left to the
    reader, which refuses it.

    Args:
        body: The bytes.

    Raises:
        InvalidInputError: A batch is compressed.
    """
    position = 0
    try:
        while position + 4 <= len(body):
            (length,) = struct.unpack_from("<I", body, position)
            position += 4
            if length == _CONTINUES:
                (length,) = struct.unpack_from("<I", body, position)
                position += 4
            if not length:
                return
            root = position + struct.unpack_from("<I", body, position)[0]
            if _is_compressed(body, root):
                raise InvalidInputError(
                    "the request holds compressed Arrow batches; send them uncompressed"
                )
            long = _field(body, root, 3)
            body_length = 0 if long is None else struct.unpack_from("<q", body, long)[0]
            if body_length < 0:
                return
            position += length + body_length
    except (struct.error, IndexError):
        return


def _is_compressed(body: bytes, message: int) -> bool:
    kind, header = _field(body, message, 1), _field(body, message, 2)
    if kind is None or header is None or body[kind] not in (_DICTIONARY, _RECORDS):
        return False
    table = header + struct.unpack_from("<I", body, header)[0]
    if body[kind] == _DICTIONARY:
        inner = _field(body, table, 1)
        if inner is None:
            return False
        table = inner + struct.unpack_from("<I", body, inner)[0]
    return _field(body, table, 3) is not None


def _field(body: bytes, table: int, number: int) -> int | None:
    """Return where a field of a flatbuffers table is, None if it is not there."""
    places = table - struct.unpack_from("<i", body, table)[0]
    if places < 0:
        raise struct.error
    (size,) = struct.unpack_from("<H", body, places)
    slot = 4 + 2 * number
    if slot + 2 > size:
        return None
    (offset,) = struct.unpack_from("<H", body, places + slot)
    return table + offset if offset else None
