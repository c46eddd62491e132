"""Shards in a checkpoint: each process writes its own to a file, by torch.distributed.checkpoint.

They are safetensors, so that nothing in them can run code when they are read.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, distributed

from jointrain.balancing.engine import is_distributed
from jointrain.system.stored_files import DamagedError

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh


@dataclass(frozen=True)
class StoredShard:
    """A tensor that lies in files of shards: its name there, shape and type, and their folder."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    folder: Path | None = None


def apart(state: Any) -> tuple[Any, dict[str, Tensor]]:
    """Return a state with a `StoredShard` in place of each shard, and the shards by name."""
    shards: dict[str, Tensor] = {}

    def marked(value: Any) -> Any:
        if not isinstance(value, Tensor) or not is_distributed(value):
            return value
        name = str(len(shards))
        shards[name] = value.detach()
        return StoredShard(name, tuple(value.shape), str(value.dtype).removeprefix("torch."))

    return _mapped(state, marked), shards


def write_shards(shards: Mapping[str, Tensor], folder: Path) -> dict[str, str]:
    """Write this process's shards, while all others do; return the checksums of its files.

    Raises:
        OSError: A file could not be written, here or by another process.
    """
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    writer = HuggingFaceStorageWriter(str(folder), save_distributed=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            save(dict(shards), storage_writer=writer)
        except CheckpointException as error:
            reason = next((one for one, _ in error.failures.values()), error)
            raise OSError(getattr(reason, "strerror", None) or str(reason)) from error
    mine = folder.glob(f"shard-{distributed.get_rank() + 1:05d}-*")
    return {file.name: _digest_of(file) for file in mine}


def placed(state: Any, folder: Path) -> Any:
    """Return a state whose `StoredShard` know the folder of their files."""
    return _mapped(
        state, lambda one: replace(one, folder=folder) if isinstance(one, StoredShard) else one
    )


def read_shards(state: Any, mesh: DeviceMesh | None) -> Any:
    """Return a state with its tensors in place of each `StoredShard`.

    Args:
        state: What `CheckpointFolder.newest` gave.
        mesh: The processes that take a shard each, which all call this; None for whole tensors,
            on the CPU.
    """
    folders: set[Path] = set()
    found: dict[str, Tensor] = {}

    def made(value: Any) -> Any:
        if not isinstance(value, StoredShard):
            return value
        assert value.folder is not None
        folders.add(value.folder)
        found[value.name] = _room_for(value, mesh)
        return found[value.name]

    filled = _mapped(state, made)
    for folder in folders:
        from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
        from torch.distributed.checkpoint.state_dict_loader import load

        reader = HuggingFaceStorageReader(str(folder))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            load(found, storage_reader=reader, no_dist=mesh is None)
    return filled


def _room_for(stored: StoredShard, mesh: DeviceMesh | None) -> Tensor:
    """Return a tensor to be filled with what is stored."""
    dtype = getattr(torch, stored.dtype)
    if mesh is None:
        return torch.empty(stored.shape, dtype=dtype)
    from torch.distributed.tensor import Shard, empty

    return empty(stored.shape, dtype=dtype, device_mesh=mesh, placements=[Shard(0)])


def check_files(folder: Path, digests: Mapping[str, str]) -> None:
    """Refuse files that are not those that were written.

    Raises:
        DamagedError: One is missing, or is another one.
    """
    for name, digest in digests.items():
        file = folder / name
        if not file.is_file():
            raise DamagedError(f"is not whole: it lacks {name}")
        if _digest_of(file) != digest:
            raise DamagedError(f"is not whole: the checksum of {name} is another one")


def _digest_of(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, lambda: hashlib.blake2b(digest_size=32)).hexdigest()


def _mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """Return nested dictionaries, lists and tuples with each value in them changed."""
    if isinstance(value, Mapping):
        return {name: _mapped(one, change) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_mapped(one, change) for one in value)
    return change(value)
