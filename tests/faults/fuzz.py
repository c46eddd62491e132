"""``make fuzz``: changed files of every kind are read; a table of what came of it is printed.

    python tests/faults/fuzz.py [--mutants 20000] [--seed 0] [--workers 2]

Each reader runs in a process of its own. More than 10 seconds or 2 GiB, a crash, an exception that
is not jointrain's own, a process started or a pickle read, or another result from a file whose
digests are not right is a fault: it is printed with its number, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from random import Random

import psutil

SECONDS = 10.0
MEMORY = 2 * 2**30
SHARES = {
    "bundle": 0.35, "old bundle": 0.05, "encoder": 0.12, "baseline": 0.12, "config": 0.1,
    "journal": 0.04, "database": 0.01, "table": 0.07, "history": 0.06, "checkpoint": 0.05,
    "watch": 0.03,
}  # fmt: skip
"""Which part of the mutants each reader gets."""
FINE = ("read", "refused", "unmade")
_WORKER = Path(__file__).with_name("fuzz_worker.py")


class Worker:
    """A process that reads mutants one after the other; started again where one ended it."""

    def __init__(self, good: Path, work: Path) -> None:
        self._command = [sys.executable, str(_WORKER), str(good), str(work)]
        self._process: subprocess.Popen[str] | None = None

    def read(self, reader: str, number: int) -> tuple[str, str, str]:
        """Return what came of a mutant: a word, how, and what it was."""
        if self._process is None:
            self._process = self._started()
        assert self._process.stdin is not None
        self._process.stdin.write(f"{reader} {number}\n")
        self._process.stdin.flush()
        try:
            line, ended = self._answer(SECONDS)
        except psutil.Error:  # gone in between
            line, ended = "", f"CRASH {self._process.wait()}"
        if line:
            word, detail, what = json.loads(line)
            return word, detail, what
        self.stop()
        return ended, "", ""

    def _started(self) -> subprocess.Popen[str]:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=environment,
        )  # fmt: skip
        line, ended = self._answer(600.0)
        if line.strip() != "ready":
            raise RuntimeError(f"the worker did not start: {ended} {line}")
        return self._process

    def _answer(self, seconds: float) -> tuple[str, str]:
        """Return the worker's next line, or how it ended or must be ended."""
        assert self._process is not None
        assert self._process.stdout is not None
        measured = psutil.Process(self._process.pid)
        # of the processor, so that other work on the machine counts for nothing
        start, deadline = sum(measured.cpu_times()[:2]), time.monotonic() + 10 * seconds
        while time.monotonic() < deadline and sum(measured.cpu_times()[:2]) < start + seconds:
            if select.select([self._process.stdout], [], [], 0.02)[0]:
                line = self._process.stdout.readline()
                return line, "" if line else f"CRASH {self._process.wait()}"
            if measured.memory_info().rss > MEMORY:
                return "", "MEMORY"
        return "", "HANG"

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def run(
    mutants: int,
    seed: int = 0,
    workers: int = 1,
    readers: tuple[str, ...] = tuple(SHARES),
    keep: Path | None = None,
) -> tuple[dict[str, Counter[str]], list[str]]:
    """Return how often what came of the mutants of each reader, and the faults in words."""
    jobs = [
        (reader, seed * 10**9 + number)
        for reader in readers
        for number in range(round(mutants * SHARES[reader] / sum(SHARES[r] for r in readers)))
    ]
    Random(seed).shuffle(jobs)
    counts = {reader: Counter[str]() for reader in readers}
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        good = keep or Path(folder) / "good"
        first = Worker(good, Path(folder) / "work0")
        first._started()
        queue = iter(jobs)
        lock = threading.Lock()

        def work(worker: Worker) -> None:
            while True:
                with lock:
                    job = next(queue, None)
                if job is None:
                    worker.stop()
                    return
                word, detail, what = worker.read(*job)
                with lock:
                    counts[job[0]][word] += 1
                    done = sum(of.total() for of in counts.values())
                    if done % 500 == 0:
                        print(f"{done} of {len(jobs)}", file=sys.stderr, flush=True)
                    if word not in FINE:
                        faults.append(f"{word}: {job[0]} {job[1]}: {what}: {detail}")
                        print(ascii(faults[-1])[1:-1], file=sys.stderr, flush=True)

        others = [Worker(good, Path(folder) / f"work{index}") for index in range(1, workers)]
        threads = [threading.Thread(target=work, args=(one,)) for one in (first, *others)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return counts, faults


def main() -> None:
    """Run and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mutants", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--readers", default=",".join(SHARES))
    parser.add_argument("--keep", type=Path, help="where the good files are, or are to be kept")
    said = parser.parse_args()
    start = time.monotonic()
    readers = tuple(said.readers.split(","))
    counts, faults = run(said.mutants, said.seed, said.workers, readers, said.keep)
    words = [*FINE, *sorted({word for of in counts.values() for word in of} - {*FINE})]
    print(f"{'reader':10}{'mutants':>9}" + "".join(f"{word:>10}" for word in words))
    for reader, of in counts.items():
        print(f"{reader:10}{of.total():>9}" + "".join(f"{of[word]:>10}" for word in words))
    total = sum(of.total() for of in counts.values())
    print(f"{total} mutants in {time.monotonic() - start:.0f} s, {len(faults)} faults")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
