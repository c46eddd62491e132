"""The arena: runs end at their limit, are kept and not made again, and their report is right."""

import json
import os
import sys
import time
from dataclasses import asdict, replace

import numpy as np
import pytest

from jointrain import InvalidInputError

DONE = {"status": "done", "errors": {"a": 0.5, "b": 0.7}, "seconds": 0.1, "cpu": 0.1}


@pytest.fixture(scope="module")
def arena(benchmark_module):
    return benchmark_module("arena")


READY = """print('{"ready": true}', flush=True)"""


def program(text):
    """Return a command in place of the one that fits."""
    begin = "import json, os, subprocess, sys, time\n"
    return (sys.executable, "-c", begin + text)


def run(arena, job, text):
    worker = arena.Worker(command=program(text))
    try:
        return worker.run(job)
    finally:
        worker.close()


def job(arena, **given):
    return arena.Job("table", "ridge", 0, **given)


def test_a_run_gives_the_last_line_that_its_process_prints(arena):
    text = f"{READY}; print('{json.dumps(DONE)}')"
    found = run(arena, job(arena), text)
    assert (found.status, found.errors) == ("done", {"a": 0.5, "b": 0.7})
    assert found.score == pytest.approx(0.6)


def test_a_run_ends_at_its_limit_with_all_that_it_started(arena, tmp_path):
    text = (
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid))\n"
        f"{READY}; time.sleep(600)"
    )
    found = run(arena, job(arena, limit=0.5), text)
    assert found.status == "time"
    assert found.score == float("inf")
    assert found.seconds >= 0.5
    pid = int((tmp_path / "pid").read_text())
    for _ in range(100):  # until whoever inherits it has buried it
        if not alive(pid):
            break
        time.sleep(0.05)
    assert not alive(pid)


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="reads /proc")
def test_the_clock_of_the_processor_counts_work_and_not_waiting(arena):
    waits = f"{READY}; time.sleep(1); print('{json.dumps(DONE)}')"
    assert run(arena, job(arena, limit=0.5, clock="cpu"), waits).status == "done"
    works = READY + "\nwhile True: pass"
    found = run(arena, job(arena, limit=0.5, clock="cpu"), works)
    assert found.status == "time"
    assert found.cpu >= 0.5


def test_importing_is_not_counted(arena):
    text = f"time.sleep(1); {READY}; print('{json.dumps(DONE)}')"
    assert run(arena, job(arena, limit=0.5), text).status == "done"


def test_what_goes_wrong_is_said(arena):
    failed = run(arena, job(arena), READY + "; raise ValueError('odd')")
    assert failed.status == "failed"
    assert "odd" in failed.why
    killed = run(arena, job(arena), "os.kill(os.getpid(), 9)")
    assert killed.status == "memory"


def test_a_fit_that_needs_more_memory_than_it_may_ends(arena):
    text = (
        f"sys.path.insert(0, {os.path.dirname(arena.__file__)!r})\n"
        "import arena, arena_methods\n"
        "arena.METHODS['ridge'] = arena_methods.Method(lambda task: bytearray(2 << 30), ())\n"
        "class T: folds = lambda self, count: [(0, 0)]\n"
        "arena.load = lambda name, seen: T()\n"
        "arena.Task.of = lambda *given: None\n"
        "arena.work()"
    )
    assert run(arena, job(arena, memory=1.0), text).status == "memory"


def test_shared_processes_end_with_a_run_that_is_ended(arena):
    text = (
        "for line in sys.stdin:\n"
        "    job = json.loads(line)\n"
        f"    {READY}\n"
        "    time.sleep(600 if job['fold'] else 0)\n"
        f"    print(json.dumps(dict({DONE!r}, versions=str(os.getpid()))), flush=True)"
    )
    worker = arena.Worker(shared=True, command=program(text))
    first, second = worker.run(job(arena)), worker.run(job(arena))
    assert first.versions == second.versions
    ended = worker.run(replace(job(arena), fold=1, limit=0.3))
    assert ended.status == "time"
    third = worker.run(job(arena))
    assert third.status == "done"
    assert third.versions != first.versions
    worker.close()


def test_runs_have_processes_of_their_own(arena):
    text = f"{READY}; print(json.dumps(dict({DONE!r}, versions=str(os.getpid()))), flush=True)"
    worker = arena.Worker(command=program(text))
    assert worker.run(job(arena)).versions != worker.run(job(arena)).versions


# --- the store ---


def made(arena, table="t", method="ridge", fold=0, score=0.5, status="done"):
    return arena.Run(table, method, fold, status, {"a": score}, 1.0, 0.5)


def test_runs_are_kept_and_torn_lines_are_none(arena, tmp_path):
    store = arena.Store(tmp_path / "new")
    store.add(made(arena))
    with store.file.open("a") as file:
        file.write('{"table": "t", "meth')  # a stop in mid-write
    store.add(made(arena, fold=1))
    again = arena.Store(tmp_path / "new").runs()
    assert again == {("t", "ridge", f): made(arena, fold=f) for f in (0, 1)}


