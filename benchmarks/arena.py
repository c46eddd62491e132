"""The arena: models for several targets, side by side on natural tables.

    python benchmarks/arena.py FOLDER [--tables ...] [--methods ...] [--workers 2]
        [--seen DATA] [--subset hour] [--clock cpu] [--confirmation]
    python benchmarks/arena.py FOLDER --report

Every run (a table, a method, one of three outer folds) is a process of its own and a line in
FOLDER/runs.jsonl; a second call makes what is missing. Tables are those of `arena_tables.py`,
methods those of `arena_methods.py`, each with its library's defaults on one thread. A fit and its
predictions end at 60 seconds; one that takes a budget has these as its budget, and ends at 90. What
does not end, or needs more than 4 GiB, has no result: it is last on its table, and counted.

A target's error is relative to a constant: RMSE over that of the training mean, or log-loss over
that of the training frequencies. A table's score is the mean over folds and targets: the aRRMSE of
tables of numbers. Methods are ranked by these. Elo and its interval are TabArena's: battles of each
two methods on each table, the random forest at 1000, 200 resamples of the tables.

``--shared`` lets runs share a process until one of them is ended, and saves two seconds a run.
``--confirmation`` runs the tables of confirmation. They are scored once, at the end, and nothing is
chosen by them. ``--clock cpu`` counts seconds of the processor, for a machine that others use;
methods with a budget still watch the clock on the wall.

Predictions are kept in FOLDER/predictions. Of `jointrain compare` these are with its intervals, and
with the predictions of the one recipe or baseline that its inner folds find best, which is fitted
after the clock has stopped; `arena_promises.py` reports on them.

Packages: ``pip install -r benchmarks/requirements-arena.txt``. RealMLP, TabM and AutoGluon run on
twelve tables by the interpreter of ``--heavy-python``, which
``benchmarks/arena_heavy_environment.sh`` makes.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib
import json
import os
import queue
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from arena_frozen import HEAVY, HOUR
from arena_kept import Kept
from arena_methods import METHODS, Method, Promising, Task, family, predict
from arena_scores import critical_difference, elo, errors, friedman, ranks, table_score
from arena_tables import (
    SEEN,
    ArenaTable,
    is_confirmation,
    load,
    names,
)

from jointrain import InvalidInputError

FOLDS = 3
LIMIT = 60.0
"""Seconds of a fit and its predictions."""
OURS = "jointrain"
IMPORTING = 300.0
"""Seconds that a process may take to import its libraries and read its table."""
BESIDE = 120.0
"""Seconds of what is fitted after a run, to be set beside it."""


@dataclass(frozen=True)
class Run:
    """What a run gave: a line of the store.

    Args:
        status: ``done``; ``time``, ``memory`` or ``failed``: it has no result.
        errors: By target, relative to a constant; None where undefined.
        seconds, cpu: On the wall and of the processor, for the fit and its predictions.
        why: What went wrong.
        clock: Which seconds were limited.
        versions: Of the libraries.
        chosen: What the method's inner folds find best, where it has such.
        chosen_errors: As `errors`, of that.
    """

    table: str
    method: str
    fold: int
    status: str
    errors: dict[str, float | None]
    seconds: float
    cpu: float
    why: str = ""
    clock: str = "wall"
    versions: str = ""
    chosen: str = ""
    chosen_errors: dict[str, float | None] = field(default_factory=dict)

    @property
    def score(self) -> float:
        """Mean error over targets; infinite where there is no result."""
        return table_score(self.errors) if self.status == "done" else float("inf")


class Store:
    """A folder of runs, one a line; a line that was torn by a stop is run again."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / "runs.jsonl"

    def runs(self) -> dict[tuple[str, str, int], Run]:
        """Return what has been run, by table, method and fold."""
        found = {}
        if self.file.exists():
            for line in self.file.read_text().splitlines():
                try:
                    run = Run(**json.loads(line))
                except (json.JSONDecodeError, TypeError):
                    continue
                found[run.table, run.method, run.fold] = run
        return found

    def add(self, run: Run) -> None:
        # a torn line before it must not swallow this one
        torn = self.file.exists() and not self.file.read_bytes().endswith(b"\n")
        line = ("\n" if torn and self.file.stat().st_size else "") + json.dumps(asdict(run)) + "\n"
        with self.file.open("a") as file:
            file.write(line)


