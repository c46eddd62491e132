"""Trainings that are killed, told to end, or run out of disk lose no work and end alike."""

import os
import random
import signal
import time

import pytest

from jointrain.training import Checkpoints
from jointrain.training.checkpoints import CheckpointFolder
from tests.faults.training_kills import (
    end_of,
    finished,
    killed_run,
    seconds_of,
    started,
    told_in,
)
from tests.training.checkpoints.runs import assert_same

KIND = "phases"
STREAMS = pytest.param("streams", marks=pytest.mark.integration)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """How long a run takes and how it ends."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    length = seconds_of(KIND, folder)
    return length, end_of(folder)


@pytest.fixture(scope="module")
def ends(whole, tmp_path_factory):
    """How runs of all kinds end."""
    folder = tmp_path_factory.mktemp("streams") / "run"
    finished("streams", folder)
    return {KIND: whole[1], "streams": end_of(folder)}


def _under_way(kind, folder, **more):
    """Return a run that has made some steps, as its lock shows."""
    process = started(kind, folder, **more)
    began = time.monotonic()
    while not (folder / ".lock").exists():
        assert time.monotonic() - began < 60
        time.sleep(0.01)
    time.sleep(0.03)
    return process


def _goes_on(folder, end, kind=KIND):
    process = started(kind, folder)
    process.join()
    assert process.exitcode == 0
    assert_same(end_of(folder), end)


def test_a_run_killed_at_random_moments_ends_with_the_same_bits(whole, tmp_path):
    length, end = whole
    draw = random.Random()
    killed_run(KIND, tmp_path / "run", [draw.uniform(0.2, 1.0) * length for _ in range(2)])
    assert_same(end_of(tmp_path / "run"), end)


@pytest.mark.parametrize("kind", [KIND, STREAMS])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_told_to_end_saves_first(number, kind, ends, tmp_path):
    folder = tmp_path / "run"
    process = _under_way(kind, folder, every="9h")
    os.kill(process.pid, number)
    process.join()
    assert process.exitcode == (-number if number == signal.SIGTERM else 1)
    assert len(list(folder.glob("step-*"))) == 1
    assert not (folder / "end").exists()
    _goes_on(folder, ends[kind], kind)


@pytest.mark.parametrize("kind", [KIND, STREAMS])
def test_slurm_s_signal_saves_and_the_run_goes_on(kind, ends, tmp_path):
    folder = tmp_path / "run"
    process = _under_way(kind, folder, every="9h")
    os.kill(process.pid, signal.SIGUSR1)
    process.join()
    assert process.exitcode == 0
    # that of the signal and that of the end
    assert len(list(folder.glob("step-*"))) == 2
    assert_same(end_of(folder), ends[kind])


def test_a_full_disk_is_told_and_the_run_goes_on(whole, tmp_path):
    folder = tmp_path / "run"
    process = started(KIND, folder, full_after=5)
    process.join()
    assert process.exitcode == 0
    assert_same(end_of(folder), whole[1])
    assert any("was not written" in text for text in told_in(folder))
    # what was written before is whole
    (folder / "end").unlink()
    _goes_on(folder, whole[1])


def test_a_checkpoint_cut_at_every_thousandth_byte_is_passed_over(whole, tmp_path):
    folder = tmp_path / "run"
    process = started(KIND, folder)
    process.join()
    found = CheckpointFolder(Checkpoints(folder))
    newest, older = found.files()[:2]
    data = newest.read_bytes()
    for length in range(0, len(data), 1000):
        newest.write_bytes(data[:length])
        with pytest.warns(UserWarning, match="checkpoint") as told:
            state = found.newest()
        assert state["stretch"] is not None
        assert [str(newest) in str(told[0].message), str(older) in str(told[1].message)] == [
            True
        ] * 2
        newest.with_suffix(".damaged").unlink()
    found.close()
    (folder / "end").unlink()
    _goes_on(folder, whole[1])
