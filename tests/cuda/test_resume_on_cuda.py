"""Checkpoints on a GPU: a resumed run has the bits of one that was not stopped."""

from __future__ import annotations

import os
import shutil

import pytest
import torch
from torch import nn

from jointrain import Alternating, Denoising, HardSharing, Phase, Phases, Task, TensorData, Trainer
from jointrain.balancing import balancer_from_name
from jointrain.training import Checkpoints
from tests.cuda import _gpu as gpu
from tests.cuda._gpu import DEVICE

pytestmark = gpu.needs_gpu

TASKS = [Task.regression("number"), Task.multiclass("kind", 3)]
CASES = {
    "joint": {},
    "alternating": {"schedule": Alternating("random", block=2)},
    "per task": {"schedule": Alternating("round_robin"), "optimizer_layout": "per_task"},
    "uncertainty": {"balancer": "uncertainty"},
    "pcgrad": {"balancer": "pcgrad"},
    "nash-mtl": {"balancer": "nash-mtl", "refresh_every": 2},
    "bf16, averaged": {"precision": "bf16", "ema": 0.9},
    "bf16, pcgrad": {"precision": "bf16", "balancer": "pcgrad"},
    "phases": {
        "schedule": Phases(
            [
                Phase(name="before", epochs=1, pretraining=Denoising()),
                Phase(name="all", epochs=2),
                Phase(name="tune", steps=3, each_task=True),
            ]
        )
    },
}


@pytest.fixture(autouse=True)
def _deterministic(monkeypatch):
    monkeypatch.setenv(
        "CUBLAS_WORKSPACE_CONFIG", os.environ.get("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    )
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(before)


def _rows(n, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 4, generator=generator)
    kind = torch.randint(0, 3, (n,), generator=generator)
    number = (x.sum(1) + kind).where(torch.arange(n) % 5 > 0, torch.nan)
    return TensorData(x, {"number": number, "kind": kind})


def _trainer(case, **more):
    torch.manual_seed(5)
    trunk = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Dropout(0.3))
    network = HardSharing(trunk, {"number": nn.Linear(16, 1), "kind": nn.Linear(16, 3)})
    options = {"epochs": 3, "batch_size": 8} | case
    if "balancer" in options:
        options["balancer"] = balancer_from_name(options["balancer"])
    return Trainer(network, TASKS, device=DEVICE, **options, **more)


@pytest.mark.parametrize("name", CASES)
def test_a_run_resumed_after_any_step_is_the_run(name, tmp_path):
    case = CASES[name]
    whole = _trainer(case, checkpoints=Checkpoints(tmp_path / "all", every=2, keep=999))
    whole.fit(_rows(30, 0), _rows(12, 1))
    files = sorted((tmp_path / "all").glob("step-*"))
    assert len(files) > 4
    for file in files:
        shutil.rmtree(tmp_path / "one", ignore_errors=True)
        (tmp_path / "one").mkdir()
        shutil.copy(file, tmp_path / "one")
        made = _trainer(case, checkpoints=Checkpoints(tmp_path / "one"))
        made.fit(_rows(30, 0), _rows(12, 1), resume=True)
        assert made.history == whole.history
        for task in ("number", "kind"):
            states = made.network_for(task).state_dict(), whole.network_for(task).state_dict()
            assert all(torch.equal(states[0][key], value) for key, value in states[1].items())


def test_a_run_of_a_gpu_goes_on_and_is_read_on_a_cpu(tmp_path):
    on_gpu = _trainer({}, checkpoints=Checkpoints(tmp_path, every=4, keep=99))
    on_gpu.fit(_rows(30, 0), _rows(12, 1))
    torch.manual_seed(5)
    trunk = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Dropout(0.3))
    network = HardSharing(trunk, {"number": nn.Linear(16, 1), "kind": nn.Linear(16, 3)})
    settings = {"device": "cpu", "epochs": 3, "batch_size": 8}
    made = Trainer(network, TASKS, checkpoints=Checkpoints(tmp_path), **settings)
    made.fit(_rows(30, 0), _rows(12, 1), resume=True)
    assert made.history == on_gpu.history
    inputs = _rows(12, 1).inputs
    for name, value in made.predict(inputs).items():
        torch.testing.assert_close(value, on_gpu.predict(inputs.to(DEVICE))[name].cpu())
    # in the midst of a run, too: the last bits are another device's
    sorted(tmp_path.glob("step-*"))[-1].unlink()
    torch.manual_seed(5)
    goes_on = Trainer(made.network, TASKS, checkpoints=Checkpoints(tmp_path), **settings)
    goes_on.fit(_rows(30, 0), _rows(12, 1), resume=True)
    assert len(goes_on.history) == len(on_gpu.history)