# --- one run ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """A run to make.

    Args:
        limit: Seconds.
        clock: ``wall`` or ``cpu``: which seconds.
        memory: GiB of data.
        seen: Folder of the nine seen tables.
        python: The interpreter.
        keep: Folder to keep predictions in; none without one.
    """

    table: str
    method: str
    fold: int
    limit: float = LIMIT
    clock: str = "wall"
    memory: float = 4.0
    seen: str | None = None
    python: str = sys.executable
    keep: str | None = None


class Worker:
    """Makes runs in processes, and ends them at their limits.

    Args:
        shared: Whether runs share a process as long as none of them is ended: libraries are then
            imported once. Otherwise each has a process of its own.
        command: In place of this file: a program that reads jobs, and prints a line when it is
            ready and one for the result, both JSON, for each.
    """

    def __init__(self, shared: bool = False, command: Sequence[str] = ()) -> None:
        self.shared, self.command = shared, command
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the worker

    def close(self) -> None:
        """End the process and all that it started."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                assert pipe is not None
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
            self._process = None

    def run(self, job: Job) -> Run:
        """Make a run."""
        method = METHODS.get(job.method)
        limit = 1.5 * job.limit if method is not None and method.budget else job.limit
        began, cpu = time.monotonic(), 0.0
        try:
            process = self._given(job)
            said = self._line(process, IMPORTING)
            if said.get("ready"):
                began, cpu = time.monotonic(), cpu_seconds(process.pid)
                said = self._result(process, job, limit, cpu)
            if said.get("more"):
                said |= self._more(process)
        except TimeoutError:
            assert self._process is not None
            said = {"status": "time", "cpu": cpu_seconds(self._process.pid) - cpu}
            self.close()
        except EOFError:
            assert self._process is not None
            code = self._process.wait()
            self.close()
            self._stderr.seek(0)
            why = self._stderr.read().decode(errors="replace").strip()[-300:]
            # killed for its memory, or given up by a library that got none
            memory = -code in (signal.SIGKILL, signal.SIGABRT) or "alloc" in why
            said = {"status": "memory" if memory else "failed", "why": why or f"ended with {code}"}
        if not self.shared:
            self.close()
        return Run(
            job.table,
            job.method,
            job.fold,
            said["status"],
            said.get("errors", {}),
            round(said.get("seconds", time.monotonic() - began), 3),
            round(said.get("cpu", 0.0), 3),
            said.get("why", ""),
            job.clock,
            said.get("versions", ""),
            said.get("chosen", ""),
            said.get("chosen_errors", {}),
        )

    def _more(self, process: subprocess.Popen[bytes]) -> dict[str, Any]:
        """Return what is set beside a run that has its result."""
        try:
            return self._line(process, BESIDE)
        except (TimeoutError, EOFError) as error:
            self.close()
            return {"why": f"nothing beside it: {type(error).__name__}"}

    def _given(self, job: Job) -> subprocess.Popen[bytes]:
        """Return the process, which has been given a job."""
        if self._process is None:
            self._stderr.seek(0)
            self._stderr.truncate()
            threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
            self._process = subprocess.Popen(
                self.command or (job.python, __file__, "--work"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                bufsize=0,  # `select` sees all that has not been read
                start_new_session=True,
                env={**os.environ, **dict.fromkeys(threads, "1")},
            )
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # its end is noticed in reading
            self._process.stdin.write(json.dumps(asdict(job)).encode() + b"\n")
        return self._process

    def _result(
        self, process: subprocess.Popen[bytes], job: Job, limit: float, cpu: float
    ) -> dict[str, Any]:
        if job.clock == "wall":
            return self._line(process, limit)
        began = time.monotonic()
        # a process that waits uses no processor, and must end as well
        while time.monotonic() - began < 20 * limit + IMPORTING:
            left = limit - (cpu_seconds(process.pid) - cpu)
            if left <= 0:
                break
            with contextlib.suppress(TimeoutError):
                return self._line(process, max(left / 2, 0.05))
        raise TimeoutError

    @staticmethod
    def _line(process: subprocess.Popen[bytes], seconds: float) -> dict[str, Any]:
        """Return the next line; lines are short, and come whole."""
        assert process.stdout is not None
        if not select.select([process.stdout], [], [], seconds)[0]:
            raise TimeoutError
        line = process.stdout.readline()
        if not line:
            raise EOFError
        found: dict[str, Any] = json.loads(line)
        return found


def cpu_seconds(session: int) -> float:
    """Return the processor's seconds of a session's processes; 0 where /proc is not known."""
    tick, total = os.sysconf("SC_CLK_TCK"), 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session:
            first = int(stat.parent.name) == session  # with its children that have ended
            total += sum(int(one) for one in fields[11 : 15 if first else 13])
    return total / tick


def work() -> None:
    """Make a run for each job that is read; print when its table is there, and its result."""
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # libraries print
    for line in sys.stdin:
        job = Job(**json.loads(line))
        limit = int(job.memory * 2**30)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.RLIM_INFINITY))
        method = METHODS[job.method]
        try:
            for library in method.libraries:
                importlib.import_module(library)
            table = load(job.table, Path(job.seen) if job.seen else None)
        except Exception as error:  # whatever it is, the run has no result
            said = {"status": "failed", "why": f"{type(error).__name__}: {error}"[:300]}
        else:
            print(json.dumps({"ready": True}), file=out)
            for said in results(method, table, job):
                print(json.dumps(said), file=out)
            continue
        print(json.dumps(said), file=out)


