"""A training by several processes, one of which is killed: folder, its rank, and the step."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from tests.training._rank_runs import At, data, resumable


def main(folder: Path, rank: int, step: int) -> None:
    killed = folder / "killed"

    def kill(_trainer: object) -> None:
        if not killed.exists():
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    trainer = resumable(str(folder / "checkpoints"), "ddp", At(step, kill, rank=rank))
    trainer.fit(data(37, 1), data(23, 2), resume=True)
    if trainer.ranks is not None and trainer.ranks.rank == 0:
        print("steps", trainer.history[-1].step, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
