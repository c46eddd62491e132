"""Two linear models on the same inputs, trained in alternation and jointly.

y1 = [0.1, 0.2] x + 0.3 and y2 = [0.5, 0.9] x + 3.0 on 100 random inputs. Nothing is shared, so both
ways must find the same six numbers: the smallest example in which one can see the two at work.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn

from jointrain import Alternating, Callback, HardSharing, Joint, Task, TensorData, Trainer

TRUTH = {"y1": ([0.1, 0.2], 0.3), "y2": ([0.5, 0.9], 3.0)}


class PrintParameters(Callback):
    """Prints the six parameters, often at first and rarely later."""

    steps = (1, 2, 5, 10, 20, 50, 100, 200, 300, 500, 1000)

    def on_step_end(self, trainer: Trainer, step: int, losses: Mapping[str, Tensor]) -> None:
        """Print a line for this step if it is its turn."""
        if step in self.steps:
            models = "   ".join(
                f"{name} = [{values[0]:.4f}, {values[1]:.4f}] x {values[2]:+.4f}"
                for name, values in parameters(trainer.network).items()
            )
            print(f"step {step:4d}  trained {'+'.join(losses):5s}  {models}")


def parameters(network: HardSharing) -> dict[str, list[float]]:
    """Return the two slopes and the offset of each task."""
    return {
        name: torch.cat([p.detach().flatten() for p in network.task_parameters(name)]).tolist()
        for name in network.task_names
    }


def train(
    schedule: Joint | Alternating, steps: int, seed: int, *, verbose: bool = False
) -> HardSharing:
    """Train both models with a gradient-descent optimiser each, and return the network."""
    torch.manual_seed(seed)
    x = torch.rand(100, 2)
    targets = {name: x @ torch.tensor(slope) + offset for name, (slope, offset) in TRUTH.items()}
    network = HardSharing(nn.Identity(), {name: nn.Linear(2, 1) for name in TRUTH})
    trainer = Trainer(
        network,
        [Task.regression(name) for name in TRUTH],
        schedule=schedule,
        optimizer=partial(torch.optim.SGD, lr=0.5),
        optimizer_layout="per_task",
        steps=steps,
        seed=seed,
        callbacks=[PrintParameters()] if verbose else [],
    )
    trainer.fit(TensorData(x, targets))
    return network


def main() -> None:
    """Train in both ways and print how the parameters approach the truth."""
    print("In alternation: each step trains one of the two, chosen at random with p = 0.5")
    train(Alternating("random", {"y1": 0.5, "y2": 0.5}), steps=1000, seed=0, verbose=True)
    print("\nJointly: each step descends on loss 1 + loss 2")
    train(Joint(), steps=300, seed=0, verbose=True)


if __name__ == "__main__":
    main()