def results(method: Method, table: ArenaTable, job: Job) -> Iterator[dict[str, Any]]:
    """Yield the result of a run as plain values; then, of some methods, what is set beside it."""
    started, cpu = time.perf_counter(), time.process_time()
    versions = _versions(method)
    try:
        found = predict(method, Task.of(table, job.fold, job.limit))
    except MemoryError as error:
        yield {"status": "memory", "why": repr(error)[:300], "versions": versions}
        return
    except Exception as error:  # a library's own: the run has no result
        kind = "memory" if "alloc" in str(error).lower() else "failed"
        why = f"{type(error).__name__}: {error}"[:300]
        yield {"status": kind, "why": why, "versions": versions}
        return
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    promising = found if isinstance(found, Promising) else None
    own = found.predictions if isinstance(found, Promising) else found
    kept = Kept.of(table, own, promising)
    if job.keep is not None:
        kept.write(Path(job.keep), job.table, job.method, job.fold)
    yield {
        "status": "done",
        "seconds": seconds,
        "cpu": cpu,
        "versions": versions,
        "errors": _errors(table, job.fold, own),
        "more": promising is not None,
    }
    if promising is None:
        return
    try:
        chosen = promising.predict_chosen()
    except Exception as error:  # the run has its result
        yield {"chosen": promising.chosen, "why": f"{type(error).__name__}: {error}"[:300]}
        return
    if job.keep is not None:
        replace(kept, chosen_predictions=chosen).write(
            Path(job.keep), job.table, job.method, job.fold
        )
    yield {"chosen": promising.chosen, "chosen_errors": _errors(table, job.fold, chosen)}


def _errors(table: ArenaTable, fold: int, predictions: Mapping[str, Any]) -> dict[str, Any]:
    train, test = table.folds(FOLDS)[fold]
    labels = {c.name: c.to_list() for c in table.targets}
    return errors(
        predictions,
        table.kinds,
        {name: [values[i] for i in train] for name, values in labels.items()},
        {name: [values[i] for i in test] for name, values in labels.items()},
    )


