"""``make faults``: commands are killed, run out of disk or meet each other; a table is printed.

    python tests/faults/kills.py [--moments 20] [--seed 0] [--commands compare,study,fit,...]

Each command is (a) killed at random moments by SIGINT, SIGTERM and SIGKILL in turn, (b) run on a
disk that is full at some point, or with files that may not grow, (c) started twice at once with one
``--out`` and killed now and then. What is checked each time: no traceback, no process left after a
second, the output whole or absent, other files as they were; and that the same command then works,
leaves no temporary folder behind and, with ``--study``, gives the same figures.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import onnx
import polars as pl
import psutil

from jointrain import InvalidInputError, load_bundle
from jointrain.data import load_penguins

_SMALL = ("--targets", "species,sex,body_mass_g", "--epochs", "3", "--width", "8", "--depth", "1")
_STUDY = ("penguins.csv", *_SMALL, "--folds", "2", "--seeds", "1", "--workers", "2", "--out", "out")
_COMPARE = ("compare", *_STUDY, "--recipes", "separate,joint", "--baselines", "constant,linear")
COMMANDS = {
    "compare": _COMPARE,
    "study": (*_COMPARE, "--study", "runs"),
    "fit": ("fit", "penguins.csv", *_SMALL, "--ensemble", "2", "--out", "out"),
    "predict": ("predict", "model", "penguins.csv", "--out", "out.csv"),
    "weigh": ("weigh", *_STUDY, "--trials", "4"),
    "group": ("group", *_STUDY),
    "share": ("share", *_STUDY),
    "explain": ("explain", "model", "penguins.csv", "--out", "out.csv"),
    "export": ("export", "model", "--out", "out.onnx"),
    "evaluate": ("evaluate", "model", "penguins.csv", "--history", "out.json"),
    "report": ("report", "kept"),
    "verdict": ("verdict", "runs.csv", "--baseline", "separate", "--report", "out.html"),
}
_ADDS = ("evaluate", "report")
"""Commands that write to what is there."""
_LINES = {"predict": 345, "explain": 2501}
_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}
_MARK = "JOINTRAIN_FAULT_MARK"
_MINE = "mine.txt"


@dataclass
class Reference:
    """What a command does when nothing happens to it."""

    seconds: float
    figures: pl.DataFrame | None


@dataclass
class Tally:
    """What happened, by word, and the faults in words."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


class Runs:
    """Folders with a table and a model in them, and commands that are run there.

    Args:
        place: Where the folders are made.
        study: With a study in them, too.
    """

    def __init__(self, place: Path, study: bool = False) -> None:
        self.place = place
        self._good = place / "good"
        self._good.mkdir()
        load_penguins().write_csv(self._good / "penguins.csv")
        (self._good / _MINE).write_text("the user's own")
        prepared = [("fit", "out", "model"), ("study", "runs", "kept")]
        for command, made, name in prepared[: 1 + study]:
            code, errors = self.finish(self.start(command, self._good, "prepare"))
            if code != 0:
                raise RuntimeError(errors)
            (self._good / made).rename(self._good / name)
        shutil.rmtree(self._good / "out", ignore_errors=True)
        runs = [("task", "metric", "recipe", "seed", "value")] + [
            ("price", "rmse", recipe, seed, value + seed / 10)
            for recipe, value in (("separate", 2.0), ("joint", 1.5))
            for seed in range(5)
        ]
        lines = (",".join(map(str, one)) + "\n" for one in runs)
        (self._good / "runs.csv").write_text("".join(lines))

    def folder(self, name: str, parent: Path | None = None) -> Path:
        """Return a fresh folder."""
        target = (parent or self.place) / name
        shutil.copytree(self._good, target)
        return target

    def start(
        self, command: str, folder: Path, mark: str, before: Callable[[], None] | None = None
    ) -> subprocess.Popen[str]:
        """Start a command; its processes bear the mark."""
        program = [sys.executable, "-c", "from jointrain.cli import main; main()"]
        return subprocess.Popen(
            [*program, *COMMANDS[command]], cwd=folder, text=True, preexec_fn=before,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1", _MARK: mark},
        )  # fmt: skip

    @staticmethod
    def finish(process: subprocess.Popen[str], seconds: float = 300) -> tuple[int, str]:
        """Return exit code and standard error."""
        errors = process.communicate(timeout=seconds)[1]
        return process.returncode, errors

    def reference(self, command: str) -> Reference:
        """Run a command undisturbed."""
        folder = self.folder(f"{command}-reference")
        start = time.monotonic()
        code, errors = self.finish(self.start(command, folder, "reference"))
        if code != 0:
            raise RuntimeError(errors)
        return Reference(time.monotonic() - start, figures(folder, command))


