"""What the processes of this machine train at the moment, for whoever looks on.

Each process that trains keeps one small file in a folder and writes it anew a few times a second;
who looks on reads all of them. Nothing is written where nobody looks on.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

POINTS = 40
"""How many values of each series are kept, the newest."""

_SECONDS = 0.2
"""Between two times that a process writes."""


@dataclass
class Look:
    """What one process trained when it last wrote.

    Args:
        rows: Rows that it has trained on since it was told of the folder.
        epoch: The newest epoch of what it trains.
        epochs: How many there are at most; 0 where that is not known.
        training: Training losses by task, the newest last. Of networks that are trained together it
            is their mean.
        validation: Validation losses, likewise.
        weights: Weights of the losses, likewise.
        written: Time of the file, in seconds; set by who reads it.
    """

    rows: float = 0.0
    epoch: int = 0
    epochs: int = 0
    training: dict[str, list[float]] = field(default_factory=dict)
    validation: dict[str, list[float]] = field(default_factory=dict)
    weights: dict[str, list[float]] = field(default_factory=dict)
    written: float = 0.0


class TrainingFeed:
    """Writes what this process trains.

    Args:
        folder: Where to; each process has a file of its own in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file = folder / f"{os.getpid()}.json"
        self._last = -math.inf
        self._rows = 0.0
        self._new: dict[str, dict[str, list[float]]] = {}
        self._series: dict[str, dict[str, deque[float]]] = {}

    def tell(
        self,
        epoch: int,
        epochs: int,
        rows: float,
        training: Mapping[str, float],
        validation: Mapping[str, float],
        weights: Mapping[str, float],
    ) -> None:
        """Take in an epoch that is over, and write if it is time.

        Args:
            epoch: Its number.
            epochs: How many there are at most; 0 where that is not known.
            rows: Rows that were trained on in it.
            training: Losses by task.
            validation: Likewise.
            weights: Weights of the losses, likewise.
        """
        self._rows += rows
        for kind, values in (
            ("training", training),
            ("validation", validation),
            ("weights", weights),
        ):
            for name, value in values.items():
                self._new.setdefault(kind, {}).setdefault(name, []).append(value)
        now = time.monotonic()
        if now - self._last < _SECONDS:
            return
        self._last = now
        for kind, by_task in self._new.items():
            for name, found in by_task.items():
                kept = self._series.setdefault(kind, {}).setdefault(name, deque(maxlen=POINTS))
                kept.append(sum(found) / len(found))
        self._new = {}
        series: dict[str, Any] = {
            kind: {name: list(kept) for name, kept in by_task.items()}
            for kind, by_task in self._series.items()
        }
        look = asdict(Look(self._rows, epoch, epochs, **series))
        aside = self._file.with_suffix(".new")
        # training goes on where nobody can be told of it
        with suppress(OSError):
            aside.write_text(json.dumps(look), encoding="utf-8")
            aside.replace(self._file)


_open: TrainingFeed | None = None


def open_feed(folder: Path | None) -> None:
    """Let this process write to a folder from now on; None: to none."""
    global _open
    _open = None if folder is None else TrainingFeed(folder)


def feed() -> TrainingFeed | None:
    """Return where this process writes; None if nobody looks on."""
    return _open


def looks(folder: Path) -> dict[str, Look]:
    """Return what the processes have written last, by the names of their files."""
    found = {}
    for file in sorted(folder.glob("*.json")):
        # a file that is being replaced, or is of nobody here
        with suppress(OSError, ValueError, TypeError):
            look = Look(**json.loads(file.read_text(encoding="utf-8")))
            look.written = file.stat().st_mtime
            found[file.name] = look
    return found


def newest(found: Sequence[Look], kind: str) -> dict[str, list[float]]:
    """Return the series of a kind by task: that of the process which wrote last of the task."""
    series: dict[str, Any] = {}
    for look in sorted(found, key=lambda one: one.written):
        series.update(getattr(look, kind))
    return series
