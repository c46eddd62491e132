"""One `Trainer.fit` against the same training in a hand-written PyTorch loop, for every schedule.

Both run in turn in this process, on the same data, from the same weights, with the same optimiser
and the same turns of tasks, for several rounds; the table shows medians. The trunk is 64 -> 256 ->
256 -> 256, the K heads are scalar regressions of equal weight, there is no validation. The loops by
hand know their whole order of tasks before they start, but for order `progress`, where they draw
evenly.

    python benchmarks/training_step.py --threads 1

With checkpoints every minute; each fit also writes one at its end, so that ten epochs, which take
a few seconds, bear more than their share (three minutes in all):

    python benchmarks/training_step.py --checkpoints 1min --epochs 10 --only joint phases
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from jointrain import Alternating, HardSharing, Joint, Task, TensorData, Trainer
from jointrain.training import Checkpoints, MaskedFeatures, OptimizerSettings, Phase, Phases

WARM_UP_ROUNDS = 2


def build_network(tasks: int) -> HardSharing:
    trunk = nn.Sequential(
        nn.Linear(64, 256), nn.ReLU(),
        nn.Linear(256, 256), nn.ReLU(),
        nn.Linear(256, 256), nn.ReLU(),
    )  # fmt: skip
    heads = {f"task {i}": nn.Linear(256, 1) for i in range(tasks)}
    return HardSharing(trunk, heads, group_from=None)


def schedules(
    per_pass: int, tasks: int, epochs: int
) -> dict[str, tuple[Joint | Alternating | Phases, int]]:
    """Return every schedule with its number of steps, of so many epochs."""
    per_pass *= epochs
    orders = ("round_robin", "random", "proportional", "temperature", "annealed", "progress")
    alternating = {order: (Alternating(order), per_pass * tasks) for order in orders}
    turns = {f"task {i}": 1 / tasks for i in range(tasks)}
    return {
        "joint": (Joint(), per_pass),
        **alternating,
        "probabilities": (Alternating("random", turns), per_pass * tasks),
        "block of 10": (Alternating("round_robin", block=10), per_pass * tasks),
        "function": (Alternating(lambda step: f"task {step % tasks}"), per_pass * tasks),
        "phases": (
            Phases(
                [
                    Phase(name="pretrain", epochs=epochs, pretraining=MaskedFeatures()),
                    Phase(name="joint", epochs=epochs),
                    Phase(name="heads", epochs=epochs, freeze="shared"),
                ]
            ),
            3 * per_pass,
        ),
    }


def by_trainer(
    network: HardSharing,
    x: Tensor,
    y: Tensor,
    schedule: Joint | Alternating | Phases,
    batch: int,
    epochs: int,
    every: str | None,
) -> Callable[[], None]:
    names = network.task_names
    trainer = Trainer(
        network,
        [Task.regression(name) for name in names],
        schedule=schedule,
        optimizer=OptimizerSettings(),
        batch_size=batch,
        epochs=epochs,
        device="cpu",
    )
    data = TensorData(x, {name: y[:, i].contiguous() for i, name in enumerate(names)})
    if every is None:
        return lambda: trainer.fit(data) and None

    def fit() -> None:
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
            trainer.checkpoints = Checkpoints(folder, every=every)
            trainer.fit(data)

    return fit


def adamw(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.0, fused=True)


def joint_epoch(
    network: HardSharing, x: Tensor, y: Tensor, batch: int, optimizer: torch.optim.Optimizer
) -> None:
    trunk, heads = network.trunk, network.heads.layers
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


def joint_epochs(
    network: HardSharing,
    x: Tensor,
    y: Tensor,
    batch: int,
    optimizer: torch.optim.Optimizer,
    epochs: int,
) -> None:
    for _ in range(epochs):
        joint_epoch(network, x, y, batch, optimizer)


def joint_by_hand(
    network: HardSharing, x: Tensor, y: Tensor, batch: int, epochs: int
) -> Callable[[], None]:
    optimizer = adamw(network.parameters())
    return lambda: joint_epochs(network, x, y, batch, optimizer, epochs)


def alternating_by_hand(
    network: HardSharing, x: Tensor, y: Tensor, batch: int, epochs: int, *, order: str
) -> Callable[[], None]:
    trunk, heads = network.trunk, network.heads.layers
    optimizer = adamw(network.parameters())
    targets = [y[:, i].contiguous() for i in range(len(heads))]
    steps = epochs * len(heads) * -(-len(x) // batch)

    def batches() -> Iterable[Tensor]:
        while True:
            yield from torch.randperm(len(x)).split(batch)

    def epoch() -> None:
        network.train()
        if order in ("round_robin", "function"):
            turns = [step % len(heads) for step in range(steps)]
        elif order == "block of 10":
            turns = [step // 10 % len(heads) for step in range(steps)]
        else:
            turns = torch.randint(len(heads), (steps,)).tolist()
        rows_of = [iter(batches()) for _ in heads]
        for task in turns:
            rows = next(rows_of[task])
            loss = functional.mse_loss(heads[task](trunk(x[rows])).squeeze(1), targets[task][rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return epoch


def phases_by_hand(
    network: HardSharing, x: Tensor, y: Tensor, batch: int, epochs: int
) -> Callable[[], None]:
    trunk, heads = network.trunk, network.heads.layers

    def pretrain() -> None:
        decoder = nn.Sequential(nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, x.shape[1]))
        optimizer = adamw([*trunk.parameters(), *decoder.parameters()])
        mean, deviation = x.mean(0), x.std(0)
        for rows in (r for _ in range(epochs) for r in torch.randperm(len(x)).split(batch)):
            part = x[rows]
            hidden = torch.rand(part.shape) < 0.3
            errors = (decoder(trunk(torch.where(hidden, mean, part))) - part) / deviation
            loss = torch.where(hidden, errors.square(), 0.0).sum() / hidden.sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def run() -> None:
        pretrain()
        joint_epochs(network, x, y, batch, adamw(network.parameters()), epochs)
        trunk.requires_grad_(False)
        joint_epochs(network, x, y, batch, adamw(heads.parameters()), epochs)
        trunk.requires_grad_(True)

    return run


def seconds(run: Callable[[], None], clock: Callable[[], float]) -> float:
    start = clock()
    run()
    return clock() - start


def main() -> None:
    parser = argparse.ArgumentParser(description="Time Trainer against a plain loop.")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9, help="timed rounds (at least 7 for use)")
    parser.add_argument("--rows", type=int, default=25_600)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--tasks", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=1, help="epochs of a timed fit")
    parser.add_argument(
        "--checkpoints", metavar="EVERY", help="let Trainer write some, such as every 1min"
    )
    parser.add_argument(
        "--cpu-time", action="store_true",
        help="count the time on the processor, for a machine that others use, too",
    )  # fmt: skip
    parser.add_argument("--only", nargs="*", help="names of schedules; default all")
    options = parser.parse_args()
    clock = time.process_time if options.cpu_time else time.perf_counter
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    x = torch.randn(options.rows, 64)
    y = x @ torch.randn(64, options.tasks) + 0.1 * torch.randn(options.rows, options.tasks)
    print(
        f"torch {torch.__version__}, {options.threads} thread(s), {options.rows} rows, "
        f"batch {options.batch}, K = {options.tasks}, median of {options.rounds} rounds"
        + (f", checkpoints every {options.checkpoints}" if options.checkpoints else "")
    )
    print(
        f"{'schedule':14s} {'steps':>6s} {'Trainer ms':>11s} {'by hand ms':>11s} {'ratio':>6s} "
        f"{'overhead/step ms':>17s}"
    )
    per_pass = -(-options.rows // options.batch)
    found = schedules(per_pass, options.tasks, options.epochs)
    for name, (schedule, steps) in found.items():
        if options.only and name not in options.only:
            continue
        network = build_network(options.tasks)
        plain = copy.deepcopy(network), x, y, options.batch, options.epochs
        ours = by_trainer(
            copy.deepcopy(network), x, y, schedule, options.batch, options.epochs,
            options.checkpoints,
        )  # fmt: skip
        if isinstance(schedule, Joint):
            theirs = joint_by_hand(*plain)
        elif isinstance(schedule, Phases):
            theirs = phases_by_hand(*plain)
        else:
            theirs = alternating_by_hand(*plain, order=name)
        times: tuple[list[float], list[float]] = ([], [])
        for turn in range(options.rounds + WARM_UP_ROUNDS):
            # whoever goes first changes every round, so that neither always has the warm cache
            for side in (0, 1) if turn % 2 else (1, 0):
                elapsed = seconds((ours, theirs)[side], clock)
                if turn >= WARM_UP_ROUNDS:
                    times[side].append(1000 * elapsed)
        trainer, hand = (statistics.median(side) for side in times)
        # rounds are paired: medians over pairs are less noisy than comparing the two medians
        rounds = list(zip(*times, strict=True))
        ratio = statistics.median(a / b for a, b in rounds)
        overhead = statistics.median(a - b for a, b in rounds) / steps
        print(f"{name:14s} {steps:6d} {trainer:11.1f} {hand:11.1f} {ratio:6.3f} {overhead:17.4f}")


if __name__ == "__main__":
    main()
