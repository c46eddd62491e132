"""Jobs that leave a trace, and a program that runs them: `python -m tests.studies._shared_work`."""

import json
import multiprocessing
import os
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

import numpy as np
import torch

DESCRIPTION = {"data": "a1b2", "folds": 5}


@dataclass(frozen=True)
class TorchJob:
    """Says what torch makes by default."""

    key: str

    def run(self) -> list:
        made = torch.ones(1) * torch.ones(1, requires_grad=True)
        return [str(made.dtype), str(made.device), made.requires_grad and not made.is_inference()]


@dataclass(frozen=True)
class TracedJob:
    """Writes a line when it starts, another one when it ends."""

    key: str
    folder: str
    seconds: float = 0.0
    deaths: int = 0
    """How many processes it kills first."""

    def run(self):
        trace = Path(self.folder) / self.key
        starts = 1 + (trace.read_text().count("start") if trace.exists() else 0)
        with trace.open("a") as file:
            file.write(f"start {os.getpid()}\n")
        if starts <= self.deaths:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(self.seconds)
        with trace.open("a") as file:
            file.write(f"end {os.getpid()}\n")
        generator = np.random.default_rng(int(self.key))
        return {"key": self.key, "weights": generator.normal(size=3), "pid": os.getpid()}


@dataclass(frozen=True)
class LockedJob:
    """Can't be sent to another process."""

    key: str
    lock: object = field(default_factory=Lock)

    def run(self):
        return 1


@dataclass(frozen=True)
class FaultyJob:
    """Raises an error."""

    key: str

    def run(self):
        raise ZeroDivisionError(self.key)


def traced_jobs(folder, count, seconds=0.0):
    return [TracedJob(str(number), str(folder), seconds) for number in range(count)]


def lines(folder, kind):
    """Return the numbers of the processes that started or ended each job, by key."""
    return {
        trace.name: [
            int(line.split()[1]) for line in trace.read_text().splitlines() if line.startswith(kind)
        ]
        for trace in sorted(Path(folder).iterdir())
    }


def main(place, folder, count, seconds):
    # here, so that the processes that the jobs run in don't import torch
    from jointrain.studies._job_runner import run_jobs
    from jointrain.studies._run_store import RunStore

    store = RunStore.open(place, DESCRIPTION, timeout=2.0)
    jobs = traced_jobs(folder, int(count), float(seconds))
    results = dict(run_jobs(jobs, workers=1, store=store))
    print(json.dumps({key: [v["weights"].tobytes().hex(), v["pid"]] for key, v in results.items()}))


if __name__ == "__main__":
    main(*sys.argv[1:])


@dataclass(frozen=True)
class ParentJob:
    """Starts a process of multiprocessing, as loaders of data do."""

    key: str = "0"

    def run(self):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            return pool.apply(len, ("child",))
