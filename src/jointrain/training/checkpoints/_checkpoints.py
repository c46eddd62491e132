"""Checkpoints: files of a run's state, renamed when written, so that each is whole or absent.

Of a network in shards a checkpoint is a folder: the shards, and a file with all else.
"""

from __future__ import annotations

import os
import re
import shutil
import time
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from jointrain.errors import InvalidInputError
from jointrain.system.stored_files import DamagedError, read_file
from jointrain.training.checkpoints._shard_files import check_files, placed
from jointrain.training.checkpoints._stored_state import from_bytes, to_bytes

_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0}
_TIME = re.compile(r"(\d+(?:\.\d+)?) ?(s|min|h)")
_NAME = re.compile(r"step-(\d{12})(?:\.safetensors|-\d+)")
_ASIDE = ".writing-"
_LOCK = ".lock"
_STATE, SHARDS = "state.safetensors", "shards"
"""What the folder of a checkpoint in shards holds."""


@dataclass(frozen=True)
class Checkpoints:
    """Where and how often a trainer saves all that it would need to go on. A value.

    Args:
        folder: Of this run alone; it is made.
        every: Steps from one checkpoint to the next, or a time such as ``"30s"``, ``"10min"``
            (default) or ``"2h"``.
        keep: How many of the newest are kept, at least 1; default 3. If one is damaged, the next
            older one serves.

    Raises:
        InvalidInputError: `every` or `keep` can't be used.

    Examples:
        >>> Checkpoints("run-1", every="5min").seconds
        300.0
    """

    folder: str | Path
    every: int | str = "10min"
    keep: int = 3

    def __post_init__(self) -> None:
        if isinstance(self.every, str):
            if not self.seconds:
                raise InvalidInputError(
                    f"`every` must be a number of steps or a time such as '10min', '30s' or '2h', "
                    f"got {self.every!r}"
                )
        else:
            object.__setattr__(self, "every", _at_least_1("every", self.every, " step"))
        object.__setattr__(self, "keep", _at_least_1("keep", self.keep))

    @property
    def seconds(self) -> float | None:
        """The time from one checkpoint to the next; None if that is a number of steps."""
        found = _TIME.fullmatch(self.every) if isinstance(self.every, str) else None
        return None if found is None else float(found[1]) * _SECONDS[found[2]]


