"""Runs of all kinds, made anew as often as asked, and whether two of them ended alike."""

from __future__ import annotations

import random
import shutil
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from jointrain import (
    Alternating,
    Denoising,
    HardSharing,
    Merge,
    Mixture,
    Phase,
    Phases,
    Task,
    TensorData,
    Trainer,
)
from jointrain.balancing import balancer_from_name
from jointrain.data import DataSource
from jointrain.training import Checkpoints, OptimizerSettings

NUMBER, KIND = Task.regression("number"), Task.multiclass("kind", 3)
TASKS = [NUMBER, KIND]


class Noise(nn.Module):
    """Noise from numpy's and Python's numbers, beside torch's of dropout."""

    def forward(self, x):
        if not self.training:
            return x
        return x * (1 + 0.1 * random.random() + 0.1 * float(np.random.rand()))


def network(dtype=torch.float32):
    torch.manual_seed(5)
    trunk = nn.Sequential(
        nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.3), nn.Linear(8, 6), Noise()
    )
    return HardSharing(trunk, {"number": nn.Linear(6, 1), "kind": nn.Linear(6, 3)}).to(dtype)


def rows(n=22, seed=0, missing=False, targets=("number", "kind")):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 4, generator=generator)
    kind = torch.randint(0, 3, (n,), generator=generator)
    made = {"number": x.sum(1) + kind, "kind": kind}
    if missing:
        made["number"][::3] = torch.nan
        made["kind"][1::4] = -100
    return TensorData(x, {name: made[name] for name in targets})


class Rows(Dataset):
    """Rows with augmentation by random numbers, as dictionaries."""

    def __init__(self, n, seed, task):
        self.data, self.task = rows(n, seed), task

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        noise = float(np.random.rand()) + random.random()
        target = self.data.targets[self.task][index]
        return {"inputs": self.data.inputs[index] + 0.01 * noise, self.task: target}


class Stream(IterableDataset):
    def __init__(self, n, seed, task):
        self.rows = Rows(n, seed, task)

    def __iter__(self):
        return (self.rows[int(i)] for i in torch.randperm(len(self.rows)))


def _pairs(loader_task, workers=0, **how):
    """Return a mixture of rows in memory and of rows that are read."""
    read = DataSource(Rows(14, 3, "kind"), num_workers=workers)
    return Mixture({"number": rows(17, 2, targets=("number",)), "kind": read}, batch_size=5, **how)


def _streams():
    shuffled = DataLoader(
        Rows(9, 1, "number"), batch_size=3, shuffle=True,
        generator=torch.Generator().manual_seed(3),
    )  # fmt: skip
    return Mixture({"number": shuffled, "kind": Stream(11, 4, "kind")}, batch_size=4, epoch=4)


PLATEAU = partial(torch.optim.lr_scheduler.ReduceLROnPlateau, factor=0.5, patience=0)
ONE_CYCLE = partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=0.01, total_steps=60)
STEPS = partial(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.5)

PHASES = Phases(
    [
        Phase(name="before", epochs=2, pretraining=Denoising(), patience=2),
        Phase(name="heads", epochs=1, freeze="trunk"),
        Phase(name="thaw", epochs=3, unfreeze="from_top", schedule=Alternating("round_robin")),
        Phase(name="tune", steps=3, each_task=True),
    ]
)


