"""Drawing batches from a `Mixture` against a hand-written loop over the same data.

Only the drawing is timed: no network, no optimiser. In memory, the hand-written loop goes through a
permutation of each tensor; with DataLoaders, it goes round the same loaders. Both sides run in turn
in this process for several rounds; the table shows medians.

    python benchmarks/mixture_step.py --threads 1
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from jointrain import Task, TensorData
from jointrain.training import Mixture, MixtureLoader

WARM_UP_ROUNDS = 1
FEATURES = 64


def tensors(rows: int) -> tuple[Tensor, Tensor]:
    return torch.randn(rows, FEATURES), torch.randn(rows)


def permuted(x: Tensor, y: Tensor, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
    while True:
        order = torch.randperm(len(x))
        for start in range(0, len(x), batch):
            rows = order[start : start + batch]
            yield x[rows], y[rows]


def cycled(loader: DataLoader) -> Iterator[tuple[Tensor, Tensor]]:
    while True:
        yield from loader


def by_hand(streams: list[Iterator[tuple[Tensor, Tensor]]], steps: int) -> None:
    for _ in range(steps):
        for stream in streams:
            next(stream)


def by_mixture(loader: MixtureLoader, steps: int) -> None:
    drawn = 0
    while drawn < steps:
        for _ in loader:
            drawn += 1
            if drawn == steps:
                return


def seconds(run: Callable[[], None]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description="Time drawing from a mixture and by hand.")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9, help="timed rounds (at least 7 for use)")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch", type=int, default=256)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    data = {"large": tensors(50_000), "small": tensors(5_000)}
    tasks = [Task.regression(name) for name in data]
    memory = {name: TensorData(x, {name: y}) for name, (x, y) in data.items()}
    loaders = {
        name: DataLoader(TensorDataset(*pair), options.batch, shuffle=True)
        for name, pair in data.items()
    }
    print(
        f"torch {torch.__version__}, {options.threads} thread(s), 2 sets of 50,000 and 5,000 rows, "
        f"batch {options.batch}, a batch of each at a step, {options.steps} steps, median of "
        f"{options.rounds} rounds"
    )
    print(f"{'data':12s} {'Mixture ms':>11s} {'by hand ms':>11s} {'overhead/step ms':>17s}")
    for kind, sets, streams in (
        ("in memory", memory, [permuted(x, y, options.batch) for x, y in data.values()]),
        ("DataLoader", loaders, [cycled(loader) for loader in loaders.values()]),
    ):
        loader = MixtureLoader(Mixture(sets, batch_size=options.batch), tasks)
        runs = (
            lambda loader=loader: by_mixture(loader, options.steps),
            lambda streams=streams: by_hand(streams, options.steps),
        )
        times: tuple[list[float], list[float]] = ([], [])
        for turn in range(options.rounds + WARM_UP_ROUNDS):
            # whoever goes first changes every round, so that neither always has the warm cache
            for side in (0, 1) if turn % 2 else (1, 0):
                elapsed = 1000 * seconds(runs[side]) / options.steps
                if turn >= WARM_UP_ROUNDS:
                    times[side].append(elapsed)
        ours, hand = (statistics.median(side) for side in times)
        overhead = statistics.median(a - b for a, b in zip(*times, strict=True))
        print(f"{kind:12s} {ours:11.3f} {hand:11.3f} {overhead:17.3f}")


if __name__ == "__main__":
    main()
