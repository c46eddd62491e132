"""A state as one file: plain values as JSON and tensors, all in safetensors, with a checksum.

Nothing in such a file can run code when it is read.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from jointrain.errors import InvalidInputError
from jointrain.system.array_file import check_header
from jointrain.system.stored_files import MISFIT, DamagedError, json_from_bytes, json_to_bytes
from jointrain.training.checkpoints._shard_files import StoredShard

FORMAT = "jointrain-state-1-blake2b"
"""The one key of the file's metadata, whose value is the checksum; of two, the order would vary."""

_TEXT = "state.json"
_NO_DIGEST = "0" * 64
_WORD = "$"  # what is no plain value of JSON is an object of one key that begins so
_LARGEST = 2**63


def to_bytes(state: Any) -> bytes:
    """Return a state as a file.

    Args:
        state: Nested dictionaries, lists and tuples of numbers, texts, truth values, None, dense
            tensors and numpy's arrays.

    Raises:
        InvalidInputError: Something in it is of another kind; the message says where.
    """
    tensors: dict[str, Tensor] = {}
    plain = _plain(state, "", tensors)
    try:
        text = json_to_bytes(plain)
    except DamagedError as error:
        raise InvalidInputError(f"the state can't be stored: its text {error}") from None
    tensors[_TEXT] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
    data = save(tensors, {FORMAT: _NO_DIGEST})
    return _with_digest(data, _NO_DIGEST, _digest(data))


def from_bytes(data: bytes) -> Any:
    """Return the state that a file holds, its tensors on the CPU.

    Raises:
        DamagedError: It is no whole file of this kind. The message has no subject.
    """
    check_header(data)
    try:
        length = int.from_bytes(data[:8], "little")
        told = json.loads(data[8 : 8 + length])["__metadata__"]
        digest = told[FORMAT]
    except (*MISFIT, RecursionError):
        raise DamagedError("is no whole state") from None
    if not isinstance(digest, str) or len(digest) != len(_NO_DIGEST):
        raise DamagedError("has no checksum")
    if _digest(_with_digest(data, digest, _NO_DIGEST)) != digest:
        raise DamagedError("is not whole: its checksum is another one")
    try:
        tensors = load(data)
        text = tensors.pop(_TEXT).numpy().tobytes()
        return _unplain(json_from_bytes(text), tensors)
    except (SafetensorError, *MISFIT) as error:
        reason = str(error).splitlines()[0][:100] if str(error) else type(error).__name__
        raise DamagedError(f"can't be read ({reason})") from None


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=32).hexdigest()


def _with_digest(data: bytes, before: str, after: str) -> bytes:
    """Return the file with another checksum in its header."""
    length = 8 + int.from_bytes(data[:8], "little")
    place = data.find(f'"{FORMAT}":"{before}"'.encode(), 8, length)
    if place < 0:
        raise DamagedError("has no checksum")
    start = place + len(FORMAT) + 4
    return b"".join((memoryview(data)[:start], after.encode(), memoryview(data)[start + 64 :]))


def _plain(value: Any, where: str, tensors: dict[str, Tensor]) -> Any:
    """Return a value as JSON can hold it, its tensors put into `tensors`."""
    if isinstance(value, np.generic):
        value = value.item()
    kind = type(value)
    if value is None or kind in (bool, str):
        return value
    if kind in (int, float):
        return _number(value)
    if isinstance(value, Tensor):
        return {_WORD + "tensor": _kept(value, where, tensors)}
    if isinstance(value, np.ndarray):
        return {_WORD + "array": _kept(torch.from_numpy(value), where, tensors)}
    if isinstance(value, Mapping):
        return _mapping(value, where, tensors)
    if kind is StoredShard:
        return {_WORD + "shard": [value.name, list(value.shape), value.dtype]}
    if kind is list:
        return [_plain(one, f"{where}[{i}]", tensors) for i, one in enumerate(value)]
    if kind is tuple:
        parts = [_plain(one, f"{where}[{i}]", tensors) for i, one in enumerate(value)]
        return {_WORD + "tuple": parts}
    raise InvalidInputError(
        f"the state can't be stored: {where.lstrip('.') or 'it'} is of type {kind.__name__}; a "
        f"state is made of dictionaries, lists, numbers, texts and tensors"
    )


def _number(value: float) -> Any:
    """Return a number, or a word where JSON has none."""
    if isinstance(value, int):
        return value if -_LARGEST <= value < _LARGEST else {_WORD + "int": str(value)}
    return value if math.isfinite(value) else {_WORD + "float": str(value)}


def _mapping(value: Mapping[Any, Any], where: str, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Return an object of JSON, or pairs where the keys are not plain texts."""
    if all(type(key) is str and not key.startswith(_WORD) for key in value):
        return {key: _plain(one, f"{where}.{key}", tensors) for key, one in value.items()}
    pairs = [
        [_plain(key, where, tensors), _plain(one, f"{where}[{key!r}]", tensors)]
        for key, one in value.items()
    ]
    return {_WORD + "pairs": pairs}


def _kept(tensor: Tensor, where: str, tensors: dict[str, Tensor]) -> str:
    if tensor.layout != torch.strided:
        raise InvalidInputError(
            f"the state can't be stored: {where.lstrip('.')} is a sparse tensor, which no "
            f"checkpoint can hold; use sparse=False"
        )
    name = str(len(tensors))
    # a copy: tied weights share their memory, which safetensors refuses
    tensors[name] = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
    return name


def _unplain(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Return the value that `_plain` was given."""
    if isinstance(value, list):
        return [_unplain(one, tensors) for one in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((word, held),) = value.items()
        if word.startswith(_WORD):
            return _WORDS[word[1:]](held, tensors)
    return {key: _unplain(one, tensors) for key, one in value.items()}


_WORDS: dict[str, Callable[[Any, Mapping[str, Tensor]], Any]] = {
    "int": lambda held, _: int(held),
    "float": lambda held, _: float(held),
    "tensor": lambda held, tensors: tensors[held],
    "array": lambda held, tensors: tensors[held].numpy(),
    "shard": lambda held, _: StoredShard(held[0], tuple(held[1]), held[2]),
    "tuple": lambda held, tensors: tuple(_unplain(one, tensors) for one in held),
    "pairs": lambda held, tensors: {
        _unplain(key, tensors): _unplain(one, tensors) for key, one in held
    },
}