def _at_least_1(name: str, value: object, unit: str = "") -> int:
    """Return a whole number, which may be one of numpy."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        also = " or a time such as '10min'" if name == "every" else ""
        raise InvalidInputError(f"`{name}` must be a whole number{also}, got {value!r}")
    if value < 1:
        raise InvalidInputError(f"`{name}` must be at least 1{unit}, got {value}")
    return int(value)


class CheckpointFolder:
    """Writes, finds and removes the checkpoints of a run; nobody else does meanwhile.

    Args:
        checkpoints: What the user asked for.

    Raises:
        InvalidInputError: The folder can't be made, or another run writes to it.
    """

    def __init__(self, checkpoints: Checkpoints) -> None:
        self.path = Path(checkpoints.folder)
        self._keep = checkpoints.keep
        self._steps = checkpoints.every if isinstance(checkpoints.every, int) else None
        self._seconds = checkpoints.seconds
        self._last_step = 0
        self._lock = FileLock(self.path / _LOCK)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout:
            raise InvalidInputError(
                f"another run writes its checkpoints to {self.path}; give each run a folder of its "
                f"own"
            ) from None
        except OSError as error:
            raise InvalidInputError(
                f"checkpoints can't be written to {self.path}: {error.strerror or error}; choose "
                f"another folder"
            ) from None
        for left in self.path.glob(f"{_ASIDE}*"):
            _remove(left)
        self._last_time = time.monotonic()

    def close(self) -> None:
        """Let other runs write here."""
        self._lock.release()

    def files(self) -> list[Path]:
        """Return the checkpoints, the newest one first."""
        try:
            there = list(self.path.iterdir())
        except FileNotFoundError:  # somebody removed the folder, or its disk went
            there = []
        return sorted((f for f in there if _NAME.fullmatch(f.name)), reverse=True)

    def newest(self) -> Any | None:
        """Return the state of the newest whole checkpoint; None where there is no checkpoint.

        In it is a `StoredShard` for each tensor that lies in files of shards. Damaged ones are
        told of in a warning, and renamed.

        Raises:
            InvalidInputError: There are some, but none is whole.
        """
        files = self.files()
        for file in files:
            try:
                state = _read(file)
            except (DamagedError, OSError) as error:
                reason = str(error).removeprefix(f"{file.name} ")
                warnings.warn(
                    f"the checkpoint {file} {reason}; an older one is looked for", stacklevel=2
                )
                with suppress(OSError):
                    file.rename(file.with_suffix(".damaged"))
                continue
            self._last_step = _step_of(file)
            if file != files[0]:
                warnings.warn(f"the run goes on from the older checkpoint {file}", stacklevel=2)
            return state
        if files:
            raise InvalidInputError(
                f"none of the checkpoints in {self.path} is whole; fit(restart=True) starts anew"
            )
        return None

    def clear(self) -> None:
        """Remove all checkpoints."""
        for file in self.files():
            shutil.rmtree(file) if file.is_dir() else file.unlink()

    def due(self, step: int) -> bool:
        """Return whether a checkpoint is due after so many steps."""
        if self._steps is not None:
            return step - self._last_step >= self._steps
        assert self._seconds is not None
        return time.monotonic() - self._last_time >= self._seconds

    def write(self, step: int, state: Any) -> bool:
        """Write a checkpoint; return whether it could be, else warn.

        What was written before is only removed when it is whole on the disk.

        Raises:
            InvalidInputError: Something in the state can't be stored.
        """
        data = to_bytes(state)
        target = self.path / f"step-{step:012d}.safetensors"
        aside = self.path / f"{_ASIDE}{os.getpid()}"
        try:
            _write(aside, data)
            aside.replace(target)
            _sync(self.path)
        except OSError as error:
            return self._not_written(step, aside, error.strerror or str(error))
        self._written(step)
        return True

    def aside(self) -> Path:
        """Return a new folder for a checkpoint in shards, to be finished."""
        folder = self.path / f"{_ASIDE}{os.getpid()}"
        with suppress(OSError):
            (folder / SHARDS).mkdir(parents=True, exist_ok=True)
        return folder

    def finish(
        self, step: int, aside: Path, state: Any, digests: Mapping[str, str], error: str | None
    ) -> bool:
        """Finish a checkpoint whose shards are written; return whether it could be, else warn.

        Args:
            step: The number of the step.
            aside: Where the shards are.
            state: What else is to be stored, with a `StoredShard` in place of each shard.
            digests: The checksums of the files of shards.
            error: Why those could not be written, if so.

        Raises:
            InvalidInputError: Something in the state can't be stored.
        """
        data = to_bytes({"state": state, "files": dict(digests)})
        try:
            number = sum(1 for file in self.files() if _step_of(file) == step)
            if error is not None:
                return self._not_written(step, aside, error)
            _write(aside / _STATE, data)
            _sync(aside / SHARDS)
            _sync(aside)
            aside.rename(self.path / f"step-{step:012d}-{number}")
            _sync(self.path)
        except OSError as found:
            return self._not_written(step, aside, found.strerror or str(found))
        self._written(step)
        return True

    def _written(self, step: int) -> None:
        """Take note of a checkpoint that is whole, and remove the oldest ones."""
        self._last_step, self._last_time = step, time.monotonic()
        with suppress(OSError):
            for old in self.files()[self._keep :]:
                _remove(old)

    def _not_written(self, step: int, aside: Path, reason: str) -> bool:
        """Warn of a checkpoint that could not be written, and return False."""
        self._last_step, self._last_time = step, time.monotonic()
        _remove(aside)
        kept: list[Path] = []
        with suppress(OSError):
            kept = self.files()[:1]
        newest = f"the newest whole one is {kept[0]}" if kept else "there is none"
        warnings.warn(
            f"the checkpoint of step {step} was not written to {self.path}: {reason}; training "
            f"goes on, {newest}",
            stacklevel=3,
        )
        return False


def _read(file: Path) -> Any:
    """Return the state that a checkpoint holds.

    Raises:
        DamagedError: It is not whole.
    """
    if not file.is_dir():
        return from_bytes(read_file(file))
    inner = file / _STATE
    if not inner.is_file():
        raise DamagedError(f"is not whole: it lacks {_STATE}")
    stored = from_bytes(read_file(inner))
    check_files(file / SHARDS, stored["files"])
    return placed(stored["state"], file / SHARDS)


def _write(file: Path, data: bytes) -> None:
    with file.open("wb") as opened:
        opened.write(data)
        opened.flush()
        os.fsync(opened.fileno())


def _remove(path: Path) -> None:
    """Remove a file or a folder, as far as it can be."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
        return
    with suppress(OSError):
        path.unlink()


def _step_of(file: Path) -> int:
    found = _NAME.fullmatch(file.name)
    assert found is not None
    return int(found[1])


def _sync(folder: Path) -> None:
    """Let the names in a folder outlive a power cut, where a system can."""
    with suppress(OSError):  # Windows opens no folders
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
