"""Files packed by gzip or Zstandard."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from jointrain.errors import InvalidInputError

_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "Zstandard"}
_BZIP2 = (b"1AY&SY", b"\x17rE8P\x90")
_UNREAD = {
    **{b"BZh%d%b" % (level, start): "bzip2" for level in range(1, 10) for start in _BZIP2},
    b"\xfd7zXZ\x00": "xz",
    b"7z\xbc\xaf\x27\x1c": "7-Zip",
}
_BLOCK = 1 << 24
_ALWAYS_ALLOWED = 1 << 28
"""Bytes that any packed file may grow to."""
_LARGEST_RATIO = 200
"""Bytes that a larger file may grow to, for each of its packed bytes; tables grow to 3 to 30."""


def packing_of(data: bytes) -> str | None:
    """Return how bytes are packed, by how they begin; None if they are not."""
    return next((name for magic, name in _MAGIC.items() if data.startswith(magic)), None)


def unpacked(data: bytes, where: str, packing: str) -> bytes:
    """Unpack a file.

    Args:
        data: Its bytes.
        where: What messages call it.
        packing: gzip or Zstandard.

    Raises:
        InvalidInputError: It is damaged or cut, or grows out of all proportion.
    """
    import pyarrow as pa

    limit = max(_ALWAYS_ALLOWED, _LARGEST_RATIO * len(data))
    blocks = []
    size = 0
    stream: Any
    try:
        if packing == "gzip":
            stream = gzip.GzipFile(fileobj=io.BytesIO(data))
        else:
            stream = pa.CompressedInputStream(pa.BufferReader(data), "zstd")
        while block := stream.read(_BLOCK):
            blocks.append(block)
            size += len(block)
            if size > limit:
                raise InvalidInputError(
                    f"{where} grows from {len(data)} bytes to more than {limit}; if that is right, "
                    "unpack it first"
                )
    except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise InvalidInputError(
            f"{where} is no whole {packing} file ({reason}); fetch or write it again"
        ) from None
    return b"".join(blocks)


def packed(data: bytes, ending: str) -> bytes:
    """Pack bytes as an ending asks: ``.gz``, ``.zst``, or "" for not at all."""
    import pyarrow as pa

    if ending == ".gz":
        return gzip.compress(data, compresslevel=6, mtime=0)
    if ending == ".zst":
        return bytes(pa.Codec("zstd").compress(data, asbytes=True))
    return data


@contextmanager
def packed_file(path: Path, ending: str) -> Iterator[BinaryIO]:
    """Open a file to write what is packed as an ending asks, as `packed` does."""
    import pyarrow as pa

    with path.open("wb") as file:
        if ending == ".gz":
            with gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0) as packing:
                yield packing  # type: ignore[misc]
        elif ending == ".zst":
            with pa.CompressedOutputStream(pa.PythonFile(file, "w"), "zstd") as packing:
                yield packing
        else:
            yield file


def refuse_other_packing(data: bytes, where: str) -> None:
    """Refuse a file in a packing that is not read.

    Raises:
        InvalidInputError: It is in one.
    """
    for magic, name in _UNREAD.items():
        if data.startswith(magic):
            raise InvalidInputError(
                f"{where} is packed with {name}; unpack it first, or pack it with gzip or zstd"
            )