def figures(folder: Path, command: str) -> pl.DataFrame | None:
    """Return what a study measured."""
    if command not in ("compare", "study"):
        return None
    table = pl.read_parquet(folder / "out" / "results.parquet")
    return table.drop([name for name in table.columns if "second" in name])


def faults_after(folder: Path, command: str, errors: str, mark: str) -> list[str]:
    """Return what is wrong a second after a command has ended."""
    time.sleep(1.0)
    found = []
    if "Traceback" in errors:
        found.append(f"traceback: {errors[-300:]}")
    left = [one for one in psutil.process_iter() if _environment(one).get(_MARK) == mark]
    if left:
        found.append(f"{len(left)} processes left")
        for one in left:
            one.kill()
    if (folder / _MINE).read_text() != "the user's own":
        found.append("the user's file was changed")
    return found + [fault for out in _outputs(folder) for fault in _whole(out, command)]


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except psutil.Error:
        return {}


def _outputs(folder: Path) -> list[Path]:
    pages = [folder / "kept" / "report.html"]
    return [*folder.glob("out*")] + [path for path in pages if path.exists()]


def _whole(out: Path, command: str) -> list[str]:
    """Return what is missing of an output that is there."""
    try:
        if command in _LINES:
            lines = out.read_text().count("\n")
            return [] if lines == _LINES[command] else [f"{out.name} has {lines} lines"]
        if command in ("weigh", "group", "share"):
            pl.read_parquet(out / "results.parquet")
            json.loads((out / "report.json").read_text())
            out /= "report.html"
            if not out.exists():  # a page is left out, with a note, where the disk is full
                return []
        if out.suffix == ".html":
            whole = out.read_text().rstrip().endswith("</html>")
            return [] if whole else [f"{out.name} is cut"]
        if out.suffix == ".json":
            json.loads(out.read_text())
        elif out.suffix == ".onnx":
            onnx.checker.check_model(out)
        else:
            load_bundle(out)
    except (InvalidInputError, OSError, ValueError, onnx.checker.ValidationError) as error:
        return [f"{out.name}: {error}"]
    return []


def next_run(runs: Runs, folder: Path, command: str, reference: Reference) -> list[str]:
    """Return what is wrong with the same command once more."""
    for out in _outputs(folder):
        shutil.rmtree(out) if out.is_dir() else out.unlink()
    code, errors = runs.finish(runs.start(command, folder, "next"))
    if code != 0:
        return [f"the next run ended with {code}: {errors[-300:]}"]
    found = [f"left: {path.name}" for path in folder.iterdir() if path.name.startswith(".")]
    measured = figures(folder, command)
    expected = reference.figures
    if measured is not None and expected is not None and not measured.equals(expected):
        found.append("other figures")
    return found


