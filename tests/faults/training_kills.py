"""Trainings that are killed, interrupted or run out of disk, and go on: the same bits in the end.

``python -m tests.faults.training_kills`` kills a run at 40 random moments; the tests at a few.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
import resource
import signal
import socket
import sys
import tempfile
import time
import warnings
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

import torch
from torch.distributed.checkpoint import HuggingFaceStorageWriter

from jointrain import Callback
from jointrain.system.stored_files import DamagedError
from jointrain.training import Checkpoints
from jointrain.training.checkpoints import CheckpointFolder, _checkpoints, from_bytes, to_bytes
from tests.training import _rank_runs as rank_runs
from tests.training.checkpoints.runs import assert_same, cases, fit, trainer

SHARDS = "shards on two processes"
KINDS = (
    "phases", "merged", "mixture, drawn", "streams", "labels are missing", "early stopping", SHARDS
)  # fmt: skip
"""Runs with phase changes, a merge, epochs of a mixture, streams, many evaluations, and of two
processes."""

_PAUSE = 0.004  # seconds of a step, so that moments fall on all of them

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(
    ["torch", "jointrain", "tests.training.checkpoints.runs", "tests.training._rank_runs"]
)


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
    _leave(made.state_dict() | {"told": [str(one.message) for one in told]}, folder)


def _leave(state, folder):
    aside = folder / "end.part"
    aside.write_bytes(to_bytes(state))
    aside.rename(folder / "end")


def started(*args, **more):
    """Return a process that runs, given time to start."""
    process = context.Process(target=run, args=args, kwargs=more)
    process.start()
    return process


# --- two processes that hold shards --------------------------------------------------------------

MOMENTS = (
    "nothing is written",
    "a shard is half written",
    "the shards are written",
    "all is written",  # but has no name yet
    "it has its name",
)
"""Of the writing of a checkpoint in shards; in the last two the first process is at work."""


def rank_run(rank, port, folder, every=1, dies=None, strategy="fsdp", of=None):
    """Train in shards to the end as one of two processes; the first one leaves the state.

    `dies` names the moment at which this process kills itself, and in which checkpoint; `of` the
    data.
    """
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    group = {"RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in group.items()}
    options = {"every": every, "epochs": 8, "patience": None, "ema": 0.9}
    made = rank_runs.resumable(folder, strategy, _Slow(None), **options)
    with warnings.catch_warnings(record=True) as told, ExitStack() as stack:
        warnings.simplefilter("always")
        if dies is not None:
            _let_die(stack, rank, *dies)
        train = rank_runs.data(37, 1) if of is None else rank_runs.DATA[of]()
        made.fit(train, rank_runs.data(23, 2), resume=True)
    state = made.state_dict() | {"told": [str(one.message) for one in told]}
    if rank == 0:
        _leave(state, Path(folder))


def _let_die(stack, rank, moment, number):
    """Let this process kill itself at a moment of its checkpoint of that number."""
    write_shards, write_state = HuggingFaceStorageWriter.write_data, _checkpoints._write
    counts = {name: itertools.count(1) for name in ("shards", "state", "name")}

    def comes(what, *moments):
        return next(counts[what]) == number and moment in moments

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    def shards(writer, plan, planner):
        here = comes("shards", *MOMENTS[:3])
        if here and moment == MOMENTS[0]:
            die()
        written = write_shards(writer, plan, planner)
        if here:
            written.wait()
            (file,) = Path(writer.path).glob(f"shard-{rank + 1:05d}-*")
            if moment == MOMENTS[1]:
                os.truncate(file, file.stat().st_size // 2)
            die()
        return written

    def state(file, data):
        write_state(file, data)
        if comes("state", MOMENTS[3]):
            die()

    def named(*_):
        if comes("name", MOMENTS[4]):
            die()

    stack.enter_context(mock.patch.object(HuggingFaceStorageWriter, "write_data", shards))
    stack.enter_context(mock.patch.object(_checkpoints, "_write", state))
    stack.enter_context(mock.patch.object(CheckpointFolder, "_written", _before(named)))


def _before(first):
    then = CheckpointFolder._written

    def both(*args):
        first(*args)
        then(*args)

    return both


def started_ranks(folder, dies=None, victims=(0, 1), **more):
    """Return two processes that run, given time to start; the victims die at the moment `dies`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    processes = []
    for rank in range(2):
        own = {"dies": dies if rank in victims else None} | more
        processes.append(
            context.Process(target=rank_run, args=(rank, port, str(folder)), kwargs=own)
        )
        processes[-1].start()
    return processes


# --- kills ---------------------------------------------------------------------------------------


def begun(kind, folder):
    """Return the processes of a run."""
    return started_ranks(folder) if kind == SHARDS else [started(kind, folder)]


def end_of(folder):
    """Return how a run ended, but for what hangs on where it did."""
    state = from_bytes((Path(folder) / "end").read_bytes())
    return {
        name: value for name, value in state.items() if name not in ("callbacks", "run", "told")
    }


def told_in(folder):
    return from_bytes((Path(folder) / "end").read_bytes())["told"]


def finished(kind, folder):
    """Let a run go on to its end."""
    for process in begun(kind, folder):
        process.join()
        assert process.exitcode == 0


def seconds_of(kind, folder):
    """Return how long a run takes that nobody kills."""
    began = time.monotonic()
    finished(kind, folder)
    return time.monotonic() - began


def killed_run(kind, folder, moments, draw=random):
    """Kill a run after so many seconds, again and again, and let it end; return the kills.

    Of two processes one is killed, and the other ends by itself, or both are.
    """
    killed = 0
    for moment in moments:
        processes = begun(kind, folder)
        first = processes[0]
        first.join(moment)
        if first.exitcode is None:
            for process in draw.choice([*([one] for one in processes), processes]):
                os.kill(process.pid, signal.SIGKILL)
            killed += 1
        for process in processes:
            process.join()
        if first.exitcode == 0:
            break
    finished(kind, folder)
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
            kills += killed_run(kind, folder, [draw.uniform(0.0, length) for _ in range(3)], draw)
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
