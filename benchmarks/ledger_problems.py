"""Nine small problems for the ledger of balancers: made data whose truth is known, and digits.

A seed draws the rows, their cut into training, validation and test rows, which labels are missing
in training, and the network's first weights; so seeds stand for all that varies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from jointrain import Experiment, HardSharing, Holdout, Metric, Task, TensorData

Draw = Callable[[int, torch.Generator], TensorData]
"""Makes so many rows with all labels. The same seed of the generator makes the same rows."""


class Cut(NamedTuple):
    """The rows of a seed."""

    training: TensorData
    validation: TensorData
    test: TensorData


@dataclass(frozen=True)
class Problem:
    """Tasks, data and a network.

    Args:
        name: What the ledger calls it.
        asks: What it is about, in words.
        tasks: The tasks.
        draw: Makes rows.
        trunk: Makes the shared layers.
        head: Makes a task's own layers.
        rows: How many for training, validation and test.
        labels: Labelled training rows of each task, drawn apart for each; None: all rows.
        epochs: Of training.
        batch: Rows of a step.
        rate: Learning rate of AdamW, which falls to 0 along a cosine.
        groups: Whether many heads of one size become one, which is faster.
    """

    name: str
    asks: str
    tasks: tuple[Task, ...]
    draw: Draw
    trunk: Callable[[], nn.Module]
    head: Callable[[Task], nn.Module]
    rows: tuple[int, int, int]
    labels: tuple[int, ...] | None = None
    epochs: int = 25
    batch: int = 64
    rate: float = 5e-3
    groups: bool = True

    def data(self, seed: int) -> Cut:
        """Return the rows of a seed."""
        generator = torch.Generator().manual_seed(seed)
        whole = self.draw(sum(self.rows), generator)
        cut = Cut(*(whole.take(rows) for rows in torch.arange(sum(self.rows)).split(self.rows)))
        for task, count in zip(self.tasks, self.labels or (), strict=self.labels is not None):
            target = cut.training.targets[task.name]
            missing = torch.nan if target.is_floating_point() else -100
            target[torch.randperm(len(target), generator=generator)[count:]] = missing
        return cut

    def experiment(self, cut: Cut) -> Experiment:
        """Return what a study knows of the rows of a seed."""
        splits = Holdout(test=cut.test, validation=cut.validation)
        return Experiment(self.tasks, self.network, cut.training, splits)

    def network(self, tasks: Sequence[Task]) -> HardSharing:
        """Return a fresh network for some of the tasks."""
        heads = {task.name: self.head(task) for task in tasks}
        if self.groups:
            return HardSharing(self.trunk(), heads)
        return HardSharing(self.trunk(), heads, group_from=None)


def mlp(inputs: int, width: int = 64) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())


def linear(width: int = 64) -> Callable[[Task], nn.Module]:
    return lambda task: nn.Linear(width, task.output_size)


def numbers(*names: str) -> tuple[Task, ...]:
    return tuple(map(Task.regression, names))


def normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator)


def unit(values: Tensor) -> Tensor:
    """Return columns of mean 0 and standard deviation 1."""
    return (values - values.mean(0)) / values.std(0)


def by_name(tasks: Sequence[Task], columns: Tensor) -> dict[str, Tensor]:
    return {task.name: column.clone() for task, column in zip(tasks, columns.T, strict=True)}


# --- tables -----------------------------------------------------------------------------------

FOUR = numbers("y0", "y1", "y2", "y3")


def related(count: int, generator: torch.Generator, noise: float = 0.3) -> TensorData:
    """Four curves along one direction of sixteen inputs: what is hard to learn is shared."""
    inputs, direction = normal(generator, count, 16), normal(generator, 16)
    along = inputs @ direction / direction.norm()
    signs, offsets = normal(generator, 4).sign(), torch.rand(4, generator=generator) - 0.5
    truth = unit(signs * torch.tanh(1.5 * (along[:, None] - offsets)))
    return TensorData(inputs, by_name(FOUR, truth + noise * normal(generator, count, 4)))


def unrelated(count: int, generator: torch.Generator, noise: float = 0.3) -> TensorData:
    """The same curves, each along a direction of four inputs of its own: nothing is shared."""
    inputs, directions = normal(generator, count, 16), normal(generator, 4, 4)
    directions /= directions.norm(dim=1, keepdim=True)
    along = torch.einsum("nti,ti->nt", inputs.view(count, 4, 4), directions)
    signs, offsets = normal(generator, 4).sign(), torch.rand(4, generator=generator) - 0.5
    truth = unit(signs * torch.tanh(1.5 * (along - offsets)))
    return TensorData(inputs, by_name(FOUR, truth + noise * normal(generator, count, 4)))


MANY = numbers(*(f"y{i}" for i in range(20)))


def many(count: int, generator: torch.Generator) -> TensorData:
    """Twenty mixtures of three hidden curves, with more noise from task to task."""
    inputs, directions = normal(generator, count, 16), normal(generator, 16, 3)
    hidden = unit(torch.tanh(inputs @ directions / directions.norm(dim=0)))
    truth = unit(hidden @ normal(generator, 3, 20))
    noise = torch.linspace(0.1, 1.5, 20) * normal(generator, count, 20)
    return TensorData(inputs, by_name(MANY, truth + noise))


SCALED = numbers("micro", "milli", "whole", "kilo")
SCALES = torch.tensor([1e-2, 1e-1, 1.0, 1e1])


def scaled(count: int, generator: torch.Generator) -> TensorData:
    """Related tasks in units of their own: the squared errors span six powers of ten."""
    data = related(count, generator)
    columns = torch.stack(list(data.targets.values()), 1)
    return TensorData(data.inputs, by_name(SCALED, columns * SCALES))


UNEQUAL = (
    Task.regression("amount"),
    Task.binary("whether"),
    Task.multiclass("which", 3),
    Task.regression("rest"),
)


def unequal(count: int, generator: torch.Generator) -> TensorData:
    """Tasks of three kinds on two hidden numbers; few rows have the labels of the later ones."""
    inputs, directions = normal(generator, count, 16), normal(generator, 16, 2)
    one, two = torch.tanh(1.5 * inputs @ directions / directions.norm(dim=0)).T
    noisy = one - two + 0.3 * normal(generator, count)
    targets = {
        "amount": one + two + 0.3 * normal(generator, count),
        "whether": (one + 0.3 * normal(generator, count) > 0).float(),
        "which": torch.bucketize(noisy, torch.tensor([-0.5, 0.5])),
        "rest": one * two + 0.1 * normal(generator, count),
    }
    return TensorData(inputs, targets)


# --- digits -----------------------------------------------------------------------------------

DIGIT = (Task.multiclass("digit", 10), Task.binary("odd"), Task.regression("mirror"))


def digit_heads(count: int, generator: torch.Generator) -> TensorData:
    """Which digit, is it odd, and how far is the image from its mirror image?"""
    bunch = load_digits()
    rows = torch.randperm(len(bunch.target), generator=generator)[:count]
    pixels = torch.tensor(bunch.images, dtype=torch.float32)[rows] / 16
    digit = torch.tensor(bunch.target)[rows]
    distance = (100 * (pixels - pixels.flip(2)).square().mean((1, 2))).log1p()
    targets = {"digit": digit, "odd": (digit % 2).float(), "mirror": unit(distance)}
    return TensorData(pixels.flatten(1), targets)


PAIR = (Task.multiclass("left", 10), Task.multiclass("right", 10))


def overlaid(count: int, generator: torch.Generator) -> TensorData:
    """Two digits that overlap by half, one to the left and one to the right.

    The first half of the digits, in random order, gives the first half of the rows, and the other
    half the rest; so rows for the test show digits that training has not seen.
    """
    bunch = load_digits()
    order = torch.randperm(len(bunch.target), generator=generator)
    halves, digits = order.tensor_split(2), torch.tensor(bunch.images, dtype=torch.float32) / 16
    canvas, targets = torch.zeros(count, 1, 8, 12), {}
    for task, start in zip(PAIR, (0, 4), strict=True):
        each = [
            half[torch.randint(len(half), (len(rows),), generator=generator)]
            for half, rows in zip(halves, torch.arange(count).tensor_split(2), strict=True)
        ]
        chosen = torch.cat(each)
        place = canvas[:, 0, :, start : start + 8]
        place.copy_(torch.maximum(place, digits[chosen]))
        targets[task.name] = torch.tensor(bunch.target)[chosen]
    return TensorData(canvas, targets)


def convolutions() -> nn.Module:
    first = (nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
    return nn.Sequential(*first, nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.Flatten(),
                         nn.Linear(384, 64), nn.ReLU())  # fmt: skip


# --- pixels -----------------------------------------------------------------------------------

SIDE = 10
PIXELS = (
    Task.sequence("segment", 3),
    Task("depth", "regression", size=SIDE * SIDE, metrics=(
        Metric("RMSE", lambda p, y: float((p - y).square().mean().sqrt()), higher_is_better=False),
    )),
    Task.multilabel("edge", SIDE * SIDE),
)  # fmt: skip


def scenes(count: int, generator: torch.Generator) -> TensorData:
    """Plain discs and striped squares before a wall: what is at each pixel, how far, is it an edge?

    Near things are bright and hide what is behind them; each pixel has noise.
    """
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    segment = torch.zeros(count, SIDE, SIDE, dtype=torch.long)
    depth = torch.ones(count, SIDE, SIDE)
    for _ in range(3):
        draws = torch.rand(4, count, 1, 1, generator=generator)
        down, across = (y - SIDE * draws[0]).abs(), (x - SIDE * draws[1]).abs()
        radius, square = 2 + 2 * draws[2], draws[3] > 0.5
        inside = torch.where(square, torch.maximum(down, across), down.hypot(across)) <= radius
        away = torch.rand(count, 1, 1, generator=generator)
        seen = inside & (away < depth)
        depth = torch.where(seen, away, depth)
        segment = torch.where(seen, 1 + square.long(), segment)
    edge = torch.zeros(count, SIDE, SIDE)
    edge[:, :-1] += depth.diff(dim=1) != 0
    edge[:, :, :-1] += depth.diff(dim=2) != 0
    stripes = torch.where((segment == 2) & (y % 2 == 0), 0.5, 1.0)
    image = (1.2 - depth) * stripes + 0.1 * normal(generator, count, SIDE, SIDE)
    targets = {"segment": segment, "depth": depth, "edge": edge.clamp(max=1)}
    return TensorData(image[:, None], {name: y.flatten(1) for name, y in targets.items()})


class Pixelwise(nn.Module):
    """A head for each pixel: [b, c, h, w] -> [b, h w, outputs], or [b, h w] for one output."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.layer = nn.Conv2d(channels, outputs, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Return the scores of each pixel."""
        return self.layer(features).flatten(2).transpose(1, 2).squeeze(2)


