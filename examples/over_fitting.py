"""Over-fitting: three targets of one small table, with and without a remedy.

A network of 68,000 weights learns 120 patients by heart. L2, L1, dropout and early stopping each
hold it back; the picture shows the gap between the rows it has seen and those it has not. Run it:

    python examples/over_fitting.py --picture over_fitting.png
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import torch
from sklearn.datasets import load_diabetes

from jointrain import MLP, Callback, EpochRecord, HardSharing, Task, TensorData, Trainer

TARGETS = ("progression", "bp", "s6")  # the disease after a year, blood pressure, glucose
REMEDIES: dict[str, dict[str, float]] = {
    "none": {},
    "L2": {"l2": 0.1},
    "L1": {"l1": 0.01},
    "dropout": {"dropout": 0.7},
    "early stopping": {"patience": 15},
}


class Curves(Callback):
    """Keeps the errors on seen and unseen rows of each epoch, and at last of the weights kept."""

    def __init__(self, seen: TensorData, unseen: TensorData) -> None:
        self.data = (seen, unseen)
        self.errors: list[list[float]] = []

    def measure(self, trainer: Trainer) -> None:
        """Keep both errors, without dropout."""
        found = [(trainer.predict(data.inputs), data.targets) for data in self.data]
        errors = [[(y[name] - true[name]).square().mean() for name in y] for y, true in found]
        self.errors.append(torch.tensor(errors).mean(1).tolist())

    def on_epoch_end(self, trainer: Trainer, record: EpochRecord) -> None:  # noqa: ARG002
        """Measure at the end of the epoch."""
        self.measure(trainer)

    def on_fit_end(self, trainer: Trainer) -> None:
        """Measure the weights that training ends with; with early stopping, the best ones."""
        self.measure(trainer)


def split_table(seed: int) -> list[TensorData]:
    """Return 120 rows to train on, 80 to stop by and the other 242 to test on."""
    frame = load_diabetes(as_frame=True, scaled=False).frame
    frame = frame.rename(columns={"target": "progression"})
    order = torch.randperm(len(frame), generator=torch.Generator().manual_seed(seed))
    values = torch.tensor(frame.to_numpy(), dtype=torch.float32)[order]
    values = (values - values[:120].mean(0)) / values[:120].std(0)
    columns = dict(zip(frame.columns, values.unbind(1), strict=True))
    inputs = torch.stack([value for name, value in columns.items() if name not in TARGETS], dim=1)
    data = TensorData(inputs, {name: columns[name] for name in TARGETS})
    return [data.take(rows) for rows in torch.arange(len(frame)).split([120, 80, 242])]


def train(remedy: str, seed: int, epochs: int) -> list[list[float]]:
    """Return the errors on seen and unseen rows after each epoch, and of the weights kept."""
    options = dict(REMEDIES[remedy])
    seen, validation, unseen = split_table(seed)
    torch.manual_seed(seed)
    trunk = MLP(8, width=256, normalize=False, dropout=options.pop("dropout", 0.0))
    network = HardSharing(trunk, {name: torch.nn.Linear(256, 1) for name in TARGETS})
    curves = Curves(seen, unseen)
    options |= {"batch_size": 40, "epochs": epochs, "seed": seed}
    tasks = [Task.regression(name) for name in TARGETS]
    trainer = Trainer(network, tasks, callbacks=[curves], **options)
    trainer.fit(seen, validation if "patience" in options else None)
    return curves.errors


def draw(curves: dict[str, list[list[float]]], path: str) -> None:
    """Draw both errors of each remedy over the epochs, with the gap between them."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(curves), figsize=(13, 3.2), sharex=True, sharey=True)
    for axis, (remedy, errors) in zip(axes, curves.items(), strict=True):
        seen, unseen = zip(*errors[:-1], strict=True)
        axis.fill_between(range(len(seen)), seen, unseen, color="tab:red", alpha=0.12, linewidth=0)
        axis.plot(unseen, color="tab:red", label="rows not seen")
        axis.plot(seen, color="tab:blue", label="training rows")
        axis.axhline(1.0, color="grey", linewidth=0.8, linestyle=":")
        axis.set(title=remedy, xlabel="epoch", ylim=(0, 1.6))
    axes[0].set_ylabel("squared error\n(1: predict the mean)")
    axes[0].legend(frameon=False, loc="upper left")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main(arguments: Sequence[str] | None = None) -> dict[str, list[list[float]]]:
    """Train with each remedy over seeds, print and return the last errors, draw the first run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="two seeds, fewer epochs")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--picture", help="file to draw the curves into")
    options = parser.parse_args(arguments)
    count, epochs = (2, 50) if options.small else (10, 200)
    seeds = range(options.seed, options.seed + count)
    runs = {name: [train(name, seed, epochs) for seed in seeds] for name in REMEDIES}
    print(f"{'remedy':15s} {'seen':>6s} {'unseen':>7s} {'gap':>6s} {'epochs':>7s}")
    for name, curves in runs.items():
        seen, unseen = torch.tensor([errors[-1] for errors in curves]).mean(0).tolist()
        epochs = sum(len(errors) - 1 for errors in curves) / count
        print(f"{name:15s} {seen:6.2f} {unseen:7.2f} {unseen - seen:6.2f} {epochs:7.0f}")
    if options.picture:
        draw({name: curves[0] for name, curves in runs.items()}, options.picture)
    return {name: [errors[-1] for errors in curves] for name, curves in runs.items()}


if __name__ == "__main__":
    main()
