"""``bundle.json``: found, read and checked, written with its digest; faults in one line."""

from __future__ import annotations

import hashlib
import json
import reprlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError
from safetensors import SafetensorError

from jointrain.bundle._factories import UnfitFactoryError
from jointrain.bundle._fields import first_fault
from jointrain.errors import InvalidInputError, MissingFactoryError
from jointrain.system.output_folder import BUNDLE
from jointrain.system.stored_files import (
    MISFIT,
    DamagedError,
    json_from_bytes,
    json_to_bytes,
    read_json,
)

DESCRIPTION = BUNDLE
SCHEMA_VERSION = 2
"""Raised when a reader of before would not understand a bundle."""
OLD_SCHEMA = 1
"""What `convert_bundle` reads."""
PACKAGES = ("jointrain", "torch", "scikit-learn", "polars", "numpy")
"""Whose versions a bundle tells."""
_LONGEST_REASON = 300
"""Characters of a fault that are shown: names may be of any length."""


def write_description(folder: Path, description: BaseModel) -> None:
    """Write ``bundle.json`` into a folder."""
    (folder / DESCRIPTION).write_bytes(with_digest(description.model_dump(mode="json")))


def bundle_folder(path: str | Path) -> Path:
    """Return the bundle itself for the folder that a study wrote around it."""
    folder = Path(path)
    inner = folder / "bundle"
    return inner if inner.is_dir() and not (folder / DESCRIPTION).exists() else folder


def with_digest(content: dict[str, Any]) -> bytes:
    """Return a description as the file ``bundle.json``.

    Raises:
        DamagedError: It holds what no reader would take.
    """
    try:
        # as a reader will find it: JSON makes texts of keys, and lists of tuples
        found = json_from_bytes(json_to_bytes(content))
        return json_to_bytes({**found, "digest": digest(canonical(found))}, indent=1)
    except DamagedError as error:
        raise DamagedError(f"{DESCRIPTION} {error}") from None


@contextmanager
def savable() -> Iterator[None]:
    """Say in one line why something can't be saved: it could not be loaded.

    Raises:
        InvalidInputError: What is in the block failed so.
    """
    try:
        yield
        return
    except ValidationError as error:
        reason = first_fault(error)
    except (DamagedError, PydanticSerializationError) as error:
        reason = str(error).splitlines()[0][:_LONGEST_REASON]
    raise InvalidInputError(f"the model can't be saved: {reason}")


@contextmanager
def whole(folder: Path) -> Iterator[None]:
    """Say in one line what is wrong with the files of a bundle."""
    try:
        yield
        return
    except (_DamagedBundleError, MissingFactoryError, UnfitFactoryError):
        raise
    except OSError as error:
        reason = f"{error.filename} can't be read: {error.strerror}"
    except ValidationError as error:
        reason = first_fault(error)
    except (SafetensorError, DamagedError, InvalidInputError) as error:
        reason = str(error).splitlines()[0].removesuffix("; use another copy")[:_LONGEST_REASON]
    except MemoryError:
        reason = "it needs more memory than there is"
    except (*MISFIT, RuntimeError):
        reason = "its parts do not fit together"
    raise _damaged(folder, reason)


class _DamagedBundleError(InvalidInputError):
    """Says what is wrong with which folder."""


def _damaged(folder: Path, reason: str) -> InvalidInputError:
    return _DamagedBundleError(f"{folder} is damaged: {reason}; use another copy or fit it again")


def check_digest(data: bytes, name: str, digests: Mapping[str, str]) -> None:
    """Refuse the content of a file that is not the one that was saved.

    Raises:
        DamagedError: It is another one.
    """
    if digest(data) != digests.get(name):
        raise DamagedError(f"{name} is not the file that was saved")


def digest(data: bytes) -> str:
    """Return the SHA-256 of bytes in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def canonical(content: Mapping[str, Any]) -> bytes:
    """Return a description as the bytes that its digest is taken of."""
    return json.dumps(content, sort_keys=True, ensure_ascii=False).encode()


def without_digest(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a description without its digest."""
    return {name: value for name, value in content.items() if name != "digest"}


def describe_bundle(path: str | Path, *, schema: int = SCHEMA_VERSION) -> dict[str, Any]:
    """Return the checked contents of ``bundle.json``.

    Args:
        path: The bundle, or the folder that `compare` wrote around it.
        schema: The version of its schema; default today's.

    Raises:
        InvalidInputError: It is no bundle, it was cut or changed, or a newer jointrain wrote it.
    """
    folder = bundle_folder(path)
    if not folder.is_dir():
        there = "it is no folder" if folder.exists() else "there is no such folder"
        raise InvalidInputError(
            f"{folder} is no bundle: {there}; give the folder that `--out` named"
        )
    try:
        content = read_json(folder / DESCRIPTION, folder=folder)
    except OSError as error:
        what = "holds no" if isinstance(error, FileNotFoundError) else "has an unreadable"
        raise InvalidInputError(f"{folder} is no bundle: it {what} {DESCRIPTION}") from None
    except DamagedError as error:
        raise _damaged(folder, str(error)) from None
    if not isinstance(content, dict) or "schema_version" not in content:
        raise _damaged(folder, f"{DESCRIPTION} has no schema_version")
    if content["schema_version"] != schema:
        raise InvalidInputError(_other_schema(folder, content["schema_version"], schema))
    if content.get("digest") != digest(canonical(without_digest(content))):
        raise _damaged(folder, f"{DESCRIPTION} was changed after it was saved")
    return dict(content)


def _other_schema(folder: Path, found: Any, wanted: int) -> str:
    """Say that a bundle has another schema version than wanted, and what to do."""
    if wanted == OLD_SCHEMA and found == SCHEMA_VERSION:
        return f"{folder} has schema version {found}, which this jointrain loads as it is"
    told = "use the jointrain version that wrote it, or fit the model again"
    if found == OLD_SCHEMA:
        told = (
            f"jointrain 0.1 wrote it; jointrain convert {folder} NEW writes it anew, or fit the "
            "model again"
        )
    known = SCHEMA_VERSION
    return (
        f"{folder} has schema version {reprlib.repr(found)}, this jointrain reads {known}; {told}"
    )
