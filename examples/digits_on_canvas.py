"""Vision: which digit is on the canvas, and where? One trunk for classification and detection.

Every canvas has a box around its digit, which lies among pieces of others; one in five also has
the class. Two heads share a trunk, L = L_digit + w L_box, and w is searched. Run it with

    python examples/digits_on_canvas.py --picture digits_on_canvas.png
"""

import argparse

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from jointrain import HardSharing, Metric, OptimizerSettings, Task, TensorData, Trainer


def overlap(predicted: Tensor, true: Tensor) -> Tensor:
    """Return intersection over union of boxes [n, 4], [n]."""
    (at, size), (true_at, true_size) = predicted.split(2, 1), true.split(2, 1)
    ends = torch.minimum(at + size, true_at + true_size)
    shared = (ends - torch.maximum(at, true_at)).clamp_min(0).prod(1)
    return shared / (size.prod(1) + true_size.prod(1) - shared)


SIDE = 24  # of the canvas, in pixels
DIGIT = Task.multiclass("digit", 10)
BOX = Task(
    "box",
    "regression",
    size=4,  # left, top, width, height in shares of the side
    loss_function=lambda found, true: (found - true).abs().sum(1) + 1 - overlap(found, true),
    metrics=(Metric("IoU", lambda p, t: float(overlap(p, t).mean()), higher_is_better=True),),
)


def make_data(seed: int) -> list[TensorData]:
    """Return 3000, 300 and 2091 canvases [n, 1, 24, 24], three of each digit of their own."""
    generator, bunch = torch.Generator().manual_seed(seed), load_digits()
    order = torch.randperm(len(bunch.target), generator=generator).repeat_interleave(3)
    digits = torch.tensor(bunch.images, dtype=torch.float32)[order] / 16
    canvases, boxes = torch.zeros(len(order), 1, SIDE, SIDE), torch.zeros(len(order), 4)
    for canvas, box, digit in zip(canvases[:, 0], boxes, digits, strict=True):
        draws = torch.rand(5, 5, generator=generator) * torch.tensor([5391, 5, 5, 21, 21])
        for index, y, x, top, left in draws.int().tolist():  # clutter: five pieces of 4 x 4 pixels
            canvas[top : top + 4, left : left + 4] = digits[index, y : y + 4, x : x + 4]
        size = int(torch.randint(9, 15, (), generator=generator))
        top, left = torch.randint(SIDE - size, (2,), generator=generator).tolist()
        image = nn.functional.interpolate(digit[None, None], (size, size), mode="bilinear")[0, 0]
        canvas[top : top + size, left : left + size] = image
        ink = (image > 0.2).nonzero().flip(1) + torch.tensor([left, top])  # x, y of each pixel
        box[:] = torch.cat([ink.amin(0), ink.amax(0) + 1 - ink.amin(0)]) / SIDE
    data = TensorData(canvases, {"digit": torch.tensor(bunch.target)[order], "box": boxes})
    data.targets["digit"][600:3000] = -100  # no class
    return [data.take(rows) for rows in torch.arange(5391).split([3000, 300, 2091])]


def train(tasks: list[Task], data: list[TensorData], seed: int, steps: int, **weights) -> Trainer:
    """Train a network on the given tasks, whose losses are weighted."""
    torch.manual_seed(seed)
    first = (nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU())
    second = (nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2))
    third = (nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2))
    trunk = nn.Sequential(*first, *second, *third, nn.Flatten(), nn.Dropout(0.2))
    digit = nn.Sequential(nn.Linear(576, 64), nn.ReLU(), nn.Linear(64, 10))
    box = nn.Sequential(nn.Linear(576, 64), nn.ReLU(), nn.Linear(64, 4), nn.Sigmoid())
    network = HardSharing(trunk, {"digit": digit, "box": box})
    options = {"optimizer": OptimizerSettings(learning_rate=3e-3), "decay": "cosine", "seed": seed}
    trainer = Trainer(network, tasks, weights=weights, batch_size=64, steps=steps, **options)
    trainer.fit(data[0], data[1])
    return trainer


def quality(trainers: list[Trainer], data: TensorData) -> tuple[float, float]:
    """Return accuracy of the digit and IoU of the box by the networks that were trained for it."""
    found = {name: y for trainer in trainers for name, y in trainer.evaluate(data).items()}
    return found["digit"]["accuracy"], found["box"]["IoU"]


def draw(trainer: Trainer, test: TensorData, path: str) -> None:
    """Draw ten test canvases with the true (dashed) and the predicted box and digit."""
    found = trainer.predict(test.inputs) | {"true": test.targets["box"]}
    figure, axes = plt.subplots(2, 5, figsize=(8, 3.9), subplot_kw={"xticks": [], "yticks": []})
    for row, axis in zip(range(0, 30, 3), axes.flat, strict=True):
        axis.imshow(test.inputs[row, 0].numpy(), cmap="gray_r")
        for name, color, style in (("true", "tab:green", "--"), ("box", "tab:red", "-")):
            x, y, *size = (SIDE * found[name][row]).tolist()
            axis.add_patch(plt.Rectangle((x - 0.5, y - 0.5), *size, fill=False, ec=color, ls=style))
        axis.set_title(f"found {found['digit'][row].argmax()}, true {test.targets['digit'][row]}")
    figure.savefig(path, dpi=110, bbox_inches="tight")


def main(arguments: list[str] | None = None) -> dict[str, list[tuple[float, float]]]:
    """Search w, compare with a network for each task; return accuracy and IoU of each seed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="one seed, one w, few steps")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--picture", help="file to draw predicted boxes into")
    options = parser.parse_args(arguments)
    seeds, steps, grid = (1, 250, (0.3,)) if options.small else (3, 800, (0.1, 0.3, 1.0))
    figures = {"separate": [], "joint": []}
    for seed in range(options.seed, options.seed + seeds):
        data = make_data(seed)
        alone = [train([task], data, seed, steps) for task in (DIGIT, BOX)]
        joint = {w: train([DIGIT, BOX], data, seed, steps, box=w) for w in grid}
        best = max(joint, key=lambda w: sum(quality([joint[w]], data[1])))
        figures["separate"].append(quality(alone, data[2]))
        figures["joint"].append(quality([joint[best]], data[2]))
        for way, found in figures.items():
            print("{:8s} accuracy {:.3f} IoU {:.3f}".format(way, *found[-1]))
        print(f"  with w = {best} of {grid}")
    if options.picture:
        draw(joint[best], data[2], options.picture)
    return figures


if __name__ == "__main__":
    main()
