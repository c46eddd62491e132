"""Files that a stranger may have written: read whole, of a bounded size, or refused in words."""

from __future__ import annotations

import errno
import json
import math
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

LARGEST_JSON = 1 << 26
"""Bytes of JSON at most: parsed, it takes up to thirty times as much memory."""

_MOST_HOLES = 1 << 28
"""Bytes of holes in a file at most, unless more than half of it is written."""

_MOST_PARTS = 500_000
"""Lists and objects at most, each of which takes 60 bytes or more."""

_MOST_COMMAS = 5_000_000
"""Values at most, counted by what stands between them: each takes time at every step."""

_DEEPEST = 64
"""Levels of lists in lists at most; a bundle has under ten."""

_LARGEST_NUMBER = 2**64


MISFIT = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError)
"""What Python raises where the parts of a file do not fit together."""


class DamagedError(ValueError):
    """The bytes are no such file; the message says what is wrong with them."""


def read_file(path: Path, *, folder: Path | None = None, largest: int | None = None) -> bytes:
    """Return the content of a regular file.

    Args:
        path: The file. A pipe or a device is refused, as reading one may never end.
        folder: Where it must lie; a link that leads out of it is refused.
        largest: Bytes that it may have; default any number.

    Raises:
        DamagedError: It is something else, lies elsewhere, is too large, or most of it was never
            written, so that it may claim any size.
        OSError: It can't be read.
    """
    try:
        if folder is not None and not path.resolve().is_relative_to(folder.resolve()):
            raise DamagedError(f"{path.name} is a link out of the folder")
        status = path.stat()
    except (RuntimeError, UnicodeEncodeError):  # links in a circle; half a character in a name
        raise DamagedError(f"{path.name!a} is no file") from None
    if not stat.S_ISREG(status.st_mode):
        raise DamagedError(f"{path.name} is no regular file")
    limit = status.st_size if largest is None else largest
    with path.open("rb") as file:
        _check_holes(file, path.name)
        data = b"" if status.st_size > limit else file.read(limit + 1)
    if status.st_size > limit or len(data) > limit:
        raise DamagedError(f"{path.name} has more than {limit:,} bytes")
    return data


def check_holes(path: Path) -> None:
    """Refuse a file of which most was never written, for those that other libraries read.

    Raises:
        DamagedError: It is such a file.
        OSError: It can't be read.
    """
    with path.open("rb") as file:
        _check_holes(file, path.name)


def _check_holes(file: BinaryIO, name: str) -> None:
    """Refuse a file of more holes than content: it takes no room, but memory as it says it does."""
    size = os.fstat(file.fileno()).st_size
    most = max(_MOST_HOLES, size // 2)
    if size <= most or not hasattr(os, "SEEK_HOLE"):
        return
    place = holes = 0
    while place < size:
        try:
            written = os.lseek(file.fileno(), place, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:  # a file system that does not tell
                break
            written = size
        holes += written - place
        if holes > most:
            raise DamagedError(f"{name} was never written but for a part; copy it anew")
        place = size if written == size else os.lseek(file.fileno(), written, os.SEEK_HOLE)
    os.lseek(file.fileno(), 0, os.SEEK_SET)


def read_json(path: Path, *, folder: Path | None = None) -> Any:
    """Return the content of a file of JSON, as `json_from_bytes` reads it.

    Raises:
        DamagedError: It is no such file.
        OSError: It can't be read.
    """
    data = read_file(path, folder=folder, largest=LARGEST_JSON)
    try:
        return json_from_bytes(data)
    except DamagedError as error:
        raise DamagedError(f"{path.name} {error}") from None


def json_from_bytes(data: bytes) -> Any:
    """Return what bytes of JSON hold, of which every part can be written as JSON again.

    Raises:
        DamagedError: It is no JSON, is too large or too deep, names a key twice, or holds a number
            or a text that other programs can't take. The message has no subject.
    """
    if len(data) > LARGEST_JSON:
        raise DamagedError(f"has more than {LARGEST_JSON:,} bytes")
    if data.count(b"[") + data.count(b"{") > _MOST_PARTS:
        raise DamagedError(f"has more than {_MOST_PARTS:,} parts")
    if data.count(b",") > _MOST_COMMAS:
        raise DamagedError(f"has more than {_MOST_COMMAS:,} values")
    try:
        content = json.loads(data.decode(), parse_constant=_no_number, object_pairs_hook=_object)
    except DamagedError:
        raise
    except RecursionError:
        raise DamagedError("is nested too deeply") from None
    except (UnicodeDecodeError, json.JSONDecodeError):
        raise DamagedError("is not whole") from None
    except ValueError:  # Python converts no more than 4,300 digits
        raise DamagedError("holds a number beyond 64 bits") from None
    _check_parts(content)
    return content


def json_to_bytes(content: Any, *, indent: int | None = None) -> bytes:
    """Return a value as a file of JSON that `json_from_bytes` takes: what is saved can be loaded.

    Args:
        content: What JSON can hold.
        indent: Spaces of each level; default none. All spaces are left out where the file would be
            too large with them.

    Raises:
        DamagedError: It is no such value, or would be refused when it is read. The message has no
            subject.
    """
    try:
        data = _text_of(content, indent=indent)
        if len(data) > LARGEST_JSON:
            data = _text_of(content, separators=(",", ":"))
    except RecursionError:
        raise DamagedError("is nested too deeply") from None
    except UnicodeEncodeError:
        raise DamagedError("holds half a character") from None
    except (ValueError, TypeError) as error:  # NaN, or what JSON has no word for
        raise DamagedError(f"can't hold this: {str(error)[:100]}") from None
    json_from_bytes(data)
    return data


def _text_of(content: Any, **layout: Any) -> bytes:
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, **layout)
    return (text + "\n").encode()


def _no_number(text: str) -> float:
    raise DamagedError(f"holds {text}, which is no number")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise DamagedError("names a key twice")
    return made


def _check_parts(content: Any) -> None:
    """Refuse what is nested too deeply, numbers of more than 64 bits, and texts of no Unicode."""
    level = [content]
    for _ in range(_DEEPEST):
        inner: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                _check_simple(value)
                inner += value.values()
            elif isinstance(value, list):
                inner += value
        _check_simple(level)
        if not inner:
            return
        level = inner
    raise DamagedError("is nested too deeply")


def _check_simple(values: Iterable[Any]) -> None:
    """Refuse numbers and texts among values that other programs can't take."""
    for value in values:
        kind = type(value)
        if kind is str:
            if not value.isascii():
                try:
                    value.encode()
                except UnicodeEncodeError:
                    raise DamagedError("holds half a character") from None
        elif kind is int:
            if not -_LARGEST_NUMBER < value < _LARGEST_NUMBER:
                raise DamagedError("holds a number beyond 64 bits")
        elif kind is float and not math.isfinite(value):
            raise DamagedError("holds a number that is too large")
