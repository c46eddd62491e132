"""Language: a small transformer reads numbers, and four tasks of unequal size share it. A study.

The encoder reads the digits of a number below 1000. Two decoders say it in words, in English (many
examples) and in German (few; units come before tens), one counts on, and a head tags each digit by
how it is said. `--encoder bert` puts a Hugging Face encoder in the same place. Run it with

    python examples/number_words.py --picture number_words.png
"""

import argparse
from functools import partial

import torch
from number_words_data import TAGS, TOKENS, make_set
from number_words_networks import Encoder, bert, head
from rich.console import Console
from torch import Tensor

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
    named_recipes,
)  # fmt: skip
from jointrain.reports import print_result

EXAMPLES = {"English": 500, "German": 40, "counting": 250, "tags": 20}


def wholly_right(predicted: Tensor, true: Tensor) -> float:
    """Return the share of numbers of which every token is right.

    Each token is told what should stand before it. Said one after another, a text comes out right
    just if all of them are.
    """
    return float(((predicted.argmax(2) == true) | (true == -100)).all(1).float().mean())


RIGHT = Metric("wholly right", wholly_right, higher_is_better=True, lowest=0.0, highest=1.0)
TASKS = [
    Task(name, "sequence", size=TAGS if name == "tags" else len(TOKENS), metrics=(RIGHT,))
    for name in EXAMPLES
]


def make_network(tasks: list[Task], encoder: str = "own") -> HardSharing:
    """Return a fresh network for all tasks, or for one alone."""
    trunk = bert() if encoder == "bert" else Encoder()
    return HardSharing(trunk, {task.name: head(task.name) for task in tasks})


def make_experiment(encoder: str = "own", unseen: int = 200) -> Experiment:
    """Return the tasks, examples of each, and numbers for the test that none of them has seen."""
    order = torch.randperm(1000, generator=torch.Generator().manual_seed(0)).tolist()
    return Experiment(
        tasks=TASKS,
        network=partial(make_network, encoder=encoder),
        data={name: make_set(name, order[:count]) for name, count in EXAMPLES.items()},
        splits=Holdout(
            test={name: make_set(name, order[-unseen:]) for name in EXAMPLES}, validation=0.2
        ),
    )


BASE = Recipe(batch_size=32, optimizer=OptimizerSettings(learning_rate=2e-3))
RECIPES = ("separate", "joint", "alternating-proportional", "alternating-temperature",
           "weights-uncertainty", "balancer-famo", "balancer-upgrad", "merge-mean")  # fmt: skip


def main(arguments: list[str] | None = None) -> StudyResult:
    """Run the study, print what it shows and draw the changes; return the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", choices=["own", "bert"], default="own")
    parser.add_argument("--seeds", type=int, default=5, help="how many")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--store", help="folder or database that keeps what has been run")
    parser.add_argument("--picture", help="file to draw the changes into")
    options = parser.parse_args(arguments)
    study = Study(
        make_experiment(options.encoder), named_recipes(RECIPES, BASE), seeds=options.seeds
    )
    result = study.run(workers=options.workers, store=options.store)
    print_result(result, Console())
    if options.picture:
        result.plot().save(options.picture, ppi=110)
    return result


if __name__ == "__main__":
    main()
