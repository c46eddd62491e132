"""Every network on the digits that scikit-learn bundles: parameters, time of a step, metrics.

Three tasks on 1797 images of 8 x 8: which digit (ten classes), whether it is odd (binary), and how
far the image is from its mirror image (a real number: the standardised log of one plus the mean
squared difference of the pixels of the left half to the mirrored right half; what of it is no sum
over pixels must be learned). A quarter of the images is held out, drawn anew for each seed.
Networks take turns for the step times, which are ratios to hard sharing's.

    python benchmarks/networks_on_digits.py --threads 1
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from jointrain import Task, TensorData, Trainer
from jointrain.networks import (
    MTAN,
    NETWORKS,
    CrossStitch,
    HardSharing,
    LayerSharing,
    Network,
    build_table_network,
)
from jointrain.training import OptimizerSettings

TASKS = (Task.multiclass("digit", 10), Task.binary("odd"), Task.regression("mirror"))
HEADINGS = ("digit accuracy", "odd ROC-AUC", "mirror R2")
METRICS = (("digit", "accuracy"), ("odd", "ROC-AUC"), ("mirror", "R2"))


def heads(width: int) -> dict[str, nn.Module]:
    return {task.name: nn.Linear(width, task.output_size) for task in TASKS}


def convolutions() -> list[nn.Module]:
    return [
        nn.Sequential(nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 16, 3, padding=1), nn.ReLU()),
        nn.Sequential(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Sequential(nn.Flatten(), nn.Linear(512, 64), nn.ReLU()),
    ]


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())


def table(name: str) -> Callable[[], Network]:
    options = {"anneal_steps": 600} if name == "branch" else {}
    return lambda: build_table_network(name, 64, TASKS, width=64, depth=2, dropout=0.0, **options)


NETWORKS_HERE: dict[str, Callable[[], Network]] = {
    **{name: table(name) for name in NETWORKS},
    "layers": lambda: LayerSharing(mlp(), heads(64), share=["0"]),
    "hard, split": lambda: HardSharing(mlp(), heads(64), split_at="2"),
    "hard, images": lambda: HardSharing(nn.Sequential(*convolutions()), heads(64)),
    "cross-stitch, images": lambda: CrossStitch(convolutions(), heads(64)),
    "mtan, images": lambda: MTAN(convolutions(), heads(64), example=torch.zeros(1, 64)),
}


def images(seed: int) -> tuple[TensorData, TensorData]:
    """Return training and held-out images with their targets."""
    digits = load_digits()
    pixels = digits.images / 16
    distance = np.log1p(((pixels - pixels[:, :, ::-1]) ** 2).mean((1, 2)) * 100)
    score = (distance - distance.mean()) / distance.std()
    x = torch.from_numpy(digits.data / 16).float()
    targets = {
        "digit": torch.from_numpy(digits.target).float(),
        "odd": torch.from_numpy(digits.target % 2).float(),
        "mirror": torch.from_numpy(score).float(),
    }
    data = TensorData(x - x.mean(0), targets)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    return data.take(order[449:]), data.take(order[:449])


def train(name: str, seed: int, epochs: int) -> dict[str, dict[str, float]]:
    training, held_out = images(seed)
    torch.manual_seed(seed)
    trainer = Trainer(
        NETWORKS_HERE[name](),
        TASKS,
        optimizer=OptimizerSettings(learning_rate=3e-3),
        decay="cosine",
        batch_size=64,
        epochs=epochs,
        seed=seed,
        device="cpu",
    )
    trainer.fit(training)
    return trainer.evaluate(held_out)


def step_times(rounds: int) -> dict[str, float]:
    """Return the time of a joint step of each network over hard sharing's, medians of ratios."""
    training, _ = images(0)
    x, y = training.inputs[:64], {name: target[:64] for name, target in training.targets.items()}
    runs = {}
    for name, make in NETWORKS_HERE.items():
        network = make()
        runs[name] = (network, torch.optim.AdamW(network.parameters(), fused=True))
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(rounds + 1):
        for name, (network, optimizer) in runs.items():
            start = time.perf_counter()
            for _ in range(5):
                _step(network, optimizer, x, y)
            if turn:
                times[name].append(time.perf_counter() - start)
    base = times["hard"]
    return {
        name: statistics.median(a / b for a, b in zip(values, base, strict=True))
        for name, values in times.items()
    }


def _step(
    network: Network, optimizer: torch.optim.Optimizer, x: Tensor, y: dict[str, Tensor]
) -> None:
    outputs = network(x)
    losses = [network.loss(task, outputs[task.name], y[task.name]) for task in TASKS]
    penalty = network.penalty()
    total = torch.stack(losses if penalty is None else [*losses, penalty]).sum()
    optimizer.zero_grad()
    total.backward()
    optimizer.step()


def main() -> None:
    parser = argparse.ArgumentParser(description="Train every network on the bundled digits.")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=15, help="of the step times")
    parser.add_argument("--only", nargs="*", help="names of networks")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    ratios = step_times(options.rounds)
    print(f"| network | parameters | step / hard | {' | '.join(HEADINGS)} |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name in options.only or NETWORKS_HERE:
        size = sum(p.numel() for p in NETWORKS_HERE[name]().parameters())
        runs = [train(name, seed, options.epochs) for seed in range(options.seeds)]
        cells = []
        for task, metric in METRICS:
            values = [run[task][metric] for run in runs]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            cells.append(f"{statistics.mean(values):.3f} ± {spread:.3f}")
        print(f"| {name} | {size:,} | {ratios[name]:.2f} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