def _versions(method: Method) -> str:
    from importlib.metadata import PackageNotFoundError, version

    found = []
    for library in dict.fromkeys(name.split(".")[0] for name in method.libraries):
        package = {"sklearn": "scikit-learn", "autogluon": "autogluon.tabular"}.get(
            library, library
        )
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


# --- many runs ----------------------------------------------------------------------------------


def jobs(
    tables: Iterable[str],
    methods: Sequence[str],
    done: Mapping[tuple[str, str, int], Run],
    **settings: Any,
) -> list[Job]:
    """Return the runs that are missing, table after table, the methods of a fold side by side.

    Args:
        tables: Names.
        methods: Names.
        done: What has been run.
        **settings: Of `Job`; ``heavy_python``: the interpreter of slow methods, without which they
            are not run; ``folds``: which folds, default all.
    """
    heavy = settings.pop("heavy_python", None)
    folds = settings.pop("folds", range(FOLDS))
    seen = settings.get("seen")
    found = []
    for name in tables:
        table = load(name, Path(seen) if seen else None)
        for fold in folds:
            for method in methods:
                chosen = METHODS[method]
                if chosen.heavy and (heavy is None or name not in HEAVY):
                    continue
                if (name, method, fold) in done or chosen.why_not(table):
                    continue
                python = heavy if chosen.heavy else sys.executable
                found.append(Job(name, method, fold, python=python, **settings))
    return found


def run_all(
    wanted: Sequence[Job],
    store: Store,
    workers: int,
    say: Callable[[str], None],
    shared: bool = False,
) -> None:
    """Make runs, `workers` at a time, and keep each as it ends.

    Args:
        wanted: What to run.
        store: Where runs are kept.
        workers: How many at a time.
        say: Is given a line for each run.
        shared: As of `Worker`.
    """
    free: queue.SimpleQueue[dict[str, Worker]] = queue.SimpleQueue()
    all_workers: list[dict[str, Worker]] = [{} for _ in range(workers)]
    for one in all_workers:
        free.put(one)

    def run(job: Job) -> Run:
        own = free.get()  # a worker for each interpreter
        try:
            return own.setdefault(job.python, Worker(shared)).run(job)
        finally:
            free.put(own)

    with ThreadPoolExecutor(workers) as pool:
        running = [pool.submit(run, job) for job in wanted]
        try:
            for index, future in enumerate(as_completed(running), start=1):
                made = future.result()
                store.add(made)
                shown = (
                    f"{made.score:.3f}" if made.status == "done" else f"{made.status} {made.why}"
                )
                say(
                    f"{index}/{len(wanted)} {made.table} {made.method} {made.fold}: {shown} "
                    f"({made.seconds:.1f} s, {made.cpu:.1f} s of the processor)"
                )
        finally:
            pool.shutdown(cancel_futures=True)
            for own in all_workers:
                for worker in own.values():
                    worker.close()


