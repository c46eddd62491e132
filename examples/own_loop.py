"""Your own loop: a balancing method in plain PyTorch, Lightning and the Hugging Face Trainer.

One network reads which digit an image shows and how much ink it has. The squared error of the ink
is far the larger loss, and the sum learns no digits. In each loop four numbered lines change that.

    python examples/own_loop.py --picture own_loop.png
"""

import argparse
import tempfile

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss
from torch.utils.data import DataLoader

from jointrain.balancing import Balancer, Equal, NashMTL, backward  # 1
from jointrain.integrations import BalancedLoss  # 2, but for the plain loop

WAYS = {"sum": Equal, "Nash-MTL": NashMTL}


def losses_of(model: nn.ModuleDict, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the loss of each task."""
    shared = model["trunk"](batch["image"])
    ink = mse_loss(model["ink"](shared)[:, 0], batch["ink"])
    return {"digit": cross_entropy(model["digit"](shared), batch["digit"]), "ink": ink}


def plain(model: nn.ModuleDict, batches: DataLoader, epochs: int, method: Balancer) -> None:
    """Train in a loop of one's own."""
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    balancer = method  # 3
    for batch in (x for _ in range(epochs) for x in batches):
        losses = losses_of(model, batch)
        optimizer.zero_grad()
        backward(losses, balancer)  # 4
        optimizer.step()


def lightning(model: nn.ModuleDict, batches: DataLoader, epochs: int, method: Balancer) -> None:
    """Train with Lightning's Trainer."""
    from lightning import LightningModule, Trainer

    balanced_loss = BalancedLoss(method)  # 3

    class Module(LightningModule):
        def training_step(self, batch: dict[str, Tensor]) -> Tensor:
            losses = losses_of(self.model, batch)
            return balanced_loss(losses)  # 4

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), lr=3e-3)

    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    (module := Module()).model = model
    Trainer(max_epochs=epochs, accelerator="cpu", **quiet).fit(module, batches)


def transformers(model: nn.ModuleDict, batches: DataLoader, epochs: int, method: Balancer) -> None:
    """Train with the Trainer of Hugging Face's transformers."""
    from transformers import Trainer, TrainingArguments

    balanced_loss = BalancedLoss(method)  # 3

    class MyTrainer(Trainer):
        def compute_loss(self, model: nn.Module, inputs: dict[str, Tensor], **_: object) -> Tensor:
            losses = losses_of(model, inputs)
            return balanced_loss(losses)  # 4

    options = {"use_cpu": True, "report_to": [], "save_strategy": "no", "disable_tqdm": True}
    options |= {"remove_unused_columns": False, "lr_scheduler_type": "constant", "max_grad_norm": 0}
    with tempfile.TemporaryDirectory() as out:
        arguments = TrainingArguments(out, 64, epochs, learning_rate=3e-3, **options)
        MyTrainer(model, arguments, train_dataset=batches.dataset).train()


def run(loop: str, way: str, seed: int, epochs: int) -> tuple[float, float]:
    """Return the test accuracy of the digit, and the error of the ink over its deviation."""
    torch.manual_seed(seed)
    image, digit = map(torch.tensor, load_digits(return_X_y=True))
    columns = {"image": image.float() / 16, "digit": digit, "ink": image.float().sum(1)}
    rows = [{name: column[i] for name, column in columns.items()} for i in torch.randperm(1797)]
    trunk = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU())
    parts = {"trunk": trunk, "digit": nn.Linear(32, 10), "ink": nn.Linear(32, 1)}
    batches = DataLoader(rows[:1000], 64, shuffle=True)
    globals()[loop](model := nn.ModuleDict(parts), batches, epochs, WAYS[way]())
    test = {name: torch.stack([row[name] for row in rows[1000:]]) for name in columns}
    right = model["digit"](trunk(test["image"])).argmax(1) == test["digit"]
    error = losses_of(model, test)["ink"].sqrt() / test["ink"].std()
    return right.float().mean().item(), error.item()


def main(arguments: list[str] | None = None) -> dict[str, list[tuple[float, float]]]:
    """Train in each loop before and after the change; print, draw and return the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--loops", nargs="*", default=["plain", "lightning", "transformers"])
    parser.add_argument("--seeds", type=int, default=10, help="how many")
    parser.add_argument("--picture", help="file to draw the figures into")
    options = parser.parse_args(arguments)
    ways = [(loop, way) for way in WAYS for loop in options.loops]
    runs = {", ".join(way): [run(*way, i, 20) for i in range(options.seeds)] for way in ways}
    for name, found in runs.items():
        accuracy, error = torch.tensor(found).mean(0)
        print(f"{name:22s}  digits right {accuracy:.3f}  error of the ink {error:.3f}")
    if options.picture:
        figure, axis = plt.subplots(figsize=(8, 3.6), layout="tight")
        for i, (name, found) in enumerate(runs.items()):
            axis.plot(*zip(*found, strict=True), "rb"[i // 3] + "o^x"[i % 3], label=name, alpha=0.5)
        axis.set(xlabel="accuracy of the digit", ylabel="error of the ink", ylim=0)
        axis.legend(loc="lower center")
        figure.savefig(options.picture, dpi=110)
    return runs


if __name__ == "__main__":
    main()
