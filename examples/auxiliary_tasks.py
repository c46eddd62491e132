"""Auxiliary tasks: two helpers of a main task, weighted by what they do for held-out rows.

The main task, which digit an image shows, has 100 labels. All 1000 images have two further labels:
how many closed loops the digit has, which helps, and a number drawn at random, which can only be
learned by heart. Auto-Lambda finds out which is which. At the end only the main task is asked for.

    python examples/auxiliary_tasks.py --picture auxiliary_tasks.png
"""

import argparse
from collections.abc import Mapping

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from jointrain import MLP, Callback, HardSharing, OptimizerSettings, Task, TensorData, Trainer
from jointrain.balancing import AutoLambda

LOOPS = torch.tensor([1, 0, 0, 0, 0, 0, 1, 0, 2, 1])  # of 0, 1, ..., 9
TASKS = [Task.multiclass("digit", 10), Task.multiclass("loops", 3), Task.multiclass("noise", 10)]
WAYS = {
    "main task alone": TASKS[:1],
    "all, equal weights": TASKS,
    "all, Auto-Lambda": TASKS,
    "without the noise": TASKS[:2],  # what one would do if one knew
}


class Weights(Callback):
    """Keeps the task weights of every step."""

    def __init__(self) -> None:
        self.seen: list[list[float]] = []

    def on_step_end(self, trainer: Trainer, step: int, losses: Mapping[str, Tensor]) -> None:  # noqa: ARG002
        """Copy the weights of the step, if there are any."""
        if trainer.balanced is not None:
            self.seen.append(trainer.balanced.weights.tolist())


def make_data(seed: int) -> list[TensorData]:
    """Return 1000 rows to train on, 100 of them with a digit; 100 held-out; 697 to test on."""
    pixels, digit = map(torch.tensor, load_digits(return_X_y=True))
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randint(10, digit.shape, generator=generator)
    order = torch.randperm(len(digit), generator=generator)
    data = TensorData(pixels.float() / 16, {"digit": digit, "loops": LOOPS[digit], "noise": noise})
    train, held_out, test = (data.take(rows) for rows in order.split([1000, 100, 697]))
    train.targets["digit"][100:] = -100  # no label
    return [train, held_out, test]


def train(way: str, seed: int, steps: int) -> tuple[float, list[list[float]]]:
    """Return the test accuracy of the main task, and the weights of all steps."""
    torch.manual_seed(seed)
    rows, held_out, test = make_data(seed)
    heads = {task.name: nn.Linear(24, task.output_size) for task in TASKS}
    rates = {"step_size": 1e-2, "inner_step_size": 2e-3}
    balancer = AutoLambda(primary=["digit"], initial_weight=0.5, **rates)
    weights = Weights()
    trainer = Trainer(
        HardSharing(MLP(64, width=24, dropout=0.0), heads),
        WAYS[way],
        auxiliary=[task.name for task in WAYS[way][1:]],  # they count in no score
        balancer=balancer if "Auto" in way else None,
        optimizer=OptimizerSettings(learning_rate=2e-3),
        batch_size=1000,
        steps=steps,
        seed=seed,
        callbacks=[weights],
    )
    trainer.fit(rows, held_out)
    return trainer.evaluate(test)["digit"]["accuracy"], weights.seen


def draw(accuracies: dict[str, list[float]], weights: Tensor, path: str) -> None:
    """Draw the accuracies of all seeds, and the mean weights [3, steps] over the steps."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4))
    for height, values in enumerate(reversed(accuracies.values())):
        left.plot(values, [height] * len(values), "o", color="tab:grey", alpha=0.5)
        left.plot(sum(values) / len(values), height, "|", markersize=22, color="tab:red", mew=3)
    left.set_yticks(range(len(accuracies)), reversed(accuracies))
    left.set(xlabel="test accuracy of the main task", ylim=(-0.5, len(accuracies) - 0.5))
    for task, line in zip(TASKS, weights, strict=True):
        right.plot(line, label=task.name)
    right.axhline(0, color="grey", linewidth=0.8)
    right.set(xlabel="step", ylabel="weight by Auto-Lambda")
    right.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main(arguments: list[str] | None = None) -> dict[str, list[float]]:
    """Train in every way over seeds, print and return the accuracies of the main task."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="two seeds, fewer steps")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--picture", help="file to draw accuracies and weights into")
    options = parser.parse_args(arguments)
    count, steps = (2, 150) if options.small else (10, 300)
    seeds = range(options.seed, options.seed + count)
    runs = {way: [train(way, seed, steps) for seed in seeds] for way in WAYS}
    accuracies = {way: [accuracy for accuracy, _ in found] for way, found in runs.items()}
    for way, values in accuracies.items():
        mean = sum(values) / count
        print(f"{way:20s} accuracy {mean:.3f} (from {min(values):.3f} to {max(values):.3f})")
    if options.picture:
        means = torch.tensor([seen for _, seen in runs["all, Auto-Lambda"]]).mean(0).T
        draw(accuracies, means, options.picture)
    return accuracies


if __name__ == "__main__":
    main()