@pytest.fixture
def tables(arena, benchmark_module, monkeypatch):
    """Two tables in place of the arena's: one of numbers, one with labels missing and classes."""
    import polars as pl

    cls = benchmark_module("arena_tables").ArenaTable
    random = np.random.default_rng(0)
    x = pl.DataFrame(random.normal(size=(60, 2)), schema=["x0", "x1"])
    numbers = pl.DataFrame(random.normal(size=(60, 2)), schema=["a", "b"])
    mixed = numbers.with_columns(
        pl.Series("a", [None, *numbers["a"][1:]]), pl.Series("b", ["u", "v"] * 30)
    )
    known = {
        "whole": cls("whole", x, numbers, {"a": "regression", "b": "count"}),
        "mixed": cls("mixed", x, mixed, {"a": "regression", "b": "binary"}),
    }
    monkeypatch.setattr(arena, "load", lambda name, seen=None: known[name])
    return known


def test_only_what_is_missing_and_applies_is_run(arena, tables):
    methods = ["ridge", "PLS", "AutoGluon"]
    done = {("whole", "ridge", 1): made(arena)}
    found = [(j.table, j.method, j.fold) for j in arena.jobs(["whole", "mixed"], methods, done)]
    assert found == [
        ("whole", "ridge", 0), ("whole", "PLS", 0), ("whole", "PLS", 1),
        ("whole", "ridge", 2), ("whole", "PLS", 2),
        ("mixed", "ridge", 0), ("mixed", "ridge", 1), ("mixed", "ridge", 2),
    ]  # fmt: skip


def test_slow_methods_run_on_their_twelve_tables_by_their_own_interpreter(
    arena, tables, monkeypatch
):
    monkeypatch.setattr(arena, "HEAVY", ("mixed",))
    found = arena.jobs(["whole", "mixed"], ["AutoGluon"], {}, heavy_python="/other/python")
    assert {(one.table, one.python) for one in found} == {("mixed", "/other/python")}


def test_a_second_call_makes_what_a_first_one_left(arena, tables, tmp_path, monkeypatch):
    calls = []

    class Worker:
        def __init__(self, shared):
            assert not shared

        def run(self, job):
            calls.append((job.table, job.fold))
            return made(arena, job.table, job.method, job.fold)

        def close(self):
            calls.append("closed")

    monkeypatch.setattr(arena, "Worker", Worker)
    store = arena.Store(tmp_path)
    first = arena.jobs(["whole"], ["ridge"], store.runs())
    arena.run_all(first[:2], store, 1, lambda text: None)
    second = arena.jobs(["whole"], ["ridge"], store.runs())
    arena.run_all(second, store, 1, lambda text: None)
    assert calls == [("whole", 0), ("whole", 1), "closed", ("whole", 2), "closed"]
    assert arena.jobs(["whole"], ["ridge"], store.runs()) == []


def test_a_run_in_this_process_scores_what_it_predicts(arena, tables):
    from arena_methods import METHODS

    (found,) = arena.results(METHODS["ridge"], tables["whole"], job(arena))
    assert found["status"] == "done"
    assert {*found["errors"]} == {"a", "b"}
    assert all(0.8 < value < 1.3 for value in found["errors"].values())  # noise


def test_what_inner_folds_choose_is_scored_beside_a_run(arena, tables, tmp_path):
    from arena_kept import Kept
    from arena_methods import METHODS, Promising

    table = tables["whole"]
    test = table.folds()[0][1]
    right = {name: table.targets[name].to_numpy()[test] for name in ("a", "b")}
    ends = np.stack([right["a"] - 1, right["a"] + 1], axis=1)

    def promising(task):
        own = {name: values + 1.0 for name, values in right.items()}
        return Promising(own, {"a": ends}, {"a": 40}, "trees", lambda: right)

    method = replace(METHODS["jointrain compare"], promising=promising)
    given = job(arena, keep=str(tmp_path))
    first, second = arena.results(method, table, given)
    assert first["more"]
    assert min(first["errors"].values()) > 0
    assert second == {"chosen": "trees", "chosen_errors": {"a": 0.0, "b": 0.0}}
    kept = Kept.read(tmp_path, "table", "ridge", 0)
    assert (kept.chosen, kept.held_out) == ("trees", {"a": 40})
    np.testing.assert_array_equal(kept.intervals["a"], ends)
    np.testing.assert_array_equal(kept.chosen_predictions["b"], right["b"])

    def failing():
        raise ValueError("odd")

    method = replace(
        method, promising=lambda task: replace(promising(task), predict_chosen=failing)
    )
    first, second = arena.results(method, table, given)
    assert first["status"] == "done"
    assert second == {"chosen": "trees", "why": "ValueError: odd"}


