"""Cross-fitted weights: each half of the validation rows chooses those for the other."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from jointrain import Callback, Task, TensorData, Trainer
from jointrain.networks import MLP, HardSharing
from jointrain.training import OptimizerSettings, Run
from jointrain.training._cross_fitted_weights import CrossFittedWeights

TASKS = [Task.regression("price"), Task.regression("demand")]


class Snapshots(Callback):
    """Keeps the network of each epoch."""

    def __init__(self):
        self.networks = []

    def on_fit_start(self, trainer):
        self.networks.append(copy.deepcopy(trainer.network))

    def on_epoch_end(self, trainer, record):
        self.networks.append(copy.deepcopy(trainer.network))


def make_data(rows, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 3, generator=generator, dtype=torch.float64)
    noise = torch.randn(rows, 2, generator=generator, dtype=torch.float64)
    targets = torch.stack([x[:, 0].sin(), x[:, 1] * x[:, 2]], 1) + noise
    targets[::4, 0] = torch.nan
    return TensorData(x, {task.name: targets[:, i] for i, task in enumerate(TASKS)})


@pytest.mark.parametrize("first", [1, 6, 13])
def test_networks_are_those_of_the_epochs_that_suit_each_half_best(first):
    torch.manual_seed(0)
    network = HardSharing(MLP(3, width=16), {task.name: nn.Linear(16, 1) for task in TASKS})
    snapshots = Snapshots()
    trainer = Trainer(
        network.double(),
        TASKS,
        epochs=30,
        batch_size=8,
        optimizer=OptimizerSettings(learning_rate=0.03),
        device="cpu",
        callbacks=[snapshots],
    )
    check = make_data(14, seed=2)
    run = Run(trainer, make_data(40, seed=1), check, CrossFittedWeights(check, first))
    (part,) = run.fit()
    assert trainer.callbacks == (snapshots,)
    # by hand: the mean over tasks of the squared error over that before training
    target = torch.stack(list(check.targets.values()), 1).numpy()
    best = []
    for rows in (slice(0, first), slice(first, 14)):
        errors = []
        for one in snapshots.networks:
            with torch.no_grad():
                outputs = torch.cat(list(one.eval()(check.inputs).values()), 1).numpy()
            errors.append([np.nanmean(column) for column in ((outputs - target) ** 2)[rows].T
                           if np.isfinite(column).any()])  # fmt: skip
        scores = (np.array(errors) / errors[0]).mean(1)
        best.append(1 + int(scores[1:].argmin()))
    assert part.by_half is not None
    for state, epoch in zip(part.by_half, best, strict=True):
        expected = snapshots.networks[epoch].state_dict()
        assert state.keys() == expected.keys()
        assert all(torch.equal(state[name], expected[name]) for name in expected)
    assert len({*best, part.epochs[1]}) > 1


def test_buffers_that_are_not_persistent_are_kept_with_the_weights():
    network = HardSharing(MLP(3, width=16), {task.name: nn.Linear(16, 1) for task in TASKS})
    network.register_buffer("steps", torch.zeros(()), persistent=False)

    class Count(Callback):
        def on_step_end(self, trainer, step, losses):
            trainer.network.steps += 1

    trainer = Trainer(
        network.double(), TASKS, epochs=6, batch_size=8, device="cpu", callbacks=[Count()],
        optimizer=OptimizerSettings(learning_rate=0.03),
    )  # fmt: skip
    check = make_data(14, seed=2)
    (part,) = Run(trainer, make_data(40, seed=1), check, CrossFittedWeights(check, 6)).fit()
    assert float(part.network.steps) == 5 * part.epochs[1]
    for half in range(2):
        part.choose_half(half)
        assert float(part.network.steps) == float(part.by_half[half]["steps"])
    other = copy.deepcopy(part.network)
    other.steps.zero_()
    part.give_weights(other)
    assert torch.equal(other.steps, part.network.steps)
