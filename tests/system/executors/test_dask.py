"""Studies on a real cluster of dask: the same results, also if a worker is killed, and an end."""

import os
import signal
import sys

import pytest

from jointrain.errors import InvalidInputError, MissingDependencyError, WorkerDiedError
from jointrain.studies import run_jobs
from jointrain.system.executors import DaskExecutor
from tests.studies._shared_work import FaultyJob, ParentJob, TracedJob, lines, traced_jobs
from tests.system.executors._clusters import (
    TorchrunJob,
    figures,
    has_ended,
    small_study,
    stop_in_the_midst,
)

distributed = pytest.importorskip("distributed", reason="no dask on this machine")


@pytest.fixture(scope="module")
def cluster():
    """Two processes of one thread each."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50
    ) as made:
        yield made


@pytest.fixture(scope="module")
def executor(cluster):
    with DaskExecutor(cluster.scheduler_address) as made:
        yield made


@pytest.mark.integration
class TestCluster:
    def test_a_process_that_dies_loses_its_job_only(self, executor, tmp_path):
        jobs = [TracedJob("0", str(tmp_path), deaths=1), *traced_jobs(tmp_path, 3)[1:]]
        results = dict(run_jobs(jobs, executor=executor))
        assert sorted(results) == ["0", "1", "2"]
        assert len(lines(tmp_path, "start")["0"]) == 2
        assert executor.workers == 2

    def test_a_killed_worker_loses_nothing(self, cluster, executor, tmp_path):
        jobs = traced_jobs(tmp_path, 4, 1.0)
        results = run_jobs(jobs, executor=executor)
        first = next(results)
        worker = next(iter(cluster.workers.values()))
        os.kill(worker.pid, signal.SIGKILL)
        assert sorted(dict([first, *results])) == ["0", "1", "2", "3"]

    def test_an_error_of_a_job_is_raised_as_it_is(self, executor):
        with pytest.raises(ZeroDivisionError, match="9"):
            dict(run_jobs([FaultyJob("9")], executor=executor))

    def test_what_is_stopped_runs_no_more(self, executor, tmp_path):
        jobs = [TracedJob("0", str(tmp_path)), *traced_jobs(tmp_path, 3, 300)[1:]]
        pid = stop_in_the_midst(run_jobs(jobs, executor=executor), tmp_path)
        assert has_ended(pid)

    def test_a_study_has_the_same_bits_with_a_store_too(self, executor, tmp_path):
        expected = small_study().run(workers=1)
        found = small_study().run(executor=executor, store=tmp_path / "runs")
        assert figures(found) == figures(expected)
        kept = small_study().run(workers=1, store=tmp_path / "runs")
        assert kept.table.equals(found.table)

    def test_a_job_may_be_a_torchrun_of_two_processes(self, executor, tmp_path):
        assert dict(run_jobs([TorchrunJob("0", str(tmp_path))], executor=executor)) == {"0": 3.0}

    def test_a_job_may_have_children(self, executor):
        ((_, value),) = run_jobs([ParentJob()], executor=executor)
        assert value == 5


@pytest.mark.integration
def test_a_scheduler_that_is_gone_is_one_line(tmp_path):
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address=None, silence_logs=50
    ) as cluster:
        executor = DaskExecutor(distributed.Client(cluster, set_as_default=False))
        results = run_jobs(traced_jobs(tmp_path, 3, 0.5), executor=executor)
        next(results)
        cluster.close()
        with pytest.raises(WorkerDiedError, match=r"takes no more jobs \(.*dask is gone\)"):
            dict(results)


def test_an_address_without_a_scheduler_is_one_line(monkeypatch):
    def refused(*_, **__):
        raise OSError("Timed out trying to connect to tcp://127.0.0.1:1")

    monkeypatch.setattr(distributed, "Client", refused)
    with pytest.raises(InvalidInputError, match=r"no scheduler .* answers at tcp://127.0.0.1:1"):
        DaskExecutor("tcp://127.0.0.1:1")


def test_dask_that_is_not_installed_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'jointrain\[dask\]'"):
        DaskExecutor("tcp://127.0.0.1:1")
