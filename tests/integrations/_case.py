"""The run that every integration must repeat to the bit."""

from functools import partial

import torch
from torch import nn
from torch.utils.data import TensorDataset

from jointrain import Alternating, HardSharing, Joint, Task, TensorData, Trainer
from jointrain.balancing.aggregation import UPGrad
from jointrain.balancing.weighting import FAMO, Uncertainty
from jointrain.integrations import BalancedLoss
from jointrain.training import Mixture, MixtureLoader

TASKS = [Task.regression("number"), Task.multiclass("kind", 3)]
NAMES = tuple(task.name for task in TASKS)
STEPS = 12
RATE = 0.01
OPTIMIZER = partial(torch.optim.Adam, lr=RATE)
CASES = [
    (schedule, balancer)
    for schedule in (Joint(), Alternating("random"))
    for balancer in (None, UPGrad, Uncertainty, FAMO)
]
IDS = [f"{type(s).__name__}-{b.__name__ if b else 'sum'}" for s, b in CASES]


def network():
    torch.manual_seed(1)
    trunk = nn.Sequential(nn.Linear(4, 8), nn.Tanh())
    return HardSharing(trunk, {"number": nn.Linear(8, 1), "kind": nn.Linear(8, 3)})


def mixture():
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(24, 4, generator=generator)
    kind = torch.randint(0, 3, (16,), generator=generator)
    return Mixture(
        {
            "number": TensorData(x, {"number": x.sum(1)}),
            "kind": TensorDataset(x[:16], kind),
        },
        batch_size=4,
    )


def loader(schedule):
    return MixtureLoader(mixture(), TASKS, schedule=schedule, seed=3)


def balanced_loss(balancer):
    return BalancedLoss(balancer and balancer(), tasks=NAMES, learning_rate=RATE)


def by_trainer(schedule, balancer):
    trainer = Trainer(
        network(), TASKS, schedule=schedule, balancer=balancer and balancer(), seed=3,
        optimizer=OPTIMIZER, steps=STEPS, device="cpu",
    )  # fmt: skip
    trainer.fit(mixture())
    return trainer.network


def assert_same_bits(first, second):
    for (name, ours), theirs in zip(
        first.state_dict().items(), second.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs), name
