"""Trainings that are killed, interrupted or run out of disk, and go on: the same bits in the end.

``python -m tests.faults.training_kills`` kills a run at 40 random moments; the tests at a few.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import resource
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path

import torch

from jointrain import Callback
from jointrain.system.stored_files import DamagedError
from jointrain.training import Checkpoints
from jointrain.training.checkpoints import from_bytes, to_bytes
from tests.training.checkpoints.runs import assert_same, cases, fit, trainer

KINDS = ("phases", "merged", "mixture, drawn", "labels are missing", "early stopping")
"""Runs with phase changes, a merge, epochs of a mixture, and many evaluations."""

_PAUSE = 0.004  # seconds of a step, so that moments fall on all of them

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["torch", "jointrain", "tests.training.checkpoints.runs"])


class _Slow(Callback):
    def __init__(self, full_after):
        self.full_after = full_after

    def on_step_end(self, trainer, step, losses):
        time.sleep(_PAUSE)
        if step == self.full_after:
            # no file may be larger from now on, as if the disk were full
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (5000, resource.RLIM_INFINITY))


def run(kind, folder, every=1, full_after=None):
    """Train to the end, going on where the folder's checkpoints are, and leave the state."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    case = cases()[kind]
    folder = Path(folder)
    made = trainer(case, [_Slow(full_after)], checkpoints=Checkpoints(folder, every=every))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        fit(made, case, resume=True)
    if full_after is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    aside = folder / "end.part"
    state = made.state_dict() | {"told": [str(one.message) for one in told]}
    aside.write_bytes(to_bytes(state))
    aside.rename(folder / "end")


def started(*args, **more):
    """Return a process that runs, given time to start."""
    process = context.Process(target=run, args=args, kwargs=more)
    process.start()
    return process


def end_of(folder):
    """Return how a run ended, but for what hangs on where it did."""
    state = from_bytes((Path(folder) / "end").read_bytes())
    return {
        name: value for name, value in state.items() if name not in ("callbacks", "run", "told")
    }


def told_in(folder):
    return from_bytes((Path(folder) / "end").read_bytes())["told"]


def seconds_of(kind, folder):
    """Return how long a run takes that nobody kills."""
    began = time.monotonic()
    process = started(kind, folder)
    process.join()
    assert process.exitcode == 0
    return time.monotonic() - began


def killed_run(kind, folder, moments):
    """Kill a run after so many seconds, again and again, and let it end; return the kills."""
    killed = 0
    for moment in moments:
        process = started(kind, folder)
        process.join(moment)
        if process.exitcode is None:
            os.kill(process.pid, signal.SIGKILL)
            killed += 1
        process.join()
        if process.exitcode == 0:
            break
    process = started(kind, folder)
    process.join()
    assert process.exitcode == 0
    return killed


def main(moments=40, seed=0):
    """Kill runs at random moments; exit with 1 if one ends otherwise than a run that was not."""
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as place:
        whole = {}
        for kind in KINDS:
            length = seconds_of(kind, Path(place, kind))
            whole[kind] = length, end_of(Path(place, kind))
        kills = number = 0
        while kills < moments:
            kind = KINDS[number % len(KINDS)]
            length, end = whole[kind]
            folder = Path(place, str(number))
            kills += killed_run(kind, folder, [draw.uniform(0.0, length) for _ in range(3)])
            try:
                assert_same(end_of(folder), end)
            except (AssertionError, DamagedError, OSError) as error:
                sys.exit(
                    f"{kind!r}, run {number}, seed {seed}: other than a run never killed: {error}"
                )
            number += 1
            print(f"{kills} of {moments} moments: the same bits", flush=True)


if __name__ == "__main__":
    main()
