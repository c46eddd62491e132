"""Studies on a real cluster of Ray on this machine: the same results, a killed worker or not."""

import os
import signal
import sys
import time

import pytest

from jointrain.errors import InvalidInputError, MissingDependencyError
from jointrain.studies import run_jobs
from jointrain.system.executors import RayExecutor
from tests.studies._shared_work import FaultyJob, TracedJob, lines, traced_jobs
from tests.system.executors._clusters import (
    TorchrunJob,
    figures,
    has_ended,
    small_study,
    stop_in_the_midst,
)

ray = pytest.importorskip("ray", reason="no Ray on this machine")


@pytest.fixture(scope="module")
def executor():
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    with RayExecutor() as made:
        yield made
    ray.shutdown()


@pytest.mark.integration
class TestCluster:
    def test_a_killed_worker_loses_nothing(self, executor, tmp_path):
        results = run_jobs(traced_jobs(tmp_path, 4, 1.0), executor=executor)
        first = next(results)
        deadline = time.monotonic() + 60
        while not lines(tmp_path, "start").get("2") and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(lines(tmp_path, "start")["2"][0], signal.SIGKILL)
        assert sorted(dict([first, *results])) == ["0", "1", "2", "3"]
        assert len(lines(tmp_path, "start")["2"]) == 2
        assert executor.workers == 2

    def test_an_error_of_a_job_is_raised_as_it_is(self, executor):
        with pytest.raises(ZeroDivisionError, match="9"):
            dict(run_jobs([FaultyJob("9")], executor=executor))

    def test_what_is_stopped_runs_no_more(self, executor, tmp_path):
        jobs = [TracedJob("0", str(tmp_path)), *traced_jobs(tmp_path, 3, 300)[1:]]
        assert has_ended(stop_in_the_midst(run_jobs(jobs, executor=executor), tmp_path))

    def test_a_study_has_the_same_bits_with_a_store_too(self, executor, tmp_path):
        found = small_study().run(executor=executor, store=tmp_path / "runs")
        assert figures(found) == figures(small_study().run(workers=1))

    def test_a_job_may_be_a_torchrun_of_two_processes(self, executor, tmp_path):
        assert dict(run_jobs([TorchrunJob("0", str(tmp_path))], executor=executor)) == {"0": 3.0}


def test_an_address_without_a_cluster_is_one_line(monkeypatch):
    def refused(*_, **__):
        raise ConnectionError("Failed to connect to Ray cluster")

    monkeypatch.setattr(ray, "init", refused)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(InvalidInputError, match=r"no cluster of Ray answers at 10\.0\.0\.1:6379"):
        RayExecutor("10.0.0.1:6379")


def test_ray_that_is_not_installed_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'jointrain\[ray\]'"):
        RayExecutor()
