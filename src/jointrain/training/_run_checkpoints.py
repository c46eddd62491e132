"""When a run writes its checkpoints, who of several processes does, and what signals change."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

from jointrain.errors import InvalidInputError
from jointrain.system.stop_signals import SIGNALS, StopRequests
from jointrain.training._ranks import TrainingRanks
from jointrain.training._sharding import mesh_of
from jointrain.training.checkpoints import (
    SHARDS,
    CheckpointFolder,
    Checkpoints,
    apart,
    read_shards,
    write_shards,
)

T = TypeVar("T")


class RunCheckpoints:
    """The checkpoints of one `fit`.

    Args:
        checkpoints: Where and how often; None: none are written.
        ranks: The processes that train together, if there are several.
        device: What is trained is there.
        sharded: Whether each process holds a part of it.
        state: Gives all that the run needs to go on.
        steps: Gives the number of steps of the run so far.
    """

    def __init__(
        self,
        checkpoints: Checkpoints | None,
        ranks: TrainingRanks | None,
        device: torch.device,
        *,
        sharded: bool,
        state: Callable[[], dict[str, Any]],
        steps: Callable[[], int],
    ) -> None:
        self._checkpoints, self._ranks, self._device = checkpoints, ranks, device
        self._sharded = sharded and ranks is not None
        self._state, self._steps = state, steps
        self._folder: CheckpointFolder | None = None
        self._requests = StopRequests()
        self._due = False
        self._agreed: list[int] = []

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder, and take note of signals meanwhile."""
        if self._checkpoints is None:
            yield
            return
        checkpoints = self._checkpoints
        self._folder = self._first_does(lambda: CheckpointFolder(checkpoints))
        try:
            with self._requests:
                yield
        finally:
            if self._folder is not None:
                self._folder.close()
            self._folder = None

    def stored(self, *, resume: bool, restart: bool) -> Mapping[str, Any] | None:
        """Return the newest checkpoint's state to resume, and remove all to restart.

        Raises:
            InvalidInputError: There are checkpoints, and neither is asked for; or none is whole.
        """
        found = self._first_does(lambda: self._stored(resume=resume, restart=restart))
        if self._ranks is not None:
            found = self._ranks.from_first(found)
        if found is not None and self._sharded:
            found = read_shards(found, mesh_of(self._device))
        return found

    def _stored(self, *, resume: bool, restart: bool) -> Mapping[str, Any] | None:
        assert self._folder is not None
        if restart:
            self._folder.clear()
        elif resume:
            state = self._folder.newest()
            return state if self._sharded else read_shards(state, None)
        elif self._folder.files():
            raise InvalidInputError(
                f"{self._folder.path} has checkpoints; go on by fit(resume=True), or begin anew, "
                f"without them, by fit(restart=True)"
            )
        return None

    def flags(self, stopped: bool, steps: int) -> list[bool]:
        """Return what all processes have to know of this one.

        Args:
            stopped: Whether it is to stop.
            steps: How many steps will have been made when they know.
        """
        noted = self._requests.pending
        due = self._folder is not None and self._folder.due(steps)
        return [stopped, due, *(number in noted for number in SIGNALS)]

    def agree(self, flags: Sequence[bool]) -> bool:
        """Take in which flags are set on some process; return whether all are to stop."""
        stopped, self._due, *signals = flags
        if self._checkpoints is not None:
            self._agreed = [n for n, sent in zip(SIGNALS, signals, strict=True) if sent]
            self._requests.take_over(self._agreed)
        return stopped

    def write_if_due(self) -> None:
        """Write a checkpoint if it is time, or if a signal asks for it; then answer the signal."""
        if self._ranks is None:
            assert self._folder is not None
            self._due = self._folder.due(self._steps())
            self._agreed = list(self._requests.pending)
        if self._agreed or self._due:
            self.write()
        # what only this process has heard of by now is answered once all of them know
        self._requests.answer(self._agreed)

    def write(self) -> None:
        """Write a checkpoint; of several processes the first one does, and the others wait."""
        if self._sharded:
            self._write_shards()
        else:
            self._first_does(self._write_whole)

    def _write_whole(self) -> None:
        assert self._folder is not None
        self._folder.write(self._steps(), self._state())

    def _write_shards(self) -> None:
        """Let each process write its shards, and the first one all else."""
        assert self._ranks is not None
        state, shards = apart(self._state())
        aside = self._first_does(lambda: None if self._folder is None else self._folder.aside())
        aside = self._ranks.from_first(aside)
        assert aside is not None
        digests, error = self._ranks.written(lambda: write_shards(shards, aside / SHARDS))

        def finish() -> None:
            assert self._folder is not None
            self._folder.finish(self._steps(), aside, state, digests, error)

        self._first_does(finish)

    def _first_does(self, action: Callable[[], T]) -> T | None:
        """Return what an action gives; of several processes the first one alone does it."""
        return action() if self._ranks is None else self._ranks.first_does(action)
