"""Language: an encoder of numbers and four decoders with unequal data, taking turns by temperature.

The encoder reads the digits of a number below 1000. Two decoders say it in words, in English (many
examples) and in German (few; units come before tens), one counts on, and one tags each digit by
how it is said. `--encoder bert` puts a Hugging Face encoder in the same place. Run it with

    python examples/number_words.py --picture number_words.png
"""

import argparse

import torch
from number_words_data import LONGEST, TAGS, TOKENS, make_set
from number_words_networks import Decoder, Encoder, bert
from torch import Tensor, nn

from jointrain import Alternating, HardSharing, Mixture, OptimizerSettings, Task, Trainer

EXAMPLES = {"English": 500, "German": 60, "counting": 250, "tags": 30}
WAYS = ("each alone", "proportional", "temperature", "random")


def answer(trainer: Trainer, task: str, inputs: dict[str, Tensor]) -> Tensor:
    """Return the tags, or the tokens, one after another."""
    if task == "tags":
        return trainer.predict(inputs, [task])[task].argmax(2)
    said = torch.zeros(len(inputs["input_ids"]), 1, dtype=torch.long)
    for _ in range(LONGEST):
        scores = trainer.predict(inputs | {"before": said}, [task])[task]
        said = torch.cat([said, scores[:, -1:].argmax(2)], 1)
    return said[:, 1:]


def train(names: list[str], order: str, seed: int, steps: int, encoder: str) -> list[float]:
    """Return for each task which share of unseen numbers is wholly right."""
    torch.manual_seed(seed)
    seen, unseen = torch.randperm(1000).split(800)
    seen = {name: seen[torch.randperm(800)[:size]].tolist() for name, size in EXAMPLES.items()}
    heads = {name: nn.Linear(64, TAGS) if name == "tags" else Decoder() for name in names}
    tasks = [Task.sequence(name, TAGS if name == "tags" else len(TOKENS)) for name in names]
    network = HardSharing(bert() if encoder == "bert" else Encoder(), heads)
    settings = {"optimizer": OptimizerSettings(learning_rate=5e-3), "decay": "cosine"}
    settings["gradient_clip"] = 1.0
    settings |= {"schedule": Alternating(order), "batch_size": 32, "steps": steps, "seed": seed}
    trainer = Trainer(network, tasks, **settings)
    trainer.fit(Mixture({name: make_set(name, seen[name]) for name in names}, batch_size=32))
    shares = []
    for name in names:
        test = make_set(name, unseen.tolist())
        right = answer(trainer, name, test.inputs) == test.targets[name]
        shares.append(float((right | (test.targets[name] == -100)).all(1).float().mean()))
    return shares


def run(way: str, seed: int, steps: int, encoder: str) -> list[float]:
    """Return the shares of all tasks, trained together in an order, or each alone."""
    if way == "each alone":
        return [train([name], "random", seed, steps // 2, encoder)[0] for name in EXAMPLES]
    return train(list(EXAMPLES), way, seed, steps, encoder)


def draw(found: dict[str, list[list[float]]], path: str) -> None:
    """Draw the share of each task and way: a dot for each seed, a bar for their mean."""
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(9, 4.2), layout="tight")
    for index, (way, shares) in enumerate(found.items()):
        places = [task + 0.2 * index for task in range(len(EXAMPLES))]
        axis.bar(places, torch.tensor(shares).mean(0).tolist(), 0.18, alpha=0.6, label=way)
        for one in shares:
            axis.plot(places, one, ".", color="black", markersize=4)
    axis.set_xticks([task + 0.3 for task in range(len(EXAMPLES))])
    axis.set_xticklabels([f"{name}\n{count} examples" for name, count in EXAMPLES.items()])
    axis.set(ylabel="unseen numbers wholly right", ylim=(0, 1.16))
    axis.legend(frameon=False, ncols=len(found), loc="upper center")
    figure.savefig(path, dpi=110)


def main(arguments: list[str] | None = None) -> dict[str, list[list[float]]]:
    """Train in every way over seeds; print, draw and return the shares of each task."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", choices=["gru", "bert"], default="gru")
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    parser.add_argument("--picture", help="file to draw the shares into")
    options = parser.parse_args(arguments)
    found = {w: [run(w, i, 800, options.encoder) for i in range(options.seeds)] for w in WAYS}
    print(" " * 13 + "".join(f"{name:>10s}" for name in EXAMPLES))
    for way, shares in found.items():
        print(f"{way:13s}" + "".join(f"{mean:10.3f}" for mean in torch.tensor(shares).mean(0)))
    if options.picture:
        draw(found, options.picture)
    return found


if __name__ == "__main__":
    main()
