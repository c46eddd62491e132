"""How much less time runs of table networks take as a population than one after the other.

Where a population does not gain (`why_not_stacked` says so), it is not timed. Processor time of
this process on one thread; the table shows medians of the ratios of rounds.

    python benchmarks/population_networks.py --networks mmoe,hard
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch

from jointrain import Joint, Task, TensorData, Trainer
from jointrain.networks import build_table_network
from jointrain.training import Run, fit_one_by_one
from jointrain.training.population import fit_population, why_not_stacked

ROWS, FEATURES, TASKS = 1024, 16, 4
SETTINGS = ((128, 32), (128, 256), (256, 64), (256, 256))
"""Width of the layers, and rows in a batch."""

NETWORKS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "hard": ("hard", {}),
    "embeddings": ("hard", {"embeddings": "periodic"}),
    "own-layers": ("hard", {"shared_depth": 1}),
    **{name: (name, {}) for name in ("mmoe", "cgc", "ple", "cross-stitch", "sluice", "soft")},
}


def make_runs(data: TensorData, network: str, width: int, batch: int, count: int) -> list[Run]:
    tasks = [Task.regression(name) for name in data.targets]
    name, options = NETWORKS[network]
    # large networks take long: fewer steps of them
    steps = max(8, 30 * 128 * 128 * 64 // (width * width * batch))
    runs = []
    for seed in range(count):
        torch.manual_seed(seed)
        built = build_table_network(name, FEATURES, tasks, width=width, **options)
        trainer = Trainer(
            built, tasks, schedule=Joint(), batch_size=batch, steps=steps, seed=seed, device="cpu"
        )
        runs.append(Run(trainer, data, None))
    return runs


def seconds(function: Callable[[], object]) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description="Time populations of table networks.")
    parser.add_argument("--networks", default=",".join(NETWORKS), help="names, with commas")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--members", type=int, default=16)
    parser.add_argument("--alone", type=int, default=2, help="runs that are timed alone")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    x = torch.randn(ROWS, FEATURES)
    y = torch.tanh(x @ torch.randn(FEATURES, TASKS))
    data = TensorData(x, {f"y{i}": y[:, i].contiguous() for i in range(TASKS)})
    print(f"torch {torch.__version__}, {options.members} runs, median of {options.rounds} rounds")
    print(f"{'network':>12s} {'width':>5s} {'batch':>5s} {'alone, ms/step':>14s} {'faster':>6s}")
    for network in options.networks.split(","):
        for width, batch in SETTINGS:
            (example,) = make_runs(data, network, width, batch, 1)
            start = f"{network:>12s} {width:5d} {batch:5d}"
            reason = why_not_stacked(example)
            if reason is not None:
                print(f"{start} {reason}", flush=True)
                continue
            alone, together = [], []
            # the first round pays for what torch makes once
            for _ in range(options.rounds + 1):
                single = make_runs(data, network, width, batch, options.alone)
                alone.append(seconds(partial(fit_one_by_one, single)) / options.alone)
                runs = make_runs(data, network, width, batch, options.members)
                together.append(seconds(partial(fit_population, runs)) / options.members)
            ratio = statistics.median(a / b for a, b in zip(alone[1:], together[1:], strict=True))
            step = 1000 * statistics.median(alone[1:]) / (example.trainer.settings.steps or 1)
            print(f"{start} {step:14.2f} {ratio:6.2f}", flush=True)


if __name__ == "__main__":
    main()
