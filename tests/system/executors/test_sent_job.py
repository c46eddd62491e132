"""A sent job: run on one thread and the device of its number, refused by other releases."""

import sys
from dataclasses import dataclass, replace

import pytest
import torch
from threadpoolctl import threadpool_info

from jointrain.errors import InvalidInputError
from jointrain.system.executors import SentJob


@dataclass(frozen=True)
class Threads:
    """Tells how many threads there are, and which GPU."""

    device: str = "cpu"

    def run(self):
        counts = {one["num_threads"] for one in threadpool_info()}
        return torch.get_num_threads(), counts, CHOSEN[-1]


class Faulty:
    def run(self):
        raise ZeroDivisionError("9")


CHOSEN = [None]


@pytest.fixture
def gpus(monkeypatch):
    class Chosen:
        def __init__(self, number):
            CHOSEN.append(number)

        def __enter__(self):
            pass

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(torch.cuda, "device", Chosen)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


def test_a_job_has_one_thread_and_the_process_its_own_again():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert SentJob.of(Threads(), 0).run()[:2] == (1, {1})
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_jobs_take_the_gpus_of_a_machine_in_turn(gpus):
    found = [SentJob.of(Threads("cuda"), number).run()[2] for number in range(4)]
    assert found == [0, 1, 0, 1]
    assert SentJob.of(Threads("cpu"), 1).run()[2] == -1


def test_another_release_is_refused_in_one_line():
    job = SentJob.of(Threads(), 0)
    other = replace(job, versions={**job.versions, "torch": "1.0"})
    with pytest.raises(InvalidInputError, match=r"a worker .* has torch .*, and this program 1\.0"):
        other.run()


def test_a_module_that_a_worker_lacks_is_named(tmp_path, monkeypatch):
    (tmp_path / "mine_alone.py").write_text("class Job:\n    def run(self):\n        return 5\n")
    with monkeypatch.context() as context:
        context.syspath_prepend(tmp_path)
        from mine_alone import Job

        job = SentJob.of(Job(), 0)
    del sys.modules["mine_alone"]
    lost = replace(job, path=())
    with pytest.raises(InvalidInputError, match=r"can't import .*mine_alone.*install it there"):
        lost.run()
    # a worker that sees the same files finds it where the sender did
    try:
        assert job.run() == 5
    finally:
        sys.path.remove(str(tmp_path))


def test_what_a_job_raises_is_an_outcome():
    outcome = SentJob.of(Faulty(), 0).outcome()
    assert outcome.value is None
    assert isinstance(outcome.error, ZeroDivisionError)
