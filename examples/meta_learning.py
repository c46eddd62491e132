"""Meta-learning: 100 sine waves are trained so that a new one is learned from ten points at once.

Trained jointly, a network that all waves share learns their mean, no start for any of them. Reptile
seeks weights close to all; a joint trunk with a head for each wave needs a new head only. Run it:

    python examples/meta_learning.py --picture meta_learning.png
"""

import argparse
import copy
import math

import matplotlib.pyplot as plt
import torch
from torch import Tensor, nn

from jointrain import (
    Alternating,
    Callback,
    HardSharing,
    OptimizerSettings,
    Task,
    TensorData,
    Trainer,
)

X, BLOCK = torch.linspace(-5, 5, 50)[:, None], 10
SGD = OptimizerSettings(name="sgd", learning_rate=0.02)
TASKS = [Task.regression(f"wave {number}") for number in range(100)]
WAYS = ("from scratch", "joint, all shared", "joint trunk, new head", "Reptile")


class Reptile(Callback):
    """After every block on a task, goes back half of the way to where the block began."""

    def on_fit_start(self, trainer: Trainer) -> None:
        """Keep the weights that the first block starts from."""
        self.start = [weight.detach().clone() for weight in trainer.network.parameters()]

    def on_step_end(self, trainer: Trainer, step: int, *_: object) -> None:
        """Move the start towards the weights that a block has led to."""
        if step % BLOCK == 0:
            for old, weight in zip(self.start, trainer.network.parameters(), strict=True):
                weight.data = old.lerp_(weight.data, 0.5).clone()


def make_wave(generator: torch.Generator) -> Tensor:
    """Return a wave of amplitude 0.1 to 5 at all of X."""
    amplitude, phase = torch.rand(2, generator=generator)
    return (0.1 + 4.9 * amplitude) * (X[:, 0] + 2 * math.pi * phase).sin()


def train(way: str, seed: int, steps: int) -> nn.Module:
    """Return a network of one wave to adapt from, after `steps` steps on the training waves."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    waves = TensorData(X, {task.name: make_wave(generator) for task in TASKS})
    trunk = nn.Sequential(nn.Linear(1, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh())
    whole = nn.Sequential(trunk, nn.Linear(64, 1))
    network = HardSharing(whole, {task.name: nn.Identity() for task in TASKS})
    settings = {"steps": steps // 10}  # each step trains all waves
    if way == "Reptile":
        settings = {"callbacks": [Reptile()], "optimizer": SGD, "steps": steps, "batch_size": 10}
        settings["schedule"] = Alternating("random", block=BLOCK)
    if "head" in way:
        network = HardSharing(trunk, {task.name: nn.Linear(64, 1) for task in TASKS})
    if way != "from scratch":
        Trainer(network, TASKS, seed=seed, **settings).fit(waves)
    trunk.requires_grad_("head" not in way)
    return whole


def adapt(start: nn.Module, wave: Tensor, rows: Tensor) -> Tensor:
    """Return what a network says of all of X after 0 to 32 steps on a few rows, [33, 50]."""
    network, said = copy.deepcopy(start), []
    optimizer = SGD([weight for weight in network.parameters() if weight.requires_grad])
    for _ in range(33):
        values = network(X)[:, 0]
        said.append(values.detach())
        optimizer.zero_grad()
        (values - wave)[rows].square().mean().backward()
        optimizer.step()
    return torch.stack(said)


def run(way: str, seed: int, steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the mean error on 20 new waves after 0 to 32 steps; the last wave, what is said."""
    start, generator, errors = train(way, seed, steps), torch.Generator().manual_seed(1000), []
    for _ in range(20):
        wave, rows = make_wave(generator), torch.randperm(50, generator=generator)[:10]
        errors.append(((said := adapt(start, wave, rows)) - wave).square().mean(1))
    return torch.stack(errors).mean(0), wave, said


def main(arguments: list[str] | None = None) -> dict[str, Tensor]:
    """Train in every way, print, draw and return the errors over the steps of adaptation."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=10000, help="of training")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--picture", help="file to draw into")
    options = parser.parse_args(arguments)
    errors, (figure, (left, right)) = {}, plt.subplots(1, 2, figsize=(11, 4), layout="tight")
    for way in WAYS:
        runs = [run(way, seed, options.steps) for seed in range(options.seeds)]
        errors[way] = torch.stack([found for found, *_ in runs]).mean(0)
        print(f"{way:22s}" + "".join(f"{errors[way][i]:8.2f}" for i in (0, 1, 2, 4, 8, 16, 32)))
        left.plot(errors[way], label=way)
        right.plot(X, runs[0][2][4], label=way)
    right.plot(X, runs[0][1], ":k")
    left.set(yscale="log", xlabel="steps on ten points of a new wave", ylabel="squared error")
    right.set(title="a new wave (dotted) after four steps", xlabel="x")
    left.legend(frameon=False)
    if options.picture:
        figure.savefig(options.picture, dpi=110)
    return errors


if __name__ == "__main__":
    main()