def killed(
    runs: Runs, command: str, reference: Reference, number: int, random: Random
) -> tuple[str, list[str]]:
    """Kill a command at a random moment."""
    kind = list(_CODES)[number % 3]
    folder, mark = runs.folder(f"{command}-killed-{number}"), f"{command}{number}"
    process = runs.start(command, folder, mark)
    try:
        process.wait(random.uniform(0.05, 1.05) * reference.seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(kind)
    code, errors = runs.finish(process, 60)
    found = faults_after(folder, command, errors, mark)
    # Python itself is not there yet in the first tenths of a second, and gone in the last ones
    if code not in (0, _CODES[kind], -kind):
        found.append(f"exit code {code} after {kind.name}: {errors[-200:]}")
    if command == "study" or number % 5 == 0:
        found += next_run(runs, folder, command, reference)
    return "finished" if code == 0 else f"stopped by {kind.name}", found


def full_disk(
    runs: Runs, command: str, reference: Reference, number: int, random: Random
) -> tuple[str, list[str]]:
    """Run a command where files may not grow beyond a random size."""
    folder, mark = runs.folder(f"{command}-full-{number}"), f"{command}-full{number}"
    disk, before = folder, None
    size = int(2 ** random.uniform(10, 17))
    files = [path.stat().st_size for path in folder.rglob("*")]
    mounted = _mounted(folder, size + sum(one // 4096 * 4096 + 4096 for one in files))
    if not mounted:

        def before() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    else:
        for source in runs.folder(f"{command}-source-{number}").iterdir():
            target = disk / source.name
            shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    try:
        code, errors = runs.finish(runs.start(command, disk, mark, before))
        found = faults_after(disk, command, errors, mark)
        if code not in (0, 2):
            found.append(f"exit code {code}: {errors[-300:]}")
        if code == 2 and not errors.strip().splitlines()[-1].startswith("error: "):
            found.append(f"no error in words: {errors[-200:]}")
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=False)
    return "full" if code else "finished", found


def _mounted(folder: Path, size: int) -> bool:
    """Try to lay a small disk over a folder."""
    options = ["-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        return subprocess.run(["mount", *options], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def two_at_once(
    runs: Runs, command: str, reference: Reference, number: int, random: Random
) -> tuple[str, list[str]]:
    """Start a command twice with one output; kill one of them in two of three times."""
    folder, mark = runs.folder(f"{command}-two-{number}"), f"{command}-two{number}"
    first = runs.start(command, folder, mark)
    time.sleep(random.uniform(0, 0.3) * reference.seconds)
    second = runs.start(command, folder, mark)
    if number % 3:
        time.sleep(random.uniform(0.3, 1.0) * reference.seconds)
        first.send_signal(signal.SIGKILL if number % 3 == 1 else signal.SIGTERM)
    ended = [runs.finish(one) for one in (first, second)]
    errors = "\n".join(text for _, text in ended)
    found = faults_after(folder, command, errors, mark)
    codes = [code for code, _ in ended]
    if codes[1] not in (0, 2) or codes[0] not in (0, 2, -9, 143, -15):
        found.append(f"exit codes {codes}: {errors[-300:]}")
    if 0 not in codes and not _outputs(folder):
        found.append(f"neither has finished: {codes} {errors[-300:]}")
    whole = len(_outputs(folder))
    if command not in _ADDS and codes.count(0) > whole:
        found.append(f"{codes.count(0)} finished, {whole} outputs are there")
    return f"{codes.count(0)} finished", found


WAYS = {"killed": killed, "full disk": full_disk, "two at once": two_at_once}


def run(
    place: Path, commands: list[str], ways: list[str], moments: int, seed: int = 0
) -> dict[tuple[str, str], Tally]:
    """Do all of it; return what happened, by command and way."""
    runs, random = Runs(place, "report" in commands), Random(seed)
    tallies = {}
    for command in commands:
        reference = runs.reference(command)
        for way in ways:
            tally = tallies[command, way] = Tally()
            for number in range(moments):
                word, found = WAYS[way](runs, command, reference, number, random)
                tally.counts[word] += 1
                print(f"{command} {way} {number}: {word} {found}", file=sys.stderr, flush=True)
                tally.faults += [f"{command} {way} {number}: {fault}" for fault in found]
                for folder in place.glob(f"{command}-*-{number}"):
                    shutil.rmtree(folder, ignore_errors=True)
    return tallies


def main() -> None:
    """Run and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moments", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--commands", default=",".join(COMMANDS))
    parser.add_argument("--ways", default=",".join(WAYS))
    said = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        tallies = run(
            Path(place), said.commands.split(","), said.ways.split(","), said.moments, said.seed
        )
    for (command, way), tally in tallies.items():
        words = ", ".join(f"{count} {word}" for word, count in sorted(tally.counts.items()))
        print(f"{command:8} {way:12} {words:60} {len(tally.faults)} faults")
    faults = [fault for tally in tallies.values() for fault in tally.faults]
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