def test_a_run_keeps_its_result_whatever_comes_after_it(arena, monkeypatch):
    monkeypatch.setattr(arena, "BESIDE", 0.5)
    done = f"{READY}; print(json.dumps(dict({DONE!r}, more=True)), flush=True)"
    beside = """print('{"chosen": "trees", "chosen_errors": {"a": 0.4, "b": 0.6}}')"""
    found = run(arena, job(arena), f"{done}; {beside}")
    assert (found.chosen, found.chosen_errors) == ("trees", {"a": 0.4, "b": 0.6})
    assert (found.status, found.errors) == ("done", {"a": 0.5, "b": 0.7})
    for after in ("time.sleep(600)", "os.kill(os.getpid(), 9)"):
        found = run(arena, job(arena), f"{done}; {after}")
        assert (found.status, found.errors) == ("done", {"a": 0.5, "b": 0.7})
        assert "nothing beside it" in found.why


def test_only_the_folds_that_are_asked_for_are_run(arena, tables, monkeypatch):
    monkeypatch.setattr(arena, "load", lambda name, seen: tables[name])
    found = arena.jobs(["whole"], ["ridge"], {}, folds=[0, 2])
    assert [one.fold for one in found] == [0, 2]


# --- which tables ---


def chosen(arena, *given):
    import argparse

    values = {"seen": None, "subset": None, "tables": None, "confirmation": False}
    return arena.chosen_tables(argparse.Namespace(**{**values, **dict(given)}))


def test_tables_of_confirmation_are_run_only_when_it_is_said(arena, benchmark_module):
    frozen = benchmark_module("arena_frozen")
    one = next(iter(frozen.CONFIRMATION))
    assert not {*chosen(arena)} & {*frozen.CONFIRMATION}
    with pytest.raises(InvalidInputError, match="scored once"):
        chosen(arena, ("tables", [one]))
    assert chosen(arena, ("tables", [one]), ("confirmation", True)) == [one]
    assert {*chosen(arena, ("confirmation", True))} == {*frozen.CONFIRMATION}
    assert chosen(arena, ("subset", "hour")) == list(frozen.HOUR)


# --- the report ---


def test_the_report_ranks_methods_and_counts_what_did_not_end(arena):
    facts = {f"t{i}": (100 * i + 100, 5, "numbers" if i % 2 else "binary") for i in range(6)}
    quality = {"jointrain": 0.5, "ridge": 0.6, "random forest": 0.7, "PLS": 0.4}
    runs = {}
    random = np.random.default_rng(0)
    for table, fact in facts.items():
        for method, level in quality.items():
            if method == "PLS" and fact[2] != "numbers":
                continue
            for fold in range(3):
                score = level + 0.01 * random.normal()
                runs[table, method, fold] = made(arena, table, method, fold, score)
    runs["t3", "ridge", 2] = made(arena, "t3", "ridge", 2, 0.6, status="time")
    text = arena.report(runs, facts)
    first = text.split("## ")[1]
    lines = [line.split(" | ") for line in first.splitlines() if line.startswith("| ")][2:]
    assert [line[0] for line in lines] == ["| jointrain", "| ridge", "| random forest"]
    assert lines[0][1:4:2] == ["1.00", "6"]
    assert lines[1][-1] == "1 |"
    numbers = text.split("## Numbers without gaps")[1].split("## ")[0]
    assert "| PLS | 1.00 |" in numbers
    assert "## Verdicts against jointrain" in text
    worse = next(line for line in text.split("## Verdicts")[1].splitlines() if "forest" in line)
    assert "| worse |" in worse
    assert "worse by over 5 % on 0 of 6 tables" in text
    assert "| ridge | 18 | 1.00 | 1.00 | 1 | 0 | 0 |" in text


def test_tables_are_put_together_by_size_width_kind_and_whether_they_were_seen(arena):
    facts = {"enb": (768, 8, "numbers"), "a": (300, 30, "binary"), "b": (2001, 5, "mixed")}
    found = {title: names for title, names in arena.groups_of_tables(facts).items() if names}
    assert found == {
        "up to 300 rows": ["a"],
        "301 to 2,000 rows": ["enb"],
        "more than 2,000 rows": ["b"],
        "a feature for ten rows or more": ["a"],
        "numbers": ["enb"],
        "classes": ["a"],
        "numbers and classes": ["b"],
        "that no default was chosen on": ["a", "b"],
    }


def test_scores_need_all_folds(arena):
    runs = {("t", "ridge", fold): made(arena, fold=fold, score=0.3 * fold) for fold in range(2)}
    facts = {"t": (100, 5, "numbers")}
    assert np.isnan(arena.Scores.of(runs, facts).values).all()
    runs["t", "ridge", 2] = made(arena, fold=2, score=0.6)
    assert arena.Scores.of(runs, facts).values[0, 0] == pytest.approx(0.3)


def test_runs_go_through_their_line(arena, tmp_path):
    one = made(arena)
    assert arena.Run(**json.loads(json.dumps(asdict(one)))) == one
