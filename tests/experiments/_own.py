"""Small modules and data of one's own, at the top of a file: worker processes import them."""

import torch
from torch import nn
from torch.utils.data import Dataset

from jointrain import Recipe, Task, TensorData, named_recipes
from jointrain.experiments import Experiment
from jointrain.networks import HardSharing

TASKS = [Task.regression("sum"), Task.binary("sign")]
QUICK = Recipe(epochs=2, batch_size=16)
TWO = named_recipes(["separate", "joint"], QUICK)


def data(rows: int = 60, seed: int = 0) -> TensorData:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 4, generator=generator)
    sign = (x[:, 0] + 0.3 * torch.randn(rows, generator=generator) > 0).float()
    return TensorData(x, {"sum": x.sum(1) + 3, "sign": sign})


def network(tasks):
    heads = {task.name: nn.Linear(8, task.output_size) for task in tasks}
    return HardSharing(nn.Sequential(nn.Linear(4, 8), nn.ReLU()), heads)


def wide(tasks):
    heads = {task.name: nn.Linear(32, task.output_size) for task in tasks}
    return HardSharing(nn.Sequential(nn.Linear(4, 32), nn.Tanh()), heads)


def broken(tasks):
    raise RuntimeError("no such layer\nas this one")


class Rows(Dataset):
    """A data set whose rows are tuples of inputs and both targets."""

    def __init__(self, rows: TensorData) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int):
        return self.rows.inputs[row], *(self.rows.targets[task.name][row] for task in TASKS)


def experiment(*splits, given=None, **more) -> Experiment:
    return Experiment(TASKS, network, data() if given is None else given, *splits, **more)
