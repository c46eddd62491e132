"""One epoch of `Trainer` against the same network in a hand-written PyTorch loop.

Both run in turn in this process, on the same data, from the same weights, with the same optimiser,
for several rounds; the table shows medians. The trunk is 64 -> 256 -> 256 -> 256, the K heads are
scalar regressions of equal weight, there is no validation.

    python benchmarks/training_step.py --threads 1
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from jointrain import Alternating, HardSharing, Joint, Task, TensorData, Trainer
from jointrain.training import OptimizerSettings

WARM_UP_ROUNDS = 2


def build_network(tasks: int) -> HardSharing:
    trunk = nn.Sequential(
        nn.Linear(64, 256), nn.ReLU(),
        nn.Linear(256, 256), nn.ReLU(),
        nn.Linear(256, 256), nn.ReLU(),
    )  # fmt: skip
    return HardSharing(trunk, {f"task {i}": nn.Linear(256, 1) for i in range(tasks)})


def trainer_epoch(
    network: HardSharing, x: Tensor, y: Tensor, schedule: str, batch: int
) -> Callable[[], None]:
    names = network.task_names
    trainer = Trainer(
        network,
        [Task.regression(name) for name in names],
        schedule=Joint() if schedule == "joint" else Alternating("round_robin"),
        optimizer=OptimizerSettings(),
        batch_size=batch,
        epochs=1,
        device="cpu",
    )
    data = TensorData(x, {name: y[:, i].contiguous() for i, name in enumerate(names)})
    return lambda: trainer.fit(data) and None


def joint_by_hand(network: HardSharing, x: Tensor, y: Tensor, batch: int) -> Callable[[], None]:
    trunk, heads = network.trunk, network.heads
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.0, fused=True)

    def epoch() -> None:
        network.train()
        order = torch.randperm(len(x))
        for start in range(0, len(x), batch):
            rows = order[start : start + batch]
            features, target = trunk(x[rows]), y[rows]
            losses = [
                functional.mse_loss(head(features).squeeze(1), target[:, i])
                for i, head in enumerate(heads)
            ]
            optimizer.zero_grad()
            torch.stack(losses).sum().backward()
            optimizer.step()

    return epoch


def alternating_by_hand(
    network: HardSharing, x: Tensor, y: Tensor, batch: int
) -> Callable[[], None]:
    trunk, heads = network.trunk, network.heads
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.0, fused=True)
    targets = [y[:, i].contiguous() for i in range(len(heads))]

    def epoch() -> None:
        network.train()
        orders = [torch.randperm(len(x)) for _ in heads]
        for start in range(0, len(x), batch):
            for order, head, target in zip(orders, heads, targets, strict=True):
                rows = order[start : start + batch]
                loss = functional.mse_loss(head(trunk(x[rows])).squeeze(1), target[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    return epoch


def seconds(run: Callable[[], None]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description="Time an epoch of Trainer and of a plain loop.")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9, help="timed rounds (at least 7 for use)")
    parser.add_argument("--rows", type=int, default=25_600)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--tasks", type=int, default=4)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    x = torch.randn(options.rows, 64)
    y = x @ torch.randn(64, options.tasks) + 0.1 * torch.randn(options.rows, options.tasks)
    print(
        f"torch {torch.__version__}, {options.threads} thread(s), {options.rows} rows, "
        f"batch {options.batch}, K = {options.tasks}, median of {options.rounds} rounds"
    )
    print(
        f"{'schedule':12s} {'steps':>6s} {'Trainer ms':>11s} {'by hand ms':>11s} {'ratio':>6s} "
        f"{'overhead/step ms':>17s}"
    )
    per_pass = -(-options.rows // options.batch)
    for schedule, by_hand, steps in (
        ("joint", joint_by_hand, per_pass),
        ("alternating", alternating_by_hand, per_pass * options.tasks),
    ):
        network = build_network(options.tasks)
        ours = trainer_epoch(copy.deepcopy(network), x, y, schedule, options.batch)
        theirs = by_hand(copy.deepcopy(network), x, y, options.batch)
        times: tuple[list[float], list[float]] = ([], [])
        for turn in range(options.rounds + WARM_UP_ROUNDS):
            # whoever goes first changes every round, so that neither always has the warm cache
            for side in (0, 1) if turn % 2 else (1, 0):
                elapsed = seconds((ours, theirs)[side])
                if turn >= WARM_UP_ROUNDS:
                    times[side].append(1000 * elapsed)
        trainer, hand = (statistics.median(side) for side in times)
        # rounds are paired: medians over pairs are less noisy than comparing the two medians
        rounds = list(zip(*times, strict=True))
        ratio = statistics.median(a / b for a, b in rounds)
        overhead = statistics.median(a - b for a, b in rounds) / steps
        print(
            f"{schedule:12s} {steps:6d} {trainer:11.1f} {hand:11.1f} {ratio:6.3f} {overhead:17.4f}"
        )


if __name__ == "__main__":
    main()
