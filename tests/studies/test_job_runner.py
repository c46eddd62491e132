"""Jobs in processes: every one run once, also if processes die or several programs share them."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch

from jointrain.errors import InvalidInputError, WorkerDiedError
from jointrain.studies._job_runner import run_jobs
from jointrain.studies._run_store import RunStore
from tests.studies._shared_work import (
    DESCRIPTION,
    FaultyJob,
    LockedJob,
    ParentJob,
    TorchJob,
    TracedJob,
    lines,
    traced_jobs,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture
def traces(tmp_path):
    folder = tmp_path / "traces"
    folder.mkdir()
    return folder


def start_program(place, traces, count, seconds):
    arguments = [str(place), str(traces), str(count), str(seconds)]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.studies._shared_work", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_every_job_is_run_once_whatever_the_number_of_workers(workers, traces):
    jobs = traced_jobs(traces, 5)
    results = dict(run_jobs([*jobs, jobs[0]], workers=workers))
    assert {key: value["key"] for key, value in results.items()} == {k: k for k in "01234"}
    assert all(len(ended) == 1 for ended in lines(traces, "end").values())
    assert (os.getpid() in {value["pid"] for value in results.values()}) == (workers == 1)


@pytest.mark.parametrize("workers", [-1, 0, 1.5, "2", True])
def test_what_is_no_number_of_workers_is_refused(workers, traces):
    with pytest.raises(InvalidInputError, match="`workers` must be"):
        dict(run_jobs(traced_jobs(traces, 2), workers=workers))


@pytest.mark.parametrize("workers", [1, 2])
def test_what_the_program_has_set_for_torch_does_not_reach_a_job(workers):
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    try:
        with torch.inference_mode():
            found = dict(run_jobs([TorchJob("a"), TorchJob("b")], workers=workers))
        assert (torch.get_default_dtype(), torch.zeros(1).device.type) == (torch.float64, "meta")
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
    assert found == {key: ["torch.float32", "cpu", True] for key in "ab"}


def test_a_job_that_can_not_be_sent_is_one_line(traces):
    jobs = [LockedJob("a"), LockedJob("b")]
    assert dict(run_jobs(jobs, workers=1)) == {"a": 1, "b": 1}
    with pytest.raises(InvalidInputError, match=r"can't be sent .*pickle .*lock.*--workers 1"):
        dict(run_jobs(jobs, workers=2))
    with (
        ThreadPoolExecutor(1) as executor,
        pytest.raises(InvalidInputError, match=r"can't be sent .*pickle .*lock"),
    ):
        dict(run_jobs(jobs, executor=executor))
    assert len(dict(run_jobs(traced_jobs(traces, 2), workers=2))) == 2


def test_no_jobs_have_no_results():
    assert list(run_jobs([], workers=2)) == []


def test_processes_are_used_again(traces, tmp_path):
    first = {v["pid"] for _, v in run_jobs(traced_jobs(traces, 2, 0.2), workers=2)}
    (tmp_path / "more").mkdir()
    second = {v["pid"] for _, v in run_jobs(traced_jobs(tmp_path / "more", 2, 0.2), workers=2)}
    assert first == second


def test_death_of_a_process_loses_its_run_only(traces):
    jobs = traced_jobs(traces, 4, 0.3)
    jobs[1] = TracedJob("1", str(traces), 0.3, deaths=2)
    results = dict(run_jobs(jobs, workers=2))
    assert sorted(results) == ["0", "1", "2", "3"]
    assert {key: len(started) for key, started in lines(traces, "start").items()} == {
        "0": 1, "1": 3, "2": 1, "3": 1,
    }  # fmt: skip


def test_job_whose_processes_always_die_is_named(traces):
    jobs = [TracedJob("0", str(traces), 0.2), TracedJob("1", str(traces), deaths=9)]
    with pytest.raises(WorkerDiedError, match=r"3 processes died .* the part 1 .*SIGKILL.*memory"):
        dict(run_jobs(jobs, workers=2))
    assert len(lines(traces, "start")["1"]) == 3


@pytest.mark.parametrize("workers", [1, 2])
def test_error_of_a_job_is_raised_as_it_is_and_the_job_is_free_again(workers, traces, tmp_path):
    store = RunStore.open(tmp_path / "store", DESCRIPTION)
    with pytest.raises(ZeroDivisionError, match="9"):
        dict(run_jobs([FaultyJob("9"), *traced_jobs(traces, 1)], workers=workers, store=store))
    results = dict(run_jobs([TracedJob("9", str(traces))], workers=1, store=store))
    assert results["9"]["key"] == "9"


def test_what_the_store_has_comes_first_and_is_not_run_again(traces, tmp_path):
    store = RunStore.open(tmp_path / "store", DESCRIPTION)
    jobs = traced_jobs(traces, 4)
    before = dict(run_jobs(jobs[2:], workers=1, store=store))
    after = list(run_jobs(jobs, workers=1, store=RunStore.open(tmp_path / "store", DESCRIPTION)))
    assert [key for key, _ in after] == ["2", "3", "0", "1"]
    for key, value in before.items():
        assert dict(after)[key]["weights"].tobytes() == value["weights"].tobytes()
    assert all(len(started) == 1 for started in lines(traces, "start").values())


def test_closed_generator_gives_its_claims_back(traces, tmp_path):
    store = RunStore.open(tmp_path / "store", DESCRIPTION)
    results = run_jobs(traced_jobs(traces, 4, 0.1), workers=2, store=store)
    next(results)
    results.close()
    assert store.claim(["3"]) == "3"


@pytest.mark.parametrize("kind", ["folder", pytest.param("sqlite", marks=pytest.mark.integration)])
def test_two_programs_share_the_work_and_have_the_same_results(kind, traces, tmp_path):
    place = tmp_path / "store" if kind == "folder" else f"sqlite:///{tmp_path / 'runs.db'}"
    programs = [start_program(place, traces, 8, 0.1) for _ in range(2)]
    outputs = [json.loads(program.communicate(timeout=60)[0]) for program in programs]
    assert outputs[0] == outputs[1]
    assert len(outputs[0]) == 8
    assert all(len(started) == 1 for started in lines(traces, "start").values())


def test_killed_and_started_again_goes_on_where_it_was(traces, tmp_path):
    program = start_program(tmp_path / "store", traces, 6, 0.3)
    while not (traces / "2").exists():
        time.sleep(0.01)
    program.send_signal(signal.SIGKILL)
    program.communicate()
    journal = tmp_path / "store" / "runs.jsonl"
    with journal.open("ab") as file:  # as if it had been killed while it wrote
        file.write(b'{"op_code":5,"worker_id":"')
    store = RunStore.open(tmp_path / "store", DESCRIPTION, timeout=2.0)
    results = dict(run_jobs(traced_jobs(traces, 6), workers=1, store=store))
    assert len(results) == 6
    started = {key: len(processes) for key, processes in lines(traces, "start").items()}
    assert started == {"0": 1, "1": 1, "2": 2, "3": 1, "4": 1, "5": 1}
    assert [results[key]["pid"] == program.pid for key in "0123"] == [True, True, False, False]
    for line in journal.read_text().splitlines():
        json.loads(line)


class Falling(Executor):
    """An executor whose first workers die, and that is gone after a while."""

    def __init__(self, deaths, takes=99):
        self.deaths, self.takes = deaths, takes

    def submit(self, function, *args):
        self.takes -= 1
        if self.takes < 0:
            raise RuntimeError("cannot schedule new futures after shutdown")
        future = Future()
        if self.deaths:
            self.deaths -= 1
            future.set_exception(BrokenExecutor("a worker died"))
        else:
            future.set_result(function(*args))
        return future


@pytest.mark.parametrize("workers", [None, 1])
def test_an_executor_runs_every_job_once_with_the_same_results(workers, traces, tmp_path):
    jobs = traced_jobs(traces, 5)
    with ThreadPoolExecutor(2) as executor:
        results = dict(run_jobs([*jobs, jobs[0]], workers=workers, executor=executor))
    assert all(len(started) == 1 for started in lines(traces, "start").values())
    (tmp_path / "more").mkdir()
    expected = dict(run_jobs(traced_jobs(tmp_path / "more", 5), workers=1))
    assert {key: value["weights"].tobytes() for key, value in results.items()} == {
        key: value["weights"].tobytes() for key, value in expected.items()
    }


def test_a_pool_that_forks_is_refused(traces):
    with (
        ProcessPoolExecutor(1, mp_context=get_context("fork")) as executor,
        pytest.raises(InvalidInputError, match=r"get_context\('spawn'\)"),
    ):
        dict(run_jobs(traced_jobs(traces, 1), executor=executor))


def test_what_the_store_has_no_executor_runs(traces, tmp_path):
    store = RunStore.open(tmp_path / "store", DESCRIPTION)
    jobs = traced_jobs(traces, 4)
    dict(run_jobs(jobs[2:], workers=1, store=store))
    with ThreadPoolExecutor(1) as executor:
        after = list(run_jobs(jobs, store=store, executor=executor))
    assert [key for key, _ in after] == ["2", "3", "0", "1"]
    assert all(len(started) == 1 for started in lines(traces, "start").values())


def test_a_job_whose_worker_dies_is_given_to_the_executor_again(traces):
    results = dict(run_jobs(traced_jobs(traces, 3), executor=Falling(deaths=2)))
    assert sorted(results) == ["0", "1", "2"]
    with pytest.raises(WorkerDiedError, match=r"3 processes died .* the part 0 of the study"):
        dict(run_jobs(traced_jobs(traces, 3), executor=Falling(deaths=9)))


def test_an_executor_that_is_gone_is_one_line(traces):
    with pytest.raises(WorkerDiedError, match=r"takes no more jobs \(cannot schedule .*store"):
        dict(run_jobs(traced_jobs(traces, 3), executor=Falling(deaths=0, takes=2)))


def test_a_spent_budget_cancels_what_waits_in_an_executor(traces):
    with ThreadPoolExecutor(1) as executor:
        until = time.monotonic() + 0.3
        results = dict(run_jobs(traced_jobs(traces, 9, 0.2), executor=executor, until=until))
    assert len(results) < 3
    assert len(lines(traces, "start")) < 9


def test_an_error_of_a_job_comes_from_an_executor_as_it_is():
    with ThreadPoolExecutor(1) as executor, pytest.raises(ZeroDivisionError, match="9"):
        dict(run_jobs([FaultyJob("9")], executor=executor))


def test_a_job_may_start_processes_of_its_own():
    ((_, value),) = run_jobs([ParentJob()], workers=1, until=time.monotonic() + 60)
    assert value == 5
