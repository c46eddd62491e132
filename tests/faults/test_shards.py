"""Trainings in shards whose processes are killed, or whose checkpoints are damaged, end alike."""

import os
import random
import shutil
import signal
import time

import pytest

from jointrain.training.checkpoints import CheckpointFolder, Checkpoints
from tests.faults.training_kills import (
    MOMENTS,
    SHARDS,
    end_of,
    finished,
    killed_run,
    seconds_of,
    started_ranks,
    told_in,
)
from tests.training.checkpoints.runs import assert_same

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """How long a run takes and how it ends, and its folder."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    length = seconds_of(SHARDS, folder)
    return length, end_of(folder), folder


def _steps(folder):
    return sorted(int(file.name.split("-")[1]) for file in folder.glob("step-*"))


@pytest.mark.parametrize(
    "moment, victims",
    [
        *((moment, victims) for moment in MOMENTS[:3] for victims in ([1], [0], [0, 1])),
        *((moment, victims) for moment in MOMENTS[3:] for victims in ([0], [0, 1])),
    ],
    ids=str,
)
def test_killed_in_the_midst_of_a_checkpoint(moment, victims, whole, tmp_path):
    folder = tmp_path / "run"
    processes = started_ranks(folder, dies=(moment, 5), victims=victims)
    processes[victims[0]].join(120)
    died = time.monotonic()
    if len(victims) == 2:  # as when the power is cut
        for process in processes:
            process.kill()
    for rank, process in enumerate(processes):
        process.join(60)
        assert process.exitcode == (-signal.SIGKILL if rank in victims else 1)
    assert time.monotonic() - died < 60
    # the one at work has its name or is not there
    assert _steps(folder) == ([2, 3, 4, 5] if moment == MOMENTS[4] else [2, 3, 4])
    finished(SHARDS, folder)
    assert told_in(folder) == []
    assert_same(end_of(folder), whole[1])
    assert not list(folder.glob(".writing-*"))


def test_killed_at_random_moments(whole, tmp_path):
    length, end, _ = whole
    draw = random.Random()
    killed_run(SHARDS, tmp_path / "run", [draw.uniform(0.5, 1.0) * length for _ in range(2)])
    assert_same(end_of(tmp_path / "run"), end)


def _damaged(whole, tmp_path):
    """Return a folder whose newest checkpoint has a cut shard, and the next one lacks a shard."""
    folder = tmp_path / "run"
    shutil.copytree(whole[2], folder)
    (folder / "end").unlink()
    newest, older, oldest = CheckpointFolder(Checkpoints(folder)).files()
    shard = max((newest / "shards").iterdir())
    os.truncate(shard, shard.stat().st_size // 2)
    max((older / "shards").iterdir()).unlink()
    return folder, newest, older, oldest


def test_it_goes_back_by_two_generations_and_says_so(whole, tmp_path):
    folder, newest, older, oldest = _damaged(whole, tmp_path)
    finished(SHARDS, folder)
    assert_same(end_of(folder), whole[1])
    told = [text for text in told_in(folder) if "checkpoint" in text]
    assert f"{newest} is not whole: the checksum of shard-00002" in told[0]
    assert f"{older} is not whole: it lacks shard-00002" in told[1]
    assert told[2] == f"the run goes on from the older checkpoint {oldest}"


def test_without_a_whole_one_all_processes_refuse(whole, tmp_path):
    folder, *_, oldest = _damaged(whole, tmp_path)
    (oldest / "state.safetensors").write_bytes(b"")
    for process in started_ranks(folder):
        process.join(60)
        assert process.exitcode == 1
    assert not (folder / "end").exists()


@pytest.mark.parametrize("of", [None, "stream"])
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_to_one_process_lets_all_save_first(number, strategy, of, tmp_path):
    end = tmp_path / "whole"
    for process in started_ranks(end, strategy=strategy, of=of):
        process.join()
    folder = tmp_path / "run"
    processes = started_ranks(folder, every="9h", strategy=strategy, of=of)
    began = time.monotonic()
    while not (folder / ".lock").exists():
        assert time.monotonic() - began < 60
        time.sleep(0.01)
    time.sleep(0.1)
    os.kill(processes[1].pid, number)
    for process in processes:
        process.join(60)
    # SIGTERM and Ctrl-C do what they did before; Slurm's signal ends nothing
    codes = {signal.SIGTERM: -signal.SIGTERM, signal.SIGINT: 1, signal.SIGUSR1: 0}
    assert [process.exitcode for process in processes] == [codes[number]] * 2
    assert len(list(folder.glob("step-*"))) == (2 if number == signal.SIGUSR1 else 1)
    for process in started_ranks(folder, strategy=strategy, of=of):
        process.join()
        assert process.exitcode == 0
    assert_same(end_of(folder), end_of(end))
