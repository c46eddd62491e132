"""Runs per second of the population against the same runs one after the other.

The network is an MLP 16 -> h -> h -> 4 without normalisation and dropout, the four outputs are
regression tasks of equal weight, the optimiser is Adam, there is no validation. The population is
compared with a loop written by hand in plain PyTorch, and with `Trainer`. All are timed in turn in
this process, on one thread; the table shows medians of the ratios of rounds.

    python benchmarks/population.py
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from jointrain import HardSharing, Joint, Task, TensorData, Trainer
from jointrain.training import OptimizerSettings, Run
from jointrain.training.population import fit_population

ROWS, FEATURES, TASKS = 1024, 16, 4
SETTINGS = ((64, 32), (64, 128), (128, 32), (128, 64), (256, 256), (512, 512))
"""Width of the layers, and rows in a batch."""


def layers(width: int) -> list[nn.Module]:
    return [nn.Linear(FEATURES, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()]


class Setting(NamedTuple):
    """Width of the layers, rows in a batch, steps of a run."""

    width: int
    batch: int
    steps: int


def by_hand(x: Tensor, y: Tensor, setting: Setting, members: int) -> None:
    for seed in range(members):
        torch.manual_seed(seed)
        network = nn.Sequential(*layers(setting.width), nn.Linear(setting.width, TASKS))
        optimizer = torch.optim.Adam(network.parameters(), 1e-3)
        for _ in range(setting.steps):
            rows = torch.randint(0, len(x), (setting.batch,))
            optimizer.zero_grad()
            functional.mse_loss(network(x[rows]), y[rows]).backward()
            optimizer.step()


def by_trainer(data: TensorData, setting: Setting, members: int) -> None:
    for run in make_runs(data, setting, members):
        run.fit()


def together(data: TensorData, setting: Setting, members: int, size: int | None) -> None:
    fit_population(make_runs(data, setting, members), size=size)


def make_runs(data: TensorData, setting: Setting, members: int) -> list[Run]:
    tasks = [Task.regression(name) for name in data.targets]
    runs = []
    for seed in range(members):
        torch.manual_seed(seed)
        heads = {task.name: nn.Linear(setting.width, 1) for task in tasks}
        trainer = Trainer(
            HardSharing(nn.Sequential(*layers(setting.width)), heads),
            tasks,
            schedule=Joint(),
            optimizer=OptimizerSettings(name="adam", learning_rate=1e-3),
            batch_size=setting.batch,
            steps=setting.steps,
            seed=seed,
            device="cpu",
        )
        runs.append(Run(trainer, data, None))
    return runs


def seconds(function: Callable[[], object], clock: Callable[[], float]) -> float:
    start = clock()
    function()
    return clock() - start


def main() -> None:
    parser = argparse.ArgumentParser(description="Time a population against single runs.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1000, help="steps of a run")
    parser.add_argument("--members", type=int, default=32)
    parser.add_argument("--size", type=int, help="members at a time (default: as the engine picks)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--processor-time", action="store_true", help="time that others take does not count"
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    clock = time.process_time if options.processor_time else time.perf_counter
    torch.manual_seed(0)
    x = torch.randn(ROWS, FEATURES)
    y = torch.tanh(x @ torch.randn(FEATURES, TASKS))
    data = TensorData(x, {f"y{i}": y[:, i].contiguous() for i in range(TASKS)})
    print(
        f"torch {torch.__version__}, {options.threads} thread(s), {options.members} runs of "
        f"{options.steps} steps, median of {options.rounds} rounds"
    )
    print(
        f"{'width':>5s} {'batch':>5s} {'runs/s':>8s} {'by hand':>8s} {'Trainer':>8s} "
        f"{'x by hand':>9s} {'x Trainer':>9s}"
    )
    for width, batch in SETTINGS:
        # large networks take long: fewer steps of them
        steps = max(10, min(options.steps, options.steps * 64 * 64 // (width * width)))
        setting = Setting(width, batch, steps)
        members, single = options.members, max(1, options.members // 16)
        ways: tuple[Callable[[], object], ...] = (
            partial(together, data, setting, members, options.size),
            partial(by_hand, x, y, setting, single),
            partial(by_trainer, data, setting, single),
        )
        times: list[list[float]] = []
        for turn in range(options.rounds + 1):
            # whoever goes first changes every round, so that no one always has the warm cache
            order = (0, 1, 2) if turn % 2 else (2, 1, 0)
            measured = {number: seconds(ways[number], clock) for number in order}
            if turn:
                times.append([measured[0] / members, measured[1] / single, measured[2] / single])
        rates = [1 / statistics.median(column) for column in zip(*times, strict=True)]
        over_hand = statistics.median(row[1] / row[0] for row in times)
        over_trainer = statistics.median(row[2] / row[0] for row in times)
        print(
            f"{width:5d} {batch:5d} {rates[0]:8.2f} {rates[1]:8.2f} {rates[2]:8.2f} "
            f"{over_hand:9.2f} {over_trainer:9.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
