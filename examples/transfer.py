"""Pre-training, then fine-tuning: which digit an image shows, from 10 to 200 labels.

1200 images have no label of the digit but for a few. All of them serve a contrastive pre-training;
300 of them say how many closed loops the digit has and whether it is odd, for a joint training. The
same trunk is then fine-tuned on the digits. Against: from scratch. Run it with

    python examples/transfer.py --picture transfer.png
"""

import argparse

import torch
from sklearn.datasets import load_digits
from torch import nn

from jointrain import MLP, Contrastive, HardSharing, Phase, Phases, Task, TensorData, Trainer

LOOPS = torch.tensor([1, 0, 0, 0, 0, 0, 1, 0, 2, 1])  # of 0, 1, ..., 9
RELATED = ("loops", "odd")
TASKS = [Task.multiclass("digit", 10), Task.multiclass("loops", 3), Task.binary("odd")]
PRETRAIN = Phase(name="pretrain", epochs=40, pretraining=Contrastive(rate=0.3))
JOINT = Phase(name="joint", steps=200, tasks=RELATED)
FINE_TUNE = Phase(name="fine-tune", steps=200, tasks=("digit",))
WAYS = {
    "from scratch": [FINE_TUNE],
    "pre-training, fine-tuning": [PRETRAIN, FINE_TUNE],
    "related tasks, fine-tuning": [JOINT, FINE_TUNE],
    "all tasks at once": [Phase(name="joint", steps=400)],
    "pre-training, related tasks, fine-tuning": [PRETRAIN, JOINT, FINE_TUNE],
}


def make_data(labels: int, seed: int) -> tuple[TensorData, TensorData]:
    """Return 1200 rows to train on, `labels` of them with a digit, and 597 to test on."""
    pixels, digit = map(torch.tensor, load_digits(return_X_y=True))
    targets = {"digit": digit.clone(), "loops": LOOPS[digit], "odd": digit % 2}
    order = torch.randperm(len(digit), generator=torch.Generator().manual_seed(seed))
    rows, test = (TensorData(pixels.float() / 16, targets).take(i) for i in order.split(1200))
    for name, count in {"digit": labels, "loops": 300, "odd": 300}.items():
        rows.targets[name][count:] = -100  # no label
    return rows, test


def train(way: str, labels: int, seed: int) -> float:
    """Return the test accuracy of the digits after all phases."""
    torch.manual_seed(seed)
    rows, test = make_data(labels, seed)
    heads = {task.name: nn.Linear(128, task.output_size) for task in TASKS}
    network = HardSharing(MLP(64, width=128, dropout=0.0), heads)
    # the related tasks count in no score, and fine-tuning may spoil them
    settings = {"auxiliary": RELATED, "batch_size": 128, "seed": seed}
    trainer = Trainer(network, TASKS, schedule=Phases(WAYS[way]), **settings)
    trainer.fit(rows)
    return trainer.evaluate(test)["digit"]["accuracy"]


def draw(curves: dict[str, dict[int, list[float]]], path: str) -> None:
    """Draw the mean accuracy of each way over the number of labels, and its range."""
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(8, 4.6), layout="tight")
    for way, found in curves.items():
        means = [sum(values) / len(values) for values in found.values()]
        color = axis.plot(found.keys(), means, "o-", label=way)[0].get_color()
        low, high = map(min, found.values()), map(max, found.values())
        axis.fill_between(list(found), list(low), list(high), color=color, alpha=0.08, linewidth=0)
    axis.set(xscale="log", xlabel="images with a label of the digit", ylabel="test accuracy")
    axis.set_xticks(list(found), list(found), minor=False)
    axis.minorticks_off()
    axis.grid(alpha=0.3)
    axis.legend(frameon=False, loc="lower right")
    figure.savefig(path, dpi=110)


def main(arguments: list[str] | None = None) -> dict[str, dict[int, list[float]]]:
    """Train in every way over label counts and seeds; print, draw and return the accuracies."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--labels", type=int, nargs="+", default=[10, 20, 50, 100, 200])
    parser.add_argument("--seeds", type=int, default=5, help="how many")
    parser.add_argument("--picture", help="file to draw the learning curves into")
    options = parser.parse_args(arguments)
    seeds, curves = range(options.seeds), {}
    print(f"{'labels':40s}" + "".join(f"{count:7d}" for count in options.labels))
    for way in WAYS:
        curves[way] = {n: [train(way, n, seed) for seed in seeds] for n in options.labels}
        means = [sum(values) / len(values) for values in curves[way].values()]
        print(f"{way:40s}" + "".join(f"{mean:7.3f}" for mean in means))
    if options.picture:
        draw(curves, options.picture)
    return curves


if __name__ == "__main__":
    main()
