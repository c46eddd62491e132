"""Jobs of submitit, by its executor for one machine: there is no Slurm here."""

import sys

import pytest

from jointrain.errors import InvalidInputError, MissingDependencyError
from jointrain.studies import run_jobs
from jointrain.system.executors import SlurmExecutor
from tests.studies._shared_work import FaultyJob, TracedJob, lines, traced_jobs
from tests.system.executors._clusters import figures, has_ended, small_study, stop_in_the_midst

pytest.importorskip("submitit", reason="no submitit on this machine")


@pytest.fixture
def executor(tmp_path):
    (tmp_path / "jobs").mkdir()
    with SlurmExecutor(tmp_path / "jobs", cluster="local") as made:
        yield made
    assert list((tmp_path / "jobs").iterdir()) == []


@pytest.mark.integration
class TestLocalJobs:
    def test_a_process_that_dies_loses_its_job_only(self, executor, tmp_path):
        traces = tmp_path / "traces"
        traces.mkdir()
        jobs = [TracedJob("0", str(traces), deaths=1), *traced_jobs(traces, 2)[1:]]
        assert sorted(dict(run_jobs(jobs, executor=executor))) == ["0", "1"]
        assert len(lines(traces, "start")["0"]) == 2

    def test_an_error_of_a_job_is_raised_as_it_is(self, executor):
        with pytest.raises(ZeroDivisionError, match="9"):
            dict(run_jobs([FaultyJob("9")], executor=executor))

    def test_what_is_stopped_runs_no_more(self, executor, tmp_path):
        traces = tmp_path / "traces"
        traces.mkdir()
        jobs = [TracedJob("0", str(traces)), *traced_jobs(traces, 2, 300)[1:]]
        assert has_ended(stop_in_the_midst(run_jobs(jobs, executor=executor), traces))

    def test_a_study_has_the_same_bits(self, executor):
        assert figures(small_study().run(executor=executor)) == figures(
            small_study().run(workers=1)
        )


def test_without_slurm_it_is_said_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InvalidInputError, match=r"no jobs can be given to Slurm: .*srun"):
        SlurmExecutor(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_parameter_is_one_line(tmp_path):
    with pytest.raises(InvalidInputError, match="partitoin"):
        SlurmExecutor(tmp_path, cluster="local", partitoin="gpu")


@pytest.mark.parametrize("wrong", [{"timeout_min": "1h"}, {"timeout_min": 0}, {"cluster": "foo"}])
def test_values_that_can_not_be_used_leave_nothing(tmp_path, monkeypatch, wrong):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInputError) as fault:
        SlurmExecutor(**{"cluster": "local", **wrong})
    assert len(str(fault.value).splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(InvalidInputError, match=r"jobs can't be written to .*none: No such file"):
        SlurmExecutor(tmp_path / "none")


def test_submitit_that_is_not_installed_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'jointrain\[slurm\]'"):
        SlurmExecutor()
