"""Cross-modal: images of digits and captions such as "thick seven" in one space, with classes.

Two encoders learn which caption goes with which image (contrastive loss); the image encoder also
learns from a few images that have a class label but no caption. Run it with

    python examples/digits_and_captions.py --picture digits_and_captions.png
"""

import argparse
from collections.abc import Sequence

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

from jointrain import MLP, Network, OptimizerSettings, Task, TensorData, Trainer
from jointrain.networks import Part

INK = ["thin", "plain", "thick"]
DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
CAPTIONS = [f"{ink} {digit}" for digit in DIGITS for ink in INK]
TOKENS = torch.tensor([[(INK + DIGITS).index(w) for w in text.split()] for text in CAPTIONS])


class TwoTowers(Network):
    """An image encoder for both tasks and a text encoder; inputs are 64 pixels and 2 words."""

    def __init__(self) -> None:
        super().__init__({"digit": nn.Linear(32, 10), "match": nn.Identity()})
        self.image = nn.Sequential(MLP(64, width=128, dropout=0.0), nn.Linear(128, 32))
        self.text = nn.Sequential(nn.Embedding(13, 32), nn.Flatten(), nn.Linear(2 * 32, 32))

    def features(self, inputs: Tensor, tasks: Sequence[str]) -> dict[str, Tensor]:
        """Return the image's vector, [b, 32], and for the match its and its caption's, [b, 64]."""
        image = self.image(inputs[:, :64])
        if "match" not in tasks:
            return {"digit": image}
        text = functional.normalize(self.text(inputs[:, 64:].long()), dim=1)
        return {"digit": image, "match": torch.cat([functional.normalize(image, dim=1), text], 1)}

    def parts(self) -> list[Part]:
        """Both tasks reach the image encoder, only the match reaches the text encoder."""
        image = Part(("image",), ("digit", "match"), self.image)
        return [image, Part(("text",), ("match",), self.text, own=True)]


def contrastive(output: Tensor, caption: Tensor) -> Tensor:
    """Return each pair's loss, [b]: to find a right caption in the batch, and a right image."""
    # Radford et al. (CLIP), ICML 2021, figure 3; but equal captions are all right
    scores = output[:, :32] @ output[:, 32:].T / 0.1
    right = (caption[:, None] == caption).float()
    right /= right.sum(1, keepdim=True)
    losses = [functional.cross_entropy(s, right, reduction="none") for s in (scores, scores.T)]
    return (losses[0] + losses[1]) / 2


DIGIT = Task.multiclass("digit", 10)
MATCH = Task("match", "custom", loss_function=contrastive, size=64)
WAYS = {"class alone": [DIGIT], "caption alone": [MATCH], "together": [DIGIT, MATCH]}


def train(way: str, seed: int, steps: int) -> tuple[dict[str, float], Tensor, Tensor, Tensor]:
    """Return the shares of right answers; test rows, their captions, their fit to each caption."""
    torch.manual_seed(seed)
    pixels, digit = map(torch.tensor, load_digits(return_X_y=True))
    caption = 3 * digit + 3 * pixels.sum(1).argsort().argsort() // len(digit)
    inputs = torch.cat([pixels.float() / 16, TOKENS[caption]], dim=1)
    data = TensorData(inputs, {"digit": digit, "match": caption})
    order = torch.randperm(len(digit))
    rows, test = data.take(order[:550]), data.take(order[1000:])
    rows.targets["digit"][50:] = rows.targets["match"][:50] = -100  # 50 classes, 500 captions
    settings = OptimizerSettings(learning_rate=3e-3, weight_decay=0.1)
    trainer = Trainer(TwoTowers(), WAYS[way], optimizer=settings, steps=steps, seed=seed)
    trainer.fit(rows)
    captions = torch.cat([torch.zeros(30, 64), TOKENS], dim=1)
    found = trainer.predict(torch.cat([test.inputs, captions]))
    digit, caption, fits = *test.targets.values(), torch.empty(0)
    right = {"class": found["digit"][:-30].argmax(1) == digit} if "digit" in found else {}
    if "match" in found:
        fits = found["match"][:-30, :32] @ found["match"][-30:, 32:].T
        right |= {"caption": fits.argmax(1) == caption, "its number": fits.argmax(1) // 3 == digit}
    return {name: float(x.float().mean()) for name, x in right.items()}, test.inputs, caption, fits


def draw(inputs: Tensor, captions: Tensor, fits: Tensor, path: str) -> None:
    """Draw the eight test images that fit each of four captions best."""
    figure, axes = plt.subplots(4, 8, figsize=(11, 6), subplot_kw={"xticks": [], "yticks": []})
    for row, number in zip(axes, (23, 0, 10, 24), strict=True):
        row[0].set_ylabel(CAPTIONS[number], rotation=0, ha="right", va="center")
        for axis, i in zip(row, fits[:, number].topk(8).indices.tolist(), strict=True):
            axis.imshow(inputs[i, :64].reshape(8, 8).numpy(), cmap="gray_r")
            axis.set_title(CAPTIONS[captions[i]], color="g" if captions[i] == number else "r")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main(arguments: list[str] | None = None) -> dict[str, list[dict[str, float]]]:
    """Train each task alone and both together over seeds, print the shares, draw a search."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="two seeds, fewer steps")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--picture", help="file to draw a search by caption into")
    options = parser.parse_args(arguments)
    count, steps = (2, 150) if options.small else (10, 300)
    figures = {}
    for way in WAYS:
        runs = [train(way, options.seed + i, steps) for i in range(count)]
        figures[way] = [run[0] for run in runs]
        means = {name: sum(run[name] for run in figures[way]) / count for name in runs[0][0]}
        print(f"{way:14s}" + "".join(f"  {name} {100 * y:.1f} %" for name, y in means.items()))
    if options.picture:
        draw(*runs[0][1:], options.picture)
    return figures


if __name__ == "__main__":
    main()