def pixel_trunk() -> nn.Module:
    layers = [nn.Conv2d(1, 16, 3, padding=1), nn.ReLU()]
    for dilation in (2, 1):
        layers += [nn.Conv2d(16, 16, 3, padding=dilation, dilation=dilation), nn.ReLU()]
    return nn.Sequential(*layers)


# --- sequences --------------------------------------------------------------------------------

LENGTH, TOKENS = 12, 24
TEXT = (
    Task.sequence("tags", 3),
    Task.multiclass("most", 4),
    Task.regression("kinds"),
)


def sentences(count: int, generator: torch.Generator) -> TensorData:
    """Tokens in four families: a tag by each token and the one before, the commonest family, and
    how many different tokens there are.
    """  # noqa: D205
    likely = torch.rand(count, 4, generator=generator).square()  # a sentence has its favourites
    family = torch.multinomial(likely, LENGTH, replacement=True, generator=generator)
    token = 6 * family + torch.randint(6, family.shape, generator=generator)
    counts = nn.functional.one_hot(family, 4).sum(1)
    kinds = nn.functional.one_hot(token, TOKENS).amax(1).sum(1)
    before = token.roll(1, dims=1)
    before[:, 0] = 0
    targets = {
        "tags": (token + before) % 3,
        "most": counts.argmax(1),
        "kinds": (kinds - 8.0) / 1.5,
    }
    return TensorData(token, targets)


