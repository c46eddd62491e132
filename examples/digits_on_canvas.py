"""Vision: which digit is on the canvas, and where? A study of classification and detection.

Every canvas has a box around its digit, which lies among pieces of others; one in five also has
the class. Should both heads share a trunk, and how is it trained best? Run it with

    python examples/digits_on_canvas.py --picture digits_on_canvas.png
"""

import argparse

import torch
from rich.console import Console
from sklearn.datasets import load_digits
from torch import Tensor, nn

from jointrain import (
    Experiment,
    HardSharing,
    Holdout,
    Metric,
    OptimizerSettings,
    Recipe,
    Study,
    StudyResult,
    Task,
    TensorData,
    Trainer,
    named_recipes,
)  # fmt: skip
from jointrain.reports import print_result


def overlap(predicted: Tensor, true: Tensor) -> Tensor:
    """Return intersection over union of boxes [n, 4], [n]."""
    (at, size), (true_at, true_size) = predicted.split(2, 1), true.split(2, 1)
    ends = torch.minimum(at + size, true_at + true_size)
    shared = (ends - torch.maximum(at, true_at)).clamp_min(0).prod(1)
    return shared / (size.prod(1) + true_size.prod(1) - shared)


def box_loss(predicted: Tensor, true: Tensor) -> Tensor:
    """Return distance and missing overlap of boxes [n, 4], [n]."""
    return (predicted - true).abs().sum(1) + 1 - overlap(predicted, true)


def mean_overlap(predicted: Tensor, true: Tensor) -> float:
    """Return the mean intersection over union."""
    return float(overlap(predicted, true).mean())


SIDE = 24  # of the canvas, in pixels
DIGIT = Task.multiclass("digit", 10)
BOX = Task(
    "box",
    "regression",
    size=4,  # left, top, width, height in shares of the side
    loss_function=box_loss,
    metrics=(Metric("IoU", mean_overlap, higher_is_better=True, lowest=0.0, highest=1.0),),
)
RECIPES = ("separate", "joint", "alternating", "weights-uncertainty", "balancer-famo",
           "balancer-upgrad", "merge-mean")  # fmt: skip


def make_data(seed: int) -> tuple[TensorData, TensorData]:
    """Return 3300 and 2091 canvases [n, 1, 24, 24], three of each digit; few of 3300 have a class.

    A digit is on canvases of one of the two only.
    """
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
    data.targets["digit"][660:3300] = -100  # no class
    return data.take(torch.arange(3300)), data.take(torch.arange(3300, 5391))


def make_network(tasks: list[Task]) -> HardSharing:
    """Return a fresh network for both tasks, or for one alone."""
    first = (nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU())
    second = (nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2))
    third = (nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2))
    trunk = nn.Sequential(*first, *second, *third, nn.Flatten(), nn.Dropout(0.2))
    last = {"digit": [nn.Linear(64, 10)], "box": [nn.Linear(64, 4), nn.Sigmoid()]}
    heads = {t.name: nn.Sequential(nn.Linear(576, 64), nn.ReLU(), *last[t.name]) for t in tasks}
    return HardSharing(trunk, heads)


def base_recipe(epochs: int) -> Recipe:
    """Return what all recipes have in common."""
    settings = OptimizerSettings(learning_rate=3e-3)
    return Recipe(epochs=epochs, batch_size=64, optimizer=settings)


def make_study(
    training: TensorData, test: TensorData, names: tuple[str, ...], epochs: int, seeds: int
) -> Study:
    """Return the study of some recipes, which all see the same rows and seeds."""
    holdout = Holdout(test=test, validation=0.1)
    experiment = Experiment([DIGIT, BOX], make_network, training, holdout)
    return Study(experiment, named_recipes(names, base_recipe(epochs)), seeds=seeds)


def draw(trainer: Trainer, test: TensorData, path: str) -> None:
    """Draw ten test canvases with the true (dashed) and the predicted box and digit."""
    import matplotlib.pyplot as plt

    found = trainer.predict(test.inputs) | {"true": test.targets["box"]}
    figure, axes = plt.subplots(2, 5, figsize=(8, 3.9), subplot_kw={"xticks": [], "yticks": []})
    for row, axis in zip(range(0, 30, 3), axes.flat, strict=True):
        axis.imshow(test.inputs[row, 0].numpy(), cmap="gray_r")
        for name, color, style in (("true", "tab:green", "--"), ("box", "tab:red", "-")):
            x, y, *size = (SIDE * found[name][row]).tolist()
            axis.add_patch(plt.Rectangle((x - 0.5, y - 0.5), *size, fill=False, ec=color, ls=style))
        axis.set_title(f"found {found['digit'][row].argmax()}, true {test.targets['digit'][row]}")
    figure.savefig(path, dpi=110, bbox_inches="tight")


def main(arguments: list[str] | None = None) -> StudyResult:
    """Run the study, print what it shows, draw a joint network's boxes; return the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=5, help="how many")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--store", help="folder or database that keeps what has been run")
    parser.add_argument("--picture", help="file to draw predicted boxes into")
    options = parser.parse_args(arguments)
    training, test = make_data(seed=0)
    study = make_study(training, test, RECIPES, options.epochs, options.seeds)
    result = study.run(workers=options.workers, store=options.store)
    print_result(result, Console())
    if options.picture:
        experiment = study.experiment
        (joint,) = experiment.runs(experiment.folds_of(0)[0], study.recipes[1])
        joint.fit()
        draw(joint.trainer, test, options.picture)
    return result


if __name__ == "__main__":
    main()