# --- the report ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scores:
    """Scores of tables and methods.

    Args:
        tables, methods: Names.
        values: [tables, methods]: means over folds; infinite where a fold has no result, NaN where
            a method does not apply or folds are missing.
        facts: By table: its rows, features and family of targets.
    """

    tables: list[str]
    methods: list[str]
    values: np.ndarray
    facts: dict[str, tuple[int, int, str]]

    @classmethod
    def of(
        cls, runs: Mapping[tuple[str, str, int], Run], facts: dict[str, tuple[int, int, str]]
    ) -> Scores:
        """Return the scores of all runs of the tables of `facts`."""
        methods = [name for name in METHODS if any(key[1] == name for key in runs)]
        values = np.full((len(facts), len(methods)), np.nan)
        for row, table in enumerate(facts):
            for column, method in enumerate(methods):
                found = [runs.get((table, method, fold)) for fold in range(FOLDS)]
                if all(one is not None for one in found):
                    values[row, column] = np.mean([one.score for one in found if one is not None])
        return cls(list(facts), methods, values, facts)

    def of_tables(self, chosen: Sequence[str]) -> Scores:
        """Return those of some tables."""
        rows = [self.tables.index(name) for name in chosen]
        facts = {name: self.facts[name] for name in chosen}
        return Scores(list(chosen), self.methods, self.values[rows], facts)

    def of_methods(self, chosen: Sequence[str]) -> Scores:
        """Return those of some methods."""
        columns = [self.methods.index(name) for name in chosen]
        return Scores(self.tables, list(chosen), self.values[:, columns], self.facts)

    def complete(self) -> Scores:
        """Return those of tables that every method has a score on."""
        kept = ~np.isnan(self.values).any(axis=1)
        return self.of_tables([name for name, one in zip(self.tables, kept, strict=True) if one])

    def everywhere(self) -> list[str]:
        """Return the methods that apply to every table."""
        kinds = {fact[2] for fact in self.facts.values()}
        return [
            name
            for name in self.methods
            if not METHODS[name].at_once
            and not METHODS[name].heavy
            and (not METHODS[name].only or kinds <= {*METHODS[name].only})
        ]


