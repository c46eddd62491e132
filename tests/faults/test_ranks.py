"""A process of several that train together is killed: the others end, or the run goes on."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.training._rank_runs import trained

ROOT = Path(__file__).parents[2]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
PROGRAM = [sys.executable, "-W", "ignore", "-m", "tests.faults._rank_program"]


def _environment(**more: str) -> dict[str, str]:
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths} | more


@pytest.mark.integration
def test_torchrun_starts_a_run_again_that_goes_on(tmp_path):
    done = subprocess.run(
        [*TORCHRUN, "--max-restarts=3", *PROGRAM[3:], str(tmp_path), "1", "5"],
        env=_environment(), cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert (tmp_path / "killed").exists()
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"steps {trained('the sum')[1][-1].step}" in done.stdout


@pytest.mark.integration
def test_sigterm_to_torchrun_lets_all_save_and_the_run_goes_on(tmp_path):
    """Slurm signals what it has started, and torchrun's processes have sessions of their own."""
    environment = _environment()
    command = [*TORCHRUN, *PROGRAM[3:], str(tmp_path)]
    first = subprocess.Popen(command, env=environment, cwd=ROOT, stderr=subprocess.DEVNULL)
    began = time.monotonic()
    while len(list(tmp_path.glob("under-way-*"))) < 2:
        assert time.monotonic() - began < 200
        time.sleep(0.05)
    first.send_signal(signal.SIGTERM)
    assert first.wait(200) != 0
    assert len(list((tmp_path / "checkpoints").glob("step-*"))) == 1
    for _ in range(3):
        done = subprocess.run(
            command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300,
            check=False,
        )  # fmt: skip
        # gloo's threads abort a process now and then when its work is done (pytorch#190489)
        if "terminate called without an active exception" not in done.stderr:
            break
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"steps {trained('the sum')[1][-1].step}" in done.stdout


@pytest.mark.integration
def test_the_others_say_which_process_died(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(probe.getsockname()[1])}
    processes = [
        subprocess.Popen(
            [*PROGRAM, str(tmp_path), "1", "5"], cwd=ROOT, stderr=subprocess.PIPE, text=True,
            env=_environment(RANK=str(rank), WORLD_SIZE="2", **address),
        )
        for rank in range(2)
    ]  # fmt: skip
    processes[1].wait(300)
    start = time.monotonic()
    _, error = processes[0].communicate(timeout=100)
    assert time.monotonic() - start < 60
    assert processes[0].returncode == 1
    assert "rank 1 of 2 does not answer any more" in error
