"""`Trainer` on a GPU: schedules, balancers, populations, and the bundle on the CPU."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from jointrain import HardSharing, Joint, Task, TensorData, Trainer
from jointrain.balancing import BALANCERS
from jointrain.bundle import load_bundle, save_bundle
from jointrain.training import OptimizerSettings, Run
from jointrain.training.population import fit_population
from jointrain.training.sampling import Alternating
from tests.cuda import _gpu as gpu
from tests.cuda._gpu import DEVICE, exact_products  # noqa: F401

pytestmark = gpu.needs_gpu

TASKS = [Task.regression("price"), Task.binary("sold"), Task.multiclass("kind", 3)]


def make(tasks: list[Task]) -> HardSharing:
    heads = {task.name: nn.Linear(16, task.output_size) for task in tasks}
    return HardSharing(nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 16)), heads)


def data(rows: int = 120) -> TensorData:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, 6, generator=generator)
    price = x[:, 0] - 2 * x[:, 1]
    price[::7] = float("nan")  # labels that are missing
    targets = {
        "price": price,
        "sold": (x[:, 2] > 0).float(),
        "kind": (x[:, 3] > -0.4).long() + (x[:, 3] > 0.4).long(),
    }
    return TensorData(x, targets)


def fitted(device: str, **options) -> Trainer:
    torch.manual_seed(0)
    trainer = Trainer(
        make(TASKS), TASKS, device=device, batch_size=30, epochs=4, seed=1,
        optimizer=OptimizerSettings(name="adam", learning_rate=1e-3), **options,
    )  # fmt: skip
    trainer.fit(data(), data(40))
    return trainer


CASES = {
    "joint": dict,
    "alternating": lambda: {"schedule": Alternating()},
    "uncertainty": lambda: {"balancer": BALANCERS["uncertainty"]()},
    "famo": lambda: {"balancer": BALANCERS["famo"]()},
    "upgrad": lambda: {"balancer": BALANCERS["upgrad"]()},
    "nash-mtl": lambda: {"balancer": BALANCERS["nash-mtl"]()},
    "graddrop": lambda: {"balancer": BALANCERS["graddrop"]()},
}


@pytest.mark.parametrize("case", CASES)
def test_training_is_that_of_the_cpu_and_its_bundle_predicts_there(case, tmp_path):
    trainer, reference = (fitted(device, **CASES[case]()) for device in (DEVICE, "cpu"))
    assert {p.device.type for p in trainer.network.parameters()} == {DEVICE}
    for ours, theirs in zip(trainer.history, reference.history, strict=True):
        assert ours.score == pytest.approx(theirs.score, rel=1e-3, abs=1e-3)
    path = save_bundle(trainer, tmp_path / "model", factory=make)
    model = load_bundle(path, factories={"make": make})
    assert model.device.type == "cpu"
    x = data(40).inputs
    before, after, other = trainer.predict(x), model.predict(x), reference.predict(x)
    for task in before:
        torch.testing.assert_close(before[task], after[task], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(before[task], other[task], rtol=2e-2, atol=2e-2)


def test_a_run_can_be_repeated():
    one, other = (fitted(DEVICE, balancer=BALANCERS["graddrop"](seed=3)) for _ in range(2))
    x = data(40).inputs
    for task, values in one.predict(x).items():
        torch.testing.assert_close(values, other.predict(x)[task], rtol=1e-5, atol=1e-5)


def test_a_population():
    tasks = TASKS[:1]
    table = data(128)
    whole = TensorData(table.inputs, {"price": table.inputs[:, 0] - table.inputs[:, 1]})

    def runs(device: str) -> list[Run]:
        made = []
        for seed in range(3):
            torch.manual_seed(seed)
            trainer = Trainer(
                make(tasks), tasks, schedule=Joint(), device=device, batch_size=32, epochs=3,
                seed=seed, optimizer=OptimizerSettings(name="adam", learning_rate=1e-3),
            )  # fmt: skip
            made.append(Run(trainer, whole, whole))
        return made

    together, alone = runs(DEVICE), runs("cpu")
    fit_population(together)
    for run in alone:
        run.fit()
    for ours, theirs in zip(together, alone, strict=True):
        found = ours.trainer.predict(whole.inputs)["price"]
        torch.testing.assert_close(
            found, theirs.trainer.predict(whole.inputs)["price"], rtol=2e-3, atol=2e-3
        )