def summary(scores: Scores, title: str) -> list[str]:
    """Return a table of mean ranks, with Elo and its interval, and how the scores lie."""
    whole = scores.complete()
    if len(whole.tables) < 2 or len(whole.methods) < 2:
        return [
            f"## {title}",
            "",
            f"Tables that all methods have been run on: {len(whole.tables)}.",
        ]
    by_table = ranks(whole.values)
    order = np.argsort(by_table.mean(0))
    ratings = elo(whole.values, whole.methods)
    lines = [
        f"## {title}",
        "",
        f"{len(whole.tables)} tables.",
        "",
        "| method | mean rank | Elo (95 %) | best | mean of log error | median score | no result |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for index in order:
        column = whole.values[:, index]
        ended = np.isfinite(column)
        one = ratings[index]
        best = int((by_table[:, index] == by_table.min(1)).sum())
        lines.append(
            f"| {whole.methods[index]} | {by_table[:, index].mean():.2f} | {one.rating:.0f} "
            f"({one.low:.0f} to {one.high:.0f}) | {best} | "
            f"{np.log(column[ended]).mean():+.3f} | {np.median(column[ended]):.3f} | "
            f"{int((~ended).sum())} |"
        )
    lines.append("")
    if len(whole.methods) > 2:
        lines.append(
            f"Friedman's test: p = {friedman(whole.values):.2g}; mean ranks differ by Nemenyi's "
            f"test (5 %) if further apart than "
            f"{critical_difference(len(whole.methods), len(whole.tables)):.2f}."
        )
    return lines


def groups_of_tables(facts: Mapping[str, tuple[int, int, str]]) -> dict[str, list[str]]:
    """Return names of tables by size, width and kind."""
    rules: dict[str, Callable[[int, int, str], bool]] = {
        "up to 300 rows": lambda rows, _, __: rows <= 300,
        "301 to 2,000 rows": lambda rows, _, __: 300 < rows <= 2000,
        "more than 2,000 rows": lambda rows, _, __: rows > 2000,
        "a feature for ten rows or more": lambda rows, width, _: width * 10 >= rows,
        "numbers": lambda _, __, kind: kind == "numbers",
        "classes": lambda _, __, kind: kind in ("binary", "classes"),
        "numbers and classes": lambda _, __, kind: kind == "mixed",
    }
    found = {
        title: [name for name, fact in facts.items() if rule(*fact)]
        for title, rule in rules.items()
    }
    found["that no default was chosen on"] = [name for name in facts if name not in SEEN]
    return found


def losses(scores: Scores, ours: str) -> list[str]:
    """Return how one method stands on each table: beside the best, and beside ridge and trees."""
    place = {name: scores.methods.index(name) for name in scores.methods}
    plain = [place[name] for name in ("ridge", "extra trees") if name in place]
    lines = [
        f"## {ours}, table by table",
        "",
        "| table | rows x features | targets | error | rank | best | its error | over ridge and "
        "extra trees |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    ratios = []
    for row, name in enumerate(scores.tables):
        values = scores.values[row]
        own = values[place[ours]]
        if not np.isfinite(own):
            continue
        rows, width, kind = scores.facts[name]
        best = int(np.nanargmin(values))
        rank = int((values < own).sum()) + 1
        ratio = own / np.nanmin(values[plain]) if plain else float("nan")
        ratios.append(ratio)
        lines.append(
            f"| {name} | {rows} x {width} | {kind} | {own:.3f} | {rank} of "
            f"{int((~np.isnan(values)).sum())} | {scores.methods[best]} | {values[best]:.3f} | "
            f"{ratio:.3f} |"
        )
    if ratios and plain:
        worse = sum(one > 1.05 for one in ratios)
        lines += [
            "",
            f"Against the better of ridge and extra trees of each table, in hindsight: mean ratio "
            f"{np.mean(ratios):.3f}, worse by over 5 % on {worse} of {len(ratios)} tables.",
        ]
    return lines


def verdicts(runs: Mapping[tuple[str, str, int], Run], scores: Scores, ours: str) -> list[str]:
    """Return paired verdicts of each method against ours, by `jointrain.studies.verdict`.

    Each table is a task, its folds are the pairs; intervals hold for all methods and tables.
    """
    from jointrain.studies import verdict

    lines = [
        f"## Verdicts against {ours}",
        "",
        "| method | mean change of the error | over tables | better | worse | equivalent | "
        "undecided |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for method in scores.methods:
        pair = scores.of_methods([ours, method]) if method != ours else None
        if pair is None:
            continue
        finite = np.isfinite(pair.values).all(1)
        tables = [name for name, one in zip(pair.tables, finite, strict=True) if one]
        if len(tables) < 2:
            continue
        frame = [
            {
                "recipe": name, "task": table, "metric": "error", "fold": str(fold),
                "value": runs[table, name, fold].score,
            }
            for name in (ours, method)
            for table in tables
            for fold in range(FOLDS)
        ]  # fmt: skip
        columns = {key: [row[key] for row in frame] for key in frame[0]}
        judged = verdict(
            columns, fold="fold", baseline=ours, lower="error", test_fraction=1 / FOLDS
        )
        found = list(judged.verdict(method).values())[: len(tables)]
        overall = judged.delta_m[method]
        counts = [found.count(one) for one in ("better", "worse", "equivalent", "undecided")]
        lines.append(
            f"| {method} | {-overall.change:+.1f} % ({-overall.high:+.1f} to {-overall.low:+.1f})"
            f" | {overall.verdict} | {' | '.join(map(str, counts))} |"
        )
    return lines


def times(runs: Mapping[tuple[str, str, int], Run], methods: Sequence[str]) -> list[str]:
    """Return how long runs took, and how many had no result."""
    lines = [
        "## Time",
        "",
        "| method | runs | median s | mean s | no end | no memory | failed |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in methods:
        own = [run for key, run in runs.items() if key[1] == name]
        spent = [run.cpu if run.clock == "cpu" else run.seconds for run in own]
        counts = [sum(r.status == one for r in own) for one in ("time", "memory", "failed")]
        lines.append(
            f"| {name} | {len(own)} | {np.median(spent):.2f} | {np.mean(spent):.2f} | "
            f"{' | '.join(map(str, counts))} |"
        )
    return lines


def report(runs: Mapping[tuple[str, str, int], Run], facts: dict[str, tuple[int, int, str]]) -> str:
    """Return what the runs show, as Markdown."""
    runs = {key: run for key, run in runs.items() if key[0] in facts}
    scores = Scores.of(runs, facts)
    everywhere = scores.of_methods(scores.everywhere())
    lines = summary(everywhere, "All tables, by methods that apply to all")
    parts = groups_of_tables(facts)
    whole = [
        name
        for name in parts["numbers"]
        if np.isfinite(scores.values[scores.tables.index(name)]).sum() > 0
    ]
    light = [name for name in scores.methods if not METHODS[name].heavy]
    for_numbers = scores.of_methods(light).of_tables(whole)
    lines += ["", *summary(for_numbers, "Numbers without gaps, by all methods")]
    for title, names_ in parts.items():
        if names_:
            lines += ["", *summary(everywhere.of_tables(names_), f"Tables: {title}")]
    heavy = [name for name in scores.methods if METHODS[name].heavy]
    if heavy:
        chosen = [name for name in HEAVY if name in facts]
        lines += ["", *summary(scores.of_methods([*everywhere.methods, *heavy]).of_tables(chosen),
                               "With the slow methods")]  # fmt: skip
    if OURS in scores.methods:
        lines += ["", *losses(scores, OURS), "", *verdicts(runs, scores, OURS)]
    return "\n".join([*lines, "", *times(runs, scores.methods)]) + "\n"


def facts_of(tables: Iterable[str], seen: Path | None) -> dict[str, tuple[int, int, str]]:
    """Return rows, features and family of targets of each table."""
    found = {}
    for name in tables:
        table = load(name, seen)
        found[name] = (len(table.targets), table.features.width, family(table))
    return found


# --- the command --------------------------------------------------------------------------------


def chosen_tables(arguments: argparse.Namespace) -> list[str]:
    """Return the names of the tables to run.

    Raises:
        InvalidInputError: Tables of confirmation are asked for without saying so.
    """
    known = names(arguments.seen)
    if arguments.subset == "hour":
        known = list(HOUR)
    if arguments.tables:
        known = list(arguments.tables)
    confirmation = [name for name in known if is_confirmation(name)]
    if arguments.confirmation:
        return confirmation
    if arguments.tables and confirmation:
        raise InvalidInputError(
            f"{', '.join(confirmation)}: tables of confirmation are scored once, at the end, and "
            "nothing is chosen by them; give --confirmation if this is the end"
        )
    return [name for name in known if name not in confirmation]


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--tables", nargs="*")
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=list(METHODS))
    parser.add_argument("--folds", nargs="*", type=int, choices=range(FOLDS), help="default all")
    parser.add_argument("--subset", choices=["hour"])
    parser.add_argument("--seen", type=Path, help="folder of the nine seen tables")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds of a fit")
    parser.add_argument("--memory", type=float, default=4.0, help="GiB of a fit")
    parser.add_argument("--heavy-python", help="interpreter of RealMLP, TabM and AutoGluon")
    parser.add_argument("--confirmation", action="store_true")
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--shared", action="store_true", help="runs share processes")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args(given)
    if arguments.work:
        work()
        return
    if arguments.folder is None:
        parser.error("give the folder of the runs")
    try:
        tables = chosen_tables(arguments)
        store = Store(arguments.folder)
        if arguments.report:
            done = store.runs()
            run_on = [name for name in tables if any(key[0] == name for key in done)]
            print(report(done, facts_of(run_on, arguments.seen)))
            return
        if arguments.confirmation:
            print("Tables of confirmation: these scores are made once, and choose nothing.")
        wanted = jobs(
            tables,
            arguments.methods,
            store.runs(),
            limit=arguments.limit,
            clock=arguments.clock,
            memory=arguments.memory,
            seen=None if arguments.seen is None else str(arguments.seen),
            heavy_python=arguments.heavy_python,
            folds=range(FOLDS) if arguments.folds is None else arguments.folds,
            keep=str(arguments.folder / "predictions"),
        )
    except InvalidInputError as error:
        parser.error(str(error))
    say = functools.partial(print, flush=True)
    run_all(wanted, store, arguments.workers, say, arguments.shared)


if __name__ == "__main__":
    main()