class Reader(nn.Module):
    """Reads tokens with their neighbours: [b, s] -> [b, s, 48]."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(TOKENS, 24)
        self.layers = nn.Sequential(
            nn.Conv1d(24, 48, 3, padding=1), nn.ReLU(), nn.Conv1d(48, 48, 3, padding=1), nn.ReLU()
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Return a vector for each token."""
        return self.layers(self.embedding(tokens).transpose(1, 2)).transpose(1, 2)


class OfSentence(nn.Linear):
    """A head on the mean over tokens."""

    def forward(self, features: Tensor) -> Tensor:
        """Return the scores of each sentence."""
        return super().forward(features.mean(1))


def text_head(task: Task) -> nn.Module:
    return (nn.Linear if task.kind == "sequence" else OfSentence)(48, task.output_size)


PROBLEMS = {
    problem.name: problem
    for problem in (
        Problem("related", "four tasks along one direction", FOUR, related, lambda: mlp(16),
                linear(), (480, 240, 2000), (120,) * 4),
        Problem("unrelated", "four tasks, each along a direction of its own", FOUR, unrelated,
                lambda: mlp(16), linear(), (480, 240, 2000), (120,) * 4),
        Problem("scales", "related tasks whose losses span six powers of ten", SCALED, scaled,
                lambda: mlp(16), linear(), (480, 240, 2000)),
        Problem("unequal", "three kinds of tasks with 1000, 300, 100 and 40 labels", UNEQUAL,
                unequal, lambda: mlp(16), linear(), (1000, 300, 2000), (1000, 300, 100, 40),
                epochs=13),
        Problem("many", "twenty tasks with more and more noise", MANY, many, lambda: mlp(16),
                linear(), (400, 200, 2000), epochs=29),
        Problem("digits", "a digit: which, odd, how far from its mirror image", DIGIT, digit_heads,
                lambda: mlp(64), linear(), (600, 300, 897), epochs=20),
        Problem("two digits", "two digits that overlap", PAIR, overlaid, convolutions, linear(),
                (1200, 400, 1600), epochs=16),
        Problem("pixels", "segments, depth and edges of made scenes", PIXELS, scenes, pixel_trunk,
                lambda task: Pixelwise(16, 3 if task.kind == "sequence" else 1),
                (400, 200, 400), epochs=16, batch=16, rate=1e-2),
        Problem("sentences", "tags of tokens, and two figures of whole sentences", TEXT, sentences,
                Reader, text_head, (400, 200, 1000), epochs=31, batch=32),
    )
}  # fmt: skip