def cases(workers=0):
    """Return what makes a trainer's arguments and its data, by name."""
    alternating = Alternating("random", block=2)
    unequal = {"number": 0.3, "kind": 0.7}
    one = {"data": rows}
    few = {"data": lambda: rows(missing=True)}

    def balanced(name, **options):
        return {"balancer": lambda: balancer_from_name(name, **options), **one}

    return {
        "joint": one,
        "labels are missing": few,
        "rate and clipping": {"warm_up": 0.3, "decay": "cosine", "gradient_clip": 0.5, **one},
        "early stopping": {"patience": 2, "epochs": 9, **one},
        "alternating": {"schedule": alternating, **few},
        "in turn, per task": {
            "schedule": Alternating("round_robin", block=3), "optimizer_layout": "per_task", **one
        },
        "by progress, per group": {
            "schedule": Alternating("progress"), "optimizer_layout": "per_group", **one
        },
        "annealed, sgd": {
            "schedule": Alternating("annealed"),
            "optimizer": OptimizerSettings(name="sgd", momentum=0.9, learning_rate=0.05), **one
        },
        "frozen when converged": {"when_converged": "freeze", "task_patience": 1, **one},
        "lowered when converged": {"when_converged": "lower", "task_patience": 1, **one},
        "uncertainty": balanced("uncertainty"),
        "famo": balanced("famo"),
        "dwa": balanced("dwa"),
        "rlw": balanced("rlw"),
        "pcgrad": balanced("pcgrad"),
        "nash-mtl, kept": {"refresh_every": 3, **balanced("nash-mtl")},
        "graddrop": balanced("graddrop"),
        "modo": balanced("modo"),
        "moco": balanced("moco"),
        "auto-lambda": balanced("auto-lambda"),
        "mixture": {"data": lambda: _pairs("kind", workers)},
        "mixture, drawn": {"data": lambda: _pairs("kind", workers, sampling=unequal)},
        "mixture, mixed": {"data": lambda: _pairs("kind", workers, mixed=True)},
        "mixture, alternating": {"data": lambda: _pairs("kind", workers), "schedule": alternating},
        "streams": {"data": _streams, "epochs": 3},
        "averaged, bf16": {"ema": 0.8, "precision": "bf16", "patience": 2, "epochs": 5, **one},
        "averaged, alternating, on a plateau": {
            "ema": 0.9, "schedule": alternating, "lr_scheduler": PLATEAU, **few
        },
        "mixture, one cycle": {
            "data": lambda: _pairs("kind", workers), "lr_scheduler": ONE_CYCLE,
            "lr_scheduler_every": "step", "ema": 0.5,
        },
        "per task, one cycle": {
            "schedule": Alternating("round_robin"), "optimizer_layout": "per_task",
            "lr_scheduler": ONE_CYCLE, "lr_scheduler_every": "step", **one
        },
        "layers have rates": {
            "parameter_groups": {"trunk": {"lr": 1e-4}, "trunk.0": {"lr": 1e-2}},
            "optimizer_layout": "per_group", "warm_up": 0.5, **one
        },
        "bf16, pcgrad": {"precision": "bf16", **balanced("pcgrad")},
        "phases, all options": {
            "schedule": PHASES, "ema": 0.7, "precision": "bf16", "lr_scheduler": STEPS, **one
        },
        "merged, all options": {
            "schedule": Merge("ties", head_epochs=1), "epochs": 2, "ema": 0.7,
            "precision": "bf16", "lr_scheduler": STEPS, **one
        },
        "phases": {"schedule": PHASES, **one},
        "merged": {"schedule": Merge("ties", head_epochs=1), "epochs": 2, **one},
    }  # fmt: skip


def trainer(case, callbacks=(), **more):
    settings = {"epochs": 3, "batch_size": 8, "device": "cpu", "seed": 7} | case | more
    settings.pop("data")
    if "balancer" in settings:
        settings["balancer"] = settings["balancer"]()
    return Trainer(network(), TASKS, callbacks=callbacks, **settings)


def fit(made, case, **more):
    """Fit on fresh data, numpy's and Python's numbers as at the start of a process."""
    np.random.seed(11)
    random.seed(12)
    return made.fit(case["data"](), rows(9, 8), **more)


def assert_same_end(one, two):
    assert one.history == two.history
    other = {"callbacks": 0, "run": 0}
    assert_same(one.state_dict() | other, two.state_dict() | other)


def assert_same(one, two, where=""):
    if isinstance(one, torch.Tensor):
        assert one.dtype == two.dtype, where
        assert torch.equal(one.isnan(), two.isnan()), where
        assert torch.equal(one.nan_to_num(7.0), two.nan_to_num(7.0)), where
    elif isinstance(one, dict):
        assert list(one) == list(two), where
        for key in one:
            assert_same(one[key], two[key], f"{where}.{key}")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(two), where
        for a, b in zip(one, two, strict=True):
            assert_same(a, b, where)
    else:
        assert one == two, where


def every_checkpoint(made, case, folder, every=1):
    """Fit with a checkpoint after every step, and return them all with the one of the end last."""
    made.checkpoints = Checkpoints(folder, every=every, keep=10**6)
    fit(made, case)
    return sorted(Path(folder).glob("step-*"))


def resumed_from(checkpoint, case, folder, **more):
    """Return a fresh trainer that has gone on from a checkpoint."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shutil.copy(checkpoint, folder)
    made = trainer(case, checkpoints=Checkpoints(folder, every=10**6), **more)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(made, case, resume=True)
    return made
