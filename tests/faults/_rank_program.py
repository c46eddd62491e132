"""A training by several processes: folder, and the rank and the step of one that is killed.

Or, without these, one that takes its time and saves nothing unless it is told to.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from jointrain import Callback, Trainer
from tests.training._rank_runs import At, data, resumable


class _Slow(Callback):
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_step_end(self, trainer: Trainer, *_: object) -> None:
        assert trainer.ranks is not None
        (self.folder / f"under-way-{trainer.ranks.rank}").touch()
        time.sleep(0.3)


def main(folder: Path, rank: int, step: int) -> None:
    killed = folder / "killed"

    def kill(_trainer: object) -> None:
        if not killed.exists():
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    _fit(resumable(str(folder / "checkpoints"), "ddp", At(step, kill, rank=rank)))


def _fit(trainer: Trainer) -> None:
    trainer.fit(data(37, 1), data(23, 2), resume=True)
    if trainer.ranks is not None and trainer.ranks.rank == 0:
        print("steps", trainer.history[-1].step, flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    else:
        place = Path(sys.argv[1])
        _fit(resumable(str(place / "checkpoints"), "ddp", _Slow(place), every="9h"))
